"""What a call of an answer has replaced in the libraries that a test computes with: put back before the test goes on."""

import builtins
import sys
from operator import is_
from types import ModuleType

import torch

LIBRARIES = (builtins, torch, torch.nn.functional, torch.linalg, torch.testing, torch.autograd)
CLASSES = (torch.Tensor, torch.nn.Module, torch.nn.Parameter)
OF_THE_COURSE = ("utils", "solutions", "tests")


def homes_of_tools() -> list[ModuleType | type]:
    """Modules and classes whose names tests use: of libraries, and all of the course."""
    loaded = [(name, module) for name, module in sys.modules.items() if name.partition(".")[0] in OF_THE_COURSE]
    own = [(name, module) for name, module in loaded if isinstance(module, ModuleType)]
    classes = [
        kind
        for name, module in own
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == name
    ]
    return [*LIBRARIES, *CLASSES, *(module for _, module in own), *classes]


class Patched:
    """The names of modules and classes before a call; `put_back` makes them what they were."""

    def __init__(self, homes: list[ModuleType | type]):
        self._before = [(home, type(home), dict(vars(home))) for home in homes]

    def put_back(self) -> None:
        """All of a class; of a module what can be called, since modules may count and keep what they have read."""
        for home, kind, before in self._before:
            if type(home) is not kind:
                home.__class__ = kind
            now = vars(home)
            if len(now) != len(before) or not all(map(is_, now.values(), before.values())):
                _put_back(home, before)


def _put_back(home: ModuleType | type, before: dict[str, object]) -> None:
    is_class, now = isinstance(home, type), dict(vars(home))
    for name, value in before.items():
        if name not in now or (now[name] is not value and (is_class or callable(value))):
            setattr(home, name, value)
    for name in now.keys() - before.keys():
        if is_class or name == "__getattr__":
            delattr(home, name)
