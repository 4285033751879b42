"""What grading finds: plain data, from which notebooks, terminals and files are written."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from utils.grading.chapters import Chapter
    from utils.grading.compare.fingerprints import Fingerprint

DONE, FAILING, NOT_STARTED = "done", "failing", "not started"


@dataclass
class Answer:
    """An answer to one exercise, as it was found.

    Attributes:
        name: of the exercise.
        value: the function or class; None if there is none to test.
        problem: a sentence that says why it cannot be tested, such as a syntax error.
        is_started: False for a stub, or if there is nothing of this name.
        remarks: sentences about how it was found.
    """

    name: str
    value: object = None
    problem: str = ""
    is_started: bool = True
    remarks: list[str] = field(default_factory=list)


def _no_fingerprint() -> "Fingerprint":
    from utils.grading.compare.fingerprints import Fingerprint  # it imports PyTorch, which a table does not need

    return Fingerprint()


@dataclass
class CaseResult:
    """One run of a test function, on one set of parameters."""

    function: str
    sentence: str
    case: str
    failure: str = ""
    traceback: str = ""
    printed: str = ""
    mistake: str = ""
    is_skipped: bool = False
    seconds: float = 0.0
    fingerprint: "Fingerprint" = field(default_factory=_no_fingerprint)


@dataclass
class ExerciseResult:
    """All tests of one exercise.

    Attributes:
        mistake: the sentence of the planted mistake that the answer is recognised as.
        problem: why nothing could be tested.
    """

    name: str
    points: int
    cases: list[CaseResult] = field(default_factory=list)
    is_started: bool = True
    problem: str = ""
    mistake: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def tests(self) -> dict[str, list[CaseResult]]:
        """The cases that ran, by test function."""
        tests: dict[str, list[CaseResult]] = {}
        for case in self.cases:
            if not case.is_skipped:
                tests.setdefault(case.function, []).append(case)
        return tests

    @property
    def passed(self) -> int:
        """How many test functions passed on all their cases."""
        return sum(not any(case.failure for case in cases) for cases in self.tests.values())

    @property
    def status(self) -> str:
        if not self.is_started:
            return NOT_STARTED
        return DONE if self.tests and self.passed == len(self.tests) and not self.problem else FAILING

    @property
    def earned(self) -> float:
        """The share of the points that the passed tests give, rounded down to tenths."""
        return earned(self.points, self.passed, len(self.tests)) if self.status != NOT_STARTED else 0.0


def earned(points: int, passed: int, tests: int) -> float:
    """Points for `passed` of `tests`: rounded down to tenths, so that only all tests give all points."""
    return int(10 * points * passed / tests) / 10 if tests else 0.0


# Where a pytest session keeps the results of each chapter, exercise by exercise.
RESULTS = pytest.StashKey[dict["Chapter", list[ExerciseResult]]]()
