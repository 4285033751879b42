"""Which version of a chapter is graded: a hash of all that a result depends on besides the notebook and the limits."""

import hashlib
from pathlib import Path

from utils import ROOT
from utils.grading.chapters import Chapter
from utils.notebooks.materials import data_files, find_modules, imported_files


def digest_of_tests(chapter: Chapter, hidden: Path | None = None) -> str:
    """A hash of a chapter's page, its tests, its solutions, and what those use."""
    starts = [*chapter.tests.rglob("*.py"), *chapter.tests.parent.glob("*.py")]
    files = imported_files(chapter.root, [*starts, *find_modules(chapter.root, chapter.solutions)], [])
    files |= {file for path in files if path.name == "__init__.py" for file in data_files(path.parent)}
    files |= {chapter.path, *(ROOT / "utils" / "grading").rglob("*.py"), *(ROOT / "utils" / "cohort").rglob("*.py")}
    files |= set(hidden.glob("*.py")) if hidden else set()
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]
