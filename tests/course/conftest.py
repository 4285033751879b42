"""The toy course is material for the tests of the machinery; its own tests are not part of the main run."""

import shutil
from pathlib import Path

import pytest

from utils.grading.chapters import Chapter, chapters
from utils.grading.run.session import TestSession

collect_ignore = ["toy"]


@pytest.fixture(scope="session")
def toy_course(tmp_path_factory) -> Path:
    """A copy of the toy course, where progress may be written."""
    return Path(shutil.copytree(Path(__file__).parent / "toy", tmp_path_factory.mktemp("graded") / "toy"))


@pytest.fixture(scope="session")
def toy_session(toy_course) -> tuple[TestSession, Chapter]:
    """The tests of the toy chapter, ready to be run, and the chapter."""
    chapter = chapters(toy_course)[0]
    session = TestSession(chapter)
    yield session, chapter
    session.close()
