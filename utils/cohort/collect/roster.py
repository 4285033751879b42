"""Who is in the class: a list, beside which it is seen who handed nothing in, and who is in which group."""

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from utils.cohort.collect.submissions import NoSubmissions, Student

NAMES, NUMBERS, GROUPS = (
    ("student", "name", "full name"),
    ("id", "number", "identifier", "id number"),
    ("group", "groups"),
)
NOBODY = ("points possible", "manual posting", "student, test")  # rows of Canvas that are no students


@dataclass(frozen=True)
class Enrolled:
    """One row of a roster. `number` is the platform's own, by which its downloads name files; `cells` is the row as it was read."""

    name: str
    number: str = ""
    group: str = ""
    cells: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Roster:
    """A class. `columns` are those of the file."""

    columns: list[str]
    students: list[Enrolled]

    @property
    def is_of_canvas(self) -> bool:
        """Whether it is Canvas's gradebook, as its export gives it."""
        return {"Student", "ID", "Section"} <= {*self.columns}

    @property
    def is_of_moodle(self) -> bool:
        """Whether it is Moodle's grading worksheet."""
        return {"Identifier", "Grade"} <= {*self.columns}


def read_roster(path: Path) -> Roster:
    """A class from a CSV file: a gradebook of Canvas, a grading worksheet of Moodle, or one of your own.

    A column `name` (or `student`, `full name`, or `first name` and `last name`) is needed; `number` (or `id`, `identifier`) and
    `group` help. Commas, semicolons and tabulators separate.

    Raises:
        NoSubmissions: there is no such file, or it is no such list; the text says what is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoSubmissions(f"The roster {path} cannot be read: {error}.") from None
    first = text.partition("\n")[0]
    rows = list(csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count)))
    columns = [column for column in (rows[0] if rows else {}) if column]
    by_name = {column.strip().lower(): column for column in columns}
    named = next((by_name[name] for name in NAMES if name in by_name), None)
    parts = [by_name[name] for name in ("first name", "last name", "surname") if name in by_name]
    if named is None and not parts:
        raise NoSubmissions(f"The roster {path} has no column `name`; its columns are {', '.join(columns) or 'none'}.")
    number, group = (next((by_name[name] for name in some if name in by_name), "") for some in (NUMBERS, GROUPS))
    students = []
    for row in rows:
        cells = {column: (row.get(column) or "").strip() for column in columns}
        name = cells[named] if named else " ".join(cells[part] for part in parts)
        name = unicodedata.normalize("NFC", name).strip()
        if name and name.lower() not in NOBODY:
            digits = re.sub(r"^Participant\s+", "", cells.get(number, ""))
            students.append(Enrolled(name, digits, cells.get(group, ""), cells))
    if not students:
        raise NoSubmissions(f"The roster {path} names no students.")
    return Roster(columns, students)


def squashed(name: str) -> str:
    """A name as Canvas writes it into the names of files: letters, their marks and digits alone, in small letters."""
    text = unicodedata.normalize("NFC", name).casefold()
    return "".join(c for c in text if unicodedata.category(c)[0] in "LMN")


def spellings(name: str) -> set[str]:
    """Squashed, with the first name in front and behind: "Ada Lovelace" and "Lovelace, Ada" are one."""
    last, comma, first = name.partition(",")
    words = name.split()
    turned = first + last if comma else " ".join([words[-1], *words[:-1]]) if words else ""
    return {squashed(name), squashed(turned)}


def beside(students: Sequence[Student], roster: Roster) -> list[Student]:
    """Everyone of the roster with what they or their group handed in, in its order; then who is not in it.

    They are matched by number, by the group's name, and by a name that only one of the roster has.
    """
    numbers = {student.number: student for student in students if student.number}
    names: dict[str, list[Student]] = defaultdict(list)
    for student in students:
        for spelling in spellings(student.name):
            names[spelling].append(student)
    namesakes: dict[str, int] = defaultdict(int)
    for enrolled in roster.students:
        for spelling in spellings(enrolled.name):
            namesakes[spelling] += 1
    found, taken = [], set()
    for enrolled in roster.students:
        of_group = names.get(squashed(enrolled.group), []) if enrolled.group else []
        of_name = [
            s for spelling in spellings(enrolled.name) if namesakes[spelling] == 1 for s in names.get(spelling, [])
        ]
        alone = numbers.get(enrolled.number) or (of_name[0] if len({id(s) for s in of_name}) == 1 else None)
        own = alone or (of_group[0] if of_group else None)
        if own is None:
            found.append(Student(enrolled.name, enrolled.number, remarks=["Handed nothing in."]))
            continue
        taken.add(id(own))
        with_group = [f"Handed in by the group {own.name}."] if own is not alone else []
        found.append(
            replace(own, name=enrolled.name, number=enrolled.number or own.number, remarks=[*own.remarks, *with_group])
        )
    others = [student for student in students if id(student) not in taken]
    return found + [replace(student, remarks=[*student.remarks, "Not in the roster."]) for student in others]
