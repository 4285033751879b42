"""The chapters as grading sees them: exercises and points, reference answers, planted mistakes and alternates."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml

from utils.grading.planted import Alternate, Mistake
from utils.notebooks.reading import ROOT, Chapter, CourseError, front_matter, read_chapter


@dataclass(frozen=True, eq=False)
class Outline:
    """A chapter by its front matter, which is all that most of grading needs. `page` reads the rest."""

    path: Path
    root: Path
    number: int
    title: str
    solutions: str
    tests: Path
    points: dict[str, int]

    @cached_property
    def page(self) -> Chapter:
        """The whole page. Raises CourseError."""
        return read_chapter(self.path, self.root)

    @property
    def notebook(self) -> Path:
        """Where a student writes the answers."""
        return self.root / "chapters" / f"{self.path.stem}.ipynb"

    def reference(self, name: str) -> object:
        """The reference answer to an exercise."""
        return getattr(importlib.import_module(self.solutions), name)

    def references(self, without: str) -> dict[str, object]:
        """The reference answers to all exercises but one, and all that is given."""
        given = {name: importlib.import_module(self.page.source(name).module) for name in self.page.given}
        found = {name: getattr(module, name) for name, module in given.items()}
        return found | {name: self.reference(name) for name in self.points if name != without}

    def mistakes(self, name: str) -> list[Mistake]:
        """The planted mistakes of an exercise."""
        return planted(self.tests / "mistakes.py").get(name, [])

    def alternates(self, name: str) -> list[Alternate]:
        """The other right answers to an exercise."""
        return planted(self.tests / "alternates.py").get(name, [])


def root_above(path: Path) -> Path:
    """The course that a file or folder belongs to: the nearest folder above that has `instructions/`, or this one."""
    path = Path(path).resolve()
    return next((folder for folder in (path, *path.parents) if (folder / "instructions").is_dir()), ROOT)


@cache
def chapters(root: Path) -> list[Outline]:
    """All chapters of a course, in order. Its solutions can be imported from then on. Raises CourseError."""
    if str(root) not in sys.path:
        sys.path.append(str(root))
    outlines = [read_outline(path, root) for path in (root / "instructions").glob("chapter*.md")]
    return sorted(outlines, key=lambda outline: outline.number)


def read_outline(path: Path, root: Path) -> Outline:
    """The front matter of a page. Raises CourseError."""
    text = path.read_text(encoding="utf-8")
    try:
        course = yaml.safe_load(text.split("---")[1])["course"]
    except (yaml.YAMLError, IndexError, KeyError, TypeError) as error:
        raise CourseError(path, 1, "the page does not begin with front matter that has `course:`.") from error
    course = front_matter(course, path, text)
    folder = root / course["tests"]
    return Outline(path, root, course["chapter"], course["title"], course["solutions"], folder, course["points"])


def chapter_of_test(path: Path) -> Outline | None:
    """The chapter whose folder of tests holds a file."""
    found = [chapter for chapter in chapters(root_above(path)) if path.is_relative_to(chapter.tests)]
    return found[0] if found else None


@cache
def planted(path: Path) -> dict[str, list]:
    """`MISTAKES` or `ALTERNATES` of a file of that name; nothing if there is no such file."""
    if not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.stem.upper())
