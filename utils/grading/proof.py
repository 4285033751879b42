"""The proof that the tests of a chapter grade rightly: right answers pass, wrong ones fail with their own sentence."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from utils.grading.chapters import Chapter
from utils.grading.compare.fingerprints import Fingerprint
from utils.grading.diagnose.matching import diagnose
from utils.grading.diagnose.variants import Mistake, VersionError, make_answer
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import Cell
from utils.grading.results import Answer, CaseResult
from utils.grading.run.grader import case_result
from utils.grading.run.session import TestSession
from utils.notebooks.completeness import MINIMUM_MISTAKES

MINIMUM_ALTERNATES = 1


@dataclass
class _Exercise:
    """One exercise with its tests."""

    chapter: Chapter
    name: str
    session: TestSession
    items: list[pytest.Item]

    def run(self, answer: Answer, index: int) -> CaseResult:
        """One case on an answer."""
        self.session.grader.run(self.items[index], answer)
        return case_result(self.items[index])

    def run_all(self, answer: Answer) -> list[CaseResult]:
        """All cases on an answer."""
        return [self.run(answer, index) for index in range(len(self.items))]


def prove(session: TestSession, chapter: Chapter, name: str) -> list[str]:
    """Everything that is wrong with the tests, mistakes and alternates of one exercise, one sentence each."""
    exercise = _Exercise(chapter, name, session, session.items(name))
    if not exercise.items:
        return ["There is no test."]
    page = chapter.page.source(name)
    answer = _in_notebook(exercise, page.answer())
    if answer.problem:
        return [f"The reference in a notebook: {answer.problem}"]
    cases = exercise.run_all(answer)
    problems = [*_counted(exercise), *_failures("The reference in a notebook", cases), *_alternates(exercise)]
    if _in_notebook(exercise, page.stub()).is_started:
        problems.append("The stub counts as started.")
    return [*problems, *_wrong_answers(exercise, [case.seconds for case in cases])]


def _counted(exercise: _Exercise) -> Iterator[str]:
    mistakes, alternates = exercise.chapter.mistakes(exercise.name), exercise.chapter.alternates(exercise.name)
    if len(mistakes) < MINIMUM_MISTAKES:
        yield f"There are {len(mistakes)} planted mistakes; there must be {MINIMUM_MISTAKES}."
    if len(alternates) < MINIMUM_ALTERNATES:
        yield "There is no alternate."
    for kind in ("name", "sentence"):
        texts = [getattr(mistake, kind) for mistake in mistakes]
        yield from (f"Two mistakes have the {kind} {text!r}." for text in sorted(set(texts)) if texts.count(text) > 1)


def _alternates(exercise: _Exercise) -> Iterator[str]:
    """Alternates pass."""
    reference = exercise.chapter.reference(exercise.name)
    for alternate in exercise.chapter.alternates(exercise.name):
        try:
            cases = exercise.run_all(Answer(exercise.name, make_answer(alternate, reference)))
            yield from _failures(f"Alternate {alternate.name}", cases)
        except VersionError as error:
            yield f"Alternate {error}"


def _failures(what: str, cases: list[CaseResult]) -> Iterator[str]:
    for case in cases:
        if case.failure:
            yield f"{what} fails {case.function}{f'[{case.case}]' if case.case else ''}: {case.failure}"


def _in_notebook(exercise: _Exercise, source: str) -> Answer:
    """What a notebook with this one cell answers: only what the page imports and gives is at hand."""
    return NotebookAnswers(exercise.chapter, [Cell("code", source, 1)], "answer").answer(exercise.name)


class _Observations:
    """Cases on planted mistakes, each run when it is first asked for."""

    def __init__(self, exercise: _Exercise, answers: dict[str, Answer]):
        self._exercise = exercise
        self._answers = answers
        self.known: dict[tuple[str, int], CaseResult] = {}

    def case(self, mistake: Mistake, index: int) -> CaseResult:
        key = mistake.name, index
        if key not in self.known:
            self.known[key] = self._exercise.run(self._answers[mistake.name], index)
        return self.known[key]

    def fingerprint(self, mistake: Mistake, index: int) -> Fingerprint:
        return self.case(mistake, index).fingerprint


def _wrong_answers(exercise: _Exercise, seconds: list[float]) -> Iterator[str]:
    """Each mistake is rejected with its own sentence, and each test rejects a mistake. `seconds` is what cases take."""
    reference, mistakes, answers = exercise.chapter.reference(exercise.name), [], {}
    for mistake in exercise.chapter.mistakes(exercise.name):
        try:
            answers[mistake.name] = Answer(exercise.name, make_answer(mistake, reference))
            mistakes.append(mistake)
        except VersionError as error:
            yield f"Mistake {error}"
    observations = _Observations(exercise, answers)
    quickest_first = sorted(range(len(seconds)), key=seconds.__getitem__)
    for mistake in mistakes:
        yield from _recognised(mistake, mistakes, observations, quickest_first)
    for function in sorted({item.originalname for item in exercise.items}):
        cases = [index for index in quickest_first if exercise.items[index].originalname == function]
        if not _rejects_any(cases, mistakes, observations):
            yield f"{function} rejects no mistake: plant one for it, or delete it."


def _recognised(
    mistake: Mistake, mistakes: list[Mistake], observations: _Observations, order: list[int]
) -> Iterator[str]:
    """Whether a mistake fails and is taken for itself.

    Once no other mistake looks like it in the cases where it fails so far, none explains as many of its failures as itself.
    """
    rivals, is_rejected = [other for other in mistakes if other is not mistake], False
    for index in order:
        case = observations.case(mistake, index)
        if case.failure:
            is_rejected = True
            rivals = [other for other in rivals if observations.fingerprint(other, index).is_like(case.fingerprint)]
            if not rivals:
                return
    if not is_rejected:
        yield f"Mistake {mistake.name} is accepted."
        return
    cases = [observations.case(mistake, index) for index in sorted(order)]
    found = diagnose(cases, mistakes, observations.fingerprint)
    if found is None or found.name != mistake.name:
        yield f"Mistake {mistake.name} is taken for {found.name if found else 'none'}."


def _rejects_any(cases: list[int], mistakes: list[Mistake], observations: _Observations) -> bool:
    """Whether one of some cases fails on a mistake; those that have run already are looked at first."""
    known = observations.known
    if any(
        known[mistake.name, index].failure for mistake in mistakes for index in cases if (mistake.name, index) in known
    ):
        return True
    return any(observations.case(mistake, index).failure for index in cases for mistake in mistakes)


def prove_chapter(chapter: Chapter) -> Iterator[tuple[str, list[str]]]:
    """Each exercise with what is wrong with it. Raises CollectionError."""
    session = TestSession(chapter)
    try:
        for name in chapter.points:
            yield name, prove(session, chapter, name)
    finally:
        session.close()
