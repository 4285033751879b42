"""One test, run on one answer, as plain data: what was compared, and how it ended."""

from dataclasses import dataclass, field, replace

import pytest
from torch._C import DisableTorchFunction
from torch.utils._python_dispatch import _disable_current_modes

from utils.cohort.isolate.values import Malformed, decode, encode, size_of_tensors, writable
from utils.grading.compare.expectations import Check, listening
from utils.grading.compare.fingerprints import Fingerprint, sketch, without_addresses
from utils.grading.results import Answer
from utils.grading.run.grader import OUTCOME, Grader, case_result

KINDS = ("property", "close", "equal")
LONGEST = 2000


@dataclass
class Record:
    """What one test saw of one answer.

    Attributes:
        checks: all that was compared, in order.
        ending: how the test ended; empty if it passed.
        failure: why it failed, in a sentence, and `printed` what the answer printed then.
    """

    checks: list[Check] = field(default_factory=list)
    ending: str = ""
    failure: str = ""
    printed: str = ""
    is_skipped: bool = False

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint([(check.what, sketch(check.actual)) for check in self.checks], self.ending)


def record(grader: Grader, item: pytest.Item, answer: Answer, with_expected: bool) -> tuple[dict, bytes]:
    """Run a test. Values are taken down before they are compared, since student code may change them later; plain ones are compared."""
    checks, block = [], bytearray()

    def take_down(check: Check) -> Check:
        with DisableTorchFunction(), _disable_current_modes():
            actual, expected = _encoded(check.actual, block), _encoded(check.expected, block)
            made = {"kind": check.kind, "what": str(check.what), "actual": actual}
            if with_expected:
                made |= {"expected": expected, "rtol": check.rtol, "atol": check.atol}
            checks.append(made)
            return replace(check, actual=decode(actual, block), expected=decode(expected, block))

    with listening(take_down):
        grader.run(item, answer)
    case = case_result(item)
    message = {
        "checks": checks,
        "ending": item.stash[OUTCOME].fingerprint.ending,
        "failure": without_addresses(case.failure[:LONGEST]),
        "printed": without_addresses(case.printed[:LONGEST]),
        "is_skipped": case.is_skipped,
    }
    return message, bytes(block)


def _encoded(value: object, block: bytearray) -> object:
    try:
        return encode(value, block)
    except MemoryError:
        raise
    except Exception as error:  # an object that cannot even be looked at
        return {"other": [type(value).__name__, f"cannot be shown: {type(error).__name__}"]}


def read_record(message: dict, block: bytes) -> Record:
    """What `record` took down. Raises Malformed."""
    try:
        if sum(map(size_of_tensors, message["checks"])) > len(block):
            raise Malformed("the same numbers are sent more than once")
        checks = [_read_check(made, block) for made in message["checks"]]
        texts = [message[name] for name in ("ending", "failure", "printed")]
        if not all(isinstance(text, str) for text in texts) or type(message["is_skipped"]) is not bool:
            raise Malformed("a text is no text")
        return Record(checks, *(writable(text[:LONGEST]) for text in texts), message["is_skipped"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _read_check(made: dict, block: bytes) -> Check:
    kind, what = made["kind"], made["what"]
    actual = decode(made["actual"], block)
    is_right = isinstance(actual, tuple) and len(actual) == 2 and type(actual[0]) is bool
    if kind not in KINDS or not isinstance(what, str) or (kind == "property" and not is_right):
        raise Malformed("a check is no check")
    return Check(kind, what, actual, decode(made.get("expected"), block), made.get("rtol", 0.0), made.get("atol"))
