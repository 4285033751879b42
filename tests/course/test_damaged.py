"""Whatever has happened to a notebook, the answers in it are found and graded, or one sentence says why not."""

import pytest

from tests.course.damaged.cases import READABLE, REFUSED, STATUSES
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import UnreadableNotebook
from utils.grading.run.exercise import grade

FORGETS = "The value becomes the latest one: what came before it is forgotten."


@pytest.fixture
def graded(toy_session, tmp_path):
    """`graded(case)`: exercise -> result."""

    def make(case) -> dict:
        path = tmp_path / f"Übung 9 ({case.name}).ipynb"
        path.write_bytes(case.content)
        session, chapter = toy_session
        answers = NotebookAnswers.read(chapter, path)
        return {name: grade(session.grader, session.items(name), answers.answer(name), 10) for name in chapter.points}

    return make


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case.name)
def test_answers_are_found(graded, case):
    results = graded(case)
    assert {name: result.status for name, result in results.items()} == STATUSES | case.statuses
    for name, words in case.says.items():
        result = results[name]
        assert words in " ".join([result.problem, result.mistake, *result.remarks])
    if "RunningMean" not in {**case.statuses, **case.says}:
        assert results["RunningMean"].mistake == FORGETS


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_no_notebook_is_refused_in_one_sentence(graded, case):
    with pytest.raises(UnreadableNotebook) as error:
        graded(case)
    assert case.refused in str(error.value)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_file_that_is_not_there_or_a_folder_is_refused(toy_session, tmp_path):
    for path in (tmp_path / "none.ipynb", tmp_path):
        with pytest.raises(UnreadableNotebook, match=path.name):
            NotebookAnswers.read(toy_session[1], path)
