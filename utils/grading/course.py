"""The chapters as grading sees them: their exercises, reference answers, planted mistakes and alternates."""

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path

from utils.grading.planted import Alternate, Mistake
from utils.notebooks.reading import ROOT, Chapter, read_course

__all__ = ["Chapter", "alternates", "chapter_of_test", "chapters", "mistakes", "reference", "references", "root_above"]


def root_above(path: Path) -> Path:
    """The course that a file or folder belongs to: the nearest folder above that has `instructions/`, or this one."""
    path = Path(path).resolve()
    return next((folder for folder in (path, *path.parents) if (folder / "instructions").is_dir()), ROOT)


@cache
def chapters(root: Path) -> list[Chapter]:
    """All chapters of a course, in order. Raises CourseError. Its solutions can be imported from then on."""
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return read_course(root)


def chapter_of_test(path: Path) -> Chapter | None:
    """The chapter whose folder of tests holds a file."""
    found = [chapter for chapter in chapters(root_above(path)) if path.is_relative_to(chapter.tests)]
    return found[0] if found else None


def reference(chapter: Chapter, name: str) -> object:
    """The reference answer to an exercise, or what is given under this name."""
    return getattr(importlib.import_module(chapter.source(name).module), name)


def references(chapter: Chapter, without: str) -> dict[str, object]:
    """Reference answers to all exercises but one, and all that is given."""
    names = [*chapter.given, *(exercise.name for exercise in chapter.exercises)]
    return {name: reference(chapter, name) for name in names if name != without}


def mistakes(chapter: Chapter, name: str) -> list[Mistake]:
    """The planted mistakes of an exercise."""
    return _planted(chapter.tests / "mistakes.py").get(name, [])


def alternates(chapter: Chapter, name: str) -> list[Alternate]:
    """The other right answers to an exercise."""
    return _planted(chapter.tests / "alternates.py").get(name, [])


@cache
def _planted(path: Path) -> dict[str, list]:
    """`MISTAKES` or `ALTERNATES` of a file of that name; nothing if there is no such file."""
    if not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.stem.upper())
