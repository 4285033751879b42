"""Results as a student reads them: HTML in a notebook, plain text in a terminal."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from utils.grading.results import DONE, FAILING, NOT_STARTED, CaseResult, ExerciseResult

MARKS = {DONE: "✓", FAILING: "✗", NOT_STARTED: "·"}
COLOURS = {DONE: "#2a9d4a", FAILING: "#d1495b", NOT_STARTED: "#888"}


@dataclass(frozen=True)
class ExerciseRow:
    """One exercise in the table of a chapter."""

    name: str
    status: str
    passed: int
    tests: int
    points: int
    earned: float
    notes: tuple[str, ...] = ()


def show(text: str, html: str) -> None:
    """Display in the notebook that this runs in, or print."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if hasattr(shell, "kernel"):
        ipython.display.display({"text/plain": text, "text/html": html}, raw=True)
    else:
        print(text)


def show_sentence(sentence: str) -> None:
    """Show one sentence."""
    show(sentence, f"<p>{_html(sentence)}</p>")


def headline(result: ExerciseResult) -> str:
    """The exercise, its status, and how many tests passed."""
    if result.status == NOT_STARTED:
        return f"{result.name}: not started."
    if result.problem and not result.tests:
        return f"{result.name}: failing."
    count = f"{result.passed} of {len(result.tests)} tests passed"
    return f"{result.name}: {result.status}, {count}, {in_points(result.earned, result.points)}."


def in_points(earned: float, points: int) -> str:
    """`1.5 of 3 points`, or `3 points` for all of them."""
    of = "" if earned == points else f"{earned:g} of "
    return f"{of}{points} point{'s' if points != 1 else ''}"


def as_text(result: ExerciseResult, with_traceback: bool) -> str:
    """The result of a check for a terminal."""
    lines = [headline(result)]
    lines += [f"  {sentence}" for sentence in (result.problem, result.mistake) if sentence]
    again = _told_again(result)
    for name, cases in result.tests.items():
        failing = _first_failing(cases)
        lines.append(f"  {MARKS[FAILING if failing else DONE]} {cases[0].sentence}{_which_cases(cases)}")
        if failing and not failing.mistake and again[name] is not None:
            lines += _indented(failing.failure + again[name])
        if failing and with_traceback:
            lines += _indented(failing.traceback)
            lines += _indented(f"Your code printed:\n{failing.printed}") if failing.printed else []
    lines += [f"  {remark}" for remark in result.remarks]
    if result.tests and result.status == FAILING and not with_traceback:
        lines.append(f"  For the traceback: check({result.name}, traceback=True)")
    return "\n".join(lines)


def as_html(result: ExerciseResult) -> str:
    """The result of a check for a notebook. Tracebacks and what the code printed are folded."""
    parts = [f'<b style="color: {COLOURS[result.status]}">{escape(headline(result))}</b>']
    parts += [f"<p><b>{_html(sentence)}</b></p>" for sentence in (result.problem, result.mistake) if sentence]
    tests, again = [], _told_again(result)
    for name, cases in result.tests.items():
        failing = _first_failing(cases)
        status = FAILING if failing else DONE
        line = f'<span style="color: {COLOURS[status]}">{MARKS[status]}</span> {_html(cases[0].sentence + _which_cases(cases))}'
        tests.append(f"<li>{line}{_details(failing, again[name]) if failing else ''}</li>")
    if tests:
        parts.append(f'<ul style="list-style: none; padding-left: 0.5em">{"".join(tests)}</ul>')
    parts += [f"<p>{_html(remark)}</p>" for remark in result.remarks]
    return f"<div>{''.join(parts)}</div>"


