"""How a test compares what an answer gives with what is expected, and says in words where the two first differ.

Whatever is compared is also noted in the fingerprint of the running test, by which a planted mistake is recognised. A
comparison is a `Check`, which can be made again somewhere else: `utils.cohort` does so, where student code cannot reach.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number

import torch
from torch import Tensor

from utils.grading.compare.fingerprints import note

WRONG_PRECISION = "make new tensors in the type of those that you are given"
DIGITS = 4
LONGEST = 300
MOST = 10


class Unexpected(AssertionError):
    """An answer is not what a test expects; the text is meant for the student."""


@dataclass(frozen=True)
class Check:
    """One comparison: of kind "property" (`actual` is whether it holds, and a value to show), "close" or "equal"."""

    kind: str
    what: str
    actual: object
    expected: object = None
    rtol: float = 0.0
    atol: float | None = None

    def hold(self) -> None:
        """Raises Unexpected, with a sentence, unless the answer is as expected."""
        if self.kind == "property":
            _hold_property(*self.actual, self.what)
        elif self.kind == "close":
            _hold_close(self.actual, self.expected, self.what, self.rtol, self.atol)
        else:
            _hold_equal(self.actual, self.expected, self.what)


_listener: Callable[[Check], Check] | None = None


@contextmanager
def listening(listener: Callable[[Check], Check]) -> Iterator[None]:
    """Hand every check to `listener` before anything is done with its values; the check that it gives back is made."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def _make(check: Check) -> None:
    if _listener is not None:
        check = _listener(check)
    note(check.what, check.actual)
    check.hold()


def expect(condition: object, sentence: str, got: object = None) -> None:
    """A property must hold. `sentence` says which one, as a rule: "Raising the threshold must keep more nodes."

    Raises:
        Unexpected: it does not hold.
    """
    _make(Check("property", sentence, (bool(condition), got)))


def expect_close(actual: object, expected: object, what: str, rtol: float = 1e-4, atol: float | None = None) -> None:
    """A tensor or a number must have the right type, shape and values, up to rounding. A tensor must have no fewer digits.

    Args:
        actual: what the answer gives.
        expected: a tensor, or a number.
        what: what is compared, as the beginning of a sentence: "The influence of the embeddings".
        rtol: allowed difference, relative to the expected value.
        atol: allowed difference besides; a millionth of the largest expected value if not given.

    Raises:
        Unexpected: they differ; the text says where first.
    """
    _make(Check("close", what, actual, expected, rtol, atol))


def expect_equal(actual: object, expected: object, what: str) -> None:
    """Sets, lists, dicts, integers, texts, tensors of integers: must be the same.

    Lists and tuples with the same elements are equal. `what` is as in `expect_close`.

    Raises:
        Unexpected: they differ; the text says where first.
    """
    _make(Check("equal", what, actual, expected))


def _hold_property(holds: bool, got: object, sentence: str) -> None:
    if not holds:
        raise Unexpected(sentence if got is None else f"{sentence} Got: {in_words(got)}.")


def _hold_close(actual: object, expected: object, what: str, rtol: float, atol: float | None) -> None:
    if isinstance(expected, Tensor):
        _expect_type(isinstance(actual, Tensor), f"a tensor of shape {tuple(expected.shape)}", actual, what)
        if actual.shape != expected.shape:
            raise Unexpected(f"{what}: expected shape {tuple(expected.shape)}, got shape {tuple(actual.shape)}.")
        _expect_precision(actual.dtype, expected.dtype, what)
    elif _is_number(expected):
        _expect_type(_is_number(actual), f"the number {in_words(expected)}", actual, what)
    else:  # what is expected comes from the answer itself, such as the result of another call
        raise Unexpected(f"{what}: expected a tensor or a number, got {in_words(actual)}.{_advice_on(actual)}")
    _expect_values(_as_float(actual), _as_float(expected), what, rtol, atol)


def _hold_equal(actual: object, expected: object, what: str) -> None:
    difference = _difference(actual, expected)
    if difference:
        raise Unexpected(f"{what}: {difference}.{_advice_on(actual)}")


def _expect_type(is_right: bool, wanted: str, actual: object, what: str) -> None:
    if not is_right:
        raise Unexpected(f"{what}: expected {wanted}, got {in_words(actual)}.{_advice_on(actual)}")


def _advice_on(actual: object) -> str:
    """What a value suggests to the student; empty if nothing."""
    return " Is a `return` missing?" if actual is None else ""


def _expect_precision(actual: torch.dtype, expected: torch.dtype, what: str) -> None:
    """Decimal numbers with fewer digits than expected have lost some. More digits, and whole numbers, do no harm."""
    if expected.is_floating_point and actual.is_floating_point and _bits(actual) < _bits(expected):
        raise Unexpected(f"{what}: expected {_short(expected)}, got {_short(actual)}: {WRONG_PRECISION}.")


