"""Looking at what students sent, in a process that has an end: it may be made to cost much more time and memory than it is worth."""

import os
import pickle
import resource
import select
import signal
from collections.abc import Callable

from utils.cohort.isolate import sandbox
from utils.cohort.isolate.closing import run_and_leave
from utils.cohort.isolate.ending import PATIENCE
from utils.cohort.isolate.streams import read_exactly, write
from utils.cohort.isolate.values import LENGTHS


class NoResult(RuntimeError):
    """Time or memory was up."""


class LimitedProcess:
    """A fork of this process that answers questions, each in limited time. When it is lost, the next question gets a new one.

    `work` is called there with what is asked; questions and answers are pickled, so it must not run student code.
    """

    def __init__(self, work: Callable[[object], object], seconds: int, megabytes: int):
        """`seconds` of processor time for a question, `megabytes` for all of them."""
        self._work = work
        self._seconds = seconds
        self._megabytes = megabytes
        self._pid = 0
        self._start()

    def ask(self, question: object) -> object:
        """What `work` makes of it. Raises NoResult."""
        if not self._pid:
            self._start()
        try:
            write(self._requests, _framed(question))
            if not select.select([self._replies], [], [], PATIENCE * self._seconds)[0]:
                raise NoResult
            head = read_exactly(self._replies, LENGTHS.size)
            data = head and read_exactly(self._replies, LENGTHS.unpack(head)[0])
        except (BrokenPipeError, NoResult):
            data = None
        if data is None:
            self.close()
            raise NoResult
        return pickle.loads(data)

    def _start(self) -> None:
        (requests, self._requests), (self._replies, replies) = os.pipe(), os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._requests)
            os.close(self._replies)
            run_and_leave(lambda: self._serve(requests, replies))
        os.close(requests)
        os.close(replies)

    def _serve(self, requests: int, replies: int) -> None:
        sandbox.die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
        sandbox.limit_memory(self._megabytes, hard=False)
        while head := read_exactly(requests, LENGTHS.size):
            question = pickle.loads(read_exactly(requests, LENGTHS.unpack(head)[0]))
            used = resource.getrusage(resource.RUSAGE_SELF)
            limit = int(used.ru_utime + used.ru_stime) + 1 + self._seconds
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
            write(replies, _framed(self._work(question)))

    def close(self) -> None:
        """End it."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._requests)
            os.close(self._replies)
            self._pid = 0


def _framed(value: object) -> bytes:
    data = pickle.dumps(value)
    return LENGTHS.pack(len(data), 0) + data
