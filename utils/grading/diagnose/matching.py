"""Which planted mistake a wrong answer is: the one that gives the same values, or the same errors, in the same tests.

A first attempt often has two mistakes. So two planted ones are tried together, and if no two explain all, one that explains a part.
"""

import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from utils.grading.compare.expectations import WRONG_PRECISION
from utils.grading.compare.fingerprints import Fingerprint
from utils.grading.diagnose.variants import Mistake, combined, make_answer
from utils.grading.results import Answer, CaseResult
from utils.grading.run.grader import TASK, Grader

LOOKED_AT = 4  # failing tests by which it is decided which mistakes may be a part of an answer
Observe = Callable[[Mistake, int], Fingerprint | None]

# What the grader itself says about any answer: such a sentence names the mistake without a planted one.
SAID_BY_THE_GRADER = ("You change ", "You leave ", "You remove ", "You replace ")


def explain(
    cases: Sequence[CaseResult], mistakes: Sequence[Mistake], observe: Observe, reference: object
) -> Mistake | None:
    """The planted mistake that a wrong answer is recognised as, or two of them together, or the first cause of some failures.

    Args:
        cases, mistakes, observe: as in `diagnose`.
        reference: the reference answer, whose source pairs are made from.
    """
    found = diagnose(cases, mistakes, observe)
    if not any(case.failure for case in cases) or (found and not _is_contradicted(found, cases, observe)):
        return found
    return _explain_by_pairs(cases, mistakes, observe, reference, found)


def _explain_by_pairs(
    cases: Sequence[CaseResult],
    mistakes: Sequence[Mistake],
    observe: Observe,
    reference: object,
    contradicted: Mistake | None,
) -> Mistake | None:
    """As `explain`, where no planted mistake does all that the answer does.

    `contradicted` is one that explains all failures, but fails where the answer passes. It is told if no pair fits.
    """
    explained: dict[str, list[int]] = {mistake.name: [] for mistake in mistakes}
    n_alone = {mistake.name: _number_explained(mistake, cases, observe) for mistake in mistakes}
    pairs = list(pairs_of(mistakes, reference))
    untried, fitting, looked_at = list(pairs), [], _looked_at(cases)
    for index, following in itertools.zip_longest(looked_at, looked_at[1:]):
        for mistake in mistakes:
            if _explains(observe(mistake, index), cases[index]):
                explained[mistake.name].append(index)
        # all pairs in a quick test may take less time than all mistakes in the next one
        is_quicker = following is not None and (
            len(untried) * cases[index].seconds < len(mistakes) * cases[following].seconds
        )
        likely = [pair for pair in untried if is_quicker or explained[pair[0].name] or explained[pair[1].name]]
        likely.sort(key=lambda pair: -max(n_alone[pair[0].name], n_alone[pair[1].name]))
        fitting = _as_far_as_known([both for *_, both in likely], cases, observe)
        if fitting:
            break
        untried = [pair for pair in untried if pair not in likely]
    untried = _both_failing_first(untried, looked_at[0], observe)
    fitting = fitting or _as_far_as_known([both for *_, both in untried], cases, observe)
    if len(fitting) == 1 and all(_agreeing(fitting[0], cases, observe)):
        return _told(fitting[0], cases, observe)
    if contradicted:
        return contradicted
    # several pairs give the same, or there was no time for all tests: what the pairs have in common is more likely
    chosen = [{first.name, second.name} for first, second, both in pairs if both in fitting]
    common = set.intersection(*chosen) if chosen else set()
    # what many mistakes give, such as zeros, is no reason to name one of them
    telling = {name for name, indices in explained.items() if any(_is_sure(cases[index]) for index in indices)}
    causes = [mistake for mistake in mistakes if mistake.name in (common or telling)]

    def likelihood(mistake: Mistake) -> tuple[bool, int, int]:
        is_possible = not _is_contradicted(mistake, cases, observe)
        return is_possible, len(explained[mistake.name]), n_alone[mistake.name]

    cause = max(causes, key=likelihood, default=None)
    if cause is None:
        return None
    rivals = [other for other in causes if explained[other.name] == explained[cause.name]]
    # without a pair, none of several mistakes that explain the same failures equally well is more likely than the others
    if not common and sum(likelihood(other) == likelihood(cause) for other in rivals) > 1:
        return None
    return _told(cause, cases, observe)


