"""Why a test failed, in a sentence for the student, and the traceback for who wants it."""

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils import ROOT
from utils.grading.compare.expectations import Unexpected
from utils.grading.run.limits import Stopped

LONGEST_LINES = 8


def sentence(error: BaseException) -> str:
    """What went wrong: expected and got, or the error that the student's code raised and where.

    An error that comes from another process says so itself, as `told`.
    """
    if isinstance(getattr(error, "told", None), str):
        return error.told
    if isinstance(error, Unexpected | Stopped):
        return str(error)
    if isinstance(error, pytest.fail.Exception):
        return _expected_error(str(error))
    where = _place(error)
    if isinstance(error, NotImplementedError) and not str(error):  # as stubs raise it; PyTorch's has a text
        return f"A part is not written yet{': ' if where else ''}{where}."
    if isinstance(error, AssertionError) and not where:
        return _first_lines(str(error)) or "A check in the test failed."
    advice = _advice(error, bool(where))
    if advice and not where:
        return advice
    what = f"{type(error).__name__}: {_first_lines(str(error))}" if str(error) else type(error).__name__
    if where:
        return "\n".join(filter(None, (f"Your code raised {what}", where, advice)))
    return f"The test, given your answer, raised {what}"


def _advice(error: BaseException, is_inside: bool) -> str:
    """What an error of calling or of unpacking means for the student; empty if nothing is known.

    `is_inside`: the student's own code raised it; otherwise a test did, with what that code returned.
    """
    text = str(error)
    if not isinstance(error, TypeError | ValueError | RuntimeError | AttributeError):
        return ""
    if "'hook'" in text and "argument" in text:
        return f"A hook is called as f(value, hook=…), but yours is not made for that: {text}."
    if "NoneType" in text and not is_inside:
        return f"The test got None from your answer where it needs a value: is a `return` missing? ({text})"
    found = re.match(r"(not enough|too many) values to unpack \(expected (\d+)(?:, got (\d+))?", text)
    if found:
        got = f"{found[3]}" if found[3] else "more (a tensor alone counts as its rows)"
        return _unpacking(error, f"{found[2]} things", got, is_inside)
    found = re.match(r"cannot unpack non-iterable (\S+) object", text)
    if found:
        return _unpacking(error, "several things", f"one, of type {found[1]}", is_inside)
    found = re.search(r"not implemented for '(Bool|Long|Int|Half|BFloat16)'", text)
    if found:
        return f"PyTorch cannot do this with tensors of type {found[1]}: convert them with .float() first."
    return ""


def _unpacking(error: BaseException, wanted: str, got: str, is_inside: bool) -> str:
    """Who takes what apart: the student's line, a test that goes through the result, or a test that takes the result itself."""
    if is_inside:
        return f"This line takes {wanted} apart, and gets {got}."
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    if re.search(r"\bfor \(?\w+, .* in ", line):
        return (
            f"The test goes through what your code gives, and each element must be {wanted}; one of yours is {got}. "
            "Of a dict, the elements are its keys alone."
        )
    return f"Your code must return {wanted}; yours returns {got}."


def text_of_traceback(error: BaseException) -> str:
    """The traceback from the test on, without the machinery that called it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    return "".join(lines)


def _expected_error(text: str) -> str:
    if text.startswith("DID NOT RAISE "):
        kind = text.removeprefix("DID NOT RAISE ").removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
        return f"Expected {kind}, but nothing was raised."
    return _first_lines(text)


def _first_lines(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[:LONGEST_LINES] + ["…"] * (len(lines) > LONGEST_LINES))


def _place(error: BaseException) -> str:
    """The last line of the student's code that the error came through; empty if it came through none."""
    frames = list(_student_frames(error))
    if not frames:
        return ""
    last = frames[-1]
    return (
        f"in line {last.lineno} of {last.name}: {last.line}" if last.line else f"in line {last.lineno} of {last.name}"
    )


def _student_frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    """Frames whose code is in no file: a cell of a notebook, or a planted mistake."""
    for frame in traceback.extract_tb(error.__traceback__):
        if not os.path.exists(frame.filename) and not frame.filename.startswith("<frozen"):
            yield frame


def _is_machinery(filename: str) -> bool:
    folders = os.path.normpath(filename).split(os.sep)
    return bool({"_pytest", "pluggy"} & set(folders)) or Path(filename).is_relative_to(ROOT / "utils" / "grading")
