"""The pytest side of grading: a fixture for every exercise, what is graded, failures as sentences, and a table at the end.

`pytest tests/chapter3` grades the notebook of chapter 3, `--solutions` the reference answers.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from _pytest._code.code import TerminalRepr
from _pytest.runner import runtestprotocol

from utils.grading.chapters import Chapter, chapter_of_test
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import UnreadableNotebook
from utils.grading.results import Answer, CaseResult, ExerciseResult
from utils.grading.run.exercise import conclude_exercise
from utils.grading.run.grader import GRADER, TASK, Grader, Task, case_result, conclude, find_task
from utils.grading.show.tables import ExerciseRow, table_as_text
from utils.notebooks.errors import CourseError

NAMES = pytest.StashKey[set[str]]()
CASE = pytest.StashKey[CaseResult]()
RESULTS = pytest.StashKey[dict[Chapter, list[ExerciseResult]]]()

SECONDS = 60
SECONDS_ON_LARGE_MODELS = 600
SECONDS_FOR_DIAGNOSIS = 10
DEFAULT_MODEL = "atlas"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("course", "grading of chapters")
    group.addoption("--solutions", action="store_true", help="test the reference answers, not a notebook")
    group.addoption("--notebook", metavar="PATH", help="test the answers in this notebook, not those in chapters/")
    group.addoption(
        "--model", default=DEFAULT_MODEL, metavar="NAME", help=f"the model that tests run on (default: {DEFAULT_MODEL})"
    )


def pytest_configure(config: pytest.Config) -> None:
    seconds = SECONDS if config.getoption("model") == DEFAULT_MODEL else SECONDS_ON_LARGE_MODELS
    config.stash[GRADER] = Grader(reference_answer, seconds)
    config.stash[NAMES] = set()
    config.stash[RESULTS] = {}


def reference_answer(task: Task) -> Answer:
    """The reference answer to an exercise."""
    return Answer(task.name, task.chapter.reference(task.name))


# ---------------------------------------------------------------------------------------------------------------------
# Collecting: fixtures, and what each test grades
# ---------------------------------------------------------------------------------------------------------------------


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Before the tests of a chapter are collected, register fixtures for its exercises."""
    try:
        chapter = chapter_of_test(module_path)
    except CourseError as error:
        raise parent.CollectError(str(error)) from error
    known = parent.config.stash[NAMES]
    new = set(chapter.points) - known if chapter else set()
    if new:
        known |= new
        fixtures = {name: fixture_of(name) for name in new}
        parent.config.pluginmanager.register(type("Fixtures", (), fixtures)())


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


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Cases in words, since students read them: `skip`, `no top_k`, `threshold 0.6`. None leaves a value to pytest."""
    words = argname.strip("_").replace("_", " ") if val is None or isinstance(val, bool) else argname
    if val is None or isinstance(val, bool):
        return words if val else f"no {words}"
    if isinstance(val, int | float):
        return f"{argname} {val:g}" if isinstance(val, float) else f"{argname} {val}"
    if isinstance(val, str) and len(val) < 3 and val.isalnum():
        return f"{argname} {val}"
    if isinstance(val, tuple) and val and all(isinstance(each, int | float) for each in val):
        return f"{argname} {' and '.join(map(str, val))}"
    if isinstance(val, dict) and val and all(isinstance(each, int | float | str | None) for each in val.values()):
        return ", ".join(f"{key} {each}" for key, each in val.items())[:80]
    return None


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
    if grader.is_quiet:
        with grader.around_protocol(item):
            runtestprotocol(item, log=False, nextitem=nextitem)
        return True
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    if TASK not in item.stash:
        runtestprotocol(item, nextitem=nextitem)
    else:
        run_graded(grader, item, nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


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
            runtestprotocol(item, nextitem=nextitem)
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


class InWords(TerminalRepr):
    """Why a test failed, for the section of failures. The diagnosis is made after the report, and read when it is shown."""

    def __init__(self, item: pytest.Item, answer: Answer):
        self._item = item
        self._answer = answer

    @property
    def reprcrash(self) -> SimpleNamespace:
        """What pytest puts behind the name of the test in its short summary."""
        return SimpleNamespace(message=self._lines()[0])

    def toterminal(self, tw) -> None:
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


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """What is done, failing and not started, and the points: for chapters all of whose tests were run."""
    if config.option.solutions:
        return
    for chapter, results in config.stash[RESULTS].items():
        if is_whole(config, chapter):
            path = os.path.relpath(config.option.notebook or chapter.notebook, config.invocation_params.dir)
            terminalreporter.section(f"Chapter {chapter.number}: {chapter.title}")
            terminalreporter.write_line(table_as_text(path, rows_of(chapter, results)))


def is_whole(config: pytest.Config, chapter: Chapter) -> bool:
    """Whether nothing was left out of the tests of a chapter by the options or the arguments."""
    option = config.option
    if option.keyword or option.markexpr or option.deselect or getattr(option, "lf", False):
        return False
    folders = [config.invocation_params.dir / arg for arg in config.args]
    return any(chapter.tests.is_relative_to(folder) for folder in folders)


def rows_of(chapter: Chapter, results: list[ExerciseResult]) -> list[ExerciseRow]:
    """The table of a chapter, in its order."""
    by_name = {result.name: result for result in results}
    rows = []
    for name, points in chapter.points.items():
        result = by_name.get(name) or ExerciseResult(name, points, is_started=False)
        notes = tuple(sentence for sentence in (result.problem, result.mistake, *result.remarks) if sentence)
        rows.append(ExerciseRow(name, result.status, result.passed, len(result.tests), points, result.earned, notes))
    return rows
