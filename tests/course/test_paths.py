"""Files that the README, the pages and the docstrings name are there."""

import re
from pathlib import Path

import pytest

from utils import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "instructions").glob("*.md")), ROOT / "utils" / "atlas" / "MODEL_CARD.md"]
CODE = [path for folder in ("utils", "solutions", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
PATH = re.compile(r"`((?:utils|solutions|tests|instructions|\.ci|\.github)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:)([\w-]*[./][\w./-]+)\)")  # what has no dot and no slash is code, not a link
MODULE = re.compile(r"\b((?:utils|solutions)(?:\.[a-z_0-9]+)+)")
PLACEHOLDER = re.compile(r"chapterN|NAME|DIR|\.\.\.|/toy/")
NOT_IN_THE_REPOSITORY = {".github/workflows/classroom.yml"}  # stands in a class's own repository


def gone(names: list[str], folder: Path = ROOT) -> list[str]:
    """The paths below a folder that are not there."""
    known = NOT_IN_THE_REPOSITORY.union(name for name in names if PLACEHOLDER.search(name))
    return sorted(name for name in {*names} - known if not (folder / name).exists())


def missing_paths(text: str, folder: Path) -> list[str]:
    """Paths in backticks (from the repository's root) and targets of links (from the page's folder) that are not there."""
    return gone(PATH.findall(text)) + gone(LINK.findall(text), folder)


def missing_modules(text: str) -> list[str]:
    """Names like `utils.room.module` whose room is not there."""
    rooms = {".".join(module.split(".")[:2]) for module in MODULE.findall(text)}
    return sorted(room for room in rooms if not exists(ROOT.joinpath(*room.split("."))))


def exists(place: Path) -> bool:
    """Whether a package or module is there."""
    return place.is_dir() or place.with_suffix(".py").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert missing_paths(text, page.parent) == [] and missing_modules(text) == []


def test_what_the_code_names_is_there():
    texts = {path: path.read_text(encoding="utf-8") for path in CODE if path.name != Path(__file__).name}
    named = {path: PATH.findall(text) for path, text in texts.items()}
    missing = {path: found for path, names in named.items() if (found := gone(names))}
    assert not missing


def test_a_path_that_is_not_there_is_found():
    text = "see `utils/graph.py`, [a page](instructions/no_page.md), `utils/engine/graph.py`, and `utils.hooks.freeze`"
    assert missing_paths(text, ROOT) == ["utils/graph.py", "instructions/no_page.md"]
    assert missing_modules(text) == ["utils.hooks"]
