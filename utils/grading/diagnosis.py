"""Which planted mistake a wrong answer is: the one that gives the same values, or the same errors, in the same tests."""

import time
from collections.abc import Callable, Sequence

import pytest

from utils.grading.fingerprint import Fingerprint
from utils.grading.grader import TASK, Grader
from utils.grading.planted import Mistake, build
from utils.grading.results import Answer, CaseResult

Observe = Callable[[Mistake, int], Fingerprint | None]


def diagnose(cases: Sequence[CaseResult], mistakes: Sequence[Mistake], observe: Observe) -> Mistake | None:
    """The planted mistake that a wrong answer is recognised as, or None.

    It is the one that explains most of the failing cases; of several, the one that also agrees with most of the passing
    cases. Failing cases that it explains are marked with its sentence.

    Args:
        cases: all cases of the exercise.
        mistakes: the planted ones.
        observe: the fingerprint of a mistake in a case, given by its index; None if it is not known.
    """
    failing = [index for index, case in enumerate(cases) if case.failure]
    failing.sort(key=lambda index: cases[index].seconds)
    passing = [index for index, case in enumerate(cases) if not case.failure and not case.is_skipped]
    explained: dict[str, set[int]] = {mistake.name: set() for mistake in mistakes}

    def compare(indices: Sequence[int], some: Sequence[Mistake]) -> None:
        for index in indices:
            for mistake in some:
                fingerprint = observe(mistake, index)
                if fingerprint is not None and fingerprint.is_like(cases[index].fingerprint):
                    explained[mistake.name].add(index)

    def best() -> list[Mistake]:
        most = max(map(len, explained.values()), default=0)
        return [mistake for mistake in mistakes if most and len(explained[mistake.name]) == most]

    # the quickest case first: whoever explains it, and all others, need not be compared with the rest
    compare(failing[:1], mistakes)
    first = best()
    compare(failing[1:], first)
    if not any(len(explained[mistake.name]) == len(failing) for mistake in first):
        compare(failing[1:], [mistake for mistake in mistakes if mistake not in first])
    tied = best()
    if len(tied) > 1:
        compare(passing, tied)
    if not tied:
        return None
    found = best()[0]
    for index in failing:
        if index in explained[found.name]:
            cases[index].mistake = found.sentence
    return found


def observe_until(grader: Grader, items: Sequence[pytest.Item], seconds: float) -> Observe:
    """Fingerprints by running the mistakes on these tests, of one exercise, until the time is up."""
    task, end = items[0].stash[TASK], time.monotonic() + seconds
    reference = task.chapter.reference(task.name)
    answers: dict[str, Answer] = {}

    def observe(mistake: Mistake, index: int) -> Fingerprint | None:
        if time.monotonic() > end:
            return None
        if mistake.name not in answers:
            answers[mistake.name] = Answer(task.name, build(mistake, reference))
        return grader.run(items[index], answers[mistake.name]).fingerprint

    return observe
