"""What an executed notebook was made from besides its own cells: code it imports, tests it runs, data that lies beside."""

import ast
import hashlib
import json
from pathlib import Path

from nbformat import NotebookNode

from utils.notebooks.completeness import imported_modules
from utils.notebooks.page import Page

NOT_DATA = {".py", ".pyc", ".ipynb", ".md"}


def fingerprints(chapter: Page, notebook: NotebookNode) -> dict[str, str]:
    """For each file that the outputs may depend on, a short hash of what it holds."""
    tests = [
        *chapter.tests.glob("test_*.py"),
        *chapter.tests.glob("conftest.py"),
        *chapter.tests.parent.glob("conftest.py"),
    ]
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    files = imported_files(chapter.root, [*tests, *find_modules(chapter.root, chapter.solutions)], cells)
    files |= {file for path in files if path.name == "__init__.py" for file in data_files(path.parent)}
    return {path.relative_to(chapter.root).as_posix(): hash_of(path) for path in sorted(files)}


def hash_of(path: Path) -> str:
    """A short hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def hash_of_outputs(notebook: NotebookNode) -> str:
    """A short hash of all outputs of a notebook, the numbers that its text takes from it among them."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    outputs += [numbers] if (numbers := notebook.metadata.course.get("numbers")) else []
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:12]


def imported_files(root: Path, files: list[Path], cells: list[str]) -> set[Path]:
    """These files, the course's own files that they or the cells import, and what those import in turn."""
    found: set[Path] = set()
    waiting = files + [path for cell in cells for path in imports_of(root, cell)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imports_of(root, path.read_text(encoding="utf-8"))
    return found


def imports_of(root: Path, source: str) -> list[Path]:
    """The files below `root` that a program imports itself; a cell with magics, which is no Python, counts as empty."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    return [path for module in imported_modules(tree) for path in find_modules(root, module)]


def find_modules(root: Path, module: str) -> list[Path]:
    """The files of a module below `root` and of the packages it lies in; nothing for a module from elsewhere."""
    place, found = root, []
    for part in module.split("."):
        place = place / part
        found += [path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()]
    return found


def data_files(package: Path) -> list[Path]:
    """What lies in a package and is no code: weights, pages, schemas. Folders that are packages themselves are left out."""
    found = []
    for path in sorted(package.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_file() and path.suffix not in NOT_DATA:
            found.append(path)
        elif path.is_dir() and not (path / "__init__.py").exists():
            found += data_files(path)
    return found
