"""The cohort as a table: one row a student, from the results of all their notebooks."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from utils.cohort.batch import GRADED, NO_NOTEBOOK, UNTOUCHED, Result
from utils.cohort.collect.submissions import Student
from utils.cohort.isolate.values import writable
from utils.cohort.judge.judge import (
    CONTESTED,
    CRASHED,
    ENDED_EARLY,
    FORBIDDEN,
    OUT_OF_MEMORY,
    TAMPERED,
    TIMED_OUT,
    TOO_MUCH,
    Verdict,
)
from utils.grading.chapters import Chapter

# What a person should look at first, and of it what no other remark tells: of the forbidden it is said what they tried.
BY_WEIGHT = (TAMPERED, CONTESTED, FORBIDDEN, ENDED_EARLY, CRASHED, OUT_OF_MEMORY, TOO_MUCH, TIMED_OUT)
STOPPED = {*BY_WEIGHT} - {FORBIDDEN}


@dataclass
class StudentRow:
    """One student.

    Attributes:
        counted: for each chapter's number the result that counts, with the path of its file.
        remarks: sentences for the instructor.
        late: for a chapter's number the share of its points that late work loses, and why.
        added: points by hand that are added to a chapter.
        by_hand: what was said by hand, in sentences for student and instructor.
        chapter_of: the chapter's number of every exercise.
    """

    student: Student
    counted: dict[int, tuple[str, Result]] = field(default_factory=dict)
    refused: list[tuple[str, Result]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    late: dict[int, tuple[float, str]] = field(default_factory=dict)
    added: dict[int, float] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)
    chapter_of: dict[str, int] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for _, result in self.counted.values() for verdict in result.exercises]

    @property
    def label(self) -> str:
        """The student's name, with the number that tells two of the same name apart."""
        return f"{self.student.name} ({self.student.number})" if self.student.number else self.student.name

    @property
    def copies(self) -> list[str]:
        """Exercises whose answer is the reference up to names."""
        return [verdict.name for verdict in self.verdicts if verdict.is_copy]

    @property
    def earned(self) -> float:
        return round(sum(self.points_of(number) for number in {*self.counted, *self.added}), 1)

    def is_graded(self, number: int) -> bool:
        """Whether there are points of this chapter."""
        return number in self.counted or number in self.added

    def points_of(self, number: int) -> float:
        """The points of a chapter, with what was added by hand and what late work loses; never below 0."""
        earned = self.counted[number][1].earned if number in self.counted else 0.0
        share, _ = self.late.get(number, (0.0, ""))
        return max(0.0, round(earned * (1 - share) + self.added.get(number, 0.0), 1))

    @property
    def changes(self) -> list[str]:
        """All that was changed by hand or by the rule for late work, in sentences."""
        late = [
            f"Chapter {number} is late: {share:.0%} taken off.{f' {why}' if why else ''}"
            for number, (share, why) in sorted(self.late.items())
            if share
        ]
        return [*self.by_hand, *late]

    @property
    def status(self) -> str:
        """`graded`, or the weightiest thing that happened."""
        happened = {verdict.status for verdict in self.verdicts}
        for status in BY_WEIGHT:
            if status in happened:
                return status
        results = [result for _, result in [*self.counted.values(), *self.refused]]
        if any(result.status == GRADED for result in results):
            return GRADED
        return next((r.status for r in results if r.status != UNTOUCHED), UNTOUCHED) if results else NO_NOTEBOOK


def rows_of(
    students: Sequence[Student], results: dict[str, Result], chapters: Sequence[Chapter] = ()
) -> list[StudentRow]:
    """A row for each student. Of several notebooks of one chapter the one with the most points counts."""
    rows, chapter_of = [], {name: chapter.number for chapter in chapters for name in chapter.points}
    for student in students:
        row = StudentRow(student, chapter_of=chapter_of)
        for file in student.files:
            result = results[file.path]
            if result.chapter is None:
                row.refused.append((writable(file.path), result))
                continue
            before = row.counted.get(result.chapter)
            if before is None or result.earned > before[1].earned:
                row.counted[result.chapter] = writable(file.path), result
        row.counted = dict(sorted(row.counted.items()))
        row.remarks = list(_remarks(student, row, results))
        rows.append(row)
    return rows


