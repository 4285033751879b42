"""A process that has the tests of a chapter ready, and forks: one process a notebook, which reads it, and in it one for each
exercise, in which the student's code runs. Only that last one runs student code, and it ends with its exercise.

Started by `processes.Worker` as a Python of its own; speaks in frames through its standard input and output.
"""

import ast
import contextlib
import gc
import inspect
import json
import linecache
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch

from utils import ROOT, cache_folder
from utils.cohort.isolate import sandbox, tripwires, values
from utils.cohort.isolate.values import LENGTHS, pack
from utils.cohort.judge import records
from utils.cohort.judge.likeness import is_like
from utils.cohort.judge.records import record
from utils.grading import expect, expect_close, expect_equal
from utils.grading.chapters import Chapter, chapters
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import Cell
from utils.grading.find.statements import Statement
from utils.grading.results import Answer
from utils.grading.run.comparison_tools import HOMES, NAMES, TOOLS, Tools
from utils.grading.run.session import TestSession
from utils.notebooks.sources import Source

MOST_BYTES = 128 << 20
SECONDS_FOR_READING = 120
LOOK_EVERY = 0.5  # seconds, at what a silent process has written
PATIENCE = 10  # times the processor time that it may use: the machine may be busy, and code may sleep


@dataclass(frozen=True)
class Settings:
    """What a worker is started with: paths as text, so that it can be sent."""

    root: str
    chapter: int
    hidden: str
    seconds: int  # of processor time, for one exercise
    megabytes: int
    folder: str  # for temporary files


def main() -> None:
    """Serve until there is no more to read."""
    settings = Settings(**json.loads(sys.argv[1]))
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what is printed now must not stand among the replies
    sandbox.die_with_parent()
    torch.set_num_threads(1)
    tempfile.tempdir = settings.folder
    chapter = next(c for c in chapters(Path(settings.root)) if c.number == settings.chapter)
    session = TestSession(chapter, Path(settings.hidden) if settings.hidden else None)
    session.grader.seconds = 10 * settings.seconds  # the process is ended before that
    for name in chapter.points:
        for item in session.items(name):
            session.grader.run(item, Answer(name, chapter.reference(name)))  # what tests share is made now
    _ = NotebookAnswers(chapter, [], "page").imports  # their modules are read now: an answer's process may not
    linecache.clearcache()
    gc.collect()
    gc.freeze()
    silence()
    write(replies, pack({"ready": True}))
    while request := read(requests):
        pid = os.fork()
        if not pid:
            run_and_leave(lambda: grade(chapter, session, settings, request, replies))
        status = os.waitpid(pid, 0)[1]
        write(replies, pack({"over": status == 0}))


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


def read(stream: int) -> dict | None:
    """One frame's message; None at the end."""
    head = read_exactly(stream, LENGTHS.size)
    if head is None:
        return None
    return json.loads(read_exactly(stream, sum(LENGTHS.unpack(head))))


def read_exactly(stream: int, size: int) -> bytes | None:
    whole = bytearray()
    while len(whole) < size:
        part = os.read(stream, size - len(whole))
        if not part:
            return None
        whole += part
    return bytes(whole)


def write(stream: int, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]


# ---------------------------------------------------------------------------------------------------------------------
# The process of one notebook: reads it, runs none of it
# ---------------------------------------------------------------------------------------------------------------------


def grade(chapter: Chapter, session: TestSession, settings: Settings, request: dict, replies: int) -> None:
    """A frame for each exercise: how its process ended, and in the block what it sent."""
    sandbox.die_with_parent()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_FOR_READING, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    sandbox.limit_memory(max(settings.megabytes, 1000), hard=False)
    cells = [Cell(kind, source, number) for kind, source, number in request["cells"]]
    answers = NotebookAnswers(chapter, cells, "notebook")
    for name in chapter.points:
        written = answers.written(name)
        is_copy = bool(written) and is_like(_node(written[-1]), chapter.page.source(name).answer())
        end, data = run_apart(chapter, session, settings, answers, name)
        write(replies, pack({"exercise": name, "end": end, "is_copy": is_copy}, data))


def _node(part: object) -> ast.stmt | None:
    return part.node if isinstance(part, Statement) else None


def run_apart(
    chapter: Chapter, session: TestSession, settings: Settings, answers: NotebookAnswers, name: str
) -> tuple[str, bytes]:
    """Run one exercise in a process of its own: how that ended, in a word, and all that it sent."""
    home = Path(tempfile.mkdtemp(prefix="answer-", dir=settings.folder))
    source, sink = os.pipe()
    pid = os.fork()
    if not pid:
        run_and_leave(lambda: AnswerProcess(chapter, session, settings, answers, name, home, sink).run())
    os.close(sink)
    try:
        return listen(pid, source, settings, home)
    finally:
        os.close(source)
        for folder, _, _ in os.walk(home):
            os.chmod(folder, 0o700)
        shutil.rmtree(home, ignore_errors=True)


