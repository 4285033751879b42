"""What a test saw of an answer: every value that it compared, and how it ended.

A wrong answer is recognised by giving the same fingerprint as a planted mistake. Only a sketch of each value is kept, as a text
and some numbers, so that many of them fit into memory, and into JSON.
"""

import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Number

import numpy as np
import torch
from torch import Tensor

SAMPLED = 4096
ROUNDING = 1e-12  # a smaller number is what rounding leaves of a zero
LONGEST = 500


@dataclass
class Sketch:
    """A value, reduced: its kind and structure in words, and its numbers, of a large tensor some."""

    kind: str
    numbers: list[float]

    def is_like(self, other: "Sketch") -> bool:
        """Whether both are the same up to rounding."""
        if self.kind != other.kind or len(self.numbers) != len(other.numbers):
            return False
        mine, others = np.array(self.numbers), np.array(other.numbers)
        finite = np.abs(mine[np.isfinite(mine)])
        return bool(np.allclose(mine, others, rtol=1e-4, atol=1e-6 * finite.max(initial=0.0), equal_nan=True))

    @property
    def is_telling(self) -> bool:
        """Whether there is a number in it other than 0, 1 and -1, or words: what many mistakes give tells nothing."""
        words = re.sub(r"number|tensor|NoneType None|[\[\](), \d]", "", self.kind)
        return bool(words) or any(np.isfinite(number) and number not in (-1, 0, 1) for number in self.numbers)


@dataclass
class Fingerprint:
    """All that one test noted, in order, and how it ended: "" if it passed."""

    notes: list[tuple[str, Sketch]] = field(default_factory=list)
    ending: str = ""

    @property
    def is_telling(self) -> bool:
        """Whether the last value, at which the test failed, or the error is one that hardly two mistakes have in common."""
        if self.ending not in ("", "unexpected") or not self.notes:
            return bool(self.notes or self.ending)
        return self.notes[-1][1].is_telling

    def is_like(self, other: "Fingerprint") -> bool:
        """Whether the same was compared, with the same values, and the end was the same."""
        return (
            self.ending == other.ending
            and [what for what, _ in self.notes] == [what for what, _ in other.notes]
            and all(mine.is_like(others) for (_, mine), (_, others) in zip(self.notes, other.notes))
        )


_current: Fingerprint | None = None


@contextmanager
def noting() -> Iterator[Fingerprint]:
    """Collect what is noted inside."""
    global _current
    before, _current = _current, Fingerprint()
    try:
        yield _current
    finally:
        _current = before


def note(what: str, value: object) -> None:
    """Add a value to the fingerprint of the running test, if one is running."""
    if _current is not None:
        _current.notes.append((what, sketch(value)))


def ending(error: BaseException | None, is_expectation: bool) -> str:
    """How a test ended. What an expectation found is in the notes already, and its text may differ by rounding."""
    if error is None:
        return ""
    if is_expectation:
        return "unexpected"
    return f"{type(error).__name__}: {without_addresses(str(error))[:LONGEST]}"


def without_addresses(text: str) -> str:
    """A text in which addresses of objects, which change from run to run, are all the same."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x", text)


def sketch(value: object) -> Sketch:
    """Reduce a value. Every sketch of the same value is the same."""
    numbers: list[float] = []
    kind = _sketch(value, numbers)
    return Sketch(kind, [0.0 if abs(number) < ROUNDING else number for number in numbers])


def _sketch(value: object, numbers: list[float]) -> str:
    if isinstance(value, Tensor):
        numbers += _some_numbers(value)
        return f"tensor{tuple(value.shape)}"
    if isinstance(value, Number) and not isinstance(value, complex):
        numbers.append(_as_float(value))
        return "number"
    if isinstance(value, Mapping):
        return _sketch(list(value.items()), numbers)
    if isinstance(value, Set):
        return _sketch(sorted(value, key=repr), numbers)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_sketch(element, numbers) for element in value[:SAMPLED])}]"
    return f"{type(value).__name__} {without_addresses(repr(value))[:LONGEST]}"


def _as_float(number: Number) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 300 digits
        return float("inf") if number > 0 else float("-inf")


def _some_numbers(tensor: Tensor) -> list[float]:
    """All numbers of a small tensor; of a large one always the same selection, and the sum."""
    flat = tensor.detach().cpu().flatten()
    flat = torch.view_as_real(flat.resolve_conj()).flatten().double() if flat.is_complex() else flat.double()
    if len(flat) <= SAMPLED:
        return flat.tolist()
    chosen = torch.randint(len(flat), (SAMPLED,), generator=torch.Generator().manual_seed(0), device="cpu")
    return [*flat[chosen].tolist(), float(flat.sum()), float(flat.abs().sum())]
