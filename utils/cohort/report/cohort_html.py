"""`cohort.html`: what a cohort has understood, on one page that needs nothing else."""

import re
from collections.abc import Iterable, Sequence
from html import escape

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
:root { color-scheme: light dark; --bar: #3b7dd8; --line: #8885; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
th, td { text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 40%; } td.bar span { display: block; background: var(--bar); height: 0.8rem; margin-top: 0.4rem; }
details summary { cursor: pointer; } .text, code { overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { margin: 1rem auto; } th, td { padding: 0.3rem; } td.bar { width: 15%; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BINS = 10
SHOWN = 400


def as_page(rows: Sequence[StudentRow], chapters: Sequence[Chapter], notes: Sequence[str]) -> str:
    """The page. All text that comes from students is escaped, and no script is allowed to run."""
    points = sum(sum(chapter.points.values()) for chapter in chapters)
    parts = [
        f"<h1>{in_number(len(rows), 'student')}</h1>",
        f"<h2>Points (of {points})</h2>",
        _bars("points", _distribution(rows, points), len(rows)),
        "<h2>What happened</h2>",
        _bars("status", statuses(rows), len(rows)),
    ]
    for chapter in chapters:
        rates = pass_rates(rows, chapter)
        if any(n for *_, n in rates):
            parts += [f"<h2>Chapter {chapter.number}: {escape(chapter.title)}</h2>", _rates(rates)]
    parts += ["<h2>Misconceptions</h2>", "<p>Planted mistakes that answers were recognised as.</p>"]
    parts.append(_groups(misconceptions(rows), "what they were told"))
    parts += ["<h2>Failures that no planted mistake explains</h2>"]
    parts.append("<p>Grouped by the values they give. A large group is worth a planted mistake of its own.</p>")
    parts.append(_groups(unexplained(rows), "the first test that fails"))
    looks = [(row.label, " ".join(row.remarks)) for row in rows if row.remarks]
    parts += ["<h2>For a person to look at</h2>", _table(("student", "remarks"), looks)]
    alike = sorted((row for row in rows if row.copies), key=lambda row: -len(row.copies))
    parts += ["<h2>Same as the reference up to names</h2>"]
    parts += ["<p>Short answers are alike by nature. Many of them, or long ones, are worth a talk.</p>"]
    parts.append(_table(("student", "exercises"), [(row.label, ", ".join(row.copies)) for row in alike]))
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return f"<!DOCTYPE html><html lang='en'><head>{head}<title>Cohort</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"


def _distribution(rows: Sequence[StudentRow], points: int) -> list[tuple[str, int]]:
    """How many students have how many points: in tenths of all."""
    counts = [0] * BINS
    for row in rows:
        counts[min(int(BINS * row.earned / points), BINS - 1) if points else 0] += 1
    edges = [points * k / BINS for k in range(BINS + 1)]
    labels = [f"{low:g} to below {high:g}" for low, high in zip(edges, edges[1:])]
    labels[-1] = f"{edges[-2]:g} to {edges[-1]:g}"
    return list(zip(labels, counts))


def _bars(title: str, counts: Iterable[tuple[str, int]], total: int) -> str:
    lines = [f"<tr><th>{title}</th><th class='number'>students</th><th></th></tr>"]
    for label, count in counts:
        lines.append(f"<tr><td>{escape(label)}</td><td class='number'>{count}</td>{_bar(count, total)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _bar(count: int, total: int) -> str:
    return f"<td class='bar'><span style='width: {100 * count / max(total, 1):.1f}%'></span></td>"


def _rates(rates: list[tuple[str, int, int, int]]) -> str:
    lines = ["<tr><th>exercise</th><th class='number'>passed</th><th class='number'>begun</th><th></th></tr>"]
    for name, passed, begun, handed_in in rates:
        numbers = f"<td class='number'>{passed} of {handed_in}</td><td class='number'>{begun}</td>"
        lines.append(f"<tr><td><code>{escape(name)}</code></td>{numbers}{_bar(passed, handed_in)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _groups(groups: Sequence[Misconception], title: str) -> str:
    if not groups:
        return "<p>None.</p>"
    lines = [f"<tr><th class='number'>students</th><th>exercise</th><th>{title}</th></tr>"]
    for group in groups:
        names = escape(", ".join(group.students))
        text = _with_code(escape(" ".join(group.title.split())[:SHOWN]))
        who = f"<details><summary class='text'>{text}</summary>{names}</details>"
        lines.append(
            f"<tr><td class='number'>{len(group.students)}</td><td><code>{escape(group.exercise)}</code></td><td>{who}</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"


def _with_code(text: str) -> str:
    """Escaped text, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>Nobody.</p>"
    head = "".join(f"<th>{title}</th>" for title in titles)
    lines = ["".join(f"<td class='text'>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
