"""In the process where tests and an answer run together: classes of a notebook leave nothing running, and work as before."""

import gc
import signal
import sys
from types import ModuleType

import pytest
import torch
from torch.overrides import _get_current_function_mode_stack

from utils.cohort.isolate.calls import Calls

HONEST = """
import dataclasses, enum, functools, typing, torch

@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: int
    names: list = dataclasses.field(default_factory=list)

class Pair(typing.NamedTuple):
    left: int = 3

class Colour(enum.Enum):
    RED = 1
    def shown(self): return self.value

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return 2 * x
    @staticmethod
    def backward(ctx, grad): return 2 * grad

class Base:
    __slots__ = ("x",)
    def __init__(self, x): self.x = x
    @functools.lru_cache
    def cached(self): return object()

class Child(Base):
    __slots__ = ("__dict__",)
    bound = functools.partialmethod(lambda self, a, b: (a, b), 4)
    def __init__(self): super().__init__(5)
    @property
    def twice(self): return 2 * self.x
    @twice.setter
    def twice(self, value): self.x = value / 2
    @functools.cached_property
    def once(self): return object()
    @classmethod
    def kind(cls): return cls
    @staticmethod
    def one(): return 1
    def __getattr__(self, name):
        if name == "found": return name
        raise AttributeError(name)
    def __enter__(self): return self
    def __exit__(self, *error): return True
    def __call__(self, value): return value + self.x

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
    @torch.no_grad()
    def weights(self): return 2 * self.linear.weight
    def forward(self, x): return self.linear(x)
"""
BEGINS = """
import functools, gc, signal, sys, torch
from torch.overrides import TorchFunctionMode

class Mode(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None): return function(*args, **(kwargs or {}))

def begin(*more):
    gc.callbacks.append(print)
    signal.signal(signal.SIGVTALRM, print)
    Mode().__enter__()
    sys.setprofile(lambda *more: None)
    torch.einsum = torch.Tensor.sum = print
    torch.nn.Module.__getattr__ = print
    torch.Tensor.__getattr__ = print
    return 1
"""
WAYS = {
    "constructor": ("    def __init__(self): begin()", lambda kind: kind()),
    "new": ("    def __new__(cls): return begin() and object.__new__(cls)", lambda kind: kind()),
    "method": ("    def go(self): begin()", lambda kind: kind().go()),
    "classmethod": ("    @classmethod\n    def go(cls): begin()", lambda kind: kind.go()),
    "staticmethod": ("    @staticmethod\n    def go(): begin()", lambda kind: kind.go()),
    "property": ("    @property\n    def part(self): begin()", lambda kind: kind().part),
    "setter": ("    part = property(None, begin)", lambda kind: setattr(kind(), "part", 1)),
    "cached_property": ("    part = functools.cached_property(begin)", lambda kind: kind().part),
    "partial": ("    go = functools.partial(begin, 1)", lambda kind: kind().go()),
    "lru_cache": ("    @functools.lru_cache\n    def go(self): begin()", lambda kind: kind().go()),
    "no_grad": ("    @torch.no_grad()\n    def go(self): begin()", lambda kind: kind().go()),
    "call": ("    def __call__(self): begin()", lambda kind: kind()()),
    "equal": ("    def __eq__(self, other): return begin()", lambda kind: kind() == 1),
    "getattr": ("    def __getattr__(self, name): begin()", lambda kind: kind().anything),
    "raises": ("    def go(self): begin(); raise ValueError", lambda kind: pytest.raises(ValueError, kind().go)),
    "subclass": (
        "    def __new__(cls):\n        return object.__new__(type('Sub', (cls,), {'go': lambda self: begin()}))",
        lambda kind: kind().go(),
    ),
    "library's name": ("    __module__ = 'torch'\n    def go(self): begin()", lambda kind: kind().go()),
}


def answers(source: str) -> ModuleType:
    """A module of student code, with the calls of its classes guarded."""
    calls, module = Calls(), ModuleType("answer_to_this")
    sys.modules[module.__name__] = module
    try:
        with calls.ended():
            exec(compile(source, "<notebook>", "exec"), vars(module))
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                calls.guard_class(value)
        if "Answer" in vars(module):
            module.Answer = calls.guarded(module.Answer)
    finally:
        del sys.modules[module.__name__]
    return module


