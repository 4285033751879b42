"""Reading a student's notebook file: its cells, whatever program saved it, or one sentence that says why it cannot be read."""

import json
from dataclasses import dataclass
from pathlib import Path

CONFLICT = ("<<<<<<< ", ">>>>>>> ")


class UnreadableNotebook(ValueError):
    """The file is no notebook; the text says why and what to do."""


@dataclass(frozen=True)
class Cell:
    """One cell. `number` counts all cells from 1, as a reader would."""

    kind: str
    source: str
    number: int


def read_cells(path: Path) -> list[Cell]:
    """All cells of a notebook.

    Raises:
        UnreadableNotebook: in one sentence.
    """
    cells = _cells(_load(Path(path)), path)
    return [Cell(_kind(cell), _source(cell), number) for number, cell in enumerate(cells, start=1)]


def _load(path: Path) -> object:
    try:
        # notebooks are UTF-8; utf-8-sig takes a byte order mark away
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UnreadableNotebook(f"There is no notebook {path}.") from None
    except OSError as error:
        raise UnreadableNotebook(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UnreadableNotebook(f"{path} is not a notebook: it is not text. Save it again as .ipynb.") from None
    if not text.strip():
        raise UnreadableNotebook(f"{path} is empty: restore it from a copy, or build it again.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UnreadableNotebook(_why_not_json(path, text, error)) from None


def _why_not_json(path: Path, text: str, error: Exception) -> str:
    conflicts = [number for number, line in enumerate(text.splitlines(), start=1) if line.startswith(CONFLICT)]
    if conflicts:
        return f"{path} has conflict markers of git in line {conflicts[0]}: choose one version, and save it."
    if not text.lstrip().startswith("{"):
        return f"{path} is not a notebook: it is not JSON. In Jupyter or Colab, download it as .ipynb."
    line = getattr(error, "lineno", 1)
    return f"{path} is damaged in line {line}: it is cut off or was edited by hand. Restore it from a copy."


def _cells(notebook: object, path: Path) -> list:
    """The list of cells. Version 3 of the format keeps it in worksheets."""
    if isinstance(notebook, dict):
        worksheets = notebook.get("worksheets")
        if isinstance(worksheets, list):
            sheets = [sheet.get("cells") for sheet in worksheets if isinstance(sheet, dict)]
            return [cell for cells in sheets if isinstance(cells, list) for cell in cells if isinstance(cell, dict)]
        if isinstance(notebook.get("cells"), list):
            return [cell for cell in notebook["cells"] if isinstance(cell, dict)]
    raise UnreadableNotebook(f"{path} is not a notebook: it has no cells. In Jupyter or Colab, download it as .ipynb.")


def _kind(cell: dict) -> str:
    kind = cell.get("cell_type")
    return kind if isinstance(kind, str) else "code"


def _source(cell: dict) -> str:
    """The text of a cell, which may be a list of lines; version 3 calls it input."""
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return source.replace("\r\n", "\n").replace("\r", "\n") if isinstance(source, str) else ""
