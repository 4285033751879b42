"""What cells print: read from an executed notebook, and held against what a page promises."""

from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ANYTHING = "..."


def read_printed(path: Path) -> dict[str, str]:
    """What each code cell of an executed notebook prints, by its id; nothing if there is no such notebook."""
    try:
        return printed_in(nbformat.read(path, as_version=4))
    except (OSError, ValueError):
        return {}


def printed_in(notebook: NotebookNode) -> dict[str, str]:
    """What each code cell prints, by its id."""
    return {cell.id: printed_by(cell) for cell in notebook.cells if cell.cell_type == "code"}


def printed_by(cell: NotebookNode) -> str:
    """What a cell prints and, if that is plain text, its last value."""
    texts = [output.text for output in cell.outputs if output.get("name") == "stdout"]
    values = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    texts += [data["text/plain"] for data in values if list(data) == ["text/plain"]]
    return "\n".join(text.strip("\n") for text in texts)


def shown_by(cell: NotebookNode) -> str:
    """All text that a cell shows: what it prints, and what it displays as far as that is text."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(text.strip("\n") for text in texts)


def difference(expected: str, printed: str) -> str:
    """The first difference between what is expected and what is printed, in a sentence; nothing if they fit.

    Spaces at the end of lines do not count; a line `...` stands for any number of lines.
    """
    if fits(lines_of(expected), lines_of(printed)):
        return ""
    for want, got in zip_longest(lines_of(expected), lines_of(printed)):
        if want == ANYTHING:
            break
        if want != got:
            there = "nothing more" if got is None else f"`{got}`"
            wanted = "nothing more" if want is None else f"`{want}`"
            return f"expected {wanted}, but the cell above prints {there}."
    return f"what follows `{ANYTHING}` is not what the cell above prints."


def lines_of(text: str) -> list[str]:
    """The lines of a text, without spaces at their ends and empty lines around."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def fits(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are the same, where `...` stands for any lines."""
    if ANYTHING not in expected:
        return expected == printed
    place = expected.index(ANYTHING)
    if expected[:place] != printed[:place]:
        return False
    rest = expected[place + 1 :]
    return any(fits(rest, printed[start:]) for start in range(place, len(printed) + 1))
