"""The whole course: what is built, which files are stale and why, and putting them in their places."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from utils.notebooks.address import point_links, repository
from utils.notebooks.completeness import find_problems
from utils.notebooks.errors import CourseError, CourseErrors, shown
from utils.notebooks.execution import Values, execute
from utils.notebooks.make_cells import LINE, SHOWS, build_cells, build_notebook, lines_of_cells
from utils.notebooks.materials import fingerprints, hash_of_outputs
from utils.notebooks.numbers import Number, differences, put_in
from utils.notebooks.outputs import difference, printed_in, shown_by
from utils.notebooks.page import Page, read_page, read_pages
from utils.notebooks.pictures import add_pictures

LIST_OF_NUMBERS = re.compile(r'\[\n *(?:-?\d|null|true|false)(?:[^\[\]{}"]|"(?:[^"\\]|\\.)*")*\]')


@dataclass(frozen=True)
class Stale:
    """A file that is not what would be built, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)} {self.reason}"


def build(root: Path, number: int | None = None, put_numbers: bool = False) -> list[Path]:
    """Build what is stale and return the files written; answer notebooks are executed where more than text is new. Raises CourseError.

    Nothing is written before everything is built, and each file is put in place in one step. With `put_numbers` each number
    in the text is first made what its marker gives, and the page is written as soon as that is known.
    """
    texts, problems, written = {}, [], []
    for chapter in chosen_chapters(root, number):
        answers = answers_now(chapter)
        if put_numbers and (page := page_with_numbers(chapter, answers)) != read(chapter.path):
            write(chapter.path, page)
            written.append(chapter.path)
            chapter = read_page(chapter.path, root)
            answers = keep_outputs(chapter, answers)
        problems += wrong_on_page(chapter, answers)
        texts[chapter.answers] = as_text(answers)
        texts[chapter.notebook] = as_text(build_notebook(chapter, printed=printed_in(answers)))
    if problems:
        raise CourseErrors(problems)
    texts |= texts_with_links(root)
    stale = [path for path, text in texts.items() if read(path) != text]
    for path in stale:
        write(path, texts[path])
    return written + stale


def find_stale(root: Path, number: int | None = None) -> list[Stale]:
    """All files that building would change, found without executing anything. Raises CourseError."""
    chapters = chosen_chapters(root, number)
    found, problems = [], []
    for chapter in chapters:
        if read(chapter.notebook) != as_text(build_notebook(chapter)):
            found.append(Stale(chapter.notebook, "is not what its page and its solutions give now."))
        state = state_of_answers(chapter)
        if state.reason:
            found.append(Stale(chapter.answers, state.reason))
        if not state.reason or state.outputs_hold:
            problems += wrong_on_page(chapter, answers_there(chapter))
    if problems:
        raise CourseErrors(problems)
    found += [
        Stale(path, "has links to another address.")
        for path, text in texts_with_links(root).items()
        if read(path) != text
    ]
    return found + (list(notebooks_without_page(root, chapters)) if number is None else [])


def chosen_chapters(root: Path, number: int | None) -> list[Page]:
    """All chapters, or the one of that number, after everything that building needs was looked at. Raises CourseError."""
    chapters = read_pages(root, number)
    if number is not None and not chapters:
        raise CourseError(root / "instructions", 1, f"there is no chapter {number}.")
    problems = [problem for chapter in chapters for problem in find_problems(chapter)]
    if problems:
        raise CourseErrors(problems)
    return chapters


def answers_there(chapter: Page) -> NotebookNode:
    """The answer notebook as it lies there."""
    return nbformat.reads(read(chapter.answers), as_version=4)


def answers_now(chapter: Page) -> NotebookNode:
    """The answer notebook as it should be, executed only if it must be. Raises CourseError."""
    state = state_of_answers(chapter)
    if not state.reason:
        return answers_there(chapter)
    if state.outputs_hold:
        return keep_outputs(chapter, answers_there(chapter))
    answers = build_answers(chapter)
    add_pictures(answers, chapter.path)
    answers.metadata.course["outputs"] = hash_of_outputs(answers)
    return answers


def build_answers(chapter: Page) -> NotebookNode:
    """The answer notebook, executed, with the hashes of what its outputs came from. Raises CourseError."""
    notebook = build_notebook(chapter, answers=True)
    made_from = fingerprints(chapter, notebook)
    values = execute(notebook, chapter.root, chapter.path, lines_of_cells(chapter), numbers_of_cells(chapter))
    refuse_failing_answers(chapter, notebook)
    notebook.metadata.course |= {"made_from": made_from} | ({"numbers": values} if values else {})
    notebook.metadata.course["outputs"] = hash_of_outputs(notebook)
    return notebook


