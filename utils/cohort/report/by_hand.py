"""Points and comments by hand, and a rule for late work: `by_hand.csv` beside the grades. Grading reads it and never changes it."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.cohort.collect.submissions import NoSubmissions
from utils.cohort.report.table import StudentRow
from utils.grading.chapters import Chapter
from utils.notebooks.build import write

COLUMNS = ["student", "number", "exercise", "points", "comment"]
EVERYONE, LATE = "*", "late"


@dataclass(frozen=True)
class Entry:
    """One line: `points` of an exercise or added to a chapter, or the share that `late` work loses; None leaves all as it is."""

    student: str
    number: str
    what: str
    points: float | None
    comment: str
    line: int


def read_by_hand(path: Path, chapters: Sequence[Chapter]) -> list[Entry]:
    """What stands in the file; an empty one with its headings is made if there is none.

    `exercise` is the name of an exercise, whose points are replaced; `chapter3`, to which points are added; or `late`, with a
    percentage in `points`: for the student `*` it holds for all files that are marked as late, for a named one for all their work.

    Raises:
        NoSubmissions: a line cannot be understood; the text says which.
    """
    if not path.exists():
        write(path, ",".join(COLUMNS) + "\n")
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoSubmissions(f"{path} cannot be read: {error}.") from None
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=text.partition("\n")[0].count))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise NoSubmissions(f"{path} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    entries = []
    for row in reader:
        cells = {column: (row[column] or "").strip() for column in COLUMNS}
        if any(cells.values()):
            entries.append(_entry(path, reader.line_num, cells, chapters))
    return entries


def _entry(path: Path, line: int, cells: dict[str, str], chapters: Sequence[Chapter]) -> Entry:
    what, student = cells["exercise"], unicodedata.normalize("NFC", cells["student"])
    known = {name for chapter in chapters for name in chapter.points} | {f"chapter{c.number}" for c in chapters}
    if not student or (student == EVERYONE and what != LATE):
        raise NoSubmissions(f"{path}, line {line}: name a student; only `late` is for everyone (*).")
    if what != LATE and what not in known:
        raise NoSubmissions(f"{path}, line {line}: there is no exercise {what!r}; write its name, chapter3, or late.")
    number = cells["points"].removesuffix("%").strip().replace(",", ".")
    try:
        points = float(number) if number else None
    except ValueError:
        raise NoSubmissions(f"{path}, line {line}: {cells['points']!r} is no number.") from None
    if what == LATE:
        if points is None or not cells["points"].endswith("%") or not 0 <= abs(points) <= 100:
            raise NoSubmissions(f"{path}, line {line}: give what late work loses as a percentage, such as 10%.")
        points = abs(points) / 100
    elif points is not None and (cells["points"].endswith("%") or abs(points) == float("inf") or points != points):
        raise NoSubmissions(f"{path}, line {line}: give points as a number, not {cells['points']!r}.")
    return Entry(student, cells["number"], what, points, cells["comment"], line)


def apply(entries: Sequence[Entry], rows: Sequence[StudentRow], path: Path) -> None:
    """Change points, and say so in the remarks and reports. Raises NoSubmissions for a student that there is not, or not only one."""
    for entry in sorted(
        entries, key=lambda entry: entry.student != EVERYONE
    ):  # what is said of one student counts more
        for row in _rows_of(entry, rows, path):
            if entry.what == LATE:
                _late(entry, row)
            else:
                _points(entry, row)


def _rows_of(entry: Entry, rows: Sequence[StudentRow], path: Path) -> list[StudentRow]:
    if entry.student == EVERYONE:
        return list(rows)
    found = [row for row in rows if row.student.name == entry.student and entry.number in ("", row.student.number)]
    if len(found) != 1:
        several = "there are several students" if found else "there is no student"
        number = " with this number" if entry.number else "; give the number" if found else ""
        raise NoSubmissions(f"{path}, line {entry.line}: {several} {entry.student!r}{number}.")
    return found


def _late(entry: Entry, row: StudentRow) -> None:
    numbers = [n for n, (file, _) in row.counted.items() if entry.student != EVERYONE or file in row.student.late]
    row.late |= dict.fromkeys(numbers, (entry.points, entry.comment))


def _points(entry: Entry, row: StudentRow) -> None:
    comment = f" {entry.comment}" if entry.comment else ""
    if entry.what.startswith("chapter"):
        number = int(entry.what.removeprefix("chapter"))
        if entry.points is not None:
            row.added[number] = row.added.get(number, 0.0) + entry.points
        added = "" if entry.points is None else f" {entry.points:+g} points."
        row.by_hand.append(f"Chapter {number}, by hand:{added}{comment}")
        return
    for number, (file, result) in row.counted.items():
        for place, verdict in enumerate(result.exercises):
            if verdict.name == entry.what:
                given = ""
                if entry.points is not None:
                    given = f" {entry.points:g} points in place of {verdict.earned:g}."
                    exercises = list(result.exercises)
                    exercises[place] = replace(verdict, earned=entry.points)
                    row.counted[number] = file, replace(result, exercises=exercises)
                row.by_hand.append(f"{entry.what}, by hand:{given}{comment}")
                return
    if entry.points:  # nothing was handed in for it
        number = row.chapter_of[entry.what]
        row.added[number] = row.added.get(number, 0.0) + entry.points
        row.by_hand.append(f"{entry.what}, by hand: {entry.points:g} points.{comment}")
    elif comment:
        row.by_hand.append(f"{entry.what}, by hand:{comment}")
