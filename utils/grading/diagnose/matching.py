"""Which planted mistake a wrong answer is: the one that gives the same values, or the same errors, in the same tests."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from utils.grading.compare.fingerprints import Fingerprint
from utils.grading.diagnose.variants import Mistake, make_answer
from utils.grading.results import Answer, CaseResult
from utils.grading.run.grader import TASK, Grader

Observe = Callable[[Mistake, int], Fingerprint | None]


def diagnose(cases: Sequence[CaseResult], mistakes: Sequence[Mistake], observe: Observe) -> Mistake | None:
    """The planted mistake that a wrong answer is recognised as, or None.

    It explains all failing cases, and passes where the answer passes; of several, the one that agrees with most of the passing
    cases counts. If it is not known that it passes the rest (there was no time), or it does not, its sentence begins with
    "Perhaps:". Failing cases are marked with the sentence.

    Args:
        cases: all cases of the exercise.
        mistakes: the planted ones.
        observe: the fingerprint of a mistake in a case, given by its index; None if it is not known.
    """
    failing = [index for index, case in enumerate(cases) if case.failure]
    failing.sort(key=lambda index: cases[index].seconds)
    candidates = list(mistakes) if failing else []
    for index in failing:
        candidates = [mistake for mistake in candidates if _explains(observe(mistake, index), cases[index])]
    if not candidates:
        return None
    passing = [index for index, case in enumerate(cases) if not case.failure and not case.is_skipped]
    seen = {mistake.name: [observe(mistake, index) for index in passing] for mistake in candidates}

    def agreement(mistake: Mistake) -> tuple[bool, int]:
        same = [_explains(found, cases[index]) for found, index in zip(seen[mistake.name], passing)]
        return all(found is not None and not found.ending for found in seen[mistake.name]), sum(same)

    found = max(candidates, key=agreement)
    if not agreement(found)[0]:
        found = replace(found, sentence=f"Perhaps: {found.sentence}")
    for index in failing:
        cases[index].mistake = found.sentence
    return found


def _explains(fingerprint: Fingerprint | None, case: CaseResult) -> bool:
    return fingerprint is not None and fingerprint.is_like(case.fingerprint)


def observe_until(grader: Grader, items: Sequence[pytest.Item], seconds: float) -> Observe:
    """Fingerprints by running the mistakes on these tests, of one exercise, until the time is up.

    It is the time that the processor works for this, so that a busy machine finds as much.
    """
    task, end = items[0].stash[TASK], time.process_time() + seconds
    reference = task.chapter.reference(task.name)
    answers: dict[str, Answer] = {}

    def observe(mistake: Mistake, index: int) -> Fingerprint | None:
        if time.process_time() >= end:
            return None
        if mistake.name not in answers:
            answers[mistake.name] = Answer(task.name, make_answer(mistake, reference))
        return grader.run(items[index], answers[mistake.name]).fingerprint

    return observe
