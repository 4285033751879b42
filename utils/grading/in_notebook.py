"""`check(answer)` and `progress()`, the two functions that notebooks call."""

import ast
import inspect
import linecache
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache

from utils.grading import progress_file
from utils.grading.chapters import Chapter, chapters
from utils.grading.find.statements import BrokenPart, parse_cell
from utils.grading.find.stubs import is_stub
from utils.grading.find.untouched import defines
from utils.grading.results import NOT_STARTED, Answer, earned
from utils.grading.run.comparison_tools import TOOLS
from utils.grading.run.exercise import grade
from utils.grading.run.limits import ShortMemory
from utils.grading.run.process_state import restored
from utils.grading.run.session import CollectionError, TestSession
from utils.grading.show.tables import ExerciseRow, as_html, as_text, show, show_sentence, table_as_html, table_as_text
from utils.notebooks.errors import CourseError
from utils.notebooks.place import course_folder

SECONDS_FOR_DIAGNOSIS = 2.5


def check(answer: object, traceback: bool = False) -> None:
    """Run the tests of one exercise on your answer, and say what they find.

    Args:
        answer: your function or class: `check(prune_nodes)`.
        traceback: print the tracebacks too; a notebook has them folded anyway.
    """
    caller = sys._getframe(1)
    notebook = caller.f_globals
    try:
        chapter, name = find_exercise(answer, notebook)
        refuse_other(name, linecache.getline(caller.f_code.co_filename, caller.f_lineno), chapter)
        refuse_broken(name, notebook.get("In"))
        session = open_session(chapter)
    except (NoExercise, CourseError, CollectionError) as error:
        show_sentence(str(error))
        return
    found = Answer(name, answer, is_started=not is_untouched(answer, name, chapter))
    replaced = TOOLS.put_back()  # in a cell: the tests must not go by it
    if replaced:
        found.remarks.append(f"`{replaced[0]}`, which tests compare by, had been replaced: it was put back.")
    homes = [notebook, *globals_of(answer)]
    memory = ShortMemory()
    own = chapter.references(without=name)
    with restored(), isolated(homes, own), redirect_stdout(memory), redirect_stderr(memory):
        result = grade(session.grader, session.items(name), found, SECONDS_FOR_DIAGNOSIS)
    try:
        progress_file.record(chapter.root, chapter.number, result)
    except OSError as error:
        result.remarks.append(f"Your progress could not be written down: {error}.")
    show(as_text(result, traceback), as_html(result))


def progress(chapter: int | None = None) -> None:
    """Show what is done in a chapter: by default in the one of this notebook, or in all.

    Args:
        chapter: its number.
    """
    notebook = sys._getframe(1).f_globals
    try:
        course = chapters(course_folder())
    except CourseError as error:
        show_sentence(str(error))
        return
    here = [each for each in course if each.points.keys() & notebook.keys()]
    chosen = (here or course) if chapter is None else [each for each in course if each.number == chapter]
    if not chosen:
        numbers = ", ".join(str(each.number) for each in course)
        show_sentence(f"There is no chapter {chapter}; there are {numbers}.")
    for each in chosen:
        rows, title = progress_rows(each), f"Chapter {each.number}: {each.title}"
        show(table_as_text(title, rows), table_as_html(title, rows))


def progress_rows(chapter: Chapter) -> list[ExerciseRow]:
    """The latest check of every exercise."""
    entries = progress_file.latest(chapter.root, chapter.number)
    rows = []
    for name, points in chapter.points.items():
        entry = entries.get(name, {"status": NOT_STARTED, "passed": 0, "tests": 0})
        share = earned(points, entry["passed"], entry["tests"])
        rows.append(ExerciseRow(name, entry["status"], entry["passed"], entry["tests"], points, share))
    return rows


class NoExercise(ValueError):
    """What was given to `check` is no answer to an exercise."""


def find_exercise(answer: object, notebook: dict) -> tuple[Chapter, str]:
    """The exercise that an object answers: by its own name, or by its name in the notebook. Raises NoExercise."""
    course = chapters(course_folder())
    names = [getattr(answer, "__name__", None), *(name for name, value in notebook.items() if value is answer)]
    for name in names:
        for chapter in course:
            if name in chapter.points and callable(answer):
                return chapter, name
    if isinstance(answer, str):
        raise NoExercise(f"Give check the function itself, without quotes: check({answer}).")
    if not callable(answer):
        raise NoExercise(
            "Give check the function itself, not what it returns: check(name), without brackets behind it."
        )
    raise NoExercise(f"`{names[0] or type(answer).__name__}` is not an exercise; progress() shows all there are.")


def refuse_other(name: str, line: str, chapter: Chapter) -> None:
    """Raises NoExercise if the line of the call names another exercise than the one that the answer is."""
    called = [word for word in re.findall(r"\bcheck\(\s*(\w+)", line) if word in chapter.points]
    if called and name not in called:
        raise NoExercise(f"This is your function `{name}`, under the name `{called[0]}`: define `{called[0]}` itself.")


def refuse_broken(name: str, cells: object) -> None:
    """Raises NoExercise if the latest of the cells that were run and define the answer has a syntax error.

    Args:
        name: of the exercise.
        cells: the sources of all cells that were run, as IPython keeps them; nothing is done without.
    """
    for source in reversed(cells if isinstance(cells, list) else []):
        if name in source:
            parts = parse_cell(source, 0).parts
            if not any(defines(part, name) for part in parts):
                continue
            broken = next((part for part in parts if isinstance(part, BrokenPart)), None)
            if broken is not None:
                place = f"line {broken.line}, {broken.message}: {broken.text}"
                raise NoExercise(
                    f"The cell of `{name}` that you ran last has a syntax error ({place}). What Python knows as `{name}` is what "
                    "you had before, so it was not checked."
                )
            return


@cache
def open_session(chapter: Chapter) -> TestSession:
    """The tests of a chapter; they stay open, with the models that they load, until the program ends."""
    return TestSession(chapter)


@contextmanager
def isolated(homes: list[dict], own: dict[str, object]) -> Iterator[None]:
    """Put the reference answers to all other exercises into the globals of the student's code, for a while."""
    saved = [{name: home[name] for name in own if name in home} for home in homes]
    for home in homes:
        home.update(own)
    try:
        yield
    finally:
        for home, before in zip(homes, saved):
            for name in own.keys() - before.keys():
                home.pop(name, None)
            home.update(before)


def globals_of(answer: object) -> list[dict]:
    """The globals of the code of a function or of the methods of a class."""
    return [code.__globals__ for code in _functions(answer)][:1]


def is_untouched(answer: object, name: str, chapter: Chapter) -> bool:
    """Whether an answer in a notebook is still the stub. Where its source is not to be had, it is not."""
    for function in _functions(answer):
        lines = linecache.getlines(function.__code__.co_filename)
        parts = parse_cell("".join(lines), 0).parts
        written = [part.node for part in parts if defines(part, name) and isinstance(part.node, ast.AST)]
        if written:
            return is_stub(written[-1], chapter.page.source(name).stub())
    return False


def _functions(answer: object) -> list:
    """The Python functions that an answer consists of, without decorators."""
    if isinstance(answer, type):
        members = [getattr(value, "__func__", getattr(value, "fget", value)) for value in vars(answer).values()]
    else:
        members = [answer]
    members = [inspect.unwrap(member) for member in members if callable(member)]
    return [member for member in members if inspect.isfunction(member)]
