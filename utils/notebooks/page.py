"""The reader of `instructions/chapterN_slug.md`: what stands on a page, in order, with line numbers for errors.

It reads text only. Neither solutions nor tests are looked at, so that grading can use it at little cost.
"""

import importlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType

import yaml
from jupytext.myst import MystMetadataParsingError, myst_to_notebook

from utils.notebooks.directives import Directive, Text, split
from utils.notebooks.errors import CourseError
from utils.notebooks.front_matter import FrontMatter, line_of
from utils.notebooks.numbers import Number, find_numbers, unmarked, without_markers
from utils.notebooks.sources import Source, find_sources

OPTIONS = {"difficulty": (1, 5), "importance": (1, 5), "minutes": (1, 240)}
MINIMUM_HINTS = 2


@dataclass(frozen=True)
class Markdown:
    """Text, as written."""

    text: str
    line: int


@dataclass(frozen=True)
class Code:
    """A code cell with its metadata, tags among them."""

    text: str
    line: int
    metadata: dict = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        return self.metadata.get("tags", [])


@dataclass(frozen=True)
class Given:
    """Names of the solutions package whose source the student sees and runs."""

    names: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Expected:
    """What to expect of the run cell above: with a title, Markdown in words; without one, what the cell prints.

    The text of the latter may be left empty: the build fills it in.
    """

    title: str
    text: str
    line: int


@dataclass(frozen=True)
class Hint:
    """One step of a hint ladder."""

    title: str
    text: str
    line: int


@dataclass(frozen=True)
class Exercise:
    """A function or class of the solutions package that the student writes."""

    name: str
    number: str
    difficulty: int
    importance: int
    minutes: int
    points: int
    statement: str
    hints: tuple[Hint, ...]
    line: int


PageCell = Markdown | Code | Given | Expected | Exercise


@dataclass(frozen=True, eq=False)
class Page(FrontMatter):
    """One page of instructions, whole."""

    metadata: dict
    cells: tuple[PageCell, ...]
    numbers: tuple[Number, ...]
    texts: tuple[tuple[int, str], ...]  # the Markdown with its markers, each with the number of its first line

    @property
    def unmarked(self) -> list[tuple[int, str]]:
        """Numbers in the text that look like results and have no marker: the line, and the words around."""
        return [(first + line - 1, words) for first, text in self.texts for line, words in unmarked(text)]

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        return tuple(cell for cell in self.cells if isinstance(cell, Exercise))

    @property
    def given_names(self) -> tuple[str, ...]:
        """All names whose source is given, in order."""
        return tuple(name for cell in self.cells if isinstance(cell, Given) for name in cell.names)

    @property
    def imports(self) -> tuple[Code, ...]:
        """The code cells tagged `imports`."""
        return tuple(cell for cell in self.cells if isinstance(cell, Code) and "imports" in cell.tags)

    @property
    def module(self) -> ModuleType:
        """The solutions package, imported."""
        return importlib.import_module(self.solutions)

    @cached_property
    def _sources(self) -> dict[str, list[Source]]:
        return find_sources(self.root, self.solutions)

    def other_sources(self, names: set[str]) -> list[Source]:
        """All definitions of the solutions package but those of `names`."""
        return [source for name, sources in self._sources.items() if name not in names for source in sources]

    def is_defined(self, name: str) -> bool:
        """Whether the solutions package defines a name, in any of its files."""
        return name in self._sources

    def source(self, name: str, line: int = 1) -> Source:
        """Where the solutions package defines a name. Raises CourseError, with the line of the page that asks for it."""
        found = self._sources.get(name, [])
        if not found:
            raise CourseError(self.path, line, f"`{self.solutions}` defines no `{name}`.")
        if len(found) > 1:
            places = " and ".join(f"{source.module}:{source.line}" for source in found)
            raise CourseError(self.path, line, f"`{name}` is defined more than once: {places}.")
        return found[0]


