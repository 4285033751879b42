"""Chapter to notebook: the same cells, with stubs for students or with answers."""

import base64
import hashlib
import html
import mimetypes
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from utils.notebooks.address import badge, repository
from utils.notebooks.errors import CourseError
from utils.notebooks.outputs import read_printed
from utils.notebooks.page import Code, Exercise, Expected, Given, Markdown, Page, PageCell

IMAGE = re.compile(r"!\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
NOT_TEXT = re.compile(r"(```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$)", re.DOTALL)
LINE = "course_line"  # the line of the page that a cell was made from, while it is built
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # a click shows the code: JupyterLab, Colab
SHOWS = "course_shows"  # the id of the cell whose output a cell shows, while it is built

SETUP = """\
# Setup. Finds the course. On Colab it fetches the course and installs what is missing. Running it twice does no harm.
import os
import subprocess
import sys
from pathlib import Path

ADDRESS = "{address}"
places = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "{folder}"]
course = next((place for place in places if (place / "utils" / "grading").is_dir()), None)


class NotInTheCourse(RuntimeError):
    def _render_traceback_(self):
        return [str(self)]  # a notebook shows the text alone


if course is None and "google.colab" not in sys.modules and "COLAB_RELEASE_TAG" not in os.environ:
    raise NotInTheCourse(
        f"This notebook works in the folder of its course, and {{Path.cwd()}} is not there. Get the course with "
        f"`git clone {{ADDRESS}}`, move the notebook into its folder `chapters`, and open it there. On Colab this cell fetches the course."
    )
if course is None:
    course = Path.cwd() / "{folder}"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", ADDRESS, str(course)], check=True)
os.chdir(course)
if sys.path[0] != str(course):
    sys.path.insert(0, str(course))

from utils.notebooks.install import install_missing, limit_text_width

install_missing(course / "requirements.txt")
limit_text_width()

from utils.grading import check, progress"""


def build_notebook(
    chapter: Page,
    answers: bool = False,
    hints: bool = True,
    solutions: bool = True,
    printed: Mapping[str, str] | None = None,
) -> NotebookNode:
    """The chapter's notebook, not executed.

    `answers` puts the answers in place of the stubs; folded solutions and expected outputs are then left out. Without
    `hints` or `solutions` the folded hints or solutions are left out. `printed` says what each cell prints, by its id, for
    expected outputs that the page leaves open; by default it is read from the answer notebook. Raises CourseError.
    """
    cells = build_cells(chapter, answers, hints, solutions and not answers)
    printed = read_printed(chapter.answers) if printed is None else printed
    cells = [cell for cell in cells if SHOWS not in cell.metadata or (not answers and fill(cell, printed))]
    for cell in cells:
        del cell.metadata[LINE]
    metadata = {"colab": {"provenance": [], "toc_visible": True}, **chapter.metadata}
    metadata.pop("jupytext", None)
    metadata |= {"kernelspec": KERNEL, "language_info": {"name": "python"}, "course": {"chapter": chapter.number}}
    notebook = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(notebook)
    return notebook


def lines_of_cells(chapter: Page) -> dict[str, int]:
    """For each cell's id the line of the page that it was made from."""
    return {cell.id: cell.metadata[LINE] for cell in build_cells(chapter, answers=True)}


def build_cells(chapter: Page, answers: bool, hints: bool = True, solutions: bool = False) -> list[NotebookNode]:
    """All cells, with ids. The setup cell stands before the first cell that is not text."""
    address = repository(chapter.root)
    folder = address.rsplit("/")[-1]
    place = (chapter.answers if answers else chapter.notebook).relative_to(chapter.root).as_posix()
    cells = [markdown("badge", badge(address, place), 1)]
    setup = [code("setup", SETUP.format(address=address, folder=folder), 1, tags=["setup"], **FOLDED)]
    for cell in chapter.cells:
        if not isinstance(cell, Markdown):
            cells, setup = cells + setup, []
        cells += build_cell(chapter, cell, answers, hints, solutions)
    settle_ids(cells)
    return cells


def settle_ids(cells: list[NotebookNode]) -> None:
    """Expected outputs learn the id of the code cell above; a cell whose id is taken gets a number behind it."""
    taken, above = set(), ""
    for cell in cells:
        if SHOWS in cell.metadata:
            cell.metadata[SHOWS] = above
            cell.id = f"output-{above}"[:64]
        identity, number = cell.id, 2
        while cell.id in taken:
            cell.id = f"{identity[:60]}-{number}"
            number += 1
        taken.add(cell.id)
        above = cell.id if cell.cell_type == "code" else above


def fill(cell: NotebookNode, printed: Mapping[str, str]) -> bool:
    """Make a fold of an expected output, if need be from what the cell above prints. False where nothing is known."""
    text = cell.source or printed.get(cell.metadata[SHOWS], "")
    del cell.metadata[SHOWS]
    cell.source = fold("Expected output", f"```text\n{text}\n```")
    return bool(text)


def build_cell(chapter: Page, cell: PageCell, answers: bool, hints: bool, solutions: bool) -> Iterator[NotebookNode]:
    """The cells that one thing on the page becomes."""
    if isinstance(cell, Markdown):
        text = link_to_instructions(chapter, cell.text, cell.line)
        yield markdown(f"text-{digest(cell.text)}", text, cell.line)
    elif isinstance(cell, Code):
        hidden = FOLDED if "imports" in cell.tags else {}
        yield code(f"code-{digest(cell.text)}", cell.text, cell.line, **{**hidden, **cell.metadata})
    elif isinstance(cell, Given):
        text = "\n\n\n".join(chapter.source(name, cell.line).text for name in cell.names)
        yield code(f"given-{cell.names[0]}", text, cell.line, tags=["given"])
    elif isinstance(cell, Expected) and cell.title:
        text = link_to_instructions(chapter, cell.text, cell.line)
        yield markdown(f"expected-{digest(cell.text)}", fold(inline(cell.title), text), cell.line)
    elif isinstance(cell, Expected):
        yield markdown("output", cell.text, cell.line, **{SHOWS: ""})
    else:
        yield from build_exercise(chapter, cell, answers, hints, solutions)


def build_exercise(
    chapter: Page, exercise: Exercise, answers: bool, hints: bool, solutions: bool
) -> Iterator[NotebookNode]:
    """Statement, answer, check, and what is folded."""
    name, line = exercise.name, exercise.line
    source = chapter.source(name, line)
    yield markdown(f"exercise-{name}", link_to_instructions(chapter, describe(exercise), line), line)
    yield code(
        f"answer-{name}",
        source.answer() if answers else source.stub(),
        line,
        tags=["answer"],
        nbgrader=nbgrader(name, solution=True),
    )
    yield code(
        f"check-{name}", f"check({name})", line, nbgrader=nbgrader(f"check_{name}", grade=True, points=exercise.points)
    )
    folded = []
    if hints:
        for number, hint in enumerate(exercise.hints, start=1):
            text = link_to_instructions(chapter, hint.text, hint.line)
            folded.append(fold(f"Hint {number}: {inline(hint.title)}", text))
    if solutions:
        folded.append(fold("Solution", f"```python\n{source.answer()}\n```"))
    if folded:
        yield markdown(f"help-{name}", "\n\n".join(folded), line)


def describe(exercise: Exercise) -> str:
    """Heading, one line of facts, statement."""
    facts = [
        f"difficulty {dots(exercise.difficulty)}",
        f"importance {dots(exercise.importance)}",
        f"about {exercise.minutes} minutes",
        f"{exercise.points} point" + "s" * (exercise.points != 1),
    ]
    return f"### Exercise {exercise.number} · `{exercise.name}`\n\n*{' · '.join(facts)}*\n\n{exercise.statement}"


def dots(number: int) -> str:
    """A number from 1 to 5 as dots."""
    return "●" * number + "○" * (5 - number)


def fold(title: str, text: str) -> str:
    """Text that opens with a click. The title is HTML."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def inline(text: str) -> str:
    """A title as HTML, in which Markdown does not work: code in backticks, all else as it stands."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def link_to_instructions(chapter: Page, text: str, line: int) -> str:
    """Markdown that works from another folder: images become part of the text (Colab has no files), links are moved.

    Raises CourseError for an image or a link that leads nowhere.
    """

    def target(match: re.Match) -> Path:
        path = chapter.path.parent / match[2].split("#")[0]
        if not path.exists():
            raise CourseError(chapter.path, line, f"`{match[2]}` leads nowhere.")
        return path

    def image(match: re.Match) -> str:
        path = target(match)
        kind = mimetypes.guess_type(path.name)[0]
        return f"![{match[1]}](data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()})"

    def link(match: re.Match) -> str:
        target(match)
        return f"[{match[1]}]({posixpath.normpath('../instructions/' + match[2])})"

    # code and formulas, which may look like links, are every second part
    parts = NOT_TEXT.split(text)
    parts[::2] = [IMAGE.sub(image, LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


def nbgrader(grade_id: str, solution: bool = False, grade: bool = False, **points: int) -> dict:
    """The metadata nbgrader wants, version 3: an answer is a solution, its check is graded and locked."""
    kinds = {"grade": grade, "solution": solution, "locked": not solution, "task": False}
    return {"schema_version": 3, "grade_id": grade_id, **kinds, **points}


def markdown(identity: str, text: str, line: int, **metadata) -> NotebookNode:
    """A Markdown cell that knows its line on the page."""
    return new_markdown_cell(text, id=identity[:64], metadata={**metadata, LINE: line})


def code(identity: str, text: str, line: int, **metadata) -> NotebookNode:
    """A code cell that knows its line on the page."""
    return new_code_cell(text, id=identity[:64], metadata={**metadata, LINE: line})


def digest(text: str) -> str:
    """A short name for a text, so that a cell keeps its id when others come and go."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
