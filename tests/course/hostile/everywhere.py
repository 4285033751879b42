"""Notebooks for a real chapter whose answers know nothing: zeros of the right shapes. The thieves among them look for what is expected.

To have the right shapes, an answer asks a right one, and forgets its numbers. What a thief finds it writes into the tensors that it has
given back, while the test is still running.
"""

import ast
import re
from collections.abc import Iterable

from tests.course.damaged.cases import notebook, saved
from utils.grading.chapters import Chapter

BLANK = """
import dataclasses
import functools
import gc
import signal
import sys
import threading

import torch
from torch.overrides import TorchFunctionMode

GIVEN, FRAMES = [], []

def blank(value):
    if isinstance(value, torch.Tensor):
        GIVEN.append(torch.zeros_like(value))
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
TAKE = """
def take(found):
    for part in found if isinstance(found, list | tuple) else [found]:
        for given in GIVEN[-8:] if isinstance(part, torch.Tensor) else ():
            if part is not given and part.shape == given.shape and part.dtype == given.dtype:
                given.copy_(part.detach())
"""
MODE = """
class Watching(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        take(found)
        return found

def begin_mode():
    Watching().__enter__()
"""
LOOK = """
class Depth(int):
    frame = functools.cached_property(sys._getframe)

def look(*more):
    for frame in FRAMES:
        names = frame.f_locals
        take([names[name] for name in ("expected", "wanted", "right") if name in names])
        if hasattr(names.get("check"), "expected"):
            object.__setattr__(names["check"], "actual", names["check"].expected)

def frames():
    FRAMES.clear()
    for depth in range(200):
        try:
            FRAMES.append(Depth(depth).frame)
        except ValueError:
            return
"""
TIMES = """
def begin_times():
    frames()
    signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
    gc.callbacks.append(look)
    gc.set_threshold(10)
"""
THREAD = """
def loop():
    while True:
        look()

def begin_thread():
    frames()
    sys.setswitchinterval(1e-5)
    threading.Thread(target=loop, daemon=True).start()
"""
LOST = """
class Lost:
    def __init__(self):
        self.me = self

    def __del__(self):
        look()
        Lost()

def begin_lost():
    frames()
    gc.set_threshold(10)
    Lost()
"""
WAYS = {"mode": MODE, "times": TIMES, "thread": THREAD, "lost": LOST}


def notebooks(chapter: Chapter, thieves: Iterable[tuple[str, ...]]) -> dict[str, bytes]:
    """Notebooks of answers that know nothing: "nothing", and thieves, each with its ways to look for what is expected."""
    answers = [answer for name in chapter.points for answer in blank_answer(chapter, name)]
    found = {}
    for ways in [(), *thieves]:
        begin = "def begin():\n" + "\n".join(f"    begin_{way}()" for way in ways or ["nothing"])
        cells = [BLANK, "def begin_nothing():\n    pass", TAKE, LOOK, *(WAYS[way] for way in ways), begin, *answers]
        found[" and ".join(ways) or "nothing"] = saved(notebook([("code", cell) for cell in cells]))
    return found


def blank_answer(chapter: Chapter, name: str) -> list[str]:
    """Cells that define a right answer under another name, and one that gives zeros in its place. None for a class."""
    source = chapter.page.source(name)
    if not isinstance(source.node, ast.FunctionDef):
        return []
    right = re.sub(rf"\bdef {name}\b", f"def right_{name}", source.answer())
    lines = [f"def {name}(*args, **kwargs):", f"    found = blank(right_{name}(*args, **kwargs))", "    begin()"]
    return [right, "\n".join([*lines, "    return found"])]