def read_pages(root: Path, number: int | None = None) -> list[Page]:
    """All chapters in order, or the one of that number. Raises CourseError, also for a chapter or an exercise that exists twice."""
    pattern = "chapter*.md" if number is None else f"chapter{number}_*.md"
    chapters = [read_page(path, root) for path in (root / "instructions").glob(pattern)]
    numbers: dict[int, Page] = {}
    names: dict[str, Page] = {}
    for chapter in sorted(chapters, key=lambda chapter: (chapter.number, chapter.path)):
        if chapter.number in numbers:
            raise CourseError(chapter.path, 1, f"{numbers[chapter.number].path.name} is chapter {chapter.number} too.")
        numbers[chapter.number] = chapter
        for exercise in chapter.exercises:
            if exercise.name in names:
                other = names[exercise.name].path.name
                raise CourseError(chapter.path, exercise.line, f"`{exercise.name}` is an exercise of {other} already.")
            names[exercise.name] = chapter
    return list(numbers.values())


def read_page(path: Path, root: Path | None = None) -> Page:
    """Read one page. `root` is the course's folder, by default the one above `instructions/`. Raises CourseError."""
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            notebook = myst_to_notebook(text, add_source_map=True)
    except (MystMetadataParsingError, yaml.YAMLError, UserWarning, TypeError, ValueError) as error:
        line = re.search(r"at line (\d+)", str(error)) or re.search(r"line (\d+)", str(error))
        raise CourseError(path, int(line[1]) if line else 1, " ".join(str(error).split())) from error
    metadata = dict(notebook.metadata)
    lines = metadata.pop("source_map")
    metadata.pop("jupyter", None)
    front = FrontMatter.of(metadata.pop("course", None), path, text, root)
    texts = tuple(texts_of(notebook.cells, lines, text.splitlines()))
    numbers = tuple(number for first, part in texts for number in find_numbers(part.splitlines(), first, path))
    cells = tuple(read_cells(notebook.cells, lines, front, text.splitlines()))
    check_points(front.points, cells, path, text)
    return Page(**vars(front), metadata=metadata, cells=cells, numbers=numbers, texts=texts)


def texts_of(cells: list, lines: list[int], page: list[str]) -> Iterator[tuple[int, str]]:
    """The page's Markdown as jupytext cuts it, each with the number of its first line."""
    for cell, line in zip(cells, lines):
        if cell.cell_type != "code":
            yield first_line(line, page), cell.source


def first_line(line: int, page: list[str]) -> int:
    """Where a Markdown cell begins: jupytext says after which line, and leaves out the empty ones."""
    return line + 1 + next(index for index, text in enumerate(page[line:]) if text)


def read_cells(cells: list, lines: list[int], front: FrontMatter, page: list[str]) -> Iterator[PageCell]:
    """The page's cells: Markdown is split where directives stand."""
    path = front.path
    names: dict[str, int] = {}
    for cell, line in zip(cells, lines):
        if cell.cell_type == "code":
            yield Code(cell.source, line, dict(cell.metadata))
            continue
        for part in split(without_markers(cell.source).splitlines(), first_line(line, page), path):
            if isinstance(part, Text):
                if part.text:
                    yield Markdown(part.text, part.line)
            elif part.name == "exercise":
                exercise = read_exercise(part, f"{front.number}.{len(names) + 1}", front.points, path)
                if exercise.name in names:
                    raise CourseError(
                        path, part.line, f"`{exercise.name}` is an exercise already, in line {names[exercise.name]}."
                    )
                names[exercise.name] = part.line
                yield exercise
            else:
                yield read_small_directive(part, path)


