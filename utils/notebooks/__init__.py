"""Notebooks are built from the text in `instructions/` and the code in `solutions/`: `python -m utils.notebooks`.

`reading` (with `directives`) reads a page, `sources` finds solutions and makes stubs, `completeness` says what a page lacks,
`building` makes notebooks, `execution` runs them, `outputs` holds what they print against the page, `materials` says what that
depends on, `address` knows the repository, `course` puts everything in its place.
"""

from utils.notebooks.building import build_notebook
from utils.notebooks.reading import Chapter, CourseError, Exercise, Hint, read_chapter, read_course

__all__ = ["Chapter", "CourseError", "Exercise", "Hint", "build_notebook", "read_chapter", "read_course"]
