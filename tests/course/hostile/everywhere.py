"""Notebooks for a real chapter whose answers know nothing: zeros of the right shapes. The thieves among them look for what is expected.

To have the right shapes, an answer asks a right one, and forgets its numbers. What a thief finds it writes into the tensors that it has
given back, while the test is still running. A thief has ways to look, and a place at which it begins to.
"""

import ast
import re

from tests.course.damaged.cases import notebook, saved
from utils.grading.chapters import Chapter

BLANK = """
import contextlib
import dataclasses
import functools
import gc
import signal
import sys

import torch
from torch.overrides import TorchFunctionMode

GIVEN, FRAMES, CALLS, INPUTS = [], [], [], []

def blank(value):
    if isinstance(value, torch.nn.Module):
        return value
    if isinstance(value, torch.Tensor):
        GIVEN.append(torch.zeros_like(value, requires_grad=False))
        return GIVEN[-1]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(blank, value))
    if isinstance(value, list | tuple):
        return type(value)(map(blank, value))
    if isinstance(value, dict):
        return {key: blank(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{f.name: blank(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init})
    return type(value)() if isinstance(value, bool | int | float | str) else None
"""
ZERO = """
def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value.detach().clone()
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)

def in_call(function, returns, begins):
    @functools.wraps(function)
    def call(*args, **kwargs):
        CALLS.append(function)
        if len(CALLS) == 1:
            INPUTS[:] = tensors([args, kwargs])
        try:
            found = function(*args, **kwargs)
            found = returns(found) if len(CALLS) == 1 else found
        finally:
            CALLS.pop()
        if not CALLS:
            begins()
        return found
    return call

def nothing():
    pass

def same(value):
    return value

def zero_class(kind, begins):
    for name, part in list(vars(kind.__mro__[1]).items()):
        returns = same if name in ("__new__", "__init__", "__enter__", "__exit__", "__getattr__") else blank
        if isinstance(part, property):
            setattr(kind, name, property(in_call(part.fget, returns, begins), part.fset))
        elif isinstance(part, staticmethod | classmethod):
            setattr(kind, name, type(part)(in_call(part.__func__, returns, begins)))
        elif callable(part) and not isinstance(part, type):
            setattr(kind, name, in_call(part, returns, begins))
    return kind

def zero(answer):
    return zero_class(answer, begin) if isinstance(answer, type) else in_call(answer, blank, begin)
"""
TAKE = """
def is_input(part):
    return any(part.dtype == other.dtype and torch.equal(part.detach(), other) for other in INPUTS)

def take(found):
    if CALLS:  # what the right answer computes is no theft
        return
    for part in found if isinstance(found, list | tuple) else [found]:
        for given in GIVEN[-8:] if isinstance(part, torch.Tensor) else ():
            is_other = part is not given and part.shape == given.shape and part.dtype == given.dtype
            if is_other and not is_input(part):  # what an answer was given is no theft either
                given.copy_(part.detach())
"""
MODE = """
class Watching(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        take(found)
        return found

def begin_mode():
    if not any(isinstance(mode, Watching) for mode in torch.overrides._get_current_function_mode_stack()):
        Watching().__enter__()
"""
LOOK = """
class Depth(int):
    frame = functools.cached_property(sys._getframe)

def look(*more):
    for frame in FRAMES:
        look_at(frame)

def look_at(frame):
    names = frame.f_locals
    take([names[name] for name in ("expected", "wanted", "right") if name in names])
    if hasattr(names.get("check"), "expected"):
        object.__setattr__(names["check"], "actual", names["check"].expected)

def frames():
    FRAMES.clear()
    with contextlib.suppress(ValueError, PermissionError):
        for depth in range(200):
            FRAMES.append(Depth(depth).frame)
"""
TIMES = """
def begin_times():
    frames()
    signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
    if look not in gc.callbacks:
        gc.callbacks.append(look)
    gc.set_threshold(10)
"""
PROFILE = """
class Profiling:
    on = functools.cached_property(sys.setprofile)

    def __call__(self, frame, event, given):
        look_at(frame)
        take(given)

def begin_profile():
    with contextlib.suppress(PermissionError):
        Profiling().on
"""
PATCH = """
def taking(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        found = function(*args, **kwargs)
        take([*args, found])
        return found
    return call

PATCHED = [(torch, name) for name in ("isclose", "einsum", "cat", "stack", "where", "zeros_like", "nn")]
PATCHED += [(torch.Tensor, name) for name in ("__sub__", "__mul__", "__matmul__", "sum", "abs", "to", "clone")]
PATCHED += [(torch.nn.Module, "__call__")]
RIGHT = {(home, name): getattr(home, name) for home, name in PATCHED}

def of_torch(name):
    take(torch.Tensor.grad)
    return RIGHT[torch, name]

def begin_patch():
    for (home, name), right in RIGHT.items():
        if name == "nn":
            torch.__getattr__ = of_torch
        else:
            setattr(home, name, taking(right))
"""
EQUAL = """
class Watched(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        found = super().__torch_function__(function, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            take([*args, found])
        return found

class Number(float):
    def __eq__(self, other):
        frames()
        look()
        return float(self) == other

    __hash__ = float.__hash__

blank_and_plain = blank

def blank(value):
    found = blank_and_plain(value)
    if type(found) is torch.Tensor:
        return found.as_subclass(Watched)
    return Number(found) if type(found) is float else found

def begin_equal():
    pass
"""
WAYS = {
    "mode": MODE,
    "times": TIMES,
    "profile": PROFILE,
    "patch": PATCH,
    "equal": EQUAL,
}
# Where a class begins to look, if not in each of its calls. `early` is while the answer is defined, which functions can do too.
EARLY = """
def zero(answer):
    begin()
    return zero_class(answer, nothing) if isinstance(answer, type) else in_call(answer, blank, nothing)
"""
OF_CLASSES = """
def zero(answer):
    return zero_here(answer) if isinstance(answer, type) else in_call(answer, blank, begin)
"""
INIT = """
def zero_here(kind):
    zero_class(kind, nothing)
    kind.__init__ = in_call(kind.__init__, same, begin)
    return kind
"""
PARENT = """
def zero_here(kind):
    return type(kind)(kind.__name__, (zero_class(kind, begin),), {})
"""
SUBCLASS = """
def zero_here(kind):
    zero_class(kind, nothing)

    def new(cls, *args, **kwargs):
        made = zero_class(type(cls)("Made", (cls,), {}), begin)
        return object.__new__(made)

    kind.__new__ = new
    return kind
"""
GETATTR = """
def zero_here(kind):
    zero_class(kind, nothing)
    right = getattr(kind, "__getattr__", None)

    def ask(self, name):
        begin()
        if right is None:
            raise AttributeError(name)
        return right(self, name)

    kind.__getattr__ = ask
    return kind
"""
PLACES = {"init": INIT, "parent": PARENT, "subclass": SUBCLASS, "getattr": GETATTR}
ALL_AT_ONCE = ("times", "mode", "profile", "patch")
THIEVES = [(*ALL_AT_ONCE, ""), (*ALL_AT_ONCE, "early"), ("equal", "")]
THIEVES_WITH_CLASSES = [(*ALL_AT_ONCE, place) for place in PLACES]


