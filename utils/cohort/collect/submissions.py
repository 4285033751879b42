"""Which notebooks there are, and whose they are: in a folder, a zip, or the download of a learning platform."""

import re
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from utils.cohort.isolate.values import writable
from utils.notebooks.place import course_folder

MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(file|onlinetext)_?.*")
# of a name Canvas keeps letters, their marks and digits: a group's has digits as a rule
CANVAS = re.compile(r"(?P<name>[^_]+?)(?P<late>_LATE)?_(?P<id>\d+)_(\d+_.*|text|link)")
ANONYMOUS = re.compile(r"(?P<late>LATE_)?(?P<name>anon)_(?P<id>[^\W_]+)_(\d+_.*|text|link)")  # of Canvas too
BLACKBOARD = re.compile(r"(?P<task>.*_)?(?P<name>[^_]+)_attempt_(?P<attempt>\d{4}(-\d\d){5})(_.*)?", re.DOTALL)
CANVAS_SAYS, MOODLE_SAYS, BLACKBOARD_SAYS = "Canvas", "Moodle", "Blackboard"
FORMS = [(MOODLE_SAYS, MOODLE), (BLACKBOARD_SAYS, BLACKBOARD), (CANVAS_SAYS, CANVAS), (CANVAS_SAYS, ANONYMOUS)]
# as the course names it, or a browser that saves it twice: it says no name of a student
COURSE_NAME = re.compile(r"(copy of )?chapter[ _-]?\d+(?P<rest>.*?)([ _-]?\(?\d+\)?|[ _-]copy)?", re.IGNORECASE)
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
    _entry: int | None = None  # of a zip: which one, since names may repeat

    def read(self) -> bytes:
        """What it holds. Raises OSError, or BadZipFile for a damaged zip."""
        if self._entry is None:
            return self._place.read_bytes()
        with zipfile.ZipFile(self._place) as file:
            return file.read(file.infolist()[self._entry])


class Owner(NamedTuple):
    """What the name of a file says about who handed it in."""

    name: str
    number: str = ""
    is_late: bool = False
    task: str = ""
    attempt: str = ""
    platform: str = ""


@dataclass
class Student:
    """One student and the notebooks that came from there."""

    name: str
    number: str = ""
    files: list[File] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    platform: str = ""


def find_students(place: Path) -> list[Student]:
    """Everyone who has handed something in, or has a folder, by name. Raises NoSubmissions.

    A file at the top belongs to the student it is named after, all files of a folder to the student the folder is named after.
    Where all lies in one folder, the top is that folder: in a zip, and where it holds nothing but folders. A file that is named as the
    course names it says no name: then it is that of the folder or the zip. A name is the same however its accents are stored. Of
    several attempts on Blackboard the last one counts. `late` are the files that Canvas marks so.
    """
    if not place.exists():
        raise NoSubmissions(f"There is no {place}.")
    files, folders = contents(place)
    students: dict[tuple[str, str], Student] = {}
    attempts: dict[tuple[str, str], list[tuple[Owner, File]]] = defaultdict(list)

    def student(text: str) -> Student:
        owner = whose(writable(text))
        new = Student(owner.name, owner.number, platform=owner.platform)
        return students.setdefault((owner.name, owner.number), new)

    for folder in folders:
        student(folder)
    for path, file in files:
        if is_stray(path):
            continue
        top = path.parts[0] if len(path.parts) > 1 else path.stem
        if len(path.parts) == 1 and is_course_name(path.stem) and is_notebook(path):
            found = student(place.resolve().name if place.is_dir() else place.stem)
            found.remarks = [f"Named after {writable(place.name)}: the files say no name."]
        else:
            found = student(top)
        attempts[found.name, found.number].append((whose(top), file))
        found.files += [file] if is_notebook(path) else []
        found.others += [] if is_notebook(path) else [writable(file.path)]
        found.late += [writable(file.path)] if whose(top).is_late else []
    if not students:
        raise NoSubmissions(f"{place} has no notebooks (.ipynb).")
    for key, found in students.items():
        keep_last_attempts(found, attempts[key])
    return sorted(students.values(), key=lambda student: (student.name, student.number))


def keep_last_attempts(student: Student, handed_in: list[tuple[Owner, File]]) -> None:
    """Of several attempts at one task leave the last one, and say so. Files that are of no attempt stay."""
    last: dict[str, str] = {}
    for owner, _ in handed_in:
        last[owner.task] = max(owner.attempt, last.get(owner.task, ""))
    earlier = {id(file) for owner, file in handed_in if owner.attempt != last[owner.task]}
    if earlier:
        n = len({(owner.task, owner.attempt) for owner, _ in handed_in if owner.attempt})
        student.remarks.append(f"{n} attempts: the last one counts ({', '.join(sorted(filter(None, last.values())))}).")
        student.files = [file for file in student.files if id(file) not in earlier]


