"""What in a notebook is still as it was handed out. It is found by reading: nothing is run, and PyTorch is not imported."""

import ast
from collections.abc import Iterable
from pathlib import Path

from utils.grading.chapters import Chapter
from utils.grading.find.cells import Cell, read_cells
from utils.grading.find.statements import BrokenPart, Statement, parse_cell
from utils.grading.find.stubs import is_stub
from utils.notebooks.sources import find_sources

Part = Statement | BrokenPart


def defines(part: Part, name: str) -> bool:
    """Whether a part of a cell defines an answer. Importing it does not."""
    if isinstance(part, BrokenPart):
        return name in part.names
    return name in part.binds and not isinstance(part.node, ast.Import | ast.ImportFrom)


def is_untouched(part: Part, stub: str) -> bool:
    """Whether a part is the stub that the student was given."""
    return isinstance(part, Statement) and part.is_definition and is_stub(part.node, stub)


def written(parts: Iterable[Part], name: str, stub: str) -> list[Part]:
    """The parts that define an answer and are more than the stub."""
    return [part for part in parts if defines(part, name) and not is_untouched(part, stub)]


def is_untouched_notebook(chapter: Chapter, path: Path) -> bool:
    """Whether each exercise of a chapter stands in a notebook as its stub, and nothing else there defines it.

    Raises UnreadableNotebook, and CourseError for solutions that make no stubs.
    """
    sources = find_sources(chapter.root, chapter.solutions)
    parts = [part for cell in read_cells(path) for part in _python_in(cell)]
    for name in chapter.points:
        found = [part for part in parts if defines(part, name)]
        if not found or len(sources.get(name, ())) != 1 or written(found, name, sources[name][0].stub()):
            return False
    return True


def _python_in(cell: Cell) -> list[Part]:
    """The parts of a cell. A text cell counts if it is Python all the same: its kind may have been changed by mistake."""
    parts = parse_cell(cell.source, cell.number).parts
    is_python = cell.kind == "code" or not any(isinstance(part, BrokenPart) for part in parts)
    return parts if is_python else []