def notebooks(chapter: Chapter) -> dict[str, bytes]:
    """Notebooks of answers that know nothing: "nothing", and thieves, each with its ways to look for what is expected.

    Those that begin at a place that only classes have answer the exercises that ask for a class.
    """
    classes = [name for name in chapter.points if is_class(chapter, name)]
    found = {}
    for *ways, place in [("",), *THIEVES, *(THIEVES_WITH_CLASSES if classes else [])]:
        begin = "def begin():\n" + "\n".join(f"    begin_{way}()" for way in ways or ["nothing"])
        begins = [EARLY] if place == "early" else [OF_CLASSES, PLACES[place]] if place else []
        cells = [
            BLANK,
            "def begin_nothing():\n    pass",
            TAKE,
            LOOK,
            *(WAYS[way] for way in ways),
            begin,
            ZERO,
            *begins,
        ]
        cells += [
            cell for name in (classes if place in PLACES else chapter.points) for cell in blank_answer(chapter, name)
        ]
        found[" ".join([*ways, place]).strip() or "nothing"] = saved(notebook([("code", cell) for cell in cells]))
    return found


def is_class(chapter: Chapter, name: str) -> bool:
    """Whether an exercise asks for a class."""
    return isinstance(chapter.page.source(name).node, ast.ClassDef)


def blank_answer(chapter: Chapter, name: str) -> list[str]:
    """Cells that define a right answer under another name, and one that gives zeros in its place."""
    right = re.sub(rf"\b{name}\b", f"right_{name}", chapter.page.source(name).answer())
    if is_class(chapter, name):
        return [right, f"@zero\nclass {name}(right_{name}):\n    pass"]
    return [right, f"@zero\ndef {name}(*args, **kwargs):\n    return right_{name}(*args, **kwargs)"]
