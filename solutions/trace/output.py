"""The folder a trace is written to: complete or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PAGE, GRAPH, RESULT = "index.html", "graph.json", "result"
PARTS = (PAGE, GRAPH, RESULT)
CIRCUIT_TRACER = "circuit-tracer"  # only where it was asked for
ROW = "row.json"  # the line of summary.csv, where many prompts are traced
OPTIONAL = (CIRCUIT_TRACER, ROW)
RESULT_FILES = {"result.json", "tensors.safetensors"}
BEGUN = ".trace-"  # how the name of a temporary folder begins; the files in it:
LOCK, NEW, TARGET, WHOLE = ".lock", "new", "target.txt", "whole.json"
YOUNG = 60  # seconds: a folder without a lock may be one that another process is just making


class Stopped(KeyboardInterrupt):
    """The work was stopped; the sentence says what is kept."""


class SomeFailed(Exception):
    """Some prompts of many could not be traced; the sentences are for standard output."""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into; move its contents to ``folder`` when the block ends without an exception.

    The temporary folder lies beside the final one, so that moving is renaming, and so that a place that cannot be written
    is noticed before any work is done. It is locked while this process lives: what a killed process left behind has no
    lock, and is removed.

    Raises:
        ValueError: ``folder`` is a file, holds something else than an earlier trace, is being written by another process,
            or cannot be written.
    """
    folder = folder.expanduser().absolute()
    with writing_errors(folder):
        parent = next(p for p in folder.parents if p.is_dir())
        for base in (parent, folder):
            _tidy(base, folder)
        _refuse_foreign(folder)
        temporary = Path(tempfile.mkdtemp(prefix=BEGUN, dir=folder if folder.is_dir() else parent))
    try:
        with FileLock(temporary / LOCK, mode=0o644):
            with writing_errors(folder):
                (temporary / NEW).mkdir()
                _write(temporary / TARGET, str(folder))
            yield temporary / NEW
            with writing_errors(folder):
                _refuse_foreign(folder)
                _write(temporary / WHOLE, json.dumps([path.name for path in (temporary / NEW).iterdir()]))
                _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """Whether the folder holds a whole trace."""
    return all((folder / name).exists() for name in PARTS)


def _tidy(base: Path, folder: Path) -> None:
    """End what killed processes began in ``base``: move what was whole, remove the rest. Refuse if one is alive and writes ``folder``."""
    for left in base.glob(f"{BEGUN}*"):
        try:
            is_young = time.time() - left.stat().st_mtime < YOUNG
            if not left.is_dir() or (is_young and not (left / LOCK).exists()):
                continue
            with FileLock(left / LOCK, blocking=False):
                if (left / WHOLE).is_file():
                    _move(left, Path(_read(left / TARGET)))
        except Timeout:
            if (left / TARGET).is_file() and _read(left / TARGET) == str(folder):
                raise ValueError(
                    f"Another trace is being written into {folder}: wait for its end, or choose another --out."
                ) from None
            continue
        except (OSError, json.JSONDecodeError):  # someone else's, or gone by now
            continue
        shutil.rmtree(left, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _refuse_foreign(folder: Path) -> None:
    """An existing folder must be empty or hold an earlier trace: nothing of anyone else's is replaced."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder: choose another --out.")
    if not folder.is_dir():
        return
    if any(not path.name.startswith(BEGUN) for path in folder.iterdir()) and not is_complete(folder):
        raise ValueError(f"{folder} holds other files: choose a new or empty folder for --out.")
    for part, known in ((folder / RESULT, RESULT_FILES), (folder / CIRCUIT_TRACER, _one_graph(folder))):
        foreign = sorted({path.name for path in part.iterdir()} - known) if part.is_dir() else []
        if foreign:
            raise ValueError(
                f"{part} holds a file that is not the trace's, {foreign[0]}: move it, or choose another --out."
            )


def _one_graph(folder: Path) -> set[str]:
    """What circuit-tracer's folder holds where it has this trace's graph and no other."""
    try:
        slug = json.loads(_read(folder / GRAPH))["metadata"]["slug"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {"graph-metadata.json", f"{slug}.json", f"latents-{slug}"}


def _move(temporary: Path, folder: Path) -> None:
    """Put the new parts in place of the old ones. The old ones lie in the temporary folder until they are deleted.

    Whoever is killed in between can be followed by another call.
    """
    new = temporary / NEW
    wanted = json.loads(_read(temporary / WHOLE))
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*PARTS, *OPTIONAL):
        place = folder / name
        if place.exists() and (name not in wanted or (new / name).exists()):
            place.rename(temporary / f"old-{name}")
        if (new / name).exists():
            (new / name).rename(place)


@contextmanager
def writing_errors(folder: Path) -> Iterator[None]:
    """Say in one sentence that ``folder`` cannot be written, whatever library noticed it."""
    try:
        yield
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ValueError:
    reason = (error.strerror or str(error)).rstrip(".")
    name = str(folder) if len(str(folder)) <= 120 else f"{str(folder)[:100]}…"
    return ValueError(f"{name} cannot be written ({reason}): choose another --out.")
