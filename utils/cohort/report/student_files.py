"""What is written for each student: a report in Markdown, and the results in Gradescope's form."""

import json
import re
from collections import Counter
from collections.abc import Sequence

from utils.cohort.judge.judge import Verdict
from utils.cohort.report.table import StudentRow
from utils.grading.chapters import Chapter
from utils.grading.results import DONE, NOT_STARTED
from utils.grading.show.tables import in_points

HIDDEN = "A hidden test"
LONGEST = 600
LONGEST_NAME = 180  # bytes; most systems allow 255


def as_markdown(row: StudentRow, chapters: Sequence[Chapter]) -> str:
    """What passed, and in a sentence why the rest did not. Of hidden tests, only whether they passed."""
    titles = {chapter.number: chapter for chapter in chapters}
    lines = [f"# {plain(row.student.name)}", ""]
    if row.changes:
        lines += [*(f"- {plain(change)}" for change in row.changes), "", f"With this: {row.earned:g} points.", ""]
    for number, (path, result) in row.counted.items():
        chapter = titles[number]
        total = sum(chapter.points.values())
        lines += [f"## Chapter {number}: {chapter.title}", "", f"{plain(path)}: {in_points(result.earned, total)}.", ""]
        for verdict in result.exercises:
            lines += [*_exercise(verdict), ""]
        if not result.exercises:
            lines += [plain(result.problem), ""]
    for path, result in row.refused:
        lines += [f"## {plain(path)}", "", f"Not graded ({result.status}). {plain(result.problem)}", ""]
    if not row.counted and not row.refused:
        lines += ["No notebook (a file that ends in .ipynb) was handed in.", ""]
    return "\n".join(lines)


def _exercise(verdict: Verdict) -> list[str]:
    mark = {DONE: "✓", NOT_STARTED: "·"}.get(verdict.status, "✗")
    lines = [f"### {mark} {verdict.name}: {verdict.status}, {in_points(verdict.earned, verdict.points)}", ""]
    lines += [f"{plain(verdict.problem)}\n"] if verdict.problem else []
    lines += [f"{verdict.sentence}\n"] if verdict.sentence not in ("", verdict.problem) else []
    for test in verdict.tests:
        lines.append(f"- {'✓' if test['passed'] else '✗'} {title_of(test)}")
        failure = test["failure"]
        if failure and not verdict.sentence and failure != verdict.problem:
            lines += [f"  - {plain(part)}" for part in failure.splitlines() if part.strip()]
    lines += [f"- Note: {plain(remark)}" for remark in verdict.remarks]
    lines += [f"- Note: your code {plain(reason)}; answers are graded without." for reason in verdict.noticed]
    return lines


def title_of(test: dict) -> str:
    """What a test says about an answer, in the course's own Markdown; of a hidden one, nothing."""
    return HIDDEN if test["hidden"] else test["sentence"]


def plain(text: str) -> str:
    """Text of students in Markdown: no HTML, no links, no pictures, on one line."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST]
    return re.sub(r"([\\`*\[\]<>|#!])", r"\\\1", text)


def as_gradescope(row: StudentRow, chapters: Sequence[Chapter]) -> dict:
    """Gradescope's results.json: a test for each exercise, hidden tests by their outcome alone."""
    verdicts = {verdict.name: verdict for verdict in row.verdicts}
    tests = []
    for chapter in chapters:
        for name, points in chapter.points.items():
            verdict = verdicts.get(name)
            tests.append(
                {
                    "name": f"Chapter {chapter.number}: {name}",
                    "score": verdict.earned if verdict else 0.0,
                    "max_score": points,
                    "status": "passed" if verdict and verdict.earned == points else "failed",
                    "output": "\n".join(_exercise(verdict)) if verdict else "No answer was found.",
                    "output_format": "md",
                    "visibility": "visible",
                }
            )
    output = as_markdown(row, chapters) if not row.counted else f"{row.earned:g} points."
    return {"score": row.earned, "output": output, "output_format": "md", "visibility": "visible", "tests": tests}


def as_classroom(result: dict) -> list[str]:
    """The points in the same result, as two lines that GitHub Actions makes notices of. Classroom read the second."""
    earned, points = result["score"], sum(test["max_score"] for test in result["tests"])
    report = json.dumps({"totalPoints": earned, "maxPoints": points})
    return [
        f"::notice title=Autograding complete::Points {earned:g}/{points:g}",
        f"::notice title=Autograding report::{report}",
    ]


def file_names(rows: Sequence[StudentRow]) -> list[str]:
    """A file name for each row, without ending: safe everywhere, and no two the same."""
    bases = [_as_file_name(f"{row.student.name} {row.student.number}") for row in rows]
    alone = Counter(map(str.casefold, bases))
    taken = {base.casefold() for base in bases}
    names = []
    for base in bases:
        name, number = base, 2
        while alone[base.casefold()] > 1 and name.casefold() in taken:
            name, number = f"{base} ({number})", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _as_file_name(text: str) -> str:
    """Of so many bytes that an ending still fits."""
    safe = re.sub(r"[^\w .-]", "_", text).strip(". ")
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore").strip(". ") or "student"
