"""After each call of an answer, what it has begun is ended: in the process where tests and the answer run together.

`utils.grading.run.unchanged` does this for functions, in a student's own pytest too. Here it is done for classes as well: for their
constructors, methods and properties, for objects that can be called, and while the answer is defined. Methods of libraries stay as they are.
No guard: what runs later without a call of the answer's own names, such as the body of a generator, or a function that an answer returns.
"""

import functools
import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FunctionType, MethodType

import torch

from utils.cohort.isolate.patched import Patched, homes_of_tools
from utils.grading.run.still_running import StillRunning

CACHED = type(functools.lru_cache(lambda: None))
IMMUTABLE, MADE_BY_PYTHON = 1 << 8, 1 << 9  # of `type.__flags__`


@functools.cache
def classes_so_far() -> dict[int, type]:
    """All classes there were at the first call, by their ids. It takes some hundredths of a second."""
    found: dict[int, type] = {}
    waiting = [object]
    while waiting:
        kind = waiting.pop()
        if id(kind) not in found:
            found[id(kind)] = kind
            waiting += type.__subclasses__(kind)
    return found


class Calls:
    """The calls of one answer, and of all classes that it brings with it."""

    def __init__(self):
        """Made before student code runs: all classes that come later may be the notebook's."""
        self._known = classes_so_far()
        self._homes = homes_of_tools()
        self._seen: dict[int, type] = {}  # classes that were looked at since then
        self._is_running = False

    @contextmanager
    def ended(self) -> Iterator[None]:
        """What begins in here ends with it. In a call within a call, it ends with the outer one."""
        if self._is_running:
            yield
            return
        patched, running, watchers = Patched(self._homes), StillRunning(), _watchers()
        self._is_running = True
        try:
            yield
        finally:
            _put_back(watchers)
            running.end()
            patched.put_back()
            self._is_running = False

    def guarded(self, answer: object) -> object:
        """An answer whose calls leave nothing running: a class itself, with its methods exchanged; for others, something in its place."""
        for kind in gc.get_objects():
            if _is_class(kind):
                self.guard_class(kind)
        for kind in type.mro(answer) if _is_class(answer) else [type(answer)]:
            self.guard_class(kind)
        return answer if _is_class(answer) else self._guarded_part(answer)

    def guard_class(self, kind: type) -> None:
        """Exchange what a class of a notebook has of its own. A class of a library stays as it is."""
        if id(kind) in self._known or id(kind) in self._seen:
            return
        self._seen[id(kind)] = kind
        own = _vars_of(kind)
        if _is_unchangeable(kind) or _is_of_a_library(kind, own):
            return
        for name, part in list(own.items()):
            with suppress(AttributeError, TypeError):  # some cannot be made anew, or a metaclass lets nobody set them
                new = self._guarded_member(name, part)
                if new is not part:
                    type.__setattr__(kind, name, new)

    def _guarded_member(self, name: str, part: object) -> object:
        """What stands in a class under a name, with calls that leave nothing running."""
        if name == "__del__":
            return self._only_in_calls(part, _nothing)
        if name == "__torch_function__" and isinstance(part, classmethod):
            return classmethod(self._only_in_calls(part.__func__, _as_a_tensor))
        return self._guarded_part(part)

    def _guarded_part(self, part: object) -> object:
        """A function, or what holds one, with calls that leave nothing running; anything else as it is."""
        kind = type(part)
        if kind is FunctionType or kind is MethodType:
            return part if inspect.isgeneratorfunction(part) else self._guarded_function(part)
        if kind in (staticmethod, classmethod):
            return kind(self._guarded_part(part.__func__))
        if issubclass(kind, property):
            functions = (f and self._guarded_part(f) for f in (part.fget, part.fset, part.fdel))
            return kind(*functions, part.__doc__)
        if kind is functools.partial:
            return functools.partial(self._guarded_part(part.func), *part.args, **part.keywords)
        if kind is CACHED:
            return functools.lru_cache(**part.cache_parameters())(self._guarded_part(part.__wrapped__))
        if kind in (functools.cached_property, functools.partialmethod, functools.singledispatchmethod):
            part.func = self._guarded_part(part.func)
        return part

    def _guarded_function(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args, **kwargs):
            if self._is_running:
                return function(*args, **kwargs)
            with self.ended():
                result = function(*args, **kwargs)
            for value in (result, *args[:1]):  # an object may be of a class that this call has made
                self.guard_class(type(value))
            return result

        return call

    def _only_in_calls(self, function: Callable, otherwise: Callable) -> Callable:
        """What Python or torch calls in the middle of a test runs only while the answer does."""

        @functools.wraps(function)
        def call(*args, **kwargs):
            return (function if self._is_running else otherwise)(*args, **kwargs)

        return call


def _is_class(value: object) -> bool:
    return issubclass(type(value), type)  # not `isinstance`, which asks the value too


def _vars_of(kind: type) -> dict[str, object]:
    return type.__dict__["__dict__"].__get__(kind)  # past a metaclass of the notebook


def _is_unchangeable(kind: type) -> bool:
    """Whether a class is written in C, say: it has no code of a notebook."""
    flags = type.__dict__["__flags__"].__get__(kind)
    return bool(flags & IMMUTABLE or not flags & MADE_BY_PYTHON)


def _is_of_a_library(kind: type, own: dict[str, object]) -> bool:
    """Whether a class stands in a file, by its module: it was read after the answer began."""
    module = sys.modules.get(own.get("__module__"))
    name = type.__dict__["__name__"].__get__(kind)
    return os.path.isfile(getattr(module, "__file__", None) or "") and vars(module).get(name) is kind


def _nothing(*args, **kwargs) -> None:
    return None


def _as_a_tensor(kind: type, function: Callable, types, args=(), kwargs=None) -> object:
    with torch._C.DisableTorchFunctionSubclass():
        return function(*args, **(kwargs or {}))


def _watchers() -> tuple:
    """What is told of each line and each call: the functions that trace and profile."""
    return sys.gettrace(), sys.getprofile()


def _put_back(watchers: tuple) -> None:
    trace, profile = watchers
    if sys.getprofile() is not profile:
        sys.setprofile(profile)
    if sys.gettrace() is not trace:
        sys.settrace(trace)
