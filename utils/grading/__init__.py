"""Checks answers: in a notebook (`check`, `progress`), under pytest (`plugin`), and the planted mistakes themselves (`prove`)."""

from utils.grading.expectations import expect, expect_close, expect_equal
from utils.grading.planted import Alternate, Mistake

__all__ = ["Alternate", "Mistake", "expect", "expect_close", "expect_equal"]
