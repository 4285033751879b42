"""The rooms of `utils`: imports go one way, and files do not import each other in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from utils import ROOT
from utils.notebooks.materials import find_modules

# Each room may import the rooms that are named behind it, and itself.
MAY_IMPORT = {
    "engine": set(),
    "models": {"engine"},
    "latents": {"engine", "models"},
    "atlas": {"engine", "models", "latents"},
    "plots": {"engine", "models", "latents"},
    "dashboard": {"engine", "models", "latents"},
    "notebooks": set(),
    "grading": {"notebooks"},
    "cohort": {"engine", "grading", "notebooks"},
}
UTILS = sorted((ROOT / "utils").rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_room_is_known():
    rooms = {path.parent.name for path in (ROOT / "utils").glob("*/__init__.py")}
    assert rooms == MAY_IMPORT.keys()
    assert [path.name for path in (ROOT / "utils").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_below_it(room):
    allowed = {f"utils.{other}" for other in {room, *MAY_IMPORT[room]}}
    for path in (ROOT / "utils" / room).rglob("*.py"):
        for module in imports_of(path):
            top = ".".join(module.split(".")[:2])
            assert not module.startswith(("solutions", "tests")), f"{path} imports {module}"
            assert not top.startswith("utils.") or top in allowed | {
                "utils.ROOT",
                "utils.cache_folder",
                "utils.__version__",
            }, f"{path} imports {module}"


def test_no_files_import_each_other_in_a_circle():
    graph = {}
    for path in UTILS:
        own = {
            file for module in imports_of(path) if module.startswith("utils.") for file in find_modules(ROOT, module)
        }
        # a package's own `__init__` is always imported with its files
        graph[path] = {file for file in own if file != path and file.name != "__init__.py"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(ROOT)) for path in error.args[1]))
