"""The pytest side of grading: a fixture for every exercise, what is graded, failures as sentences, and a table at the end.

`pytest tests/chapter3` grades the notebook of chapter 3, `--solutions` the reference answers.
"""

import pytest
from _pytest.runner import runtestprotocol

from utils.grading.course import chapter_of_test
from utils.grading.grader import TASK, Grader, Task, conclude, find_task
from utils.grading.results import Answer
from utils.notebooks.errors import CourseError

GRADER = pytest.StashKey[Grader]()
NAMES = pytest.StashKey[set[str]]()
SECONDS = 60
SECONDS_ON_LARGE_MODELS = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("course", "grading of chapters")
    group.addoption("--solutions", action="store_true", help="test the reference answers, not a notebook")
    group.addoption("--notebook", metavar="PATH", help="test the answers in this notebook, not those in chapters/")
    group.addoption("--model", default="atlas", metavar="NAME", help="the model that tests run on (default: atlas)")


def pytest_configure(config: pytest.Config) -> None:
    seconds = SECONDS if config.getoption("model") == "atlas" else SECONDS_ON_LARGE_MODELS
    config.stash[GRADER] = Grader(reference_answer, seconds)
    config.stash[NAMES] = set()


def reference_answer(task: Task) -> Answer:
    """The reference answer to an exercise."""
    return Answer(task.name, task.chapter.reference(task.name))


class Fixtures:
    """A plugin that has a fixture for each of some exercises."""

    def __init__(self, names: set[str]):
        for name in names:
            setattr(type(self), name, self.fixture(name))

    @staticmethod
    def fixture(name: str):
        """A fixture that gives the answer under test, or the reference if the test grades another exercise."""

        @pytest.fixture(name=name)
        def exercise(self, request: pytest.FixtureRequest) -> object:
            return request.config.stash[GRADER].value(request.node, name)

        return exercise


def pytest_pycollect_makemodule(module_path, parent) -> None:
    """Before the tests of a chapter are collected, register fixtures for its exercises."""
    try:
        chapter = chapter_of_test(module_path)
    except CourseError as error:
        raise parent.CollectError(str(error)) from error
    known = parent.config.stash[NAMES]
    new = set(chapter.points) - known if chapter else set()
    if new:
        known |= new
        parent.config.pluginmanager.register(type("Fixtures", (Fixtures,), {})(new))


def pytest_itemcollected(item: pytest.Item) -> None:
    task = find_task(item)
    if task:
        item.stash[TASK] = task


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test. Shared fixtures outlive the last one, for the diagnosis; pytest ends them with the session."""
    grader, nextitem = item.config.stash[GRADER], nextitem or item.session
    if grader.is_quiet:
        with grader.around_protocol(item):
            runtestprotocol(item, log=False, nextitem=nextitem)
        return True
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    if TASK in item.stash:
        with grader.around_protocol(item):
            runtestprotocol(item, nextitem=nextitem)
    else:
        runtestprotocol(item, nextitem=nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item):
    """The innermost wrapper: what student code does to the program does not get past it."""
    if TASK not in item.stash:
        return (yield)
    with item.config.stash[GRADER].around_call(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    if TASK in item.stash:
        conclude(item, call.excinfo.value if call.excinfo else None)
    return (yield)
