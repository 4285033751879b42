"""The tests of a chapter, ready to be run: collected, with what they share made, and each tried on the reference answer by messages.

A test that sees the same by messages as in one process is run apart from answers. Another one stays with them, and it is said why.
"""

import copyreg
import functools
import socket
from contextvars import Context, ContextVar
from pathlib import Path

import cloudpickle
import pytest
from torch import nn

from utils import ROOT
from utils.cohort.isolate.answer_process import receive, send
from utils.cohort.isolate.ending import new_home
from utils.cohort.isolate.peer import OtherSideGone
from utils.cohort.isolate.tests_process import TestsProcess, TestsSide, run_and_say, run_tests
from utils.cohort.isolate.wire import LARGEST, Shared, in_folders, modules_in, size_of
from utils.cohort.judge.records import Record, read_record, record
from utils.grading.chapters import Chapter
from utils.grading.results import Answer
from utils.grading.run.session import TestSession


def copied(variable: ContextVar) -> tuple:
    """How a context variable, which a model's functions may name, is made anew: with what it gives where nothing was set."""
    try:
        default = {"default": Context().run(variable.get)}
    except LookupError:
        default = {}
    return functools.partial(ContextVar, variable.name, **default), ()


copyreg.pickle(ContextVar, copied)

OTHERWISE = "with messages in between it does not see what it sees without"


class ReadyTests:
    """The tests of a chapter, and the way to the process in which answers run."""

    def __init__(self, chapter: Chapter, settings, answers: socket.socket):
        self.chapter = chapter
        self.settings = settings
        self._answers = answers
        self.session = TestSession(chapter, Path(settings.hidden) if settings.hidden else None)
        self.session.grader.seconds = 10 * settings.seconds  # the process is ended before that
        self._own = in_folders([*settings.folders_of_tests(chapter), ROOT / "tests", chapter.root / "tests"])
        self._items = {name: self.session.items(name) for name in chapter.points}
        self.reasons: dict[str, dict[int, str]] = {name: {} for name in chapter.points}
        seen = {name: [self._seen(name, item) for item in items] for name, items in self._items.items()}
        self.shared = Shared(module for module in self._modules if can_be_sent(module))
        send(answers, {"share": cloudpickle.dumps(self.shared.modules)})
        for name, records in seen.items():
            self.reasons[name] = self._tried(name, records)

    def inside(self, name: str) -> list[int]:
        """The tests of an exercise that stay with the answer."""
        return [*self.reasons[name]]

    # -----------------------------------------------------------------------------------------------------------------

    def _seen(self, name: str, item: pytest.Item) -> Record:
        """What a test sees of the reference, in this process. The models that it hands over are noted."""
        self._modules: list[nn.Module] = getattr(self, "_modules", [])
        reference = self.chapter.reference(name)

        @functools.wraps(reference, updated=())
        def noted(*args, **kwargs):
            for module in modules_in([args, kwargs]):
                if all(module is not other for other in self._modules) and size_of(module) <= LARGEST:
                    self._modules.append(module)
            return reference(*args, **kwargs)

        answer = Answer(name, reference if isinstance(reference, type) else noted)
        return read_record(*record(self.session.grader, item, answer, with_expected=False))

    def _tried(self, name: str, seen: list[Record]) -> dict[int, str]:
        """The tests that must stay with an answer, and why: the others see by messages what is seen without."""
        left, reasons = dict(enumerate(self._items[name])), {}

        def take(message: dict, block: bytes) -> None:
            if "case" in message:
                index = message["case"]
                item, by_messages = left.pop(index), read_record(message, block)
                # once more: the first run may have made what tests share, which uses random numbers
                if not is_same(by_messages, seen[index]) and not is_same(by_messages, self._seen(name, item)):
                    reasons[index] = message["stays"] or f"{OTHERWISE} ({by_messages.failure or 'other values'})"

        while left:
            with new_home(self.settings.folder) as home:
                connection, notebook = self._connect(None, name, str(home))
                try:
                    side = TestsSide(connection, self.shared, self._own)
                    run_tests(name, dict(left), self.session.grader, side, take)
                except OtherSideGone as error:
                    stopped_at = next(iter(left))
                    reasons[stopped_at] = str(error) or "the answer's process ended"
                    del left[stopped_at]
                connection.close()
                notebook.close()
        return reasons

    def open_notebook(self, cells: list | None) -> socket.socket:
        """The way to a new process in which the answers of a notebook are forked; the reference's, without cells."""
        here, there = socket.socketpair()
        send(self._answers, {"cells": cells}, there.fileno())
        there.close()
        return here

    def _connect(self, notebook: socket.socket | None, name: str, home: str) -> tuple[socket.socket, socket.socket]:
        notebook = notebook or self.open_notebook(None)
        here, there = socket.socketpair()
        send(notebook, {"exercise": name, "home": home}, there.fileno())
        there.close()
        return here, notebook

    def new_process(self) -> TestsProcess:
        """A process that runs tests by messages, those of one exercise after the other."""

        def run(name: str, connection: socket.socket, sink: int) -> tuple[int, bool]:
            items = {n: item for n, item in enumerate(self._items[name]) if n not in self.reasons[name]}
            side, grader = TestsSide(connection, self.shared, self._own), self.session.grader
            code = run_and_say(name, items, grader, side, sink, self.settings.seconds)
            return code, grader.watched.is_as_noted

        return TestsProcess(run, self.settings.seconds, self.settings.megabytes)

    def run_apart(self, process: TestsProcess, notebook: socket.socket, name: str, home: Path) -> tuple[str, bytes]:
        """Run the tests of an exercise on an answer by messages: how that ended, in a word, and what they saw."""
        connection, _ = self._connect(notebook, name, str(home))
        end, data = process.run(name, connection, home)
        send(notebook, "ended")
        its_end, _ = receive(notebook)
        if end == "gone":
            end = its_end if its_end not in ("over", "gone") else "ended early"
        return end, data


def can_be_sent(module: nn.Module) -> bool:
    """Whether a copy of it can be made elsewhere."""
    try:
        return bool(cloudpickle.dumps(module))
    except Exception:  # pickling fails in many ways
        return False


def is_same(one: Record, other: Record) -> bool:
    """Whether a test saw the same."""
    kinds = [[(check.kind, check.what) for check in record.checks] for record in (one, other)]
    return kinds[0] == kinds[1] and one.fingerprint.is_like(other.fingerprint) and one.is_skipped == other.is_skipped
