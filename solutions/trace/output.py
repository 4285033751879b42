"""The folder a trace is written to: complete or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE, GRAPH, RESULT = "index.html", "graph.json", "result"
PARTS = (PAGE, GRAPH, RESULT)
CIRCUIT_TRACER = "circuit-tracer"  # only where it was asked for


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into; move its contents to ``folder`` when the block ends without an exception.

    The temporary folder lies beside the final one, so that moving is renaming, and so that a place that cannot be written
    is noticed before any work is done.

    Raises:
        ValueError: ``folder`` is a file, holds something else than an earlier trace, or cannot be written.
    """
    folder = folder.absolute()
    _refuse_foreign(folder)
    base = folder if folder.is_dir() else next(p for p in folder.parents if p.exists())
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".trace-", dir=base))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield temporary
        try:
            _move(temporary, folder)
        except OSError as error:
            raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    """An existing folder must be empty or hold an earlier trace: nothing of anyone else's is replaced."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder: choose another --out.")
    ours = all((folder / name).exists() for name in PARTS)
    if folder.is_dir() and not ours and any(folder.iterdir()):
        raise ValueError(f"{folder} holds other files: choose a new or empty folder for --out.")


def _move(temporary: Path, folder: Path) -> None:
    """Put the new parts in place of the old ones. The old ones lie in the temporary folder until they are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*PARTS, CIRCUIT_TRACER):
        place = folder / name
        if place.exists():
            place.rename(temporary / f"old-{name}")
        if (temporary / name).exists():
            (temporary / name).rename(place)


def _unwritable(folder: Path, error: OSError) -> ValueError:
    reason = (error.strerror or str(error)).rstrip(".")
    return ValueError(f"{folder} cannot be written ({reason}): choose another --out.")
