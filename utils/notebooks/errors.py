"""What is said when a page, a solution or a setting cannot be used."""

from collections.abc import Sequence
from pathlib import Path


class CourseError(ValueError):
    """Something an author has to change: says the file, the line, and what to do."""

    def __init__(self, path: Path, line: int, sentence: str) -> None:
        super().__init__(f"{shown(path)}:{line}: {sentence}")


class CourseErrors(CourseError):
    """Several of them, one a line."""

    def __init__(self, errors: Sequence[CourseError]) -> None:
        ValueError.__init__(self, "\n".join(str(error) for error in errors))


def shown(path: Path) -> Path:
    """The path as seen from the current folder, if it lies below."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return path
