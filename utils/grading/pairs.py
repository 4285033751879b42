"""The proof for answers with two mistakes: the student reads both sentences, or one of them as the first cause."""

import random
from collections.abc import Iterator

from utils.grading.chapters import Chapter
from utils.grading.diagnose.matching import pairs_of
from utils.grading.diagnose.variants import Mistake, VersionError, make_answer
from utils.grading.in_notebook import SECONDS_FOR_DIAGNOSIS
from utils.grading.results import DONE, Answer
from utils.grading.run.exercise import grade
from utils.grading.run.session import TestSession

PAIRS = 3  # of each exercise


def prove_pairs(session: TestSession, chapter: Chapter, name: str) -> tuple[int, list[str]]:
    """Give an exercise answers with two planted mistakes each, drawn with a fixed seed, and read what the student is told.

    Pairs that cannot be written into one answer are left out, and so are pairs that undo each other.

    Returns:
        How many pairs were tried, and a sentence for each that is told neither of its two mistakes.
    """
    reference = chapter.reference(name)
    pairs = list(pairs_of(chapter.mistakes(name), reference))
    random.Random(0).shuffle(pairs)
    tried, problems = 0, []
    for first, second, both in pairs:
        try:
            answer = Answer(name, make_answer(both, reference))
        except VersionError:  # such as two patches that leave no valid Python
            continue
        result = grade(session.grader, session.items(name), answer, SECONDS_FOR_DIAGNOSIS)
        if result.status == DONE:
            continue
        tried += 1
        if not tells(result.mistake, first, second):
            told = result.mistake or "nothing"
            problems.append(f"{both.name}: the student reads {told!r}.")
        if tried == PAIRS:
            break
    return tried, problems


def tells(sentence: str, first: Mistake, second: Mistake) -> bool:
    """Whether a diagnosis names both mistakes, or one of them and nothing else."""
    said = sentence.removeprefix("Perhaps: ")
    one, two = first.sentence, second.sentence
    return said in (one, two, f"{one} Also: {two}", f"{two} Also: {one}")


def prove_pairs_of_chapter(chapter: Chapter) -> Iterator[tuple[str, int, list[str]]]:
    """Each exercise with the number of its pairs and what is wrong with them. Raises CollectionError."""
    session = TestSession(chapter)
    try:
        for name in chapter.points:
            yield name, *prove_pairs(session, chapter, name)
    finally:
        session.close()
