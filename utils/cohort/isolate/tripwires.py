"""What Python itself tells of student code: attempts to leave the place where answers are computed are refused and noted.

Python's audit hooks cannot be taken off again. They are no wall, since who runs in the same process can get around them; the walls
are the system's (`sandbox`) and the judge's. They turn what would be a crash, or a peek that helps nobody, into a sentence.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

PROCESSES = "starts other programs or processes"
SIGNALS = "sends signals to processes"
NETWORK = "uses the network"
STACK = "looks at the code that calls it"
MEMORY = "searches the memory of the program"
TRACING = "traces or changes how Python runs"
MACHINE = "calls the system past Python"
OTHER_FILES = "reads files that are not its own"
FOREIGN_WRITES = "writes or deletes files that are not its own"
REFERENCE = "uses the reference answer itself"
REASONS = {PROCESSES, SIGNALS, NETWORK, STACK, MEMORY, TRACING, MACHINE, OTHER_FILES, FOREIGN_WRITES, REFERENCE}

ALWAYS = dict.fromkeys(("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn"), PROCESSES)
ALWAYS |= {"subprocess.Popen": PROCESSES, "pty.spawn": PROCESSES, "os.kill": SIGNALS, "os.killpg": SIGNALS}
ALWAYS |= dict.fromkeys(("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.bind"), NETWORK)
ALWAYS |= {"sys.addaudithook": TRACING}
BY_STUDENTS = dict.fromkeys(("sys._getframe", "sys._current_frames", "sys._current_exceptions"), STACK)
BY_STUDENTS |= dict.fromkeys(("gc.get_objects", "gc.get_referrers", "gc.get_referents"), MEMORY)
BY_STUDENTS |= dict.fromkeys(("sys.settrace", "sys.setprofile", "sys.monitoring.register_callback"), TRACING)
BY_STUDENTS |= dict.fromkeys(("code.__new__", "marshal.loads"), TRACING)
BY_STUDENTS |= dict.fromkeys(("ctypes.dlopen", "ctypes.dlsym", "ctypes.cdata", "ctypes.string_at"), MACHINE)
FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame", "f_code"}
PATHS = {"os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.truncate": 1, "os.chmod": 1, "os.mkdir": 1}
PATHS |= {"os.symlink": 2, "os.link": 2, "shutil.rmtree": 1, "os.listdir": 1, "os.scandir": 1}
# Modules that look where they are asked to; of these functions of theirs comes no more than a text, or no frame.
LOOKS_FOR_OTHERS = {
    "inspect",
    "traceback",
    "ctypes",
    "logging",
    "bdb",
    "pdb",
    "trace",
    "profile",
    "cProfile",
    "doctest",
}
GIVES_TEXT = {"print_exc", "print_exception", "format_exc", "format_exception", "print_last", "format_exception_only"}
GIVES_FRAMES = {"currentframe", "<lambda>"}  # by version of Python
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Forbidden(PermissionError):
    """What an answer may not do; the text is meant for the student."""


def lay(home: Path, readable: Iterable[Path], closed: Path, notice: Callable[[str], None]) -> None:
    """From now on student code is told that it may not, and `notice` is told in words what it tried.

    `home` is its own folder, `readable` it may read, of `closed` it may read nothing else.
    """
    places = _Places(str(home), tuple(map(str, readable)), str(closed))
    busy = threading.local()

    def hook(event: str, arguments: tuple) -> None:
        if getattr(busy, "now", False):
            return
        busy.now = True
        try:
            reason = _reason(event, arguments, places)
            if reason:
                notice(reason)
        finally:
            busy.now = False
        if reason:
            raise Forbidden(f"An answer that {reason} is not graded there.")

    sys.addaudithook(hook)


class _Places(NamedTuple):
    own: str
    readable: tuple[str, ...]
    closed: str


def _reason(event: str, arguments: tuple, places: _Places) -> str:
    """Why this is refused; empty if it is not."""
    if event in ALWAYS:
        return ALWAYS[event]
    if event in BY_STUDENTS:
        return BY_STUDENTS[event] if _is_by_student() or _was_handed(event) else ""
    if event == "object.__getattr__":
        return STACK if arguments[1] in FRAMES and _is_by_student() else ""
    if event == "compile":  # code that says it stands in a file
        name = arguments[1] if isinstance(arguments[1], str) else os.fsdecode(arguments[1] or b"")
        return TRACING if _stands_in_a_file(name) and _is_by_student() else ""
    if event == "object.__setattr__":
        return TRACING if arguments[1] == "__code__" and _is_by_student() else ""
    if event == "open":
        return _reason_of_open(*arguments, places)
    if event in PATHS:
        paths = arguments[: PATHS[event]]
        if event in ("os.listdir", "os.scandir"):
            readable = places.own, *places.readable
            return "" if all(_is_below(path, readable) for path in paths) or not _is_by_student() else OTHER_FILES
        return "" if all(_is_below(path, (places.own,)) for path in paths) else FOREIGN_WRITES
    return ""


def _reason_of_open(path: object, mode: object, flags: int, places: _Places) -> str:
    if _is_below(path, (places.own, "/dev/null")):
        return ""
    if isinstance(flags, int) and flags & WRITING:
        return FOREIGN_WRITES
    if _is_below(path, places.readable) or _is_for_a_traceback():
        return ""
    return OTHER_FILES if _is_below(path, (places.closed,)) or _is_by_student() else ""


def _is_below(path: object, folders: tuple[str, ...]) -> bool:
    if isinstance(path, int) or path is None:
        return True
    text = os.path.realpath(os.fsdecode(path))
    return any(text == folder or text.startswith(folder.rstrip("/") + "/") for folder in folders)


def _caller() -> FrameType:
    """The first frame that is not of this module."""
    frame = sys._getframe(1)
    while frame.f_globals is globals():
        frame = frame.f_back
    return frame


def _is_by_student() -> bool:
    """Whether what is going on was asked for by code that stands in no file: a cell, or made by one."""
    frame, module, function = _caller(), "", ""
    while frame and frame.f_globals.get("__name__") in LOOKS_FOR_OTHERS and os.path.exists(frame.f_code.co_filename):
        module, function, frame = frame.f_globals["__name__"], frame.f_code.co_name, frame.f_back
    if frame is None or _stands_in_a_file(frame.f_code.co_filename):
        return False
    if module == "logging":
        return function in GIVES_FRAMES
    return not (module == "traceback" and function in GIVES_TEXT)


def _was_handed(event: str) -> bool:
    """Whether code calls a function of `sys` or `gc` that it does not name: a library that was handed it, as in
    `functools.cached_property(sys._getframe)`.
    """
    home, _, name = event.partition(".")
    if home not in ("sys", "gc"):
        return False
    code = _caller().f_code
    return name.rpartition(".")[2] not in {*code.co_names, *code.co_varnames, *code.co_freevars}


def _is_for_a_traceback() -> bool:
    """Whether Python wants to show lines of code; the system refuses it quietly."""
    frame = _caller()
    return any(f and f.f_globals.get("__name__") == "linecache" for f in (frame, frame and frame.f_back))


def _stands_in_a_file(filename: str) -> bool:
    return filename.startswith("<frozen ") or os.path.isfile(filename)
