"""What a page promises to print, held against what its cells print."""

from itertools import zip_longest

from nbformat import NotebookNode

from utils.notebooks.errors import CourseError, CourseErrors
from utils.notebooks.reading import Chapter, Expected

ANYTHING = "..."


def compare_outputs(chapter: Chapter, notebook: NotebookNode) -> None:
    """Hold each `expected` of the page against what the code cell above it printed. Raises CourseErrors.

    Spaces at the end of lines do not count; a line `...` stands for any number of lines.
    """
    expected = iter([cell for cell in chapter.cells if isinstance(cell, Expected)])
    printed, problems = "", []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            printed = printed_by(cell)
        elif cell.id.startswith("expected-"):
            promise = next(expected)
            if not fits(lines_of(promise.text), lines_of(printed)):
                problems.append(CourseError(chapter.path, promise.line, difference(promise.text, printed)))
    if problems:
        raise CourseErrors(problems)


def printed_by(cell: NotebookNode) -> str:
    """What a cell prints, and its last value as text."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(text.rstrip("\n") for text in texts)


def lines_of(text: str) -> list[str]:
    """The lines of a text, without spaces at their ends and empty lines around."""
    return [line.rstrip() for line in text.strip().splitlines()]


def fits(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are the same, where `...` stands for any lines."""
    if ANYTHING not in expected:
        return expected == printed
    place = expected.index(ANYTHING)
    if expected[:place] != printed[:place]:
        return False
    rest = expected[place + 1 :]
    return any(fits(rest, printed[start:]) for start in range(place, len(printed) + 1))


def difference(expected: str, printed: str) -> str:
    """The first line that differs, in a sentence."""
    for want, got in zip_longest(lines_of(expected), lines_of(printed)):
        if want == ANYTHING:
            break
        if want != got:
            there = "nothing more" if got is None else f"`{got}`"
            wanted = "nothing more" if want is None else f"`{want}`"
            return f"expected {wanted}, but the cell above prints {there}."
    return f"what follows `{ANYTHING}` is not what the cell above prints."