def _html(sentence: str) -> str:
    """A sentence as HTML: what stands in backticks is code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(sentence))


def _told_again(result: ExerciseResult) -> dict[str, str | None]:
    """By failing test, what is to be added to its failure: how many others fail with the same. None: it has been told already."""
    first = {name: _first_failing(cases) for name, cases in result.tests.items()}
    failures = [case.failure for case in first.values() if case]
    again: dict[str, str | None] = {}
    told: set[str] = set()
    for name, case in first.items():
        if case:
            others = failures.count(case.failure) - 1
            text = f"\n(the same in {others} more test{'s' if others > 1 else ''})" if others else ""
            again[name] = None if case.failure in told else text
            told.add(case.failure)
    return again


def _details(case: CaseResult, again: str | None) -> str:
    """Expected and got, folded if the mistake is known, and folded what lies deeper. Nothing if it has been told already."""
    if again is None:
        return ""
    text = _html(case.failure + again)
    failure = f'<div style="white-space: pre-wrap; margin-left: 1.2em">{text}</div>'
    deeper = _folded("Traceback", case.traceback) + (
        _folded("What your code printed", case.printed) if case.printed else ""
    )
    if not case.mistake:
        return failure + deeper
    return f'<details style="margin-left: 1.2em"><summary>Expected and got</summary>{failure}</details>{deeper}'


def _folded(title: str, text: str) -> str:
    return f'<details style="margin-left: 1.2em"><summary>{title}</summary><pre>{escape(text)}</pre></details>'


def _first_failing(cases: Sequence[CaseResult]) -> CaseResult | None:
    return next((case for case in cases if case.failure), None)


def _which_cases(cases: Sequence[CaseResult]) -> str:
    """Of several cases, how many fail, and the first one in words."""
    failing = [case for case in cases if case.failure]
    if not failing or len(cases) == 1:
        return ""
    if len(failing) == len(cases):
        return f" (fails in all {len(cases)} cases)"
    first = case_in_words(failing[0].case)
    which = f"{': ' if len(failing) == 1 else ', the first: '}{first}" if first else ""
    return f" (fails in {len(failing)} of {len(cases)} cases{which})"


def case_in_words(case: str) -> str:
    """The name of a case as students read it: its parts, without the seed of random numbers, which tells nothing."""
    parts = re.split(r"(?<! )-", case)  # "times -2" is one part
    return ", ".join(part for part in parts if part and not part.startswith("seed "))


def _indented(text: str) -> list[str]:
    return [f"      {line}" for line in text.splitlines()]


def table_as_text(title: str, rows: Sequence[ExerciseRow]) -> str:
    """A chapter for a terminal: done, failing, not started, points."""
    width = max(len(row.name) for row in rows)
    lines = [title]
    for row in rows:
        tests = f"{row.passed} of {row.tests} tests" if row.tests else ""
        points = f"{row.earned:g} of {row.points}"
        lines.append(f"  {MARKS[row.status]} {row.name:<{width}}  {row.status:<11}  {tests:>14}  {points:>9}")
        lines += [f"      {note}" for note in row.notes]
    return "\n".join([*lines, f"  {total(rows)}"])


def table_as_html(title: str, rows: Sequence[ExerciseRow]) -> str:
    """A chapter for a notebook."""
    cells = []
    for row in rows:
        colour = COLOURS[row.status]
        status = f'<span style="color: {colour}">{MARKS[row.status]} {row.status}</span>'
        tests = f"{row.passed} of {row.tests}" if row.tests else ""
        values = (
            f"<code>{escape(row.name)}</code>",
            status,
            tests,
            f"{row.earned:g} of {row.points}",
            escape(" ".join(row.notes)),
        )
        cells.append("<tr>" + "".join(f'<td style="text-align: left">{value}</td>' for value in values) + "</tr>")
    header = "".join(
        f'<th style="text-align: left">{name}</th>' for name in ("exercise", "status", "tests passed", "points", "")
    )
    return f"<p><b>{escape(title)}</b></p><table><tr>{header}</tr>{''.join(cells)}</table><p>{escape(total(rows))}</p>"


def total(rows: Sequence[ExerciseRow]) -> str:
    """How many exercises are done, failing, not started, and the points."""
    counts = [f"{sum(row.status == status for row in rows)} {status}" for status in (DONE, FAILING, NOT_STARTED)]
    earned, points = sum(row.earned for row in rows), sum(row.points for row in rows)
    return f"{', '.join(counts)}; {in_points(round(earned, 1), points)}."