def running() -> list[object]:
    """All that an answer may not leave behind."""
    patched = torch.einsum, torch.Tensor.sum, torch.nn.Module.__getattr__, hasattr(torch.Tensor, "__getattr__")
    modes, handler = len(_get_current_function_mode_stack()), signal.getsignal(signal.SIGVTALRM)
    return [list(gc.callbacks), modes, handler, sys.getprofile(), *patched]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_runs_after_a_call(way):
    lines, call = WAYS[way]
    before = running()
    kind = answers(f"{BEGINS}\nclass Answer:\n{lines}\n").Answer
    assert running() == before
    call(kind)
    assert running() == before


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("library's name", "subclass")])
def test_methods_of_parents_are_guarded(way):
    lines, call = WAYS[way]
    before = running()
    call(answers(f"{BEGINS}\nclass Parent:\n{lines}\nclass Answer(Parent):\n    pass\n").Answer)
    assert running() == before


@pytest.mark.parametrize("answer", ["Callable()", "functools.partial(begin)", "begin", "Callable().__call__"])
def test_nothing_runs_after_a_call_of_what_is_no_class(answer):
    before = running()
    made = answers(f"{BEGINS}\nclass Callable:\n    def __call__(self): begin()\nAnswer = {answer}\n").Answer
    made()
    assert running() == before


def test_nothing_runs_after_the_answer_is_defined():
    before = running()
    answers(f"{BEGINS}\nbegin()\n")
    assert running() == before


def test_what_python_calls_itself_runs_only_in_calls():
    lines = "seen = []\nclass Answer:\n    def __del__(self): seen.append(1)\n    def go(self): Answer()\n"
    module = answers(lines)
    made = module.Answer()
    made.go()
    assert module.seen == [1]
    del made
    assert module.seen == [1]


def test_a_tensor_of_a_class_of_its_own_does_not_see_what_a_test_computes():
    lines = (
        "import torch\nseen = []\nclass Answer(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, function, types, args=(), kwargs=None):\n        seen.append(args)\n"
        "        return super().__torch_function__(function, types, args, kwargs or {})\n"
    )
    module = answers(lines)
    made = torch.ones(2).as_subclass(module.Answer)
    module.seen.clear()
    assert (made + torch.ones(2)).tolist() == [2.0, 2.0] and module.seen == []


def test_methods_of_libraries_stay_as_they_are():
    before = dict(vars(torch.nn.Module)), dict(vars(torch.nn.Linear))
    answers(HONEST).Model()
    assert (dict(vars(torch.nn.Module)), dict(vars(torch.nn.Linear))) == before


def test_honest_data():
    made = answers(HONEST)
    assert made.Point(1) == made.Point(1) < made.Point(2) and repr(made.Point(1)).endswith("Point(x=1, names=[])")
    with pytest.raises(AttributeError):
        made.Point(1).x = 2
    assert made.Pair()._replace(left=4) == made.Pair(4) == (4,)
    assert made.Colour(1).shown() == 1 and made.Colour["RED"] is made.Colour.RED


def test_honest_classes():
    made = answers(HONEST)
    child = made.Child()
    child.twice = 8
    assert (child.x, child.twice, child.kind(), child.one(), child.bound(6)) == (4.0, 8.0, made.Child, 1, (4, 6))
    assert child.once is child.once and child.cached() is child.cached() and made.Base.cached.cache_info().hits == 1
    assert child.found == "found" and not hasattr(child, "lost") and child(1) == 5.0
    with child as entered:
        raise ValueError
    assert entered is child


def test_honest_parts_of_torch():
    made = answers(HONEST)
    x = torch.ones(2, requires_grad=True)
    made.Double.apply(x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    model = made.Model()
    model(x).sum().backward()
    assert len(model.state_dict()) == 2 and not model.weights().requires_grad
    assert model.linear.weight.grad is not None
