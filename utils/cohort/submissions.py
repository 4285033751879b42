"""Which notebooks there are, and whose they are: in a folder, a zip, or the download of a learning platform."""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from utils.cohort.values import writable

MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(file|onlinetext)_?.*")
CANVAS = re.compile(r"(?P<name>[^\W\d_]+?)(_LATE)?_(?P<id>\d+)_\d+_.*")
LARGEST = 300 << 20
SKIPPED = {"__MACOSX", ".ipynb_checkpoints"}


class NoSubmissions(ValueError):
    """There is nothing to grade; the text says why."""


@dataclass(frozen=True)
class File:
    """One notebook file. `path` is where it lies in the folder or zip; `size` in bytes."""

    path: str
    size: int
    _place: Path
    _is_in_zip: bool

    def read(self) -> bytes:
        """What it holds. Raises OSError, or BadZipFile for a damaged zip."""
        if not self._is_in_zip:
            return self._place.read_bytes()
        with zipfile.ZipFile(self._place) as file:
            return file.read(self.path)


@dataclass
class Student:
    """One student and the notebooks that came from there."""

    name: str
    number: str = ""
    files: list[File] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_students(place: Path) -> list[Student]:
    """Everyone who has handed something in, by name. Raises NoSubmissions.

    A file at the top belongs to the student it is named after, all files of a folder to the student the folder is named after.
    """
    if not place.exists():
        raise NoSubmissions(f"There is no {place}.")
    students: dict[tuple[str, str], Student] = {}
    for file in sorted(_files(place), key=lambda file: file.path):
        parts = PurePosixPath(file.path).parts
        if any(part in SKIPPED or part.startswith(".") for part in parts):
            continue
        name, number = whose(writable(parts[0] if len(parts) > 1 else PurePosixPath(parts[0]).stem))
        student = students.setdefault((name, number), Student(name, number))
        if file.path.lower().endswith(".ipynb"):
            student.files.append(file)
        else:
            student.others.append(writable(file.path))
    # a file at the top that is no notebook, a list of names say, hands nothing in
    found = [student for student in students.values() if student.files or "/" in student.others[0]]
    if not found:
        raise NoSubmissions(f"{place} has no notebooks (.ipynb).")
    return sorted(found, key=lambda student: (student.name, student.number))


def whose(name: str) -> tuple[str, str]:
    """A student's name and number from the name of a folder or file."""
    found = MOODLE.fullmatch(name) or CANVAS.fullmatch(name)
    return (found["name"].strip(), found["id"]) if found else (name, "")


def _files(place: Path) -> Iterator[File]:
    if place.is_dir():
        for path in place.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield File(path.relative_to(place).as_posix(), path.stat().st_size, path, False)
        return
    try:
        with zipfile.ZipFile(place) as file:
            entries = [entry for entry in file.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError):
        raise NoSubmissions(f"{place} is neither a folder nor a zip file.") from None
    for entry in entries:
        yield File(entry.filename, entry.file_size, place, True)