def _bits(dtype: torch.dtype) -> int:
    return torch.finfo(dtype).bits


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_number(value: object) -> bool:
    return isinstance(value, Number) or (isinstance(value, Tensor) and value.numel() == 1)


def _as_float(value: object) -> Tensor:
    """In double precision on the CPU. Complex numbers stay complex."""
    tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value, device="cpu")
    return tensor.cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _expect_values(actual: Tensor, expected: Tensor, what: str, rtol: float, atol: float | None) -> None:
    if atol is None:
        finite = expected[expected.isfinite()].abs()
        atol = 1e-6 * float(finite.max()) if finite.numel() else 0.0
    differs = ~torch.isclose(actual.reshape(expected.shape), expected, rtol=rtol, atol=atol, equal_nan=True)
    if not differs.any():
        return
    actual = actual.reshape(expected.shape)
    place = tuple(differs.nonzero()[0].tolist())
    wanted, found = _tell_apart(expected[place].item(), actual[place].item())
    where = f" at [{', '.join(map(str, place))}]" if place else ""
    count = f" ({int(differs.sum())} of {differs.numel()} values differ)" if differs.numel() > 1 else ""
    raise Unexpected(f"{what}: expected {wanted}{where}, got {found}{count}.")


def _tell_apart(first: complex, second: complex) -> tuple[str, str]:
    """Two different numbers with as many digits as show that they differ."""
    for digits in (DIGITS, 2 * DIGITS):
        texts = f"{first + 0:.{digits}g}", f"{second + 0:.{digits}g}"  # + 0: no sign before a zero
        if texts[0] != texts[1]:
            return texts
    return repr(first), repr(second)


def _difference(actual: object, expected: object) -> str:
    """Where the two first differ, in words; empty if they do not."""
    if isinstance(expected, Tensor) and isinstance(actual, Tensor):
        if actual.shape != expected.shape:
            return f"expected shape {tuple(expected.shape)}, got shape {tuple(actual.shape)}"
        if _family(actual) != _family(expected):
            return f"expected {_family(expected)}, got {_family(actual)} ({_short(actual.dtype)})"
        return _difference_at(actual.tolist(), expected.tolist())
    if isinstance(expected, Set) and isinstance(actual, Set):
        missing, extra = (sorted(map(in_words, some)) for some in (expected - actual, actual - expected))
        parts = [f"{_some(some)} {verb}" for some, verb in ((missing, "missing"), (extra, "too many")) if some]
        return "; ".join(parts)
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        keys = _difference(set(actual), set(expected))
        if keys:
            return f"keys {keys}"
        changed = [key for key in expected if _difference(actual[key], expected[key])]
        return f"at {in_words(changed[0])}, {_difference(actual[changed[0]], expected[changed[0]])}" if changed else ""
    if _is_list(expected) and _is_list(actual):
        return _difference_at(list(actual), list(expected))
    if _is_number(expected) and _is_number(actual):
        is_same = _plain(actual) == _plain(expected)
    else:
        is_same = not isinstance(actual, Tensor) and not isinstance(expected, Tensor) and bool(actual == expected)
    return "" if is_same else f"expected {in_words(expected)}, got {in_words(actual)}"


def _family(tensor: Tensor) -> str:
    """What an index or a mask must be, whatever its size in memory."""
    if tensor.dtype == torch.bool:
        return "True and False"
    return "decimal numbers" if tensor.is_floating_point() or tensor.is_complex() else "integers"


def _some(texts: list[str]) -> str:
    """The first of many."""
    more = f" … and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return ", ".join(texts[:MOST]) + more


def _plain(number: object) -> complex:
    return number.item() if isinstance(number, Tensor) else number


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _difference_at(actual: object, expected: object, place: tuple[int, ...] = ()) -> str:
    """Like `_difference`, through nested lists, with the place."""
    if not (_is_list(actual) and _is_list(expected)):
        inner = _difference(actual, expected)
        return f"{inner} at [{', '.join(map(str, place))}]" if inner and place else inner
    for i, (found, wanted) in enumerate(zip(actual, expected)):
        inner = _difference_at(found, wanted, (*place, i))
        if inner:
            return inner
    if len(actual) != len(expected):
        return f"expected {len(expected)} elements, got {len(actual)}: {in_words(expected)} and {in_words(actual)}"
    return ""


def in_words(value: object) -> str:
    """A value in a message: short, and a tensor by its shape unless it is small."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        if value.numel() == 1 and not value.ndim:
            return in_words(value.item())
        if value.numel() > 12:
            return f"a tensor of shape {tuple(value.shape)}"
        return in_words(value.tolist())
    if isinstance(value, bool | int | str):
        return _shortened(repr(value))
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(in_words, value[:20])) + (", …" if len(value) > 20 else "")
        return _shortened(f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})")
    if isinstance(value, type) or callable(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {getattr(value, '__name__', type(value).__name__)}"
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
