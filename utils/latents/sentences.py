"""A small text that travels with the course: sentences about many things, on which one can see where neurons fire.

They were written for the course, some of them by filling names into patterns, and come under its licence. No model was trained on
them. Both halves of the file speak of the same things, in random order: look at one half and test on the other.
"""

from pathlib import Path

PATH = Path(__file__).parent / "sentences.txt"


def read_sentences() -> list[str]:
    """All sentences, in the file's order."""
    return PATH.read_text(encoding="utf-8").splitlines()