def whose(name: str) -> Owner:
    """Who is named by a folder or file, as Moodle, Canvas or Blackboard writes it; otherwise its name is the student's."""
    name = unicodedata.normalize("NFC", name)  # macOS stores an accent apart from its letter, other systems do not
    for platform, form in FORMS:
        if found := form.fullmatch(name):
            parts = found.groupdict()
            task, attempt = parts.get("task") or "", parts.get("attempt") or ""
            number = parts.get("id") or ""
            return Owner(parts["name"].strip(), number, bool(parts.get("late")), task, attempt, platform)
    return Owner(name)


def is_course_name(stem: str) -> bool:
    """Whether a notebook is named as the course names it, so that the name is no student's."""
    found = COURSE_NAME.fullmatch(unicodedata.normalize("NFC", stem))
    return found is not None and found["rest"].lower() in ("", *_slugs())


def _slugs() -> list[str]:
    """What stands behind the number in the names of the course's notebooks, such as `_transcoders`."""
    return ["_" + path.stem.partition("_")[2] for path in (course_folder() / "instructions").glob("chapter*_*.md")]


def contents(place: Path) -> tuple[list[tuple[PurePosixPath, File]], list[str]]:
    """All files with their paths as seen from the top, in order, and the names of the folders there. Raises NoSubmissions."""
    entries = sorted((pair for pair in _entries(place) if is_seen(pair[0])), key=lambda pair: str(pair[0]))
    tops = {path.parts[0] for path, _ in entries}
    if len(tops) == 1 and not whose(min(tops)).number and not whose(min(tops)).attempt:
        inner = [(path.relative_to(min(tops)), file) for path, file in entries if len(path.parts) > 1]
        is_wrapper = all(file is None or len(path.parts) > 1 for path, file in inner)
        notebooks = [path.stem for path, file in inner if file and len(path.parts) == 1 and is_notebook(path)]
        is_students_own = bool(notebooks) and all(map(is_course_name, notebooks))
        entries = inner if inner and (is_wrapper or not (place.is_dir() or is_students_own)) else entries
    folders = {path.parts[0] for path, file in entries if file is None or len(path.parts) > 1}
    return [(path, file) for path, file in entries if file is not None], sorted(folders)


def is_stray(path: PurePosixPath) -> bool:
    """Whether a file hands nothing in: it is no notebook, and nothing says whose it is. A list of names, say."""
    owner = whose(path.stem)
    return len(path.parts) == 1 and not is_notebook(path) and not owner.number and not owner.attempt


def strays(place: Path) -> list[str]:
    """The files that are nobody's, and notebooks with names that hide them or lead out of the folder."""
    odd = [writable(str(path)) for path, _ in _entries(place) if is_notebook(path) and is_odd(path)]
    return odd + [writable(file.path) for path, file in contents(place)[0] if is_stray(path)]


def is_notebook(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".ipynb"


def is_odd(path: PurePosixPath) -> bool:
    """Whether it is not seen, and no tool has left it behind."""
    return not is_seen(path) and not SKIPPED & {*path.parts} and not path.name.startswith("._")


def is_seen(path: PurePosixPath) -> bool:
    """Whether it is none of what systems and tools leave behind."""
    return not any(part in SKIPPED or part.startswith(".") for part in path.parts)


def _entries(place: Path) -> Iterator[tuple[PurePosixPath, File | None]]:
    """All files and folders; of folders only the path."""
    if place.is_dir():
        yield from _in_folder(place)
        return
    try:
        with zipfile.ZipFile(place) as file:
            entries = file.infolist()
    except (zipfile.BadZipFile, OSError):
        raise NoSubmissions(f"{place} is neither a folder nor a zip file.") from None
    times: Counter[str] = Counter()
    for number, entry in enumerate(entries):
        path = PurePosixPath(entry.filename)
        times[entry.filename] += 1
        again = f" ({times[entry.filename]})" if times[entry.filename] > 1 else ""
        if path.parts:
            yield path, None if entry.is_dir() else File(entry.filename + again, entry.file_size, place, number)


def _in_folder(place: Path) -> Iterator[tuple[PurePosixPath, File | None]]:
    """All in a folder, however deep: folders are kept in a list, as calls in each other have an end."""
    waiting = [place]
    while waiting:
        try:
            paths = sorted(waiting.pop().iterdir())
        except OSError:  # closed, or its path is longer than the system takes
            continue
        for path in paths:
            inner = PurePosixPath(path.relative_to(place).as_posix())
            if path.is_symlink():
                continue
            if path.is_dir():
                waiting.append(path)
                yield inner, None
            elif path.is_file():
                yield inner, File(str(inner), path.stat().st_size, path)
