"""The verdict: what an answer's values are worth.

The judge runs the tests on the reference answers, in a process in which no student code ever runs. A test passes if it ran to its end in the
student's process, made the same comparisons there, and each value that it compared there is what the judge expects here.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from utils.cohort.isolate import tripwires
from utils.cohort.isolate.processes import Reply
from utils.cohort.isolate.values import unpack, writable
from utils.cohort.judge.records import Record, read_record, record
from utils.grading.chapters import Chapter
from utils.grading.compare.expectations import Unexpected
from utils.grading.diagnose.matching import diagnose
from utils.grading.diagnose.variants import Mistake, make_answer
from utils.grading.results import DONE, FAILING, NOT_STARTED, Answer, CaseResult, ExerciseResult
from utils.grading.run.grader import in_words
from utils.grading.run.session import CollectionError, TestSession

TIMED_OUT, OUT_OF_MEMORY, CRASHED, ENDED_EARLY = "timed out", "out of memory", "crashed", "ended early"
TOO_MUCH, FORBIDDEN, TAMPERED, CONTESTED = "too much output", "forbidden", "tampered", "contested"
SENTENCES = {
    TIMED_OUT: "Your code was stopped because it took too long: does a loop never end?",
    OUT_OF_MEMORY: "Your code needs more memory than there is.",
    CRASHED: "Your code crashed Python.",
    ENDED_EARLY: "Your code ended the program before the tests were over.",
    TOO_MUCH: "Your code gave back more than can be looked at, or wrote more than there is room for.",
    TAMPERED: "Your code changes the tools that compare answers, so nothing could be judged.",
    CONTESTED: "The values that came back are not those of a right answer, though the test passed where your code ran.",
}
ENDS = {"timed out": TIMED_OUT, "out of memory": OUT_OF_MEMORY, "crashed": CRASHED, "ended early": ENDED_EARLY}
ENDS |= {"too much": TOO_MUCH, "malformed": CONTESTED}
NO_MEMORY = ("MemoryError", "not enough memory", "can't allocate memory")
LONGEST = 2000
MOST_REMARKS = 20


@dataclass
class Verdict:
    """One exercise of one student: plain data, which is kept in a file.

    Attributes:
        status: `done`, `failing`, `not started`, or what happened instead.
        tests: by test function: its sentence, whether it passed, why not, whether it is hidden, and why it ran "inside", next to the
            answer; empty if it did not.
        mistake: name of the planted mistake that the answer is recognised as; `sentence` what it says.
        noticed: what the answer tried to do besides computing.
        signature: of a failure that no mistake explains: the same for all answers that give the same values.
    """

    name: str
    points: int
    status: str
    earned: float
    tests: list[dict] = field(default_factory=list)
    problem: str = ""
    mistake: str = ""
    sentence: str = ""
    remarks: list[str] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    is_copy: bool = False
    signature: str = ""


@dataclass
class Sent:
    """What a student's process sent, read with care."""

    is_started: bool = True
    problem: str = ""
    remarks: list[str] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    records: dict[int, Record] = field(default_factory=dict)
    tools_work: bool = False
    is_over: bool = False


