"""The process in which an answer and tests that stay with it run together: those whose calls cannot be sent as messages.

What such a test expects is computed here, next to student code. The judge says who these tests are.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.cohort.isolate import tripwires, values
from utils.cohort.isolate.calls import Calls
from utils.cohort.isolate.closing import close, closed_in, take_out_reference, take_out_tests, uses
from utils.cohort.isolate.streams import write
from utils.cohort.isolate.values import pack
from utils.cohort.judge import records
from utils.cohort.judge.records import record
from utils.grading import expect, expect_close, expect_equal
from utils.grading.chapters import Chapter
from utils.grading.find.answers import NotebookAnswers
from utils.grading.run.comparison_tools import HOMES, NAMES, TOOLS, Tools
from utils.grading.run.session import TestSession


class InsideProcess:
    """The process in which one answer is run, with its tests."""

    def __init__(
        self,
        chapter: Chapter,
        session: TestSession,
        settings,
        answers: NotebookAnswers,
        name: str,
        indexes: Sequence[int],
        home: Path,
        sink: int,
    ):
        self.chapter = chapter
        self.session = session
        self.settings = settings
        self.answers = answers
        self.name = name
        self.indexes = indexes
        self.home = home
        self.sink = sink
        self.noticed: list[str] = []

    def run(self) -> None:
        """Send the answer's remarks, each test's record, and whether the tools are still what they were."""
        items, calls = self.session.items(self.name), Calls()
        closed_in([self.sink])
        own = take_out_reference(self.chapter, self.name)
        take_out_tests(self.settings.folders_of_tests(self.chapter))
        self.session.move_temporary_folder(self.home)
        close(self.home, self.settings, self._notice, has_tests=True)
        tools, is_whole = Tools(NAMES, [*HOMES, records, values]), True
        with calls.ended():
            answer = self.answers.answer(self.name)
        if uses(answer.value, own):
            self._notice(tripwires.REFERENCE)
        self._send({"is_started": answer.is_started, "problem": answer.problem, "remarks": answer.remarks})
        if answer.is_started and not answer.problem:
            answer = replace(answer, value=calls.guarded(answer.value))
            for index in self.indexes:
                message, block = record(self.session.grader, items[index], answer, with_expected=False)
                self._send({"case": index, **message}, block)
                is_whole = is_whole and not tools.replaced() and not TOOLS.seen
        for reason in self.noticed:  # once more, if they got lost on the way
            self._send({"noticed": reason})
        self._send({"tools": is_whole and tools_work()})

    def _send(self, message: dict, block: bytes = b"") -> None:
        write(self.sink, pack(message, block))

    def _notice(self, reason: str) -> None:
        self.noticed.append(reason)
        self._send({"noticed": reason})


def tools_work() -> bool:
    """Whether the tools by which tests compare still tell right from wrong."""
    wrong = [
        lambda: expect(False, "no"),
        lambda: expect_close(1.0, 2.0, "one"),
        lambda: expect_close(torch.ones(2), torch.zeros(2), "ones"),
        lambda: expect_equal([1], [2], "one"),
        lambda: expect_equal({1}, {2}, "one"),
        lambda: torch.testing.assert_close(torch.ones(2), torch.zeros(2)),
        lambda: np.testing.assert_allclose(1.0, 2.0),
    ]
    for compare in wrong:
        try:
            compare()
        except Exception:  # no matter which: exceptions can be changed too
            continue
        return False
    try:
        with pytest.raises(ValueError):
            pass
    except pytest.fail.Exception:
        return not (torch.equal(torch.ones(1), torch.zeros(1)) or np.allclose(1, 2) or torch.allclose(*torch.eye(2)))
    return False
