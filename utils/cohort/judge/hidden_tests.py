"""An instructor's own tests: whether each takes an exercise. One that takes none, for a misspelt name say, would never be run."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.cohort.collect.submissions import NoSubmissions
from utils.grading.chapters import Chapter


def folder_of_tests(folder: Path, course: Sequence[Chapter]) -> Path:
    """The whole path of a folder with tests for some chapters. Raises NoSubmissions if there are none, or one tests nothing."""
    paths = sorted(folder.glob("test_*.py"))
    if not paths:
        raise NoSubmissions(f"{folder} has no tests (test_*.py).")
    exercises = {name for chapter in course for name in chapter.points}
    numbers = ", ".join(str(chapter.number) for chapter in course)
    for path in paths:
        for name, fixtures in tests_in(path):
            if not exercises & fixtures:
                taken = f"It takes {', '.join(sorted(fixtures))}." if fixtures else "It takes nothing."
                raise NoSubmissions(f"{name} in {path} takes no exercise of chapter {numbers} as an argument. {taken}")
    return folder.resolve()


def tests_in(path: Path) -> Iterator[tuple[str, set[str]]]:
    """For each test of a file its name, and all arguments that it takes, itself or by fixtures of the file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise NoSubmissions(f"{path} cannot be read: {error}.") from None
    taken = {node.name: arguments_of(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for name in taken:
        if name.startswith("test_"):
            yield name, reached(taken, name)


def arguments_of(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]} - {"self"}


def reached(taken: dict[str, set[str]], name: str) -> set[str]:
    """The arguments of a function, and those of the functions that they are named after."""
    found: set[str] = set()
    left = set(taken[name])
    while left:
        argument = left.pop()
        found.add(argument)
        left |= taken.get(argument, set()) - found
    return found