def _number_explained(mistake: Mistake, cases: Sequence[CaseResult], observe: Observe) -> int:
    """How many failing cases a mistake explains, the quickest first, until there is one that it does not: `diagnose` has run them."""
    explains = (_explains(observe(mistake, index), cases[index]) for index in _quickest_first(cases))
    return sum(itertools.takewhile(bool, explains))


def _is_contradicted(mistake: Mistake, cases: Sequence[CaseResult], observe: Observe) -> bool:
    """Whether a mistake is known to fail where the answer passes."""
    passing = [index for index, case in enumerate(cases) if not case.failure and not case.is_skipped]
    return any(_fails(mistake, index, observe) for index in passing)


def _fails(mistake: Mistake, index: int, observe: Observe) -> bool:
    fingerprint = observe(mistake, index)
    return fingerprint is not None and bool(fingerprint.ending)


def _both_failing_first(
    pairs: Sequence[tuple[Mistake, Mistake, Mistake]], index: int, observe: Observe
) -> list[tuple[Mistake, Mistake, Mistake]]:
    """Pairs in the order in which they are worth their time: a mistake that passes a test alone hardly shows in it beside another."""
    return sorted(pairs, key=lambda pair: -sum(_fails(mistake, index, observe) for mistake in pair[:2]))


def _as_far_as_known(pairs: Sequence[Mistake], cases: Sequence[CaseResult], observe: Observe) -> list[Mistake]:
    """The pairs that explain the failing cases, the quickest first, until the time is up; none if it is up at once.

    Where the time is up before all pairs have run on a case, that case counts only if one pair alone gives its telling value.
    """
    found: list[Mistake] = []
    for index in _quickest_first(cases):
        seen = {pair.name: observe(pair, index) for pair in found or pairs}
        fitting = [pair for pair in found or pairs if _explains(seen[pair.name], cases[index])]
        is_cut = any(fingerprint is None for fingerprint in seen.values())
        if is_cut and not (len(fitting) == 1 and _is_sure(cases[index])):
            break
        found = fitting
        if not found:
            break
    return found


def _agreeing(mistake: Mistake, cases: Sequence[CaseResult], observe: Observe) -> list[bool]:
    """For each case whether a mistake is known to give what the answer gives."""
    return [case.is_skipped or _explains(observe(mistake, index), case) for index, case in enumerate(cases)]


def _told(mistake: Mistake, cases: Sequence[CaseResult], observe: Observe) -> Mistake:
    """Mark the failing cases that a mistake explains. Where it is a guess, as in `diagnose`, it is a perhaps."""
    same = _agreeing(mistake, cases, observe)
    is_sure = all(same) and any(_is_sure(case) for case in cases if case.failure)
    told = mistake if is_sure else replace(mistake, sentence=f"Perhaps: {mistake.sentence}")
    for case, is_same in zip(cases, same):
        if case.failure and is_same:
            case.mistake = told.sentence
    return told


def _quickest_first(cases: Sequence[CaseResult]) -> list[int]:
    """The failing cases."""
    failing = [index for index, case in enumerate(cases) if case.failure]
    return sorted(failing, key=lambda index: cases[index].seconds)


def pairs_of(mistakes: Sequence[Mistake], reference: object) -> Iterator[tuple[Mistake, Mistake, Mistake]]:
    """All pairs of mistakes that can be made in one answer: the two, and both together."""
    source = inspect.getsource(reference)
    for first, second in itertools.combinations(mistakes, 2):
        if both := combined(first, second, source):
            yield first, second, both


def _looked_at(cases: Sequence[CaseResult]) -> list[int]:
    """The quickest failing case of each of `LOOKED_AT` tests, the quickest first."""
    quickest: dict[str, int] = {}
    for index in _quickest_first(cases):
        quickest.setdefault(cases[index].function, index)
    return list(quickest.values())[:LOOKED_AT]


