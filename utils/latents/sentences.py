"""A small text that travels with the course: sentences about many things, on which one can see where neurons fire.

They were written for the course, some of them by filling names into patterns, and come under its licence. No model was trained on
them. The order is random, so that any part of them is a sample.
"""

from pathlib import Path

PATH = Path(__file__).parent / "sentences.txt"


def read_sentences() -> list[str]:
    """All sentences, in the file's order."""
    return PATH.read_text(encoding="utf-8").splitlines()
