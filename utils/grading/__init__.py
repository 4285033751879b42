"""Checks answers: in a notebook (`check`, `progress`), under pytest (`plugin`), and the tests themselves (`proof`).

`find` finds what a student wrote (`untouched`: whether that is anything), `run` runs tests on it inside a pytest session (`hooks` are
pytest's, `session` is for notebooks, `pytest_parts` is what is private to pytest), `compare` is what tests compare with, `diagnose`
names the mistake, `show` shows the result. `run.comparison_tools` and `run.process_state` put back what student code changes.
"""

from importlib import import_module

# What is imported from here, and where it is. Each is imported when it is asked for: most need PyTorch, `--help` does not.
_HOMES = {
    "Alternate": "utils.grading.diagnose.variants",
    "Mistake": "utils.grading.diagnose.variants",
    "check": "utils.grading.in_notebook",
    "expect": "utils.grading.compare.expectations",
    "expect_close": "utils.grading.compare.expectations",
    "expect_equal": "utils.grading.compare.expectations",
    "progress": "utils.grading.in_notebook",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