def diagnose(cases: Sequence[CaseResult], mistakes: Sequence[Mistake], observe: Observe) -> Mistake | None:
    """The planted mistake that a wrong answer is recognised as, or None.

    It explains all failing cases, and passes where the answer passes; of several, the one that agrees with most of the passing
    cases counts. Failing cases are marked with its sentence. The sentence begins with "Perhaps:" where it is a guess: if it is not
    known that the mistake passes the rest (there was no time), if it does not, or if the two agree in values that many mistakes
    give, such as zeros or "no".

    Args:
        cases: all cases of the exercise.
        mistakes: the planted ones.
        observe: the fingerprint of a mistake in a case, given by its index; None if it is not known.
    """
    candidates = _explain_all(cases, mistakes, observe)
    if not candidates:
        return None
    passing = [index for index, case in enumerate(cases) if not case.failure and not case.is_skipped]
    seen = {mistake.name: [observe(mistake, index) for index in passing] for mistake in candidates}

    def agreement(mistake: Mistake) -> tuple[bool, int]:
        same = [_explains(found, cases[index]) for found, index in zip(seen[mistake.name], passing)]
        return all(found is not None and not found.ending for found in seen[mistake.name]), sum(same)

    found = max(candidates, key=agreement)
    if not agreement(found)[0] or not any(_is_sure(case) for case in cases if case.failure):
        found = replace(found, sentence=f"Perhaps: {found.sentence}")
    for case in cases:
        if case.failure:
            case.mistake = found.sentence
    return found


def _explain_all(cases: Sequence[CaseResult], mistakes: Sequence[Mistake], observe: Observe) -> list[Mistake]:
    """The mistakes that explain all failing cases, of which there is one at least."""
    failing = _quickest_first(cases)
    candidates = list(mistakes) if failing else []
    for index in failing:
        candidates = [mistake for mistake in candidates if _explains(observe(mistake, index), cases[index])]
    return candidates


def _is_sure(case: CaseResult) -> bool:
    """Whether another mistake would hardly fail in the same way."""
    return case.fingerprint.is_telling or case.failure.startswith(SAID_BY_THE_GRADER)


def said_by_the_grader(cases: Sequence[CaseResult]) -> str:
    """What the grader itself says about an answer that leaves hooks behind, changes its arguments or loses digits; or empty."""
    for case in cases:
        if case.failure.startswith(SAID_BY_THE_GRADER):
            return case.failure
        if WRONG_PRECISION in case.failure:
            return f"Your result has fewer digits than what you are given: {WRONG_PRECISION}."
    return ""


def _explains(fingerprint: Fingerprint | None, case: CaseResult) -> bool:
    return fingerprint is not None and fingerprint.is_like(case.fingerprint)


def observe_until(grader: Grader, items: Sequence[pytest.Item], seconds: float) -> Observe:
    """Fingerprints by running the mistakes on these tests, of one exercise, until the time is up.

    It is the time that the processor works for this, so that a busy machine finds as much. What a planted mistake gives is kept
    for the next check of the exercise, which so has its time for what is not known yet.
    """
    if not seconds:
        return lambda mistake, index: None
    task, end = items[0].stash[TASK], time.process_time() + seconds
    reference = task.chapter.reference(task.name)
    planted, answers = {repr(mistake) for mistake in task.chapter.mistakes(task.name)}, {}
    kept, known = grader.kept_fingerprints(task), {}

    def observe(mistake: Mistake, index: int) -> Fingerprint | None:
        key = repr(mistake), items[index].nodeid
        found = kept if key[0] in planted else known  # of pairs there are too many to keep
        if key not in found:
            if time.process_time() >= end:
                return None
            if key[0] not in answers:
                answers[key[0]] = Answer(task.name, make_answer(mistake, reference))
            found[key] = grader.run(items[index], answers[key[0]]).fingerprint
        return found[key]

    return observe
