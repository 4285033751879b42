"""The peak of this process' resident memory. It imports nothing of this course, so that `peer.py` can use it too."""

import ctypes
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Give free memory back to the system, and let the peak begin anew at what is resident then (Linux)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")
    except (OSError, AttributeError, TypeError):
        pass


def resident_mib() -> float:
    """What is resident now; 0 where the system does not say."""
    return _field("VmRSS") or 0.0


def peak_mib() -> float:
    """The peak since the last reset; where the system cannot reset it, since the start."""
    found = _field("VmHWM")
    if found is not None:
        return found
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _field(name: str) -> float | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(name)), None)
