"""`cohort.html`: what a cohort has understood, on one page that needs nothing else but the reports beside it.

Misconceptions stand first, since they are what a teacher acts on; then every student with a link to the report; then the
numbers.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from utils.cohort.batch import NO_NOTEBOOK, UNTOUCHED
from utils.cohort.report.student_files import file_names
from utils.cohort.report.table import (
    Misconception,
    StudentRow,
    in_number,
    misconceptions,
    pass_rates,
    statuses,
    unexplained,
)
from utils.grading.chapters import Chapter

STYLE = """
:root { color-scheme: light dark; --bar: #3b7dd8; --line: #8885; --soft: light-dark(#4d5766, #aab3c0); }
body { background: Canvas; color: CanvasText; font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; list-style: none; padding: 0; }
nav a, td a { display: inline-block; min-height: 24px; min-width: 24px; }
a { color: inherit; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.2rem; margin: 0 0 0.5rem; } p { margin: 0.4rem 0; }
section { margin-bottom: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: start; color: var(--soft); padding-bottom: 0.3rem; }
th, td { text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 35%; } td.bar span { display: block; background: var(--bar); height: 0.8rem; margin-top: 0.4rem; }
details summary { cursor: pointer; min-height: 24px; } .text { overflow-wrap: anywhere; } td.name { white-space: nowrap; }
tr.untouched { color: var(--soft); font-style: italic; }
@media (max-width: 40rem) { body { margin: 1rem auto; } th, td { padding: 0.3rem; } td.bar { width: 15%; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BINS = 10
SHOWN = 400
OPEN_GROUPS = 12  # of a list; the rest is folded, so that the students are not far below
Section = tuple[str, str, str]  # its name in addresses, its heading, what it holds


def as_page(rows: Sequence[StudentRow], chapters: Sequence[Chapter], notes: Sequence[str]) -> str:
    """The page. All text that comes from students is escaped, and no script is allowed to run."""
    points = sum(sum(chapter.points.values()) for chapter in chapters)
    sections = [*_understanding(rows), *_people(rows, points), *_figures(rows, chapters, points)]
    links = "".join(f"<li><a href='#{name}'>{escape(heading)}</a></li>" for name, heading, _ in sections)
    body = "".join(
        f"<section aria-labelledby='{name}'><h2 id='{name}'>{escape(heading)}</h2>{content}</section>"
        for name, heading, content in sections
    )
    if notes:
        told = "".join(f"<p>{escape(note)}</p>" for note in notes)
        body += f"<section aria-labelledby='notes'><h2 id='notes'>Notes</h2>{told}</section>"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>Cohort</title><style>{STYLE}</style>'
    title = f"<header><h1>{in_number(len(rows), 'student')}</h1>{_nobody_forgotten(rows)}</header>"
    nav = f"<nav aria-label='On this page'><ul>{links}</ul></nav>"
    return f"<!DOCTYPE html><html lang='en'><head>{head}</head><body>{title}{nav}<main>{body}</main></body></html>\n"


# ---------------------------------------------------------------- what was understood


def _understanding(rows: Sequence[StudentRow]) -> Iterable[Section]:
    told = "<p>Planted mistakes that answers were recognised as, the most frequent first.</p>"
    yield "misconceptions", "Misconceptions", told + _groups(misconceptions(rows), "what they were told")
    told = "<p>Grouped by the values they give. A large group is worth a planted mistake of its own.</p>"
    found = told + _groups(unexplained(rows), "the first test that fails")
    yield "unexplained", "Failures that no planted mistake explains", found


def _groups(groups: Sequence[Misconception], title: str) -> str:
    if not groups:
        return "<p>None.</p>"
    lines = []
    for group in groups:
        names = escape(", ".join(group.students))
        text = _with_code(escape(" ".join(group.title.split())[:SHOWN]))
        who = f"<details><summary class='text'>{text}</summary>{names}</details>"
        name = f"<td class='name'><code>{escape(group.exercise)}</code></td>"
        lines.append(f"<tr><td class='number'>{len(group.students)}</td>{name}<td>{who}</td></tr>")
    heads = [("students", "number"), ("exercise", ""), (title, "")]
    first, rest = lines[:OPEN_GROUPS], lines[OPEN_GROUPS:]
    folded = f"<details><summary>{len(rest)} more</summary>{_table_of(heads, rest)}</details>" if rest else ""
    return _table_of(heads, first) + folded


def _with_code(text: str) -> str:
    """Escaped text, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


# ---------------------------------------------------------------- who


def _nobody_forgotten(rows: Sequence[StudentRow]) -> str:
    """A sentence that names those whose work says nothing yet."""
    sentences = []
    for status, what in ((UNTOUCHED, "did not begin"), (NO_NOTEBOOK, "handed in no notebook")):
        names = [row.label for row in rows if row.status == status]
        if names:
            sentences.append(f"<p>{in_number(len(names), 'student')} {what}: {escape(', '.join(names))}.</p>")
    return "".join(sentences)


def _people(rows: Sequence[StudentRow], points: float) -> Iterable[Section]:
    yield "students", "Students", _students(rows, points)
    looks = [(row.label, " ".join(row.remarks)) for row in rows if row.remarks]
    yield "look", "For a person to look at", _plain_table(("student", "remarks"), looks)
    alike = sorted((row for row in rows if row.copies), key=lambda row: -len(row.copies))
    told = "<p>Short answers are alike by nature. Many of them, or long ones, are worth a talk.</p>"
    copies = [(row.label, ", ".join(row.copies)) for row in alike]
    yield "alike", "Same as the reference up to names", told + _plain_table(("student", "exercises"), copies)
    beside = {
        f"{verdict.name}: {test['sentence']}": test["inside"]
        for row in rows
        for verdict in row.verdicts
        for test in verdict.tests
        if test.get("inside") and not test["hidden"]
    }
    if not beside:
        return
    told = "<p>These tests cannot call an answer by messages. What they expect is computed in the process that runs the answer.</p>"
    yield "beside", "Tests that ran next to answers", told + _plain_table(("test", "reason"), sorted(beside.items()))


def _students(rows: Sequence[StudentRow], points: float) -> str:
    """Every student, with a link to the report that lies beside this page."""
    if not rows:
        return "<p>Nobody.</p>"
    lines = []
    for row, name in zip(rows, file_names(rows)):
        link = f"<a href='report/{quote(name)}.md'>{escape(row.label)}</a>"
        marked = " class='untouched'" if row.status in (UNTOUCHED, NO_NOTEBOOK) else ""
        number = f"<td class='number'>{row.earned:g}</td>"
        wrong = sum(bool(verdict.mistake) for verdict in row.verdicts)
        cells = f"{number}<td>{escape(row.status)}</td><td class='number'>{wrong}</td>"
        lines.append(f"<tr{marked}><th scope='row'>{link}</th>{cells}</tr>")
    heads = [("student", ""), (f"points (of {points:g})", "number"), ("status", ""), ("known mistakes", "number")]
    return _table_of(heads, lines, "Each name leads to the student's report.")


# ---------------------------------------------------------------- in numbers


def _figures(rows: Sequence[StudentRow], chapters: Sequence[Chapter], points: float) -> Iterable[Section]:
    yield "points", f"Points (of {points:g})", _bars("points", _distribution(rows, points), len(rows))
    yield "status", "What happened", _bars("status", statuses(rows), len(rows))
    for chapter in chapters:
        rates = pass_rates(rows, chapter)
        if any(n for *_, n in rates):
            yield f"chapter{chapter.number}", f"Chapter {chapter.number}: {chapter.title}", _rates(rates)


def _distribution(rows: Sequence[StudentRow], points: float) -> list[tuple[str, int]]:
    """How many students have how many points: in tenths of all."""
    counts = [0] * BINS
    for row in rows:
        counts[min(int(BINS * row.earned / points), BINS - 1) if points else 0] += 1
    edges = [points * k / BINS for k in range(BINS + 1)]
    labels = [f"{low:g} to below {high:g}" for low, high in zip(edges, edges[1:])]
    labels[-1] = f"{edges[-2]:g} to {edges[-1]:g}"
    return list(zip(labels, counts))


def _bars(title: str, counts: Iterable[tuple[str, int]], total: int) -> str:
    lines = [
        f"<tr><th scope='row'>{escape(label)}</th><td class='number'>{count}</td>{_bar(count, total)}</tr>"
        for label, count in counts
    ]
    return _table_of([(title, ""), ("students", "number"), ("", "")], lines)


def _bar(count: int, total: int) -> str:
    return f"<td class='bar' aria-hidden='true'><span style='width: {100 * count / max(total, 1):.1f}%'></span></td>"


def _rates(rates: list[tuple[str, int, int, int]]) -> str:
    lines = []
    for name, passed, begun, handed_in in rates:
        numbers = f"<td class='number'>{passed} of {handed_in}</td><td class='number'>{begun}</td>"
        head = f"<th scope='row'><code>{escape(name)}</code></th>"
        lines.append(f"<tr>{head}{numbers}{_bar(passed, handed_in)}</tr>")
    return _table_of([("exercise", ""), ("passed", "number"), ("begun", "number"), ("", "")], lines)


# ---------------------------------------------------------------- tables


def _table_of(heads: Sequence[tuple[str, str]], lines: Sequence[str], caption: str = "") -> str:
    """A table of ready rows; a head without text is of a column of pictures, which is not read out."""
    cells = "".join(
        f"<th scope='col' class='{kind}'>{escape(text)}</th>" if text else "<td aria-hidden='true'></td>"
        for text, kind in heads
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f"<div class='scroll'><table>{said}<thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _plain_table(titles: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return "<p>Nobody.</p>"
    lines = [
        f"<tr><th scope='row' class='text'>{escape(who)}</th><td class='text'>{escape(what)}</td></tr>"
        for who, what in rows
    ]
    return _table_of([(title, "") for title in titles], lines)
