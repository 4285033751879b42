"""Where student code runs: processes without tests, and without the reference answer to the exercise.

`serve` runs in a process that has the chapter's page and solutions, and models that tests share; it never has tests. It forks one
process a notebook, which reads it, and in it one for each exercise.
"""

import contextlib
import gc
import os
import pickle
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from utils.cohort.isolate import sandbox, tripwires
from utils.cohort.isolate.closing import close, closed_in, limit_reading, run_and_leave, take_out_reference, uses
from utils.cohort.isolate.ending import how_it_ended, kill, still_running
from utils.cohort.isolate.errors import described, rebuilt
from utils.cohort.isolate.left_behind import LeftBehind
from utils.cohort.isolate.peer import OtherSideGone, Peer
from utils.cohort.isolate.values import LENGTHS
from utils.cohort.isolate.wire import OPERATIONS, Shared, Theirs, load, to_tests
from utils.grading.chapters import Chapter
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import Cell
from utils.grading.results import Answer
from utils.grading.run.limits import ShortMemory, Stopped, limited
from utils.grading.run.process_state import restore_watched, seed_everything, watch
from utils.grading.run.unchanged import guarded

GRACE = 1.0  # seconds for a process that has closed its end to end itself


def send(channel: socket.socket, message: object, *streams: int) -> None:
    """A message of the course's own, and open streams. Raises OSError."""
    data = pickle.dumps(message)
    socket.send_fds(channel, [LENGTHS.pack(len(data), 0)], streams)
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[object, list[int]]:
    """What `send` sent. Raises OtherSideGone at the end."""
    head, streams, _, _ = socket.recv_fds(channel, LENGTHS.size, 2)
    left, parts = LENGTHS.unpack(head)[0] if len(head) == LENGTHS.size else -1, []
    if left < 0:
        raise OtherSideGone
    while left:
        part = channel.recv(min(left, 1 << 20))
        if not part:
            raise OtherSideGone
        left -= len(part)
        parts.append(part)
    return pickle.loads(b"".join(parts)), streams


def serve(channel: socket.socket, chapter: Chapter, settings) -> None:
    """Fork a process for each notebook, or for the reference answers; take in the models that tests share."""
    sandbox.die_with_parent()
    shared, running = Shared([]), set()
    while True:
        message, streams = receive(channel)
        if "share" in message:
            shared = Shared(pickle.loads(message["share"]))
            watch(*shared.modules)
            gc.freeze()
            continue
        pid = os.fork()
        if not pid:
            channel.close()
            own = socket.socket(fileno=streams[0])
            run_and_leave(partial(serve_notebook, own, chapter, settings, shared, message["cells"]))
        os.close(streams[0])
        running = still_running(running | {pid})


def serve_notebook(channel: socket.socket, chapter: Chapter, settings, shared: Shared, cells: list | None) -> None:
    """Fork a process for each exercise that is asked for, and say how it ended. Without cells it is the reference's turn."""
    sandbox.die_with_parent()
    answers = None
    if cells is not None:
        limit_reading(settings.megabytes)
        answers = NotebookAnswers(chapter, [Cell(*cell) for cell in cells], "notebook")
    while True:
        message, streams = receive(channel)
        pid = os.fork()
        if not pid:
            channel.close()
            connection = socket.socket(fileno=streams[0])
            work = AnswerSide(connection, chapter, settings, shared, answers, message["exercise"], message["home"])
            run_and_leave(work.run)
        os.close(streams[0])
        receive(channel)  # the tests have ended
        send(channel, end_of(pid, settings.seconds))


def end_of(pid: int, seconds: int) -> str:
    """How a process ended, in a word; it is ended if it does not do that itself."""
    deadline = time.monotonic() + GRACE
    ended = os.wait4(pid, os.WNOHANG)
    while not ended[0] and time.monotonic() < deadline:
        time.sleep(0.002)
        ended = os.wait4(pid, os.WNOHANG)
    if ended[0]:
        return how_it_ended(ended[1], ended[2], seconds)
    kill(pid)
    return "ended early"


