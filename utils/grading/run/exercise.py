"""Grading one answer: all tests of its exercise, and the diagnosis."""

from collections.abc import Sequence

import pytest

from utils.grading.diagnose.matching import diagnose, explain, observe_until, said_by_the_grader
from utils.grading.results import Answer, CaseResult, ExerciseResult
from utils.grading.run.grader import TASK, Grader, case_result


def grade(grader: Grader, items: Sequence[pytest.Item], answer: Answer, seconds: float) -> ExerciseResult:
    """Run the tests of one exercise on an answer. The diagnosis of a wrong one takes at most `seconds`, and one test."""
    cases = []
    for item in items if answer.is_started else ():
        if answer.problem:
            break
        grader.run(item, answer)
        cases.append(case_result(item))
    return conclude_exercise(grader, items, cases, answer, seconds)


def conclude_exercise(
    grader: Grader, items: Sequence[pytest.Item], cases: list[CaseResult], answer: Answer, seconds: float
) -> ExerciseResult:
    """The result of an exercise whose tests have run; `cases` belong to the first of `items`."""
    chapter, name = items[0].stash[TASK]
    result = ExerciseResult(
        name, chapter.points[name], cases, answer.is_started, answer.problem, remarks=answer.remarks
    )
    if any(case.failure for case in cases) and not answer.problem:
        mistakes, observe, said = (
            chapter.mistakes(name),
            observe_until(grader, items, seconds),
            said_by_the_grader(cases),
        )
        # what the grader has seen itself is no guess: nothing is put together from several mistakes then
        found = (
            diagnose(cases, mistakes, observe) if said else explain(cases, mistakes, observe, chapter.reference(name))
        )
        result.mistake = found.sentence if found else said
    return result