class Judge:
    """Judges the exercises of one chapter."""

    def __init__(
        self, chapter: Chapter, hidden: Path | None = None, progress: Callable[[str], None] = lambda name: None
    ):
        """Runs all tests on the reference answers; `progress` is told each exercise. Raises CollectionError."""
        self.chapter = chapter
        self._hidden = hidden
        self._session = TestSession(chapter, hidden)
        self._items = {name: self._session.items(name) for name in chapter.points}
        self._observed: dict[tuple[str, str, int], Record] = {}
        self._expected: dict[str, list[Record]] = {}
        for name in chapter.points:
            reference = Answer(name, chapter.reference(name))
            for item in self._items[
                name
            ]:  # what tests share is made when it is first asked for, and that uses random numbers
                self._session.grader.run(item, reference)
        for name in chapter.points:
            reference = Answer(name, chapter.reference(name))
            self._expected[name] = [self._run(name, index, reference) for index in range(len(self._items[name]))]
            progress(name)

    def close(self) -> None:
        """End shared fixtures."""
        self._session.close()

    def refuse_unfair(self) -> None:
        """See that the reference answers pass all tests. Raises CollectionError."""
        for name, items in self._items.items():
            for item, expected in zip(items, self._expected[name]):
                if expected.ending and not expected.is_skipped:
                    raise CollectionError(
                        f"The reference answers of chapter {self.chapter.number} do not pass {item.name}: {expected.failure}"
                    )

    def _run(self, name: str, index: int, answer: Answer) -> Record:
        return read_record(*record(self._session.grader, self._items[name][index], answer, with_expected=True))

    # -----------------------------------------------------------------------------------------------------------------

    def judge(self, reply: Reply) -> Verdict:
        """The verdict on one exercise, whatever came back."""
        try:
            return self._judge(reply)
        except Exception:  # Malformed, or values that cannot even be looked at
            points, status = self.chapter.points[reply.exercise], ENDS.get(reply.end, CONTESTED)
            return Verdict(reply.exercise, points, status, 0.0, problem=SENTENCES[status])

    def _judge(self, reply: Reply) -> Verdict:
        name, points = reply.exercise, self.chapter.points[reply.exercise]
        sent = self._read(reply)
        if not sent.is_started and sent.is_over and reply.end == "over":
            return Verdict(name, points, NOT_STARTED, 0.0, remarks=sent.remarks)
        end = ENDS.get(reply.end) or ENDS.get(reply.inside_end) or ("" if sent.is_over else ENDED_EARLY)
        is_tampered = sent.is_over and not end and not sent.problem and not sent.tools_work
        cases, contested = [], []
        for index in range(len(self._items[name])):
            case, is_contested = self._case(name, index, sent, SENTENCES[TAMPERED] if is_tampered else "", end)
            cases.append(case)
            contested += [index] if is_contested else []
        found = None
        if not end and not is_tampered and not sent.problem and any(case.failure for case in cases):
            found = diagnose(
                cases, self.chapter.mistakes(name), lambda m, index: self._observe(name, m, index).fingerprint
            )
        if found:
            contested = [index for index in contested if not self._is_settled(name, found, index, cases[index])]
        result = ExerciseResult(name, points, cases, problem=sent.problem)
        status = result.status
        if end or is_tampered or contested:
            status = end or (TAMPERED if is_tampered else CONTESTED)
        elif status == FAILING and any(_has_no_memory(case) for case in cases):
            status = OUT_OF_MEMORY
        if sent.noticed and status in (DONE, FAILING, CONTESTED):
            status = FORBIDDEN
        verdict = Verdict(
            name,
            points,
            status,
            result.earned if not sent.problem else 0.0,
            self._tests(name, cases, reply.inside),
            problem=sent.problem or SENTENCES.get(end, ""),
            mistake=found.name if found else "",
            sentence=found.sentence if found else "",
            remarks=sent.remarks + looks(reply.named),
            noticed=sent.noticed,
            is_copy=reply.is_copy,
        )
        if status == FAILING and not found and not sent.problem:
            verdict.signature = self._signature(name, cases, sent)
        return verdict

    def _case(self, name: str, index: int, sent: Sent, tampered: str, end: str) -> tuple[CaseResult, bool]:
        """One test, and whether student's side and judge disagree about it."""
        item, expected, came = self._items[name][index], self._expected[name][index], sent.records.get(index)
        case = CaseResult(item.originalname, in_words(item), item.callspec.id if hasattr(item, "callspec") else "")
        case.is_skipped = expected.is_skipped
        is_contested = False
        if expected.is_skipped:
            return case, False
        if came is None or sent.problem:
            case.failure = sent.problem or SENTENCES[end or ENDED_EARLY]
        elif tampered:
            case.failure = tampered
        else:
            case.fingerprint = came.fingerprint
            found = why_not(expected, came)
            says_failing = bool(came.ending) or came.is_skipped
            if says_failing:
                case.failure = came.failure or "Your code has the test skipped."
                case.printed = came.printed
            elif found:
                case.failure, is_contested = found, True
        return case, is_contested

    def _read(self, reply: Reply) -> Sent:
        """What was sent, of each test by the process that it ran in. Raises Malformed."""
        numbers = range(len(self._items[reply.exercise]))
        sent = read_sent(reply.data, {*numbers} - {*reply.inside})
        if not reply.inside_data:
            return sent
        inside = read_sent(reply.inside_data, {*reply.inside})
        sent.noticed += [reason for reason in inside.noticed if reason not in sent.noticed]
        sent.problem = sent.problem or inside.problem
        sent.records |= inside.records
        sent.tools_work, sent.is_over = inside.tools_work, inside.is_over
        return sent

    def _tests(self, name: str, cases: list[CaseResult], inside: dict[int, str]) -> list[dict]:
        """By test function, as it is kept and reported; `inside` are the tests that ran where the answer did, and why."""
        tests: dict[str, dict] = {}
        for index, (item, case) in enumerate(zip(self._items[name], cases)):
            if case.is_skipped:
                continue
            test = tests.setdefault(case.function, {"sentence": case.sentence, "passed": True, "failure": ""})
            test["hidden"] = self._hidden is not None and item.path.is_relative_to(self._hidden)
            test["inside"] = test.get("inside") or inside.get(index, "")
            if case.failure and test["passed"]:
                test |= {"passed": False, "failure": "" if test["hidden"] else case.failure}
        return list(tests.values())

    # -----------------------------------------------------------------------------------------------------------------

    def _is_settled(self, name: str, mistake: Mistake, index: int, case: CaseResult) -> bool:
        """Whether a test on which the two sides disagree also passes here on the planted mistake, with the student's values.

        It compares an answer with itself then, as tests of properties do. The case is passed.
        """
        observed = self._observe(name, mistake, index)
        if observed.ending or not observed.fingerprint.is_like(case.fingerprint):
            return False
        case.failure = case.mistake = ""
        return True

    def _observe(self, name: str, mistake: Mistake, index: int) -> Record:
        """What a planted mistake gives in a test; run once, kept for all students."""
        key = name, mistake.name, index
        if key not in self._observed:
            answer = Answer(name, make_answer(mistake, self.chapter.reference(name)))
            self._observed[key] = self._run(name, index, answer)
        return self._observed[key]

    def _signature(self, name: str, cases: list[CaseResult], sent: Sent) -> str:
        """The first failing test and what it saw, rounded."""
        failing = next((case for case in cases if case.failure), None)
        if failing is None:
            return ""
        notes = [
            f"{what} {sketch.kind} {' '.join(f'{number:.3g}' for number in sketch.numbers[:50])}"
            for what, sketch in failing.fingerprint.notes[-1:]
        ]
        return f"{failing.function}[{failing.case}] {failing.fingerprint.ending} {' '.join(notes)}"[:LONGEST]


