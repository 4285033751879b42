"""The tests of every chapter grade rightly: right answers pass, planted mistakes fail with their own sentences."""

import pytest

from utils.grading.course import Outline, chapters
from utils.grading.prove import prove_chapter
from utils.notebooks.reading import ROOT


@pytest.mark.parametrize("chapter", chapters(ROOT), ids=lambda chapter: f"chapter{chapter.number}")
def test_the_chapter_is_proved(chapter: Outline):
    problems = {name: found for name, found in prove_chapter(chapter) if found}
    assert not problems
