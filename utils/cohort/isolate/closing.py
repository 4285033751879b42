"""What is taken from a process, and closed to it, before student code runs there."""

import ast
import contextlib
import inspect
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

from utils import ROOT, cache_folder
from utils.grading.chapters import Chapter
from utils.notebooks.sources import Source


def silence() -> None:
    """Nothing to read from, nowhere to print."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def run_and_leave(work) -> None:
    """Do something and end the process, past all that it inherited."""
    code = 1
    with contextlib.suppress(BaseException):
        work()
        code = 0
    os._exit(code)


def closed_in(streams: Iterable[int]) -> None:
    """A group of its own, nothing to read or print, and no open streams but these."""
    os.setsid()
    silence()
    before = 3
    for stream in sorted(streams):
        os.closerange(before, stream)
        before = stream + 1
    os.closerange(before, 4096)


def readable_places() -> list[Path]:
    """Python, its packages, what the system needs to run them, the course's `utils`, and its models in the user's cache."""
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, "/usr", "/lib", "/lib64", "/bin", "/opt/cuda"]
    places += ["/etc/ld.so.cache", "/etc/localtime", "/etc/timezone"]
    places += ["/dev/null", "/dev/urandom", "/dev/zero", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system"]
    packages = Path(torch.__file__).parents[1], Path(np.__file__).parents[1], Path(pytest.__file__).parents[1]
    return sorted({Path(place).resolve() for place in [*places, *packages, ROOT / "utils", cache_folder()]})


def take_out_reference(chapter: Chapter, name: str) -> None:
    """Leave something empty where the reference answer was: in modules, in its function, and in the page's sources."""
    reference = chapter.reference(name)
    function = inspect.unwrap(reference)
    if isinstance(function, FunctionType) and not function.__closure__:
        reference.__signature__ = inspect.signature(reference)
        function.__code__ = _gone.__code__
    else:
        empty = type(name, (), {"__init__": _gone})
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType):
                for key in [key for key, value in vars(module).items() if value is reference]:
                    setattr(module, key, empty)
    sources = chapter.page._sources
    sources[name] = [_without_answer(source) for source in sources[name]]


def _gone(*args, **kwargs):
    raise NotImplementedError("The reference answer is not here.")


def _without_answer(source: Source) -> Source:
    lines = source.text.splitlines()
    for begin, end in reversed(source.regions):
        del lines[begin + 1 : end]
    text = "\n".join(lines)
    bare = replace(source, text=text)
    return replace(bare, node=ast.parse(bare.stub()).body[0])


def take_out_tests(folders: list[str]) -> None:
    """Tests run without being found by their modules' names."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(tuple(folders)):
            del sys.modules[name]
            parent, _, last = name.rpartition(".")
            vars(sys.modules.get(parent, module)).pop(last, None)


def codes_in(kind: type, file: str | None = None) -> set[int]:
    """The functions that stand in a class itself, by their code objects; only those of a file, if it is given.

    Decorators such as `torch.no_grad()` put code of their own, the same everywhere, around a method.
    """
    parts = [getattr(part, "fget", None) or getattr(part, "__func__", part) for part in vars(kind).values()]
    codes = [inspect.unwrap(part).__code__ for part in parts if isinstance(part, FunctionType)]
    return {id(code) for code in codes if file is None or code.co_filename == file}


def uses(answer: object, codes: set[int]) -> bool:
    """Whether a class, or one that it is made from, has some of this code."""
    return any(codes & codes_in(kind) for kind in getattr(answer, "__mro__", ()))
