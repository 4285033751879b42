"""The graders' side of a worker: start it, hand it a notebook, take in what comes back, replace it when it is lost."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field, replace

from utils import ROOT
from utils.cohort.isolate.ending import PATIENCE, SECONDS_FOR_READING
from utils.cohort.isolate.streams import read_exactly, write
from utils.cohort.isolate.student_process import Settings
from utils.cohort.isolate.values import LENGTHS, Malformed, pack, unpack
from utils.grading.find.cells import Cell

# as isolated as with -I, which would not let the seed of hashes be set
START = "import sys; sys.path[0] = sys.argv.pop(1); from utils.cohort.isolate.student_process import main; main()"

# of the environment; all else, tokens say, is nobody's business there
KEPT = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"}
KEPT |= {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"}


class WorkerLost(RuntimeError):
    """A worker has ended without being asked to."""


@dataclass(frozen=True)
class Reply:
    """What came back for one exercise: how its process ended, and what it sent, not looked at yet.

    Attributes:
        named: suspicious names that the answer uses.
        inside: tests that ran where the answer did, by their numbers, and why.
        inside_end: how that process ended; `inside_data` is what it sent.
    """

    exercise: str
    end: str
    is_copy: bool
    named: list[str]
    data: bytes = field(repr=False)
    inside: dict[int, str] = field(default_factory=dict)
    inside_end: str = "over"
    inside_data: bytes = field(default=b"", repr=False)


class Worker:
    """A process that runs the answers in notebooks, several at a time if it has several lines. It starts at once; `wait` returns when it
    is ready. Each line may be used by a thread of its own.
    """

    def __init__(self, settings: Settings, n_lines: int = 1):
        environment = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("LC_")}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        environment |= {"PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._said = tempfile.TemporaryFile()
        self._lock = threading.Lock()
        self._inside: dict[str, dict[int, str]] | None = None
        pipes = [os.pipe() for _ in range(n_lines)]
        self._replies, theirs = zip(*pipes)
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(ROOT), json.dumps(asdict(settings)), *map(str, theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env=environment,
            cwd=settings.folder,
            pass_fds=theirs,
            start_new_session=True,
            bufsize=0,
        )
        for stream in theirs:
            os.close(stream)
        self._patience = 2 * PATIENCE * settings.seconds + SECONDS_FOR_READING

    def wait(self) -> None:
        """Until it is ready. Raises WorkerLost, with what it said last."""
        with self._lock:
            if self._inside is None:
                self._inside = self._reasons()

    def _reasons(self) -> dict[str, dict[int, str]]:
        """Why tests stay with the answer, by exercise and number, as the process says when it is ready."""
        try:
            message, _ = self._read(0, patience=None)
        except WorkerLost:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip().splitlines()
            raise WorkerLost(f"The tests cannot be made ready: {said[-1] if said else 'no reason is given'}") from None
        return {
            name: {int(number): why for number, why in reasons.items()} for name, reasons in message["inside"].items()
        }

    def grade(self, cells: list[Cell], line: int = 0) -> list[Reply] | None:
        """A reply for each exercise; None if the notebook could not even be read. Raises WorkerLost."""
        request = {"line": line, "cells": [(cell.kind, cell.source, cell.number) for cell in cells]}
        try:
            with self._lock:
                write(self._process.stdin.fileno(), pack(request))
        except BrokenPipeError:
            raise WorkerLost("A worker has ended.") from None
        replies = []
        while True:
            message, block = self._read(line, self._patience)
            if "over" in message:
                return replies if message["over"] else None
            name = message["exercise"]
            if message["inside"]:
                replies[-1] = replace(replies[-1], inside_end=message["end"], inside_data=block)
            else:
                known = message["is_copy"], message["named"]
                replies.append(Reply(name, message["end"], *known, block, self._inside[name]))

    def _read(self, line: int, patience: float | None) -> tuple[dict, bytes]:
        stream = self._replies[line]
        if not select.select([stream], [], [], patience)[0]:
            raise WorkerLost("A worker does not answer.")
        head = read_exactly(stream, LENGTHS.size)
        rest = head and read_exactly(stream, sum(LENGTHS.unpack(head)))
        if rest is None:
            raise WorkerLost("A worker has ended.")
        try:
            ((message, block),) = unpack(head + rest)
        except (Malformed, ValueError):
            raise WorkerLost("A worker has ended.") from None
        return message, block

    def close(self) -> None:
        """End it, and let go of its streams: no line may be in use any more."""
        self.end()
        for stream in self._replies:
            os.close(stream)
        self._said.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """End it, and all that it started. Whoever waits at a line is told."""
        self._process.kill()
        self._process.wait()
