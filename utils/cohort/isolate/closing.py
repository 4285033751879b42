"""What is taken from a process, and closed to it, before student code runs there."""

import ast
import contextlib
import gc
import inspect
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

from utils import ROOT, cache_folder
from utils.cohort.isolate import sandbox, tripwires
from utils.cohort.isolate.ending import SECONDS_FOR_READING
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


def limit_reading(megabytes: int) -> None:
    """Time and memory for a process that reads a notebook, and runs none of it. Those that it forks may have others."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_FOR_READING, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    sandbox.limit_memory(max(megabytes, 1000), hard=False)


def close(home: Path, settings, notice: Callable[[str], None] | None, has_tests: bool = False) -> None:
    """From here on there is no way out of this process, for good. `home` is all that it may write to.

    `notice` is told what student code tries; without it, it is course code that runs here, and has time for it. Where there are tests,
    no threads may start: they would run in the middle of one.
    """
    gc.freeze()  # what is here already cannot be found by searching
    readable, root = readable_places(), Path(settings.root).resolve()
    tempfile.tempdir = str(home)
    # what Python's packages say of themselves is looked up in all folders of the path, and this one is closed
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != root]
    seconds = settings.seconds if notice else max(settings.seconds, SECONDS_FOR_READING)
    sandbox.enter(home, readable, seconds, settings.megabytes, has_threads=not has_tests)
    if notice:
        tripwires.lay(home, readable, root, notice)


def readable_places() -> list[Path]:
    """Python, its packages, what the system needs to run them, the course's `utils`, and its models in the user's cache."""
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, "/usr", "/lib", "/lib64", "/bin", "/opt/cuda"]
    places += ["/etc/ld.so.cache", "/etc/localtime", "/etc/timezone"]
    places += ["/dev/null", "/dev/urandom", "/dev/zero", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system"]
    packages = Path(torch.__file__).parents[1], Path(np.__file__).parents[1], Path(pytest.__file__).parents[1]
    return sorted({Path(place).resolve() for place in [*places, *packages, ROOT / "utils", cache_folder()]})


def take_out_reference(chapter: Chapter, name: str) -> set[int]:
    """Leave something empty where the reference answer was: in modules, in its function, and in the page's sources.

    Returns the codes of a class, which stays: tests may need it. A function's code is gone.
    """
    reference = chapter.reference(name)
    codes = codes_in(reference, inspect.getfile(reference)) if isinstance(reference, type) else set()
    function = inspect.unwrap(reference)
    if isinstance(function, FunctionType) and not function.__closure__:
        reference.__signature__ = inspect.signature(reference)
        function.__code__ = _gone.__code__
    else:
        empty = type(name, (), {"__init__": _gone})
        course = str(ROOT), str(chapter.root)
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and str(vars(module).get("__file__")).startswith(course):
                for key in [key for key, value in vars(module).items() if value is reference]:
                    setattr(module, key, empty)
    sources = chapter.page._sources
    sources[name] = [_without_answer(source) for source in sources[name]]
    return codes


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
