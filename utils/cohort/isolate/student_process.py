"""A worker: it has the tests of a chapter ready, and forks one process a notebook, which reads it, and in it some for each exercise.

Student code runs in processes that are forked from another one, `answer_process`, which never has the tests; the tests run here and call
it by messages. Only tests whose calls cannot be sent run where student code runs: see `inside_process`.

Started by `processes.Worker` as a Python of its own. Reads requests from its standard input, and answers in frames through the line of each;
notebooks of different lines are graded at the same time.
"""

import ast
import gc
import json
import linecache
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from utils.cohort.isolate import answer_process, sandbox
from utils.cohort.isolate.closing import limit_reading, run_and_leave, silence
from utils.cohort.isolate.ending import listen, new_home, still_running
from utils.cohort.isolate.streams import read, write
from utils.cohort.isolate.values import pack, unpack
from utils.cohort.judge.likeness import is_like
from utils.cohort.judge.looking import named
from utils.grading.chapters import Chapter, chapters
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import Cell
from utils.grading.find.statements import Statement


@dataclass(frozen=True)
class Settings:
    """What a worker is started with: paths as text, so that it can be sent."""

    root: str
    chapter: int
    hidden: str
    seconds: int  # of processor time, for one exercise
    megabytes: int
    folder: str  # for temporary files

    def folders_of_tests(self, chapter: Chapter) -> list[str]:
        """Where tests lie, and what they share."""
        return [str(chapter.tests), *([self.hidden] if self.hidden else [])]


def main() -> None:
    """Serve until there is no more to read."""
    settings, lines = Settings(**json.loads(sys.argv[1])), [int(stream) for stream in sys.argv[2:]]
    requests = os.dup(0)
    sandbox.die_with_parent()
    torch.set_num_threads(1)
    tempfile.tempdir = settings.folder
    chapter = next(c for c in chapters(Path(settings.root)) if c.number == settings.chapter)
    answers = start_answers(chapter, settings)
    from utils.cohort.isolate.tests_ready import (
        ReadyTests,  # it has the tests read, which the process of answers may not have
    )

    ready = ReadyTests(chapter, settings, answers)
    linecache.clearcache()
    gc.collect()
    gc.freeze()
    silence()
    write(lines[0], pack({"ready": True, "inside": ready.reasons}))
    running: set[int] = set()
    while request := read(requests):
        there = ready.open_notebook(request["cells"])
        work = partial(grade_and_say, chapter, ready, settings, request["cells"], there, lines[request["line"]])
        pid = os.fork()
        if not pid:
            run_and_leave(work)
        there.close()
        running = still_running(running | {pid})


def grade_and_say(chapter: Chapter, ready, settings: Settings, cells: list, there: socket.socket, replies: int) -> None:
    """Have a notebook graded in a process of its own, and say when it is over."""
    sandbox.die_with_parent()
    pid = os.fork()
    if not pid:
        run_and_leave(lambda: grade(chapter, ready, settings, cells, there, replies))
    there.close()
    write(replies, pack({"over": os.waitpid(pid, 0)[1] == 0}))


def start_answers(chapter: Chapter, settings: Settings) -> socket.socket:
    """The process that forks those in which student code runs. It has all that an answer may use, and no tests."""
    _ = NotebookAnswers(chapter, [], "page").imports  # their modules are read now: an answer's process may not
    for name in chapter.points:
        chapter.references(without=name)
    here, there = socket.socketpair()
    if not os.fork():
        here.close()
        silence()
        linecache.clearcache()
        gc.collect()
        gc.freeze()
        run_and_leave(lambda: answer_process.serve(there, chapter, settings))
    there.close()
    return here


# ---------------------------------------------------------------------------------------------------------------------
# The process of one notebook: reads it, runs none of it
# ---------------------------------------------------------------------------------------------------------------------


def grade(chapter: Chapter, ready, settings: Settings, cells: list, there: socket.socket, replies: int) -> None:
    """A frame for each exercise: how its processes ended, and in the block what they sent.

    `there` leads to the process in which the answers of these cells are forked.
    """
    sandbox.die_with_parent()
    limit_reading(settings.megabytes)
    answers, process = NotebookAnswers(chapter, [Cell(*cell) for cell in cells], "notebook"), ready.new_process()
    for name in chapter.points:
        written = answers.written(name)
        is_copy = bool(written) and is_like(_node(written[-1]), chapter.page.source(name).answer())
        said = {"exercise": name, "is_copy": is_copy, "named": named(answers.nodes(name)) if written else []}
        with new_home(settings.folder) as home:
            end, data = ready.run_apart(process, there, name, home)
        write(replies, pack({**said, "end": end, "inside": False}, data))
        if end == "over" and ready.inside(name) and is_started(data):
            with new_home(settings.folder) as home:
                end, data = run_inside(chapter, ready, settings, answers, name, home)
            write(replies, pack({**said, "end": end, "inside": True}, data))
    process.close()


def is_started(data: bytes) -> bool:
    """Whether there is an answer that can be tested, by what a process of tests said of it."""
    message, _ = next(unpack(data), ({}, b""))
    return message.get("is_started") is True and not message.get("problem")


def _node(part: object) -> ast.stmt | None:
    return part.node if isinstance(part, Statement) else None


def run_inside(
    chapter: Chapter, ready, settings: Settings, answers: NotebookAnswers, name: str, home: Path
) -> tuple[str, bytes]:
    """Run the tests that stay with the answer: how their process ended, in a word, and all that it sent."""
    from utils.cohort.isolate.inside_process import InsideProcess

    source, sink = os.pipe()
    pid = os.fork()
    if not pid:
        process = InsideProcess(chapter, ready.session, settings, answers, name, ready.inside(name), home, sink)
        run_and_leave(process.run)
    os.close(sink)
    try:
        return listen(pid, source, settings.seconds, settings.megabytes, home)
    finally:
        os.close(source)


if __name__ == "__main__":
    main()
