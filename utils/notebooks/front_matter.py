"""What stands at the head of a chapter's page: number, title, solutions, tests, points."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from utils.notebooks.errors import CourseError

FILE_NAME = re.compile(r"chapter(\d+)_\w+")
COURSE_KEYS = ("chapter", "title", "solutions", "tests", "points")


@dataclass(frozen=True, eq=False)
class FrontMatter:
    """A chapter by the head of its page.

    Attributes:
        path: the page.
        root: the course's folder.
        number, title: of the chapter.
        solutions: the package of its reference answers.
        tests: the folder of its tests.
        points: of each exercise, in the order of the page.
    """

    path: Path
    root: Path
    number: int
    title: str
    solutions: str
    tests: Path
    points: dict[str, int]

    @classmethod
    def of(cls, course: dict | None, path: Path, text: str, root: Path | None = None) -> "FrontMatter":
        """From the `course:` part of a page's head. `root` is by default the folder above the page's. Raises CourseError."""
        course = validated(course, path, text)
        root = Path(root) if root else path.resolve().parents[1]
        tests = root / course["tests"]
        return cls(path, root, course["chapter"], course["title"], course["solutions"], tests, course["points"])

    @classmethod
    def read(cls, path: Path, root: Path) -> "FrontMatter":
        """From a page, of which nothing else is read. Raises CourseError."""
        text = path.read_text(encoding="utf-8")
        try:
            course = yaml.safe_load(text.split("---")[1])["course"]
        except (yaml.YAMLError, IndexError, KeyError, TypeError) as error:
            raise CourseError(path, 1, "the page does not begin with front matter that has `course:`.") from error
        return cls.of(course, path, text, root)

    @property
    def slug(self) -> str:
        """The name of its files, such as `chapter3_attribution_graphs`."""
        return self.path.stem

    @property
    def notebook(self) -> Path:
        """What a student opens, and writes the answers into."""
        return self.root / "chapters" / f"{self.slug}.ipynb"

    @property
    def answers(self) -> Path:
        """The same, filled in and executed."""
        return self.root / "solutions" / f"{self.slug}.ipynb"


def validated(course: dict | None, path: Path, text: str) -> dict:
    """The `course:` part of the front matter, if it is as it must be. Raises CourseError."""
    start = line_of("course", text)
    if not isinstance(course, dict):
        raise CourseError(path, start, "the front matter has no `course:` with " + ", ".join(COURSE_KEYS) + ".")
    for key in [key for key in COURSE_KEYS if key not in course]:
        raise CourseError(path, start, f"`course:` has no `{key}`.")
    for key in [key for key in course if key not in COURSE_KEYS]:
        raise CourseError(path, line_of(key, text), f"`course:` knows no `{key}`; it has {', '.join(COURSE_KEYS)}.")
    name = FILE_NAME.fullmatch(path.stem)
    if not name or course["chapter"] != int(name[1]):
        raise CourseError(path, line_of("chapter", text), "`chapter` must be the number in the file's name.")
    for key in ("title", "solutions", "tests"):
        if not isinstance(course[key], str):
            raise CourseError(path, line_of(key, text), f"`{key}` must be text.")
    if not isinstance(course["points"], dict):
        raise CourseError(path, line_of("points", text), "`points` must give each exercise its points: `name: 2`.")
    return course


def line_of(key: str, text: str) -> int:
    """The line of the front matter that gives `key`, or the first line of the page."""
    for number, line in enumerate(text.splitlines(), start=1):
        if number > 1 and line.startswith("---"):
            break
        if re.search(rf"(^|[\s{{,]){re.escape(key)}\s*:", line):
            return number
    return 1
