"""What supports the course, a room for each purpose.

Imports between the rooms go one way: engine ← models ← latents ← atlas, plots ← dashboard; notebooks ← grading ← cohort.
"""

from pathlib import Path

# The checkout that this package is part of. (The course that is built or graded may be another: `notebooks.place`.)
ROOT = Path(__file__).resolve().parent.parent
