"""Runs tests on answers inside a pytest session: which answer a test gets, and what came of it.

The same code serves `pytest tests/chapterN`, `check(...)` in a notebook, and the proof of the planted mistakes.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from utils.grading.chapters import Chapter, chapter_of_test
from utils.grading.compare.expectations import Unexpected, expect
from utils.grading.compare.fingerprints import Fingerprint, ending, noting
from utils.grading.diagnose import failures
from utils.grading.results import Answer, CaseResult
from utils.grading.run.comparison_tools import kept
from utils.grading.run.limits import Endless, ShortMemory, limited
from utils.grading.run.process_state import (
    Watched,
    before_a_test,
    data_are_unchanged,
    restore_watched,
    restored,
    seed_everything,
)
from utils.grading.run.pytest_parts import end_fixtures
from utils.grading.run.unchanged import guarded

READS_PRINTS = {"capsys", "capsysbinary", "capfd", "capfdbinary", "capteesys"}


class Task(NamedTuple):
    """The exercise that a test grades."""

    chapter: Chapter
    name: str


@dataclass
class RunOutcome:
    """What came of the latest run of a test."""

    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    error: BaseException | None = None
    is_skipped: bool = False
    printed: str = ""
    seconds: float = 0.0


def find_task(item: pytest.Item) -> Task | None:
    """The exercise whose fixture a test takes; of several, the last in the order of the chapter."""
    # the folder counts, not the file: an instructor's hidden tests are collected into it from elsewhere
    module = item.getparent(pytest.Module)
    chapter = chapter_of_test(module.parent.path) if module else None  # an exercise that is not started has no module
    taken = [name for name in chapter.points if name in getattr(item, "fixturenames", ())] if chapter else []
    return Task(chapter, taken[-1]) if taken else None


class Grader:
    """The answers that a session grades."""

    def __init__(self, answer_to: Callable[[Task], Answer], seconds: float):
        self.answer_to = answer_to
        self.seconds = seconds
        self.watched = Watched()
        self._instead: Answer | None = None
        self._kept_of: Task | None = None
        self._kept: dict[tuple[str, str], Fingerprint] = {}

    def kept_fingerprints(self, task: Task) -> dict[tuple[str, str], Fingerprint]:
        """What planted mistakes of an exercise give, by mistake and test: the same in each check. Kept for one exercise at a time."""
        if self._kept_of != task:
            self._kept_of, self._kept = task, {}
        return self._kept

    @property
    def is_quiet(self) -> bool:
        """Whether a test is run on the side: its result is not the session's."""
        return self._instead is not None

    def answer(self, task: Task) -> Answer:
        """The answer that is tested now."""
        return self._instead or self.answer_to(task)

    def value(self, item: pytest.Item, name: str) -> object:
        """What a test gets for the fixture `name`: the answer that it grades, or the reference to another exercise."""
        task = item.stash[TASK]
        reference = task.chapter.reference(name)
        return guarded(self.answer(task).value, reference) if name == task.name else reference

    def run(self, item: pytest.Item, answer: Answer) -> RunOutcome:
        """Run one test on an answer, on the side. Fixtures that tests share are kept for the next one."""
        if answer.problem:  # it did not come to an end in an earlier test
            item.stash[OUTCOME] = RunOutcome()
            conclude(item, Endless(answer.problem))
            return item.stash[OUTCOME]
        before, self._instead = self._instead, answer
        try:
            # the test that ran before may be in another module, whose fixtures it has kept
            end_fixtures(item.session, item)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=item.parent)
        except BaseException:
            # such as Ctrl-C: no fixture may be left half made
            end_fixtures(item.session)
            raise
        finally:
            self._instead = before
        return item.stash[OUTCOME]

    @contextmanager
    def around_protocol(self, item: pytest.Item) -> Iterator[None]:
        """The whole run of a graded test, its fixtures included."""
        item.stash[OUTCOME] = RunOutcome()
        seed_everything()
        yield
        if not restore_watched():
            # the weights of a shared model are not what they were: have all fixtures made anew
            end_fixtures(item.session)

    @contextmanager
    def around_call(self, item: pytest.Item) -> Iterator[None]:
        """The run of the test function, in which student code is called."""
        outcome, answer, memory = item.stash[OUTCOME], self.answer(item.stash[TASK]), ShortMemory()
        start, reads_prints = time.perf_counter(), READS_PRINTS & set(item.fixturenames)
        try:
            with restored(), noting() as outcome.fingerprint, limited(self.seconds):
                before = before_a_test()
                with kept(item.module) as replaced:
                    if reads_prints:
                        yield
                    else:
                        with redirect_stdout(memory), redirect_stderr(memory):
                            yield
                if replaced:
                    expect(False, f"You replace `{replaced[0]}`, which tests compare by: leave it as it is.")
                if not data_are_unchanged():
                    expect(False, "You change tensors that you were given: make new ones (clone them).")
                if leftover := before.leftover():
                    expect(False, leftover)
        except Endless as error:
            answer.problem = str(error)
            raise
        finally:
            outcome.printed, outcome.seconds = memory.text, time.perf_counter() - start


TASK = pytest.StashKey[Task]()
OUTCOME = pytest.StashKey[RunOutcome]()
GRADER = pytest.StashKey[Grader]()


def conclude(item: pytest.Item, error: BaseException | None) -> None:
    """Note how a phase of a test ended. The first error counts."""
    outcome = item.stash[OUTCOME]
    if error is None or outcome.error is not None:
        return
    outcome.error = error
    outcome.is_skipped = isinstance(error, pytest.skip.Exception)
    outcome.fingerprint.ending = ending(error, isinstance(error, Unexpected))


def case_result(item: pytest.Item) -> CaseResult:
    """The result of the latest run of a test."""
    outcome = item.stash[OUTCOME]
    is_failure = outcome.error is not None and not outcome.is_skipped
    return CaseResult(
        function=item.originalname,
        sentence=in_words(item),
        case=item.callspec.id if hasattr(item, "callspec") else "",
        failure=failures.sentence(outcome.error) if is_failure else "",
        traceback=failures.text_of_traceback(outcome.error) if is_failure else "",
        printed=outcome.printed if is_failure else "",
        is_skipped=outcome.is_skipped,
        seconds=outcome.seconds,
        fingerprint=outcome.fingerprint,
    )


def in_words(item: pytest.Item) -> str:
    """What a test says about the answer: the first line of its docstring, or else its name."""
    lines = (inspect.getdoc(item.function) or "").splitlines()
    if lines:
        return lines[0]
    return item.originalname.removeprefix("test_").replace("_", " ").capitalize() + "."
