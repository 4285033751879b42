"""The pytest side of grading: options, which chapters are untouched, and a table at the end.

`pytest tests/chapter3` grades the notebook of chapter 3, `--solutions` the reference answers. Of a chapter whose notebook is as it
was handed out, no test is imported: each exercise is skipped as not started. `utils.grading.run.hooks` runs the tests of the others.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.grading.chapters import Chapter, chapter_of_test, chapters
from utils.grading.find.cells import UnreadableNotebook
from utils.grading.find.untouched import is_untouched_notebook
from utils.grading.results import NOT_STARTED, RESULTS, ExerciseResult
from utils.grading.run.pytest_parts import PytestChanged, refuse_changed_pytest
from utils.grading.show.tables import ExerciseRow, table_as_text
from utils.notebooks.errors import CourseError
from utils.notebooks.place import course_folder
from utils.notebooks.sources import missing_exports

NAMES = pytest.StashKey[set[str]]()
UNTOUCHED = pytest.StashKey[list[Chapter]]()
DEFAULT_MODEL = "atlas"
HOOKS = "utils.grading.run.hooks"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("course", "grading of chapters")
    group.addoption("--solutions", action="store_true", help="test the reference answers, not a notebook")
    group.addoption("--notebook", metavar="PATH", help="test the answers in this notebook, not those in chapters/")
    group.addoption(
        "--model", default=DEFAULT_MODEL, metavar="NAME", help=f"the model that tests run on (default: {DEFAULT_MODEL})"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NAMES] = set()
    config.stash[RESULTS] = {}
    config.stash[UNTOUCHED] = find_untouched(config)
    if config.stash[UNTOUCHED] and all(is_all_untouched(config, place) for place in places(config)):
        config.option.dist = "no"  # nothing to share out among processes (pytest-xdist)


# ---------------------------------------------------------------------------------------------------------------------
# Chapters that are untouched: known without their tests
# ---------------------------------------------------------------------------------------------------------------------


def find_untouched(config: pytest.Config) -> list[Chapter]:
    """The chapters that are asked for as a whole and not started. What cannot be read is left to the tests to refuse."""
    option = config.option
    if option.solutions or option.collectonly or option.markexpr:
        return []
    try:
        course = chapters(course_folder(config.rootpath))
        asked = [chapter for chapter in course if is_asked_for(config, chapter)]
        if option.notebook and len(asked) > 1:
            return []  # refused later
        return [
            chapter
            for chapter in asked
            if is_asked_as_a_whole(config, chapter)
            and is_untouched_notebook(chapter, Path(option.notebook or chapter.notebook))
        ]
    except (CourseError, UnreadableNotebook):
        return []


def places(config: pytest.Config) -> list[Path]:
    """The folders and files that the arguments name."""
    return [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]


def is_asked_for(config: pytest.Config, chapter: Chapter) -> bool:
    """Whether the arguments name any of a chapter's tests."""
    return any(chapter.tests.is_relative_to(place) or place.is_relative_to(chapter.tests) for place in places(config))


def is_asked_as_a_whole(config: pytest.Config, chapter: Chapter) -> bool:
    """Whether no single tests of a chapter are asked for, other than by `-k` and the name of an exercise."""
    inside = [place for place in places(config) if place.is_relative_to(chapter.tests) and place != chapter.tests]
    return not inside and (not config.option.keyword or config.option.keyword in chapter.points)


def is_all_untouched(config: pytest.Config, place: Path) -> bool:
    """Whether a folder holds the tests of an untouched chapter and nothing else."""
    return any(chapter.tests == place for chapter in config.stash[UNTOUCHED])


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """In the place of an untouched chapter's tests: its exercises, not started."""
    for chapter in parent.config.stash[UNTOUCHED]:
        if chapter.tests == path:
            return UntouchedChapter.from_parent(parent, path=path, chapter=chapter)
    return None


class UntouchedChapter(pytest.Directory):
    """A chapter of which nothing is started."""

    def __init__(self, *, chapter: Chapter, **kinds):
        super().__init__(**kinds)
        self.chapter = chapter

    def collect(self) -> Iterator[pytest.Item]:
        return (UntouchedExercise.from_parent(self, name=name) for name in self.chapter.points)


class UntouchedExercise(pytest.Item):
    """An exercise that is not started."""

    def runtest(self) -> None:
        pytest.skip(NOT_STARTED)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


# ---------------------------------------------------------------------------------------------------------------------
# The others
# ---------------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Refuse, in one sentence, what would fail in every test: a pytest of another kind, a reference answer that is not exported."""
    try:
        chosen = [
            each for each in chapters(course_folder(session.config.rootpath)) if is_asked_for(session.config, each)
        ]
        if chosen:
            refuse_changed_pytest()
        for chapter in chosen:
            for error in missing_exports(chapter.root, chapter.solutions, list(chapter.points)):
                raise error
    except (CourseError, PytestChanged) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Before the tests of a chapter are collected, see to the hooks that run them and to fixtures for its exercises."""
    try:
        chapter = chapter_of_test(module_path)
    except CourseError as error:
        raise parent.CollectError(str(error)) from error
    if chapter:
        prepare_grading(parent.config, chapter)


def prepare_grading(config: pytest.Config, chapter: Chapter) -> None:
    """Register what a chapter's tests need, once."""
    from utils.grading.run import hooks  # they need PyTorch

    if not config.pluginmanager.has_plugin(HOOKS):
        hooks.start(config, is_small=config.option.model == DEFAULT_MODEL)
        config.pluginmanager.register(hooks, HOOKS)
    new = set(chapter.points) - config.stash[NAMES]
    if new:
        config.stash[NAMES] |= new
        hooks.register_fixtures(config, new)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Cases in words, since students read them: `skip`, `no top_k`, `threshold 0.6`. None leaves a value to pytest.

    What a case expects is not named, for it says nothing that the other words do not.
    """
    if argname == "expected":
        return ""
    if val is None or isinstance(val, bool):
        words = argname.strip("_").removeprefix("with_")
        return words if val else f"no {words}"
    if isinstance(val, int | float):
        return f"{argname} {val:g}" if isinstance(val, float) else f"{argname} {val}"
    if isinstance(val, str) and len(val) < 3 and val.isalnum():
        return f"{argname} {val}"
    if isinstance(val, tuple | list) and val and all(isinstance(each, int | float) for each in val):
        return f"{argname} {' and '.join(map(str, val))}"
    if isinstance(val, dict) and val and all(isinstance(each, int | float | str | None) for each in val.values()):
        return ", ".join(f"{key} {each}" for key, each in val.items())[:80]
    return None


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """What is done, failing and not started, and the points: for chapters all of whose tests were run."""
    if config.option.solutions:
        return
    untouched = config.stash[UNTOUCHED]
    found = config.stash[RESULTS] | {chapter: [] for chapter in untouched}
    for chapter, results in sorted(found.items(), key=lambda each: each[0].number):
        if is_whole(config, chapter):
            path = os.path.relpath(config.option.notebook or chapter.notebook, config.invocation_params.dir)
            terminalreporter.section(f"Chapter {chapter.number}: {chapter.title}")
            terminalreporter.write_line(table_as_text(path, rows_of(chapter, results)))
    for chapter in untouched:
        path = os.path.relpath(config.option.notebook or chapter.notebook, config.invocation_params.dir)
        terminalreporter.write_line(
            f"Nothing in {path} is started: replace `raise NotImplementedError()` in an exercise."
        )


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