class AnswerSide(Peer):
    """The process of one answer."""

    most_bytes = sys.maxsize  # what comes is the course's own

    def __init__(
        self,
        connection: socket.socket,
        chapter: Chapter,
        settings,
        shared: Shared,
        answers: NotebookAnswers | None,
        name: str,
        home: str,
    ):
        super().__init__(connection)
        self.chapter = chapter
        self.settings = settings
        self.shared = shared
        self.answers = answers
        self.name = name
        self.home = Path(home)
        self._held: list[object] = []
        self._left_behind = LeftBehind(shared)
        self._printed = ShortMemory()
        self._own: set[int] = set()

    def run(self) -> None:
        """Serve until the tests have ended."""
        closed_in([self._connection.fileno()])
        is_reference = self.answers is None
        if not is_reference:
            self._own = take_out_reference(self.chapter, self.name)
        close(self.home, self.settings, None if is_reference else self._notice)
        with contextlib.suppress(OtherSideGone):
            while True:
                self.next_request()

    def _notice(self, reason: str) -> None:
        self._send(self.write({"what": "noticed", "value": reason}))

    def serve(self, request: dict) -> object:
        """Find the answer, begin a test, or do something with what is kept here."""
        if request["what"] == "unreadable":
            raise request["value"]
        if request["what"] == "answer":
            return self._answer()
        if request["what"] == "test":
            self.forget()
            restore_watched()
            seed_everything()
            torch.set_default_dtype(torch.float32)
            return None
        name, number, *arguments = request["value"]
        torch.set_grad_enabled(request["grad"])
        torch.set_default_dtype(request["dtype"])
        torch.set_rng_state(torch.frombuffer(bytearray(request["random"]), dtype=torch.uint8))
        try:
            with (
                limited(10 * self.settings.seconds),
                warnings.catch_warnings(),
                redirect_stdout(self._printed),
                redirect_stderr(self._printed),
            ):
                return OPERATIONS[name](self._held[number], *arguments)
        except (Exception, OtherSideGone):
            raise
        except BaseException as error:
            raise Stopped(f"Your code raises {type(error).__name__}.") from error

    def _answer(self) -> dict:
        reference = self.chapter.reference(self.name)
        if self.answers is None:
            found = Answer(self.name, reference)
        else:
            found = self.answers.answer(self.name)
            if uses(found.value, self._own):
                self._notice(tripwires.REFERENCE)
        is_ready = found.is_started and not found.problem
        value = guarded(found.value, reference) if is_ready else None
        said = {"is_started": found.is_started, "problem": found.problem, "remarks": found.remarks}
        return {**said, "value": [self._keep(value)] if is_ready else []}

    def _keep(self, value: object) -> int:
        self._held.append(value)
        return len(self._held) - 1

    def write(self, message: dict) -> bytes:
        printed, self._printed = self._printed.text, ShortMemory()
        is_over = message["what"] in ("reply", "raised")  # in the middle of a call, nothing is left behind yet
        changes = self._left_behind.changes() if is_over else []
        more = {"grad": torch.is_grad_enabled(), "printed": printed, "changes": changes}
        return to_tests({**message, **more}, self.shared, self.said_of, self._keep)

    def read(self, data: bytes, wrap: Callable[[dict, list[Tensor]], list[Tensor]]) -> dict:
        what, lives, body = pickle.loads(data)
        known = wrap(what, pickle.loads(lives))

        def named(name: tuple) -> object:
            kind, *place = name
            if kind == "module":
                self._left_behind.note(place[0])
                return self.shared.at(*place)
            if kind == "function":
                return Theirs(self.ask, place[0])
            return (known if kind == "live" else self._held)[place[0]]

        try:
            return {**what, "value": load(body, named)}
        except Exception as error:  # an object that cannot be made anew from its parts
            return {**what, "what": "unreadable", "value": error}

    def raised(self, error: Exception) -> dict:
        return described(error)

    def error(self, raised: object) -> BaseException:
        return rebuilt(raised)
