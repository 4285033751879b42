"""What a student has done so far: `.progress.jsonl` in the course's folder, one line a check, which git ignores.

Lines are only ever added, so that two notebooks can write at the same time; a damaged line is passed over.
"""

import json
from pathlib import Path

from utils.grading.results import DONE, FAILING, NOT_STARTED, ExerciseResult

NAME = ".progress.jsonl"
STATUSES = (DONE, FAILING, NOT_STARTED)


def record(root: Path, chapter: int, result: ExerciseResult) -> None:
    """Add the result of a check. Raises OSError."""
    entry = {
        "chapter": chapter,
        "exercise": result.name,
        "status": result.status,
        "passed": result.passed,
        "tests": len(result.tests),
        "mistake": result.mistake,
    }
    # the line break in front ends a line that another program left unfinished
    with (root / NAME).open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(entry)}\n")


def latest(root: Path, chapter: int) -> dict[str, dict]:
    """The latest entry of each exercise of a chapter."""
    try:
        text = (root / NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    entries = [entry for entry in map(_entry, text.splitlines()) if entry and entry["chapter"] == chapter]
    return {entry["exercise"]: entry for entry in entries}


def _entry(line: str) -> dict | None:
    """What a line says, or None if it is not a line of ours."""
    try:
        entry = json.loads(line)
        is_ours = (
            entry["status"] in STATUSES
            and isinstance(entry["exercise"], str)
            and type(entry["chapter"]) is type(entry["passed"]) is type(entry["tests"]) is int
            and 0 <= entry["passed"] <= entry["tests"]
        )
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return entry if is_ours else None