def _remarks(student: Student, row: StudentRow, results: dict[str, Result]):
    for number, (path, _) in row.counted.items():
        n = sum(results[file.path].chapter == number for file in student.files)
        if n > 1:
            yield f"{n} notebooks of chapter {number}: {path} has the most points and counts."
    for path, result in row.refused:
        yield f"{path}: {result.status}."
    yield from student.remarks
    if not student.files and not student.remarks:
        yield f"No notebook among {', '.join(sorted(student.others)[:5])}." if student.others else "No file."
    if student.late:
        yield f"Late, says Canvas: {', '.join(student.late[:5])}."
    for verdict in row.verdicts:
        if verdict.status in STOPPED:
            yield f"{verdict.name}: {verdict.status}."
        for reason in verdict.noticed:
            yield f"{verdict.name} {reason}."
        yield from (f"{verdict.name}: {remark}" for remark in verdict.remarks if remark.startswith("The answer names "))


def as_csv(rows: Sequence[StudentRow], chapters: Sequence[Chapter]) -> str:
    """`grades.csv`: UTF-8 with a mark, so that spreadsheets see it; nothing in it is taken for a formula."""
    names = [name for chapter in chapters for name in chapter.points]
    points = sum(sum(chapter.points.values()) for chapter in chapters)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["student", "number", "status", "total", "of", "percent", *names, "remarks"])
    for row in rows:
        alike = [f"Same as the reference up to names: {', '.join(row.copies)}."] if row.copies else []
        earned = {verdict.name: f"{verdict.earned:g}" for verdict in row.verdicts}
        percent = f"{100 * row.earned / points:.1f}" if points else ""
        cells = [row.student.name, row.student.number, row.status, f"{row.earned:g}", points, percent]
        remarks = " ".join([*row.remarks, *row.changes, *alike])
        writer.writerow([harmless(cell) for cell in [*cells, *(earned.get(n, "") for n in names), remarks]])
    return "\ufeff" + text.getvalue()


def harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


@dataclass(frozen=True)
class Misconception:
    """A planted mistake, or a group of failures that give the same values."""

    exercise: str
    title: str
    students: tuple[str, ...]


def misconceptions(rows: Sequence[StudentRow]) -> list[Misconception]:
    """Planted mistakes by how many students made them."""
    return _grouped(rows, lambda verdict: verdict.sentence.removeprefix("Perhaps: "))


def unexplained(rows: Sequence[StudentRow]) -> list[Misconception]:
    """Failures that no planted mistake explains, grouped by what they gave; each with its first failing test."""
    titles = {}
    for row in rows:
        for verdict in row.verdicts:
            failing = [test for test in verdict.tests if not test["passed"]]
            if verdict.signature and failing:
                titles.setdefault(
                    (verdict.name, verdict.signature), f"{failing[0]['sentence']} {failing[0]['failure']}".strip()
                )
    groups = _grouped(rows, lambda verdict: verdict.signature)
    return [Misconception(group.exercise, titles[group.exercise, group.title], group.students) for group in groups]


def _grouped(rows: Sequence[StudentRow], key) -> list[Misconception]:
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for verdict in row.verdicts:
            if key(verdict):
                found.setdefault((verdict.name, key(verdict)), []).append(row.label)
    groups = [Misconception(exercise, title, tuple(names)) for (exercise, title), names in found.items()]
    return sorted(groups, key=lambda group: (-len(group.students), group.exercise, group.title))


def pass_rates(rows: Sequence[StudentRow], chapter: Chapter) -> list[tuple[str, int, int, int]]:
    """For each exercise: its name, how many passed all tests, how many began it, how many handed the chapter in."""
    rates = []
    for name in chapter.points:
        verdicts = [verdict for row in rows for verdict in row.verdicts if verdict.name == name]
        passed = sum(verdict.earned == verdict.points for verdict in verdicts)
        rates.append((name, passed, sum(verdict.status != "not started" for verdict in verdicts), len(verdicts)))
    return rates


def in_number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def statuses(rows: Sequence[StudentRow]) -> list[tuple[str, int]]:
    """How many students have which status."""
    return sorted(Counter(row.status for row in rows).items(), key=lambda pair: (-pair[1], pair[0]))
