"""Where the course is that is built or graded."""

from pathlib import Path

from utils import ROOT


def course_folder(start: Path | None = None) -> Path:
    """The course that a file or folder (by default the working directory) belongs to.

    That is the nearest folder above with `instructions/`; where there is none, the checkout that this package is part of.
    """
    start = Path(start or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / "instructions").is_dir()), ROOT)
