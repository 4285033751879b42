"""The chapters as grading sees them: exercises and points, reference answers, planted mistakes and alternates."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from utils.notebooks.front_matter import FrontMatter
from utils.notebooks.place import course_folder

if TYPE_CHECKING:
    from utils.grading.diagnose.variants import Alternate, Mistake
    from utils.notebooks.page import Page


@dataclass(frozen=True, eq=False)
class Chapter(FrontMatter):
    """A chapter by its front matter, which is all that most of grading needs. `page` reads the rest."""

    @cached_property
    def page(self) -> "Page":
        """The whole page. Raises CourseError."""
        from utils.notebooks.page import read_page  # it imports jupytext, which not every run needs

        return read_page(self.path, self.root)

    def reference(self, name: str) -> object:
        """The reference answer to an exercise."""
        return getattr(importlib.import_module(self.solutions), name)

    def references(self, without: str) -> dict[str, object]:
        """The reference answers to all exercises but one, and all that is given."""
        given = {name: importlib.import_module(self.page.source(name).module) for name in self.page.given_names}
        found = {name: getattr(module, name) for name, module in given.items()}
        return found | {name: self.reference(name) for name in self.points if name != without}

    def mistakes(self, name: str) -> "list[Mistake]":
        """The planted mistakes of an exercise."""
        return versions_in(self.tests / "mistakes.py").get(name, [])

    def alternates(self, name: str) -> "list[Alternate]":
        """The other right answers to an exercise."""
        return versions_in(self.tests / "alternates.py").get(name, [])


@cache
def chapters(root: Path) -> list[Chapter]:
    """All chapters of a course, in order. Its solutions can be imported from then on. Raises CourseError."""
    if str(root) not in sys.path:
        sys.path.append(str(root))
    found = [Chapter.read(path, root) for path in (root / "instructions").glob("chapter*.md")]
    return sorted(found, key=lambda chapter: chapter.number)


def chapter_of_test(path: Path) -> Chapter | None:
    """The chapter whose folder of tests holds a file."""
    found = [chapter for chapter in chapters(course_folder(path)) if path.is_relative_to(chapter.tests)]
    return found[0] if found else None


@cache
def versions_in(path: Path) -> dict[str, list]:
    """The versions of each exercise's answer in `mistakes.py` or `alternates.py`; nothing if there is no such file."""
    if not path.is_file():
        return {}
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.stem.upper())
