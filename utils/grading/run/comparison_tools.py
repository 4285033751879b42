"""What tests compare by. An answer that replaces one of these could pass every test, so they are put back after each.

No wall: code that runs in the same process can get around it. It keeps an accident, or a trick, from spoiling the tests that follow.
"""

import builtins
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

import utils.grading
from utils.grading.compare import expectations, fingerprints

# The functions below use these under names of their own: an answer may have replaced the builtin ones.
_vars, _setattr, _delattr, _getattr, _type = vars, setattr, delattr, getattr, type

ABSENT = object()
BUILTINS = """abs all any bool callable complex dict enumerate float frozenset getattr hasattr int isinstance issubclass iter len list
map max min next range repr reversed round set sorted str sum tuple type zip""".split()
OF_TENSORS = """abs all any cpu detach dim dtype is_complex isfinite item max ndim nonzero numel numpy reshape shape sum to tolist
__and__ __bool__ __eq__ __float__ __ge__ __getitem__ __gt__ __invert__ __le__ __lt__ __ne__ __sub__""".split()
EXPECTATIONS = ["expect", "expect_close", "expect_equal"]
NAMES: list[tuple[object, list[str]]] = [
    (builtins, BUILTINS),
    (math, ["isclose", "isfinite", "isnan"]),
    (torch, ["isclose", "allclose", "equal", "tensor", "Tensor"]),
    (torch.Tensor, OF_TENSORS),
    (torch.testing, ["assert_close"]),
    (np, ["abs", "allclose", "array", "array_equal", "isclose", "isfinite"]),
    (np.testing, ["assert_allclose", "assert_array_equal", "assert_equal"]),
    (pytest, ["approx", "fail", "raises", "skip"]),
    (utils.grading, EXPECTATIONS),
]
HOMES = (expectations, expectations.Check, fingerprints, fingerprints.Fingerprint, fingerprints.Sketch)


class Tools:
    """Functions and classes as they are now, by the modules and classes that hold them."""

    def __init__(self, names: Iterable[tuple[object, Iterable[str]]] = (), homes: Iterable[object] = ()):
        """`names`: some of a module or a class. `homes`: modules and classes of which all is kept."""
        chosen = [*names, *((home, _all_in(home)) for home in homes)]
        kept = [(home, name, vars(home).get(name, ABSENT)) for home, some in chosen for name in some]
        self._kept = [(home, name, value, _inside(value)) for home, name, value in kept]
        self.seen: list[str] = []  # what was ever found replaced

    def replaced(self) -> list[str]:
        """What is not as it was, such as `torch.isclose`. A change that was taken back is not seen."""
        return [
            f"{home.__name__}.{name}"
            for home, name, value, inside in self._kept
            if _vars(home).get(name, ABSENT) is not value or _inside(value) != inside
        ]

    def put_back(self) -> list[str]:
        """Make all as it was; returns what was replaced."""
        found = []
        for home, name, value, inside in self._kept:
            now = _vars(home).get(name, ABSENT)
            if now is value and _inside(value) == inside:
                continue
            found.append(f"{home.__name__}.{name}")
            if now is not value:
                _delattr(home, name) if value is ABSENT else _setattr(home, name, value)
            for attribute, part in inside.items():
                _setattr(value, attribute, part)
        self.seen += found
        return found


def _all_in(home: object) -> list[str]:
    """What a module or a class defines or imports; and of a module the builtins too, which a name of its own would hide."""
    own = [name for name, value in vars(home).items() if callable(value) or isinstance(value, ModuleType)]
    return own + [name for name in BUILTINS if isinstance(home, ModuleType) and name not in own]


def _inside(value: object) -> dict[str, object]:
    """What of a function can be exchanged while it stays the same object."""
    if _type(value) is not FunctionType:
        return {}
    return {name: _getattr(value, name) for name in ("__code__", "__defaults__", "__kwdefaults__")}


TOOLS = Tools(NAMES, HOMES)


@contextmanager
def kept(*homes: object) -> Iterator[list[str]]:
    """Afterwards the tools, and all functions of `homes`, are as before; the list then says what was replaced."""
    mine, found = Tools(homes=homes), []
    try:
        yield found
    finally:
        found += TOOLS.put_back()
        found += mine.put_back()
