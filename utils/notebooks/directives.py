"""The colon fences of a page: `:::{name} argument`, options, text, and fences inside with fewer colons."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from utils.notebooks.errors import CourseError

OPENING = re.compile(r"(:{3,})\{([^}]*)\}\s*(.*?)\s*$")
COLONS = re.compile(r"(:{3,})\s*$")
BACKTICKS = re.compile(r"\s*(`{3,}|~{3,})(.*)$")
OPTION = re.compile(r":(\w+):\s*(.*?)\s*$")


@dataclass
class Text:
    """Markdown between directives."""

    lines: list[str]
    start: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()

    @property
    def line(self) -> int:
        """The number of the first line that is not empty."""
        return self.start + next((index for index, line in enumerate(self.lines) if line.strip()), 0)


@dataclass
class Directive:
    """One colon fence, with its first line's number."""

    name: str
    argument: str
    line: int
    lines: list[str]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> str:
        return "\n".join(self.lines).strip("\n")

    @property
    def body_line(self) -> int:
        return self.line + 1 + len(self.options)


def split(lines: list[str], line: int, path: Path) -> Iterator[Text | Directive]:
    """Markdown and directives in their order; `line` is the number of the first line. Raises CourseError."""
    text, index = Text([], line), 0
    while index < len(lines):
        opening = OPENING.match(lines[index])
        if opening:
            end = closing(lines, index, opening[1], line, path)
            yield text
            yield directive(opening, lines[index + 1 : end], line + index, path)
            index = end + 1
            text = Text([], line + index)
            continue
        if COLONS.match(lines[index]):
            raise CourseError(
                path, line + index, f"`{lines[index].strip()}` closes nothing: no directive is open here."
            )
        fence_end = end_of_code(lines, index, line, path)
        text.lines += lines[index : fence_end + 1]
        index = fence_end + 1
    yield text


def closing(lines: list[str], start: int, colons: str, line: int, path: Path) -> int:
    """The index of the line that closes the directive which opens at `start`."""
    index = start + 1
    while index < len(lines):
        if lines[index].rstrip() == colons:
            return index
        inner = OPENING.match(lines[index])
        if inner and len(inner[1]) >= len(colons):
            break
        index = end_of_code(lines, index, line, path) + 1
    sentence = f"this directive is not closed: `{colons}` is missing before the next one, or before a code cell."
    raise CourseError(path, line + start, sentence)


def end_of_code(lines: list[str], index: int, line: int, path: Path) -> int:
    """The last line of the code block which opens at `index`, or `index` itself where none does."""
    opening = BACKTICKS.match(lines[index])
    if not opening:
        return index
    if opening[2].strip().startswith("{"):
        raise CourseError(path, line + index, f"write directives in colons, as `:::{opening[2].strip()}`.")
    for end in range(index + 1, len(lines)):
        fence = BACKTICKS.match(lines[end])
        if fence and fence[1].startswith(opening[1]) and not fence[2].strip():
            return end
    raise CourseError(path, line + index, "this code block is not closed.")


def directive(opening: re.Match, lines: list[str], line: int, path: Path) -> Directive:
    """A directive with its option lines taken off."""
    options: dict[str, str] = {}
    while lines and (option := OPTION.match(lines[0])):
        if option[1] in options:
            raise CourseError(path, line + 1 + len(options), f"the option `{option[1]}` is given twice.")
        options[option[1]] = option[2]
        lines = lines[1:]
    return Directive(opening[2], opening[3], line, lines, options)
