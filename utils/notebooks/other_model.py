"""The answer notebooks on another model than that of the page, to see that a chapter works with it."""

import re
from pathlib import Path

from utils.notebooks.build import as_text, refuse_failing_answers, write
from utils.notebooks.errors import CourseError
from utils.notebooks.execution import execute
from utils.notebooks.make_cells import build_notebook, lines_of_cells
from utils.notebooks.page import Code, Page

SECONDS_FOR_A_CELL = 4 * 3600  # a larger model is trained and traced for long
MODEL_LINE = re.compile(r'^MODEL = "[^"\n]*"', re.MULTILINE)


def takes_models(chapter: Page) -> bool:
    """Whether a line of the page names the model, so that another one can be put there."""
    return any(MODEL_LINE.search(cell.text) for cell in chapter.cells if isinstance(cell, Code))


def execute_on(chapter: Page, model: str, folder: Path) -> Path:
    """Execute a chapter's answer notebook with another name in the line `MODEL = "..."`; the file that was written.

    Every `check` must say that the answer is right. Numbers in the text and expected outputs are those of the page's own model, and
    are not looked at.

    Args:
        model: a name of `utils.models.MODELS`, or the path of a folder.
        folder: where the notebook is written.

    Raises:
        CourseError: the page has no such line, a cell fails, or a check does.
    """
    if not takes_models(chapter):
        raise CourseError(chapter.path, 1, 'no line `MODEL = "..."` names the model: the chapter runs on one only.')
    name = str(Path(model).resolve()) if Path(model).is_dir() else model
    notebook = build_notebook(chapter, answers=True)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = MODEL_LINE.sub(lambda _: f"MODEL = {name!r}", cell.source)
    execute(notebook, chapter.root, chapter.path, lines_of_cells(chapter), seconds=SECONDS_FOR_A_CELL)
    refuse_failing_answers(chapter, notebook)
    path = folder / chapter.answers.name
    write(path, as_text(notebook))
    return path
