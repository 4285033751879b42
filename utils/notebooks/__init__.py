"""Notebooks are built from the text in `instructions/` and the code in `solutions/`: `python -m utils.notebooks`.

`reading` reads a page, `sources` finds functions and makes stubs, `requirements` says what is missing, `building` makes
notebooks, `execution` runs them, `address` knows the repository, `course` puts files in their places.
"""

from utils.notebooks.building import build_notebook
from utils.notebooks.reading import Chapter, CourseError, Exercise, Hint, read_chapter, read_course

__all__ = ["Chapter", "CourseError", "Exercise", "Hint", "build_notebook", "read_chapter", "read_course"]
