"""The hooks that run graded tests: what each grades, on which answer, failures as sentences, and the diagnosis at the end.

`utils.grading.plugin` registers them when the first tests of a chapter are collected: they need PyTorch, and an untouched notebook
is answered without them.
"""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import UnreadableNotebook
from utils.grading.results import RESULTS, Answer, CaseResult
from utils.grading.run.exercise import conclude_exercise
from utils.grading.run.grader import GRADER, TASK, Grader, Task, case_result, conclude, find_task
from utils.grading.run.process_state import watching
from utils.grading.run.pytest_parts import end_fixtures, run_test
from utils.notebooks.errors import CourseError

CASE = pytest.StashKey[CaseResult]()

SECONDS = 60
SECONDS_ON_LARGE_MODELS = 600
SECONDS_FOR_DIAGNOSIS = 10


def start(config: pytest.Config, is_small: bool) -> None:
    """Grade the reference answers until it is said that others are graded. `is_small`: the model that tests run on."""
    config.stash[GRADER] = Grader(reference_answer, SECONDS if is_small else SECONDS_ON_LARGE_MODELS)


def register_fixtures(config: pytest.Config, names: Iterable[str]) -> None:
    """A fixture for each exercise."""
    config.pluginmanager.register(type("Fixtures", (), {name: fixture_of(name) for name in names})())


def reference_answer(task: Task) -> Answer:
    """The reference answer to an exercise."""
    return Answer(task.name, task.chapter.reference(task.name))


def fixture_of(name: str):
    """A fixture that gives the answer under test, or the reference if the test grades another exercise."""

    @pytest.fixture(name=name)
    def exercise(self, request: pytest.FixtureRequest) -> object:
        return request.config.stash[GRADER].value(request.node, name)

    return exercise


def pytest_itemcollected(item: pytest.Item) -> None:
    task = find_task(item)
    if task:
        item.stash[TASK] = task
        # for `-k prune_nodes`
        item.extra_keyword_matches.add(task.name)


# ---------------------------------------------------------------------------------------------------------------------
# Running
# ---------------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session):
    """Read the notebooks before the first test; when all have run, compare wrong answers with the planted mistakes."""
    if session.config.option.collectonly:
        return (yield)
    if not session.config.option.solutions:
        read_notebooks(session)
    try:
        return (yield)
    finally:
        conclude_exercises(session)


def read_notebooks(session: pytest.Session) -> None:
    """From now on the answers in the notebooks are graded, not the reference."""
    notebook = session.config.option.notebook
    chapters = list(dict.fromkeys(item.stash[TASK].chapter for item in session.items if TASK in item.stash))
    if notebook and len(chapters) > 1:
        raise pytest.UsageError("--notebook is for one chapter: name its folder of tests, such as tests/chapter3.")
    try:
        found = {chapter: NotebookAnswers.read(chapter, Path(notebook or chapter.notebook)) for chapter in chapters}
    except (UnreadableNotebook, CourseError) as error:
        raise pytest.UsageError(str(error)) from error
    session.config.stash[GRADER].answer_to = lambda task: found[task.chapter].answer(task.name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test. Shared fixtures outlive the last one, for the diagnosis; pytest ends them with the session."""
    grader, nextitem = item.config.stash[GRADER], nextitem or item.session
    with watching(grader.watched):
        if grader.is_quiet:
            with grader.around_protocol(item):
                run_test(item, nextitem, log=False)
        else:
            run_and_log(grader, item, nextitem)
    return True


def run_and_log(grader: Grader, item: pytest.Item, nextitem: pytest.Item) -> None:
    """Run a test of the session itself, graded or not."""
    # tests that were not run, as nothing is started, have left open what the last one had
    end_fixtures(item.session, item)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    if TASK not in item.stash:
        run_test(item, nextitem)
    else:
        run_graded(grader, item, nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def run_graded(grader: Grader, item: pytest.Item, nextitem: pytest.Item) -> None:
    """Run a test on an answer, or say why it is not run."""
    answer = grader.answer(item.stash[TASK])
    if not answer.is_started:
        reason = (str(item.path), item.location[1], "Skipped: not started")
        item.ihook.pytest_runtest_logreport(report=report_of(item, "setup", "skipped", reason))
    elif answer.problem:
        item.ihook.pytest_runtest_logreport(report=report_of(item, "call", "failed", InWords(item, answer)))
    else:
        with grader.around_protocol(item):
            run_test(item, nextitem)
        item.stash.setdefault(CASE, case_result(item))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item):
    """The innermost wrapper: what student code does to the program does not get past it."""
    if TASK not in item.stash:
        return (yield)
    with item.config.stash[GRADER].around_call(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> pytest.TestReport | None:
    """A failure in words, unless `--tb` asks for pytest's own report."""
    if TASK not in item.stash:
        return None
    error = call.excinfo.value if call.excinfo else None
    conclude(item, error)
    if error is None or isinstance(error, pytest.skip.Exception):
        return None
    grader = item.config.stash[GRADER]
    if not grader.is_quiet:
        item.stash.setdefault(CASE, case_result(item))
        if wants_tracebacks(item.config):
            return None
    return report_of(item, call.when, "failed", InWords(item, grader.answer(item.stash[TASK])), call.duration)


def wants_tracebacks(config: pytest.Config) -> bool:
    """Whether `--tb` is given."""
    return config.getoption("tbstyle") != "auto"


def report_of(item: pytest.Item, when: str, outcome: str, longrepr: object, duration: float = 0.0) -> pytest.TestReport:
    """A report without the work of writing a traceback."""
    keywords = dict.fromkeys(item.keywords, 1)
    return pytest.TestReport(item.nodeid, item.location, keywords, outcome, longrepr, when, duration=duration)


class InWords:
    """Why a test failed, for the section of failures. The diagnosis is made after the report, and read when it is shown."""

    def __init__(self, item: pytest.Item, answer: Answer):
        self._item = item
        self._answer = answer

    @property
    def reprcrash(self) -> SimpleNamespace:
        """What pytest puts behind the name of the test in its short summary."""
        return SimpleNamespace(message=self._lines()[0])

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def toterminal(self, tw) -> None:
        """What pytest calls to show it."""
        for line in self._lines():
            tw.line(line)

    def _lines(self) -> list[str]:
        case = self._item.stash.get(CASE, None)
        if case is None:
            return [self._answer.problem]
        printed = ["", "Your code printed:", *case.printed.splitlines()] if case.printed else []
        sentences = [case.mistake, case.failure] if case.mistake else [case.failure]
        return [*sentences, f"Test: {case.sentence}", *printed, "For the traceback add --tb=short."]


# ---------------------------------------------------------------------------------------------------------------------
# Afterwards: the diagnosis and the table
# ---------------------------------------------------------------------------------------------------------------------


def conclude_exercises(session: pytest.Session) -> None:
    """Results by chapter and exercise, in the order of the chapters."""
    config, items = session.config, {}
    for item in session.items:
        if TASK in item.stash:
            items.setdefault(item.stash[TASK], []).append(item)
    for task, some in items.items():
        ran = [item for item in some if CASE in item.stash]
        cases = [item.stash[CASE] for item in ran]
        answer = config.stash[GRADER].answer(task)
        seconds = 0 if config.option.solutions else SECONDS_FOR_DIAGNOSIS
        result = conclude_exercise(config.stash[GRADER], ran or some, cases, answer, seconds)
        config.stash[RESULTS].setdefault(task.chapter, []).append(result)