def read_exercise(part: Directive, number: str, points: dict, path: Path) -> Exercise:
    """An `exercise` directive with its hints."""
    if not part.argument.isidentifier():
        raise CourseError(path, part.line, "an exercise names one function or class: `::::{exercise} name`.")
    if part.argument not in points:
        raise CourseError(path, part.line, f"`{part.argument}` has no points in the front matter.")
    options = read_options(part, path)
    statement, hints = [], []
    for inner in split(part.lines, part.body_line, path):
        if isinstance(inner, Text):
            if inner.text and hints:
                raise CourseError(path, inner.line, "the statement must stand before the hints.")
            statement.append(inner.text)
        elif inner.name == "hint":
            hints.append(read_hint(inner, path))
        else:
            raise CourseError(path, inner.line, f"an exercise may hold hints, but no `{inner.name}`.")
    if not statement[0]:
        raise CourseError(path, part.line, f"`{part.argument}` has no statement.")
    if len(hints) < MINIMUM_HINTS:
        raise CourseError(
            path, part.line, f"`{part.argument}` needs at least {MINIMUM_HINTS} hints and has {len(hints)}."
        )
    return Exercise(
        name=part.argument,
        number=number,
        points=points[part.argument],
        statement=statement[0],
        hints=tuple(hints),
        line=part.line,
        **options,
    )


def read_options(part: Directive, path: Path) -> dict[str, int]:
    """Difficulty, importance and minutes: all must be there and in range."""
    for index, name in enumerate(part.options):
        if name not in OPTIONS:
            raise CourseError(
                path, part.line + 1 + index, f"an exercise has no option `{name}`; it has {', '.join(OPTIONS)}."
            )
    numbers = {}
    for name, (low, high) in OPTIONS.items():
        if name not in part.options:
            raise CourseError(path, part.line, f"`{part.argument}` has no `:{name}:`.")
        value = part.options[name]
        if not value.isdecimal() or not low <= int(value) <= high:
            line = part.line + 1 + list(part.options).index(name)
            raise CourseError(path, line, f"`{name}` is a whole number from {low} to {high}, not `{value}`.")
        numbers[name] = int(value)
    return numbers


def read_hint(part: Directive, path: Path) -> Hint:
    """A `hint` directive: a title and text."""
    check_plain(part, path)
    if not part.argument or not part.body.strip():
        raise CourseError(path, part.line, "a hint has a title behind `{hint}` and text below.")
    return Hint(part.argument, part.body.strip(), part.line)


def read_small_directive(part: Directive, path: Path) -> Given | Expected:
    """A `given` or `expected` directive."""
    check_plain(part, path)
    if part.name == "given":
        names = tuple(name.strip() for name in part.argument.split(","))
        if part.body.strip() or not all(name.isidentifier() for name in names):
            raise CourseError(path, part.line, "`given` has names behind it, with commas between, and nothing inside.")
        return Given(names, part.line)
    if part.name == "expected":
        if part.argument and not part.body.strip():
            raise CourseError(path, part.line, "`expected` with a title holds no text.")
        return Expected(part.argument, part.body, part.line)
    known = "`exercise`, `given` and `expected`, and `hint` inside an exercise"
    raise CourseError(path, part.line, f"there is no directive `{part.name}` here; there are {known}.")


def check_plain(part: Directive, path: Path) -> None:
    """Only exercises have options."""
    for name in part.options:
        raise CourseError(path, part.line + 1, f"`{part.name}` has no option `{name}`.")


def check_points(points: dict, cells: tuple[PageCell, ...], path: Path, text: str) -> None:
    """The front matter gives points to exactly the page's exercises, in their order."""
    names = [cell.name for cell in cells if isinstance(cell, Exercise)]
    for name, value in points.items():
        line = line_of(str(name), text)
        if name not in names:
            raise CourseError(path, line, f"`points` names `{name}`, which is no exercise of this page.")
        if type(value) is not int or value < 1:
            raise CourseError(path, line, f"the points of `{name}` are a whole number above 0, not `{value}`.")
    if list(points) != names:
        raise CourseError(
            path, line_of("points", text), "`points` must have the order of the page: " + ", ".join(names)
        )
