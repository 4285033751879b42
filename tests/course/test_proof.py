"""The proof of every chapter: right answers pass, and every planted mistake fails with its own sentence.

`python -m utils.grading prove --chapter 3` is the same for one chapter.
"""

from collections.abc import Callable, Iterator

import pytest

from utils.grading.course import ROOT, Outline, chapters
from utils.grading.prove import prove
from utils.grading.session import TestSession

EXERCISES = [
    pytest.param(chapter, name, id=f"{chapter.number}-{name}") for chapter in chapters(ROOT) for name in chapter.points
]


@pytest.fixture(scope="module")
def session() -> Iterator[Callable[[Outline], TestSession]]:
    """`session(chapter)`: its tests, opened once."""
    opened: dict[Outline, TestSession] = {}

    def get(chapter: Outline) -> TestSession:
        if chapter not in opened:
            opened[chapter] = TestSession(chapter)
        return opened[chapter]

    yield get
    for found in opened.values():
        found.close()


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_right_answers_pass_and_mistakes_are_named(session, chapter, name):
    assert prove(session(chapter), chapter, name) == []
