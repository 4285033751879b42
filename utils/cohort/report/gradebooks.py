"""The grades as files that learning platforms import: Canvas's gradebook and Moodle's grading worksheet."""

import csv
import io
import re
from collections.abc import Sequence

from utils.cohort.collect.roster import Roster
from utils.cohort.collect.submissions import CANVAS_SAYS, MOODLE_SAYS
from utils.cohort.report.table import StudentRow, harmless
from utils.grading.chapters import Chapter

OF_CANVAS = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
OF_MOODLE = ["Identifier", "Full name", "Grade", "Maximum grade", "Feedback comments"]


def gradebooks(rows: Sequence[StudentRow], chapters: Sequence[Chapter], roster: Roster | None) -> dict[str, str]:
    """Name of a file -> what it holds, for the platforms that the files or the roster come from."""
    platforms = {row.student.platform for row in rows}
    files = {}
    if CANVAS_SAYS in platforms or (roster and roster.is_of_canvas):
        files["canvas.csv"] = as_canvas(rows, chapters, roster)
    if MOODLE_SAYS in platforms or (roster and roster.is_of_moodle):
        files["moodle.csv"] = as_moodle(rows, chapters, roster)
    return files


def as_canvas(rows: Sequence[StudentRow], chapters: Sequence[Chapter], roster: Roster | None = None) -> str:
    """For Canvas's import: students by their ID, a column for each chapter.

    A column of the roster that names the chapter keeps its title, in which Canvas has the assignment's number.
    """
    own = roster.columns if roster and roster.is_of_canvas else []
    titles = {}
    for chapter in chapters:
        named = re.compile(rf"chapter\s*{chapter.number}(?!\d)", re.IGNORECASE)
        titles[chapter.number] = next((column for column in own if named.search(column)), f"Chapter {chapter.number}")
    heads = [column for column in OF_CANVAS if not own or column in own]
    points = [f"{sum(chapter.points.values()):g}" for chapter in chapters]
    lines = [["    Points Possible", *[""] * (len(heads) - 1), *points]]
    known = _cells(roster)
    for row in rows:
        cells = known.get((row.student.name, row.student.number), {})
        cells = {"Student": row.student.name, "ID": row.student.number} | {k: v for k, v in cells.items() if k in heads}
        earned = [f"{row.points_of(number):g}" if row.is_graded(number) else "" for number in titles]
        lines.append([*(cells.get(head, "") for head in heads), *earned])
    return _written([*heads, *titles.values()], lines)


def as_moodle(rows: Sequence[StudentRow], chapters: Sequence[Chapter], roster: Roster | None = None) -> str:
    """For Moodle's "Upload grading worksheet": students by their participant's number, the total, and what was said by hand."""
    own = roster.columns if roster and roster.is_of_moodle else []
    heads, known = own or OF_MOODLE, _cells(roster)
    most = sum(sum(chapter.points.values()) for chapter in chapters)
    lines = []
    for row in rows:
        cells = {"Identifier": f"Participant {row.student.number}", "Full name": row.student.name}
        cells |= {"Maximum grade": f"{most:g}"} | known.get((row.student.name, row.student.number), {})
        cells |= {
            "Grade": f"{row.earned:g}" if row.counted or row.added else "",
            "Feedback comments": " ".join(row.by_hand),
        }
        lines.append([cells.get(head, "") for head in heads])
    return _written(heads, lines)


def _cells(roster: Roster | None) -> dict[tuple[str, str], dict[str, str]]:
    return {(one.name, one.number): one.cells for one in (roster.students if roster else ())}


def _written(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([harmless(cell) for cell in line] for line in lines)
    return text.getvalue()
