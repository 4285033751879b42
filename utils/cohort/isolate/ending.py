"""How a process ended that ran student code, and when it is made to end."""

import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 128 << 20
SECONDS_FOR_READING = 120
LOOK_EVERY = 0.5  # seconds, at what a silent process has written
PATIENCE = 10  # times the processor time that it may use: the machine may be busy, and code may sleep

EXITS = {0: "over", 3: "too much", 4: "gone", 5: "malformed"}  # a process of tests says so when it cannot go on


def take_in(source: int, deadline: float, megabytes: int, home: Path) -> tuple[str, bytes]:
    """All that a process sends until it closes its end. The word is empty then; else the time is over, or it sends or writes too much."""
    parts, size = [], 0
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([source], [], [], min(left, LOOK_EVERY))[0]:
            if size_of(home) > megabytes << 20:
                return "too much", b"".join(parts)
        elif part := os.read(source, 1 << 20):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                return "too much", b"".join(parts)
        else:
            return "", b"".join(parts)
    return "timed out", b"".join(parts)


def listen(pid: int, source: int, seconds: int, megabytes: int, home: Path) -> tuple[str, bytes]:
    """Take in what a process sends until it ends, is out of time, or sends or writes too much; then see that it has ended."""
    deadline = time.monotonic() + PATIENCE * seconds
    end, data = take_in(source, deadline, megabytes, home)
    ended = 0, 0, None
    while not end and not ended[0]:  # it has closed its end: it is done, or plays dead
        ended = os.wait4(pid, os.WNOHANG)
        time.sleep(0 if ended[0] else 0.001)
        end = "" if time.monotonic() < deadline else "timed out"
    if not ended[0]:
        kill(pid)
    return end or how_it_ended(ended[1], ended[2], seconds), data


def kill(pid: int) -> int:
    """End a process, and all of its group. Returns how it ended."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    size = 0
    with contextlib.suppress(RecursionError):
        for file in files:
            with contextlib.suppress(OSError):
                size += os.lstat(file).st_blocks * 512
    return size


def still_running(children: set[int]) -> set[int]:
    """Those processes of this one's that have not ended; the others are taken leave of."""
    return {pid for pid in children if not os.waitpid(pid, os.WNOHANG)[0]}


def how_it_ended(status: int, used: resource.struct_rusage | None, seconds: float) -> str:
    """One word; "over" if it ended as it should. `used` is the time of a process that was there for one answer."""
    if os.WIFEXITED(status):
        return EXITS.get(os.WEXITSTATUS(status), "ended early")
    if (used and used.ru_utime + used.ru_stime >= seconds) or os.WTERMSIG(status) == signal.SIGXCPU:
        return "timed out"
    # nobody else kills it: the system does when there is no memory left
    return "out of memory" if os.WTERMSIG(status) == signal.SIGKILL else "crashed"


def remove(folder: Path) -> None:
    """Delete a folder with all in it, also where student code has closed folders, or put hundreds into each other."""
    try:
        for place, _, _ in os.walk(folder):
            os.chmod(place, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RecursionError):
        pass
    if folder.exists() and shutil.which("rm"):  # it follows no path from the top, and has no limit of depth
        subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def new_home(folder: str) -> Iterator[Path]:
    """A folder for one answer; it is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="answer-", dir=folder))
    try:
        yield home
    finally:
        remove(home)
