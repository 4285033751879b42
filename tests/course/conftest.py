"""The toy course is material for the tests of the machinery; its own tests are not part of the main run."""

import shutil
from itertools import count
from pathlib import Path

import pytest

from tests.course.dashboard_samples import SIZES, chromium, new_pages
from utils.dashboard import write_page
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


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A folder with a tiny random model and its transcoders, in the bundled one's form."""
    import torch

    from tests.tiny import tiny_model, tiny_transcoders

    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_model(folder / "model", dtype=torch.float32)
    for layer, transcoder in tiny_transcoders(model).items():
        transcoder.save_model(folder / "transcoders" / f"layer_{layer}")
    return folder


@pytest.fixture(scope="module")
def page_browser():
    with chromium() as found:
        yield found


@pytest.fixture
def show(page_browser, tmp_path):
    """`show(graph, size)`: its page in a new window; an error on the page fails the test."""
    numbers = count()
    with new_pages(page_browser) as visit:

        def go(graph, size=SIZES[0], address="", **options):
            path = write_page(graph, tmp_path / f"page-{next(numbers)}.html")
            return visit(path.as_uri() + address, viewport=dict(zip(("width", "height"), size)), **options)

        yield go
