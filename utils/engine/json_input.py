"""JSON that other programs wrote: read, looked at, and refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_NUMBER = 1e30  # sums and squares of such numbers are still finite
MAX_BYTES = 200_000_000


class GraphFormatError(ValueError):
    """The graph is not one that other tools could read. The message says what is wrong and where."""


def need(condition: object, sentence: str) -> None:
    if not condition:
        raise GraphFormatError(sentence)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        GraphFormatError: it cannot be read, or is not JSON.
    """
    try:
        need(
            path.stat().st_size <= MAX_BYTES, f"{path.name} is larger than {MAX_BYTES // 1_000_000} MB: no page of it."
        )
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise GraphFormatError(f"{path} cannot be read: {error.strerror or error}.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise GraphFormatError(f"{path.name} is not JSON: {error.msg} at {where}.") from None
    except UnicodeDecodeError as error:
        raise GraphFormatError(f"{path.name} is not JSON: byte {error.start} is not UTF-8 text.") from None
    except (ValueError, RecursionError):
        raise GraphFormatError(
            f"{path.name} is not JSON that can be read: a number or a nesting is too long."
        ) from None


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_drawable(value: Any) -> bool:
    """Whether it is a finite number, of a size that a page can show and add up."""
    return is_number(value) and -MAX_NUMBER <= value <= MAX_NUMBER


def shown(value: Any) -> str:
    """A value inside a sentence: short and on one line."""
    text = ascii(value) if not isinstance(value, int) or abs(value) < 10**18 else "a very large number"
    return text if len(text) <= 60 else text[:57] + "…"


def short(value: float) -> float:
    """Five significant digits: enough for the eye, half the bytes."""
    return float(f"{value:.5g}")


# ---------------------------------------------------------------- nodes
