"""The proof that the tests of a chapter grade rightly: right answers pass, wrong ones fail with their own sentence."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from utils.grading.answers import NotebookAnswers
from utils.grading.course import Outline
from utils.grading.diagnosis import diagnose
from utils.grading.grader import case_result
from utils.grading.notebook_file import Cell
from utils.grading.planted import PlantedError, build
from utils.grading.results import Answer, CaseResult
from utils.grading.session import TestSession

MINIMUM_MISTAKES = 5
MINIMUM_ALTERNATES = 1


@dataclass
class _Exercise:
    """One exercise with its tests."""

    chapter: Outline
    name: str
    session: TestSession
    items: list[pytest.Item]

    def run(self, answer: Answer) -> list[CaseResult]:
        """All cases on an answer."""
        cases = []
        for item in self.items:
            self.session.grader.run(item, answer)
            cases.append(case_result(item))
        return cases


def prove(session: TestSession, chapter: Outline, name: str) -> list[str]:
    """Everything that is wrong with the tests, mistakes and alternates of one exercise, one sentence each."""
    exercise = _Exercise(chapter, name, session, session.items(name))
    if not exercise.items:
        return ["There is no test."]
    return [*_counted(exercise), *_right_answers(exercise), *_stub(exercise), *_wrong_answers(exercise)]


def _counted(exercise: _Exercise) -> Iterator[str]:
    mistakes, alternates = exercise.chapter.mistakes(exercise.name), exercise.chapter.alternates(exercise.name)
    if len(mistakes) < MINIMUM_MISTAKES:
        yield f"There are {len(mistakes)} planted mistakes; there must be {MINIMUM_MISTAKES}."
    if len(alternates) < MINIMUM_ALTERNATES:
        yield "There is no alternate."
    for kind in ("name", "sentence"):
        texts = [getattr(mistake, kind) for mistake in mistakes]
        yield from (f"Two mistakes have the {kind} {text!r}." for text in sorted(set(texts)) if texts.count(text) > 1)


def _right_answers(exercise: _Exercise) -> Iterator[str]:
    """The reference passes, also in a notebook, where only what the page gives is at hand; so do the alternates."""
    chapter, name = exercise.chapter, exercise.name
    reference = chapter.reference(name)
    yield from _failures("The reference", exercise.run(Answer(name, reference)))
    answer = _in_notebook(exercise, chapter.page.source(name).answer())
    if answer.problem:
        yield f"The reference in a notebook: {answer.problem}"
    else:
        yield from _failures("The reference in a notebook", exercise.run(answer))
    for alternate in chapter.alternates(name):
        try:
            yield from _failures(f"Alternate {alternate.name}", exercise.run(Answer(name, build(alternate, reference))))
        except PlantedError as error:
            yield f"Alternate {error}"


def _failures(what: str, cases: list[CaseResult]) -> Iterator[str]:
    for case in cases:
        if case.failure:
            yield f"{what} fails {case.function}{f'[{case.case}]' if case.case else ''}: {case.failure}"


def _in_notebook(exercise: _Exercise, source: str) -> Answer:
    cells = [Cell("code", source, 1)]
    return NotebookAnswers(exercise.chapter, cells, "answer").answer(exercise.name)


def _stub(exercise: _Exercise) -> Iterator[str]:
    """The stub is not started; with a single line before the part to be written it is, and fails."""
    stub = exercise.chapter.page.source(exercise.name).stub()
    if _in_notebook(exercise, stub).is_started:
        yield "The stub counts as started."
    if not _in_notebook(exercise, exercise.chapter.page.source(exercise.name).answer()).is_started:
        yield "The reference counts as not started."
    if not any(isinstance(node, ast.Raise) for node in ast.walk(ast.parse(stub))):
        yield "The stub does not raise."


def _wrong_answers(exercise: _Exercise) -> Iterator[str]:
    """Each mistake is rejected with its own sentence, and each test rejects a mistake."""
    chapter, name = exercise.chapter, exercise.name
    mistakes, reference, cases = [], chapter.reference(name), {}
    for mistake in chapter.mistakes(name):
        try:
            cases[mistake.name] = exercise.run(Answer(name, build(mistake, reference)))
            mistakes.append(mistake)
        except PlantedError as error:
            yield f"Mistake {error}"
    for mistake in mistakes:
        if not any(case.failure for case in cases[mistake.name]):
            yield f"Mistake {mistake.name} is accepted."
            continue
        found = diagnose(cases[mistake.name], mistakes, lambda other, index: cases[other.name][index].fingerprint)
        if found is not mistake:
            yield f"Mistake {mistake.name} is taken for {found.name if found else 'none'}."
    killing = {case.function for some in cases.values() for case in some if case.failure}
    for function in sorted({item.originalname for item in exercise.items} - killing):
        yield f"{function} rejects no mistake: plant one for it, or delete it."


def prove_chapter(chapter: Outline) -> Iterator[tuple[str, list[str]]]:
    """Each exercise with what is wrong with it. Raises CollectionError."""
    session = TestSession(chapter)
    try:
        for name in chapter.points:
            yield name, prove(session, chapter, name)
    finally:
        session.close()