def keep_outputs(chapter: Page, there: NotebookNode) -> NotebookNode:
    """The answer notebook with the outputs that are there, for one in which only text or the address is new."""
    notebook = build_notebook(chapter, answers=True)
    for cell, old in zip(code_cells(notebook), code_cells(there), strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    old_values = there.metadata.course.get("numbers", {})
    values = {
        cell: {number.expression: old_values[cell][number.expression] for number in numbers}
        for cell, numbers in numbers_of_cells(chapter).items()
    }
    notebook.metadata.course |= {"made_from": there.metadata.course.made_from} | ({"numbers": values} if values else {})
    notebook.metadata.course["outputs"] = hash_of_outputs(notebook)
    return notebook


def numbers_of_cells(chapter: Page) -> dict[str, list[Number]]:
    """For each code cell of the answer notebook the numbers in the text below it, up to the next code cell, if there are any."""
    cells = [cell for cell in build_cells(chapter, answers=True) if cell.cell_type == "code"]
    found: dict[str, list[Number]] = {}
    for number in chapter.numbers:
        above = [cell.id for cell in cells if cell.metadata[LINE] < number.line]
        if not above:
            raise CourseError(chapter.path, number.line, "no cell above gives this number.")
        found.setdefault(above[-1], []).append(number)
    return found


def numbers_with_values(chapter: Page, values: Values) -> list[tuple[Number, str]]:
    """The page's numbers, each with what it should be."""
    return [
        (number, values[cell][number.expression])
        for cell, numbers in numbers_of_cells(chapter).items()
        for number in numbers
    ]


def page_with_numbers(chapter: Page, answers: NotebookNode) -> str:
    """The page's text with the numbers that the answer notebook gives. Raises CourseErrors."""
    values = numbers_with_values(chapter, answers.metadata.course.get("numbers", {}))
    return put_in(read(chapter.path), values, chapter.path)


def wrong_on_page(chapter: Page, answers: NotebookNode) -> list[CourseError]:
    """Where the page says otherwise than the answer notebook: expected outputs and numbers in its text."""
    values = numbers_with_values(chapter, answers.metadata.course.get("numbers", {}))
    return wrong_outputs(chapter, printed_in(answers)) + differences(values, chapter.path)


def refuse_failing_answers(chapter: Page, notebook: NotebookNode) -> None:
    """See that every `check` in an executed answer notebook says that the answer is right. Raises CourseErrors."""
    cells = {cell.id: cell for cell in notebook.cells}
    problems = []
    for exercise in chapter.exercises:
        said = shown_by(cells[f"check-{exercise.name}"]) or "nothing"
        if not said.startswith(f"{exercise.name}: done"):
            problems.append(
                CourseError(chapter.path, exercise.line, f"check({exercise.name}) on the answer says: {said}")
            )
    if problems:
        raise CourseErrors(problems)


def wrong_outputs(chapter: Page, printed: dict[str, str]) -> list[CourseError]:
    """Where the expected outputs that stand on the page are not what the cells print."""
    problems = []
    for cell in build_cells(chapter, answers=True):
        if SHOWS in cell.metadata and cell.source:
            sentence = difference(cell.source, printed[cell.metadata[SHOWS]])
            problems += [CourseError(chapter.path, cell.metadata[LINE], sentence)] if sentence else []
    return problems


class State(NamedTuple):
    """Why an answer notebook has to be built again, or nothing if it need not; and whether its outputs may stay."""

    reason: str
    outputs_hold: bool


def state_of_answers(chapter: Page) -> State:
    """What is to be done about the answer notebook."""
    text = read(chapter.answers)
    if not text:
        return State("is missing.", False)
    wanted = build_notebook(chapter, answers=True)
    try:
        there = nbformat.reads(text, as_version=4)
        made_from, outputs = there.metadata.course.pop("made_from"), there.metadata.course.pop("outputs")
    except (ValueError, AttributeError, KeyError):
        return State("is not an answer notebook.", False)
    if hash_of_outputs(there) != outputs:
        return State("has outputs that the build did not make.", False)
    given = {(cell, key) for cell, values in there.metadata.course.pop("numbers", {}).items() for key in values}
    needed = {(cell, number.expression) for cell, found in numbers_of_cells(chapter).items() for number in found}
    now = fingerprints(chapter, wanted)
    changed = sorted(name for name in {*now, *made_from} if now.get(name) != made_from.get(name))
    for cell in code_cells(there):
        cell.outputs, cell.execution_count = [], None
    outputs_hold = not changed and needed <= given and runs(there) == runs(wanted)
    if there != wanted or needed != given:
        return State("is not what its page and its solutions give now.", outputs_hold)
    return State(f"was executed before a change of {', '.join(changed)}." if changed else "", outputs_hold)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def runs(notebook: NotebookNode) -> list[tuple[str, str]]:
    """What is executed, cell by cell. The setup cell holds the address, which no output depends on."""
    return [(cell.id, "" if cell.id == "setup" else cell.source) for cell in code_cells(notebook)]


def texts_with_links(root: Path) -> dict[Path, str]:
    """The README, if there is one, with its links pointed at the address."""
    path = root / "README.md"
    return {path: point_links(read(path), repository(root))} if path.exists() else {}


def notebooks_without_page(root: Path, chapters: list[Page]) -> Iterator[Stale]:
    """Notebooks that nothing builds any more."""
    built = {path for chapter in chapters for path in (chapter.notebook, chapter.answers)}
    for folder in ("chapters", "solutions"):
        for path in sorted((root / folder).glob("*.ipynb")):
            if path not in built:
                yield Stale(path, "has no page in instructions/; delete it.")


def as_text(notebook: NotebookNode) -> str:
    """The file of a notebook. A list that begins with a number stands in one line: a figure may hold a matrix of them."""
    text = nbformat.writes(notebook, version=4) + "\n"
    # no string holds a line's end as it is, so that what begins like this list is no part of a text
    return LIST_OF_NUMBERS.sub(lambda found: re.sub(r"\n *", "", found[0]), text)


def read(path: Path) -> str:
    """The text of a file, or nothing where there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def write(path: Path, text: str) -> None:
    """Put a file in its place in one step, so that there is the old one or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".building-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
