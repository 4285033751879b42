"""What supports the course, a room for each purpose.

Imports between the rooms go one way: engine ← models ← latents ← atlas, plots ← dashboard; notebooks ← grading ← cohort.
"""

import os
from functools import cache
from pathlib import Path

# The course's version, in this one place: `--version` of all commands and the site say it.
__version__ = "1.0.0"

# The checkout that this package is part of. (The course that is built or graded may be another: `notebooks.place`.)
ROOT = Path(__file__).resolve().parent.parent


@cache
def cache_folder() -> Path:
    """Where the course keeps what it made once and can make again: `attribution-graphs` in the user's cache folder.

    The place stays the same when HOME changes later, as it does where answers of a class are graded.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attribution-graphs"