def looks(named: Sequence[str]) -> list[str]:
    """A remark on an answer that names what no answer needs."""
    return [f"The answer names {', '.join(named)}, which no answer needs: a person should look at it."] if named else []


def why_not(expected: Record, came: Record) -> str:
    """Why values do not pass a test here; empty if they do."""
    if [(check.kind, check.what) for check in expected.checks] != [(check.kind, check.what) for check in came.checks]:
        return SENTENCES[CONTESTED]
    for right, found in zip(expected.checks, came.checks):
        try:
            replace(right, actual=found.actual).hold()
        except Unexpected as error:
            return str(error)[:LONGEST]
        except Exception:  # values of another kind than a test can compare
            return SENTENCES[CONTESTED]
    return ""


def read_sent(data: bytes, tests: Set[int]) -> Sent:
    """What a process sent that runs some tests, by their numbers. Raises Malformed."""
    sent = Sent()
    for message, block in unpack(data):
        if "is_started" in message:
            sent.is_started = message["is_started"] is not False
            sent.problem = _text(message.get("problem"))
            remarks = message.get("remarks")
            sent.remarks = [_text(remark) for remark in remarks][:MOST_REMARKS] if isinstance(remarks, list) else []
        elif "noticed" in message:
            reason = message["noticed"]
            if isinstance(reason, str) and reason in tripwires.REASONS and reason not in sent.noticed:
                sent.noticed.append(reason)
        elif "case" in message:
            index = message["case"]
            if type(index) is int and index in tests:
                sent.records.setdefault(index, read_record(message, block))
        elif "tools" in message:
            sent.tools_work, sent.is_over = message["tools"] is True, True
    return sent


def _text(value: object) -> str:
    return writable(value[:LONGEST]) if isinstance(value, str) else ""


def _has_no_memory(case: CaseResult) -> bool:
    return any(words in case.fingerprint.ending for words in NO_MEMORY)