def listen(pid: int, source: int, settings: Settings, home: Path) -> tuple[str, bytes]:
    """Take in what a process sends until it ends, is out of time, or sends or writes too much; then see that it has ended."""
    parts, size, deadline, end = [], 0, time.monotonic() + PATIENCE * settings.seconds, ""
    while not end:
        left = deadline - time.monotonic()
        if left <= 0:
            end = "timed out"
        elif not select.select([source], [], [], min(left, LOOK_EVERY))[0]:
            end = "too much" if size_of(home) > settings.megabytes << 20 else ""
        elif part := os.read(source, 1 << 20):
            parts.append(part)
            size += len(part)
            end = "too much" if size > MOST_BYTES else ""
        else:
            break
    ended = 0, 0, None
    while not end and not ended[0]:  # it has closed its end: it is done, or plays dead
        ended = os.wait4(pid, os.WNOHANG)
        time.sleep(0 if ended[0] else 0.001)
        end = "" if time.monotonic() < deadline else "timed out"
    if not ended[0]:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return end or _how_it_ended(ended[1], ended[2], settings.seconds), b"".join(parts)


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    size = 0
    for file in files:
        with contextlib.suppress(OSError):
            size += os.lstat(file).st_blocks * 512
    return size


def _how_it_ended(status: int, used: resource.struct_rusage, seconds: float) -> str:
    if os.WIFEXITED(status):
        return "over" if os.WEXITSTATUS(status) == 0 else "ended early"
    if used.ru_utime + used.ru_stime >= seconds or os.WTERMSIG(status) == signal.SIGXCPU:
        return "timed out"
    # nobody else kills it: the system does when there is no memory left
    return "out of memory" if os.WTERMSIG(status) == signal.SIGKILL else "crashed"


# ---------------------------------------------------------------------------------------------------------------------
# The process of one exercise: where student code runs
# ---------------------------------------------------------------------------------------------------------------------


class AnswerProcess:
    """The process in which one answer is run."""

    def __init__(
        self,
        chapter: Chapter,
        session: TestSession,
        settings: Settings,
        answers: NotebookAnswers,
        name: str,
        home: Path,
        sink: int,
    ):
        self.chapter = chapter
        self.session = session
        self.settings = settings
        self.answers = answers
        self.name = name
        self.home = home
        self.sink = sink
        self.noticed: list[str] = []

    def run(self) -> None:
        """Send the answer's remarks, each test's record, and whether the tools are still what they were."""
        items = self.session.items(self.name)
        own = self._codes_of_reference()
        self._close_in()
        tools, is_whole = Tools(NAMES, [*HOMES, records, values]), True
        answer = self.answers.answer(self.name)
        if uses(answer.value, own):
            self._notice(tripwires.REFERENCE)
        self._send({"is_started": answer.is_started, "problem": answer.problem, "remarks": answer.remarks})
        if answer.is_started and not answer.problem:
            for index, item in enumerate(items):
                message, block = record(self.session.grader, item, answer, with_expected=False)
                self._send({"case": index, **message}, block)
                is_whole = is_whole and not tools.replaced() and not TOOLS.seen
        for reason in self.noticed:  # once more, if they got lost on the way
            self._send({"noticed": reason})
        self._send({"tools": is_whole and tools_work()})

    def _send(self, message: dict, block: bytes = b"") -> None:
        write(self.sink, pack(message, block))

    def _codes_of_reference(self) -> set[int]:
        """Those of a class: it stays, since tests may need it. A function's code is gone when answers run."""
        reference = self.chapter.reference(self.name)
        return codes_in(reference, inspect.getfile(reference)) if isinstance(reference, type) else set()

    def _notice(self, reason: str) -> None:
        self.noticed.append(reason)
        self._send({"noticed": reason})

    def _close_in(self) -> None:
        """From here on there is no way out, and the reference answer to this exercise is not here."""
        os.setsid()
        silence()
        os.closerange(3, self.sink)
        os.closerange(self.sink + 1, 4096)
        take_out_reference(self.chapter, self.name)
        take_out_tests(self.chapter, self.settings)
        gc.freeze()  # what is here already cannot be found by searching
        readable = readable_places()
        self.session.move_temporary_folder(self.home)
        tempfile.tempdir = str(self.home)
        # what Python's packages say of themselves is looked up in all folders of the path, and this one is closed
        sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(self.settings.root).resolve()]
        sandbox.enter(self.home, readable, self.settings.seconds, self.settings.megabytes)
        tripwires.lay(self.home, readable, Path(self.settings.root), self._notice)


def readable_places() -> list[Path]:
    """Python, its packages, what the system needs to run them, the course's `utils`, and its models in the user's cache."""
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, "/usr", "/lib", "/lib64", "/bin", "/etc", "/opt/cuda"]
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


def take_out_tests(chapter: Chapter, settings: Settings) -> None:
    """Tests run without being found by their modules' names."""
    folders = [str(chapter.tests), *([settings.hidden] if settings.hidden else [])]
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


def tools_work() -> bool:
    """Whether the tools by which tests compare still tell right from wrong."""
    wrong = [
        lambda: expect(False, "no"),
        lambda: expect_close(1.0, 2.0, "one"),
        lambda: expect_close(torch.ones(2), torch.zeros(2), "ones"),
        lambda: expect_equal([1], [2], "one"),
        lambda: expect_equal({1}, {2}, "one"),
        lambda: torch.testing.assert_close(torch.ones(2), torch.zeros(2)),
        lambda: np.testing.assert_allclose(1.0, 2.0),
    ]
    for compare in wrong:
        try:
            compare()
        except Exception:  # no matter which: exceptions can be changed too
            continue
        return False
    try:
        with pytest.raises(ValueError):
            pass
    except pytest.fail.Exception:
        return not (torch.equal(torch.ones(1), torch.zeros(1)) or np.allclose(1, 2) or torch.allclose(*torch.eye(2)))
    return False


if __name__ == "__main__":
    main()
