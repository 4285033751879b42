"""Student code may loop for ever or try to end the program: neither must end the grading."""

import io
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Stopped(Exception):
    """Student code was stopped, or tried to stop the program; the text is meant for the student."""


class Endless(Stopped):
    """Student code did not come to an end in time."""


class _TimeIsUp(BaseException):
    """Not an Exception, so that `except Exception` in student code lets it pass."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Turn all by which student code could end the program into `Stopped`, endless loops included.

    The time is limited where the system has timers and only in the main thread. A real Ctrl-C passes.
    """
    with _timer(seconds), _real_interrupts() as interrupts:
        try:
            yield
        except _TimeIsUp:
            raise Endless(
                f"Your code was stopped after {seconds:g} seconds: does a loop never end, or does one go through all entries?"
            ) from None
        except SystemExit as error:
            raise Stopped("Your code ends the program (sys.exit).") from error
        except pytest.exit.Exception as error:
            raise Stopped("Your code ends the test session.") from error
        except (KeyboardInterrupt, GeneratorExit) as error:
            if interrupts:
                raise
            raise Stopped(f"Your code raises {type(error).__name__}.") from error


@contextmanager
def _timer(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, stop)
    # once more every second, for code that catches everything
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _real_interrupts() -> Iterator[list[int]]:
    """A list that holds something once a person has pressed Ctrl-C."""
    interrupts: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def interrupt(number, frame):
        interrupts.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


class ShortMemory(io.TextIOBase):
    """A stream for what student code prints: it keeps the beginning, however much comes."""

    def __init__(self, size: int = 4000):
        self._room = size
        self._parts: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._room > 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)
        return len(text)

    @property
    def text(self) -> str:
        """What was printed, as far as it is kept."""
        return "".join(self._parts) + ("…" if self._room < 0 else "")
