"""A Gradescope autograder: one zip with two scripts and the part of the course that grades one chapter."""

import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from utils import ROOT
from utils.grading.chapters import Chapter

SCRIPTS = ("setup.sh", "run_autograder")
TEMPLATES = Path(__file__).parent / "templates"
LEFT_OUT = {"__pycache__", "course", ".ipynb_checkpoints"}
LISTS = ("pyproject.toml", "requirements.txt", "constraints.txt", "LICENSE")


def pack_autograder(chapter: Chapter, out: Path, hidden: Path | None = None) -> None:
    """Write the zip. Raises OSError."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=".packing-", delete=False) as file:
        temporary = Path(file.name)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in SCRIPTS:
                entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
                entry.external_attr = (stat.S_IFREG | 0o755) << 16
                archive.writestr(entry, (TEMPLATES / name).read_text(encoding="utf-8"))
            for name, path in sorted(files_of(chapter).items()):
                archive.write(path, f"course/{name}")
            for path in sorted(hidden.glob("*.py")) if hidden else ():
                archive.write(path, f"hidden/{path.name}")
        temporary.chmod(0o644)
        temporary.replace(out)
    except BaseException:
        temporary.unlink()
        raise


def files_of(chapter: Chapter) -> dict[str, Path]:
    """What grading a chapter needs, by its place in the course: its page, its tests, all solutions, `utils`, lists of packages."""
    files = {f"instructions/{chapter.path.name}": chapter.path}
    for name in LISTS:
        if (chapter.root / name).exists():
            files[name] = chapter.root / name
    tests = chapter.tests.relative_to(chapter.root)
    folders = {ROOT / "utils": Path("utils"), chapter.tests: tests}
    solutions = chapter.solutions.split(".")[0]
    folders[chapter.root / solutions] = Path(solutions)
    for folder, place in folders.items():
        files |= {(place / path.relative_to(folder)).as_posix(): path for path in _files(folder)}
    if len(tests.parts) > 1:
        files |= {(tests.parent / path.name).as_posix(): path for path in chapter.tests.parent.glob("*.py")}
    return files


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        if path.is_file() and not LEFT_OUT & set(inner.parts) and path.suffix not in (".ipynb", ".pyc"):
            if not any(part.startswith(".") for part in inner.parts):
                yield path
