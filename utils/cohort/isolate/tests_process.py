"""The process in which tests run on an answer that is somewhere else. No student code runs here, and what comes back is read with care."""

import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from utils.cohort.isolate import sandbox, tripwires
from utils.cohort.isolate.answer_process import receive, send
from utils.cohort.isolate.closing import run_and_leave
from utils.cohort.isolate.ending import EXITS, PATIENCE, how_it_ended, kill, take_in
from utils.cohort.isolate.errors import described, rebuilt
from utils.cohort.isolate.left_behind import leave_behind
from utils.cohort.isolate.peer import OtherSideGone, Peer, TooMuch
from utils.cohort.isolate.streams import write
from utils.cohort.isolate.values import Malformed, pack
from utils.cohort.isolate.wire import Remote, Shared, from_answer, to_answer
from utils.cohort.judge.records import record
from utils.grading.results import Answer
from utils.grading.run.grader import Grader

MOST_REMARKS = 20


class NotSaid(OtherSideGone):
    """The other process sends what no answer sends."""


class TestsSide(Peer):
    """The tests' end of a connection to an answer."""

    __test__ = False

    def __init__(self, connection: socket.socket, shared: Shared, own: tuple[str, ...]):
        """`own`: folders of tests."""
        super().__init__(connection)
        self._shared = shared
        self._own = own
        self._held: dict[int, Callable] = {}
        self.noticed: list[str] = []
        self.lost: OtherSideGone | None = None
        self._undo: list[Callable[[], bool]] = []
        self.stays = ""  # why something could not be sent, if that was so

    def serve(self, request: dict) -> object:
        """Call a function of the tests: nothing else is to be had here."""
        name, number, args, kwargs = request["value"]
        if name != "call" or number not in self._held:
            self.lost = NotSaid()
            raise self.lost
        return self._held[number](*args, **kwargs)

    def write(self, message: dict) -> bytes:
        mode = {
            "grad": torch.is_grad_enabled(),
            "dtype": torch.get_default_dtype(),
            "random": torch.get_rng_state().numpy().tobytes(),
        }
        try:
            return to_answer({**message, **mode}, self._shared, self.said_of, self._hold, self._own)
        except Exception as error:
            self.stays = self.stays or str(error)
            raise

    def _hold(self, function: Callable) -> int:
        self._held[id(function)] = function
        return id(function)

    def read(self, data: bytes, wrap: Callable[[dict, list[Tensor]], list[Tensor]]) -> dict:
        try:
            message = from_answer(data, self._shared, wrap, self.ask, self._held)
            while message["what"] == "noticed":
                self.noticed += [message["value"]] if message["value"] in tripwires.REASONS else []
                message = from_answer(self._receive(), self._shared, wrap, self.ask, self._held)
            torch.set_grad_enabled(message["grad"] is True)
            self.put_back()
            self._undo = leave_behind(self._shared, message["changes"])
            print(str(message["printed"]), end="")
            return message
        except (Malformed, ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError) as error:
            self.lost = NotSaid(str(error))
            raise self.lost from error

    def put_back(self) -> None:
        """Take away what the answer has left behind on models."""
        for put_back in self._undo:
            put_back()
        self._undo = []

    def _receive(self) -> bytes:
        try:
            return super()._receive()
        except OtherSideGone as error:
            self.lost = error
            raise

    def raised(self, error: Exception) -> dict:
        return described(error)

    def error(self, raised: object) -> BaseException:
        return rebuilt(raised)


def run_tests(
    name: str, items: dict[int, pytest.Item], grader: Grader, side: TestsSide, sink: Callable[[dict, bytes], None]
) -> None:
    """Run tests, by their numbers, on the answer at the other end. Raises OtherSideGone."""
    said = side.ask("answer")
    if not isinstance(said, dict):
        raise NotSaid
    started = {"is_started": said.get("is_started"), "problem": said.get("problem"), "remarks": said.get("remarks")}
    sink(started, b"")
    (number,) = said.get("value") or [None]
    for index, item in items.items() if type(number) is int else ():
        side.ask("test")
        side.forget()
        side.stays = ""
        answer = Answer(name, Remote(side.ask, number, "function"))
        message, block = record(grader, item, answer, with_expected=False)
        if side.lost is not None:
            raise side.lost
        sink({"case": index, "stays": side.stays, **message}, block)
    for reason in side.noticed:
        sink({"noticed": reason}, b"")
    sink({"tools": True}, b"")


def run_and_say(name, items, grader, side: TestsSide, stream: int, seconds: int) -> int:
    """Run tests within limits and write what they saw to a stream. Returns a code of `ending.EXITS`."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 2 * seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    codes = {word: code for code, word in EXITS.items()}
    try:
        run_tests(name, items, grader, side, lambda message, block: write(stream, pack(message, block)))
    except NotSaid:
        return codes["malformed"]
    except (TooMuch, MemoryError):
        return codes["too much"]
    except OtherSideGone:
        return codes["gone"]
    finally:
        side.put_back()
    return os.EX_OK


class TestsProcess:
    """A fork of this process that runs the tests of one exercise after the other. When it is lost, the next exercise gets a new one.

    `run` is called there with the name of an exercise, the connection to an answer and the stream for what tests see. It gives a code of
    `ending.EXITS`, and whether what tests share is as it was.
    """

    __test__ = False

    def __init__(self, run: Callable[[str, socket.socket, int], tuple[int, bool]], seconds: int, megabytes: int):
        """Limits for an exercise: `seconds` of processor time, and `megabytes` of memory besides what the process has now."""
        self._run = run
        self._seconds = seconds
        self._megabytes = megabytes
        self._pid = 0

    def run(self, name: str, connection: socket.socket, home: Path) -> tuple[str, bytes]:
        """How the tests of an exercise ended, in a word, and what they saw."""
        if not self._pid:
            self._start()
        source, sink = os.pipe()
        deadline = time.monotonic() + PATIENCE * self._seconds
        send(self._channel, name, connection.fileno(), sink)
        os.close(sink)
        connection.close()
        end, data = take_in(source, deadline, self._megabytes, home)
        os.close(source)
        said = b"" if end else self._channel.recv(2)
        if len(said) == 2:
            end = EXITS.get(said[0], "ended early")
        if len(said) < 2 or said[0] or not said[1]:
            status = self.close()
            end = end or how_it_ended(status, None, self._seconds)
        return end, data

    def close(self) -> int:
        """End it, if there is one. Returns how it ended."""
        if not self._pid:
            return 0
        self._channel.close()
        status, self._pid = kill(self._pid), 0
        return status

    def _start(self) -> None:
        self._channel, there = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            self._channel.close()
            run_and_leave(lambda: self._serve(there))
        there.close()

    def _serve(self, channel: socket.socket) -> None:
        sandbox.die_with_parent()
        sandbox.limit_memory(max(self._megabytes, 1000), hard=True)
        while True:
            name, (connection, sink) = receive(channel)
            with socket.socket(fileno=connection) as own:
                code, is_whole = self._run(name, own, sink)
            os.close(sink)
            channel.sendall(bytes([code, is_whole]))
