"""Checks answers: in a notebook (`check`, `progress`), under pytest (`plugin`), and the tests themselves (`prove`).

`notebook_file`, `cell_code` and `answers` find what a student wrote; `grader` runs tests on it inside a pytest session;
`expectations` and `fingerprint` are what tests compare with, `planted` and `diagnosis` name the mistake; `report` shows it.
"""

from utils.grading.expectations import expect, expect_close, expect_equal
from utils.grading.interactive import check, progress
from utils.grading.planted import Alternate, Mistake

__all__ = ["Alternate", "Mistake", "check", "expect", "expect_close", "expect_equal", "progress"]
