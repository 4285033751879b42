"""What must be there before a chapter's notebooks are built: solutions, tests, planted mistakes."""

import ast
import builtins
import importlib.util
import symtable
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.notebooks.errors import CourseError
from utils.notebooks.page import Code, Exercise, Given, Page
from utils.notebooks.sources import missing_exports, parse

MINIMUM_MISTAKES = 5


def find_problems(chapter: Page) -> list[CourseError]:
    """All that keeps a chapter from being built, each with its file and line."""
    checks: list[Callable[[Page], Iterator[CourseError]]] = [
        solution_problems,
        export_problems,
        given_problems,
        code_problems,
        name_problems,
        test_problems,
        mistake_problems,
    ]
    problems = []
    for check in checks:
        try:
            problems += check(chapter)
        except CourseError as error:
            problems.append(error)
    return problems


def solution_problems(chapter: Page) -> Iterator[CourseError]:
    """Each exercise is defined once and makes a stub; nothing else in the package has markers."""
    names = {exercise.name for exercise in chapter.exercises}
    for exercise in chapter.exercises:
        try:
            chapter.source(exercise.name, exercise.line).stub()
        except CourseError as error:
            yield error
    for source in chapter.other_sources(names):
        try:
            if source.regions:
                yield source.error(source.regions[0][0], "only exercises have regions to solve, and this is none.")
        except CourseError as error:
            yield error


def export_problems(chapter: Page) -> Iterator[CourseError]:
    """Each exercise that is defined can be imported from the package itself."""
    names = [exercise.name for exercise in chapter.exercises if chapter.is_defined(exercise.name)]
    return missing_exports(chapter.root, chapter.solutions, names)


def given_problems(chapter: Page) -> Iterator[CourseError]:
    """What is given exists and is not asked for."""
    names = {exercise.name for exercise in chapter.exercises}
    for cell in chapter.cells:
        for name in cell.names if isinstance(cell, Given) else ():
            if name in names:
                yield CourseError(chapter.path, cell.line, f"`{name}` is an exercise and cannot be given.")
                continue
            try:
                chapter.source(name, cell.line)
            except CourseError as error:
                yield error


def code_problems(chapter: Page) -> Iterator[CourseError]:
    """Code cells are Python and do not import the solutions they ask for."""
    for cell in code_cells(chapter):
        try:
            tree = ast.parse(without_magics(cell.text))
        except SyntaxError as error:
            yield CourseError(chapter.path, cell.line, f"line {error.lineno} of this cell is not Python: {error.msg}.")
            continue
        for module in imported_modules(tree):
            if f"{module}.".startswith(f"{chapter.solutions}."):
                yield CourseError(chapter.path, cell.line, "this cell imports the solutions of its own chapter.")


def code_cells(chapter: Page) -> list[Code]:
    """The page's code cells, those in other languages left out."""
    return [cell for cell in chapter.cells if isinstance(cell, Code) and not cell.text.startswith("%%")]


def without_magics(text: str) -> str:
    """A cell as Python reads it."""
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in text.splitlines())


def name_problems(chapter: Page) -> Iterator[CourseError]:
    """What answers and given code use is defined on the page. (What code cells use shows when they are executed.)"""
    wanted = [(cell.name, cell.line) for cell in chapter.exercises]
    wanted += [(name, cell.line) for cell in chapter.cells if isinstance(cell, Given) for name in cell.names]
    known = {*dir(builtins), "__name__", "__file__", "check", "progress", *(name for name, _ in wanted)}
    for cell in code_cells(chapter):
        try:
            known |= defined_names(without_magics(cell.text))
        except SyntaxError:
            continue
    for name, line in wanted:
        try:
            source = chapter.source(name, line)
        except CourseError:
            continue
        for missing in sorted(used_names(source.text) - known):
            yield CourseError(
                chapter.path, line, f"`{name}` uses `{missing}`, which this page neither imports nor gives."
            )


def defined_names(code: str) -> set[str]:
    """The names that a piece of code defines at its top level."""
    table = symtable.symtable(code, "cell", "exec")
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def used_names(code: str) -> set[str]:
    """The global names that a piece of code uses, at its top level or inside functions, and does not define."""
    used, waiting = set(), [symtable.symtable(code, "cell", "exec")]
    while waiting:
        table = waiting.pop()
        at_top = table.get_type() == "module"
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (at_top or s.is_global())}
        waiting += table.get_children()
    return used - defined_names(code)


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """All modules that a program may import, wherever it does: `from a import b` may mean the module `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_problems(chapter: Page) -> Iterator[CourseError]:
    """Each exercise has a test."""
    order = [exercise.name for exercise in chapter.exercises]
    tested = set()
    for path in sorted(chapter.tests.glob("test_*.py")):
        for node in ast.walk(parse(path, path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                # a test that takes several exercises belongs to the last of them
                taken = [order.index(arg.arg) for arg in node.args.args if arg.arg in order]
                tested.update([order[max(taken)]] if taken else [])
    for exercise in chapter.exercises:
        if exercise.name not in tested:
            yield CourseError(
                chapter.path, exercise.line, f"`{exercise.name}` has no test in {chapter.tests.name}/test_*.py."
            )


def mistake_problems(chapter: Page) -> Iterator[CourseError]:
    """Each exercise has enough planted mistakes, and no mistake belongs to nothing."""
    path = chapter.tests / "mistakes.py"
    mistakes = load_mistakes(path) if path.exists() else {}
    exercises: dict[str, Exercise] = {exercise.name: exercise for exercise in chapter.exercises}
    for name in [name for name in mistakes if name not in exercises]:
        yield CourseError(path, 1, f"MISTAKES names `{name}`, which is no exercise of {chapter.path.name}.")
    for name, exercise in exercises.items():
        count = len(mistakes.get(name, []))
        if count < MINIMUM_MISTAKES:
            sentence = f"`{name}` needs {MINIMUM_MISTAKES} planted mistakes in {path.name} and has {count}."
            yield CourseError(chapter.path, exercise.line, sentence)


def load_mistakes(path: Path) -> dict[str, list]:
    """`MISTAKES` of a file that is not on the path of imports. Raises CourseError."""
    name = f"planted_mistakes_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return module.MISTAKES
    except Exception as error:
        line = getattr(error, "lineno", None) or 1
        raise CourseError(path, line, f"the mistakes cannot be read: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[name]
