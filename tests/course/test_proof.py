"""The proof of every chapter: right answers pass, and every planted mistake fails with its own sentence.

`python -m utils.grading prove --chapter 3` is the same for one chapter.
"""

import builtins
import symtable
import sys
from collections.abc import Callable, Iterator

import pytest

from utils import ROOT
from utils.grading.chapters import Chapter, chapters
from utils.grading.diagnose.variants import patched_source
from utils.grading.proof import prove
from utils.grading.run.session import TestSession

EXERCISES = [
    pytest.param(chapter, name, id=f"{chapter.number}-{name}") for chapter in chapters(ROOT) for name in chapter.points
]


@pytest.fixture(scope="module")
def session() -> Iterator[Callable[[Chapter], TestSession]]:
    """`session(chapter)`: its tests, opened once."""
    opened: dict[Chapter, TestSession] = {}

    def get(chapter: Chapter) -> TestSession:
        if chapter not in opened:
            close()  # its models take memory
            opened[chapter] = TestSession(chapter)
        return opened[chapter]

    def close() -> None:
        for found in opened.values():
            found.close()
        opened.clear()

    yield get
    close()


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_right_answers_pass_and_mistakes_are_named(session, chapter, name):
    assert prove(session(chapter), chapter, name) == []


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_planted_answers_use_names_that_there_are(chapter, name):
    """A name that a patch left behind would fail every test, and be told as the mistake that it is not."""
    source, module = chapter.page.source(name).text, sys.modules[chapter.reference(name).__module__]
    for version in [*chapter.mistakes(name), *chapter.alternates(name)]:
        table = symtable.symtable(patched_source(version, source), version.name, "exec")
        known = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_namespace()}
        unknown = names_from_outside(table) - known - vars(module).keys() - vars(builtins).keys()
        assert not unknown, version.name


def names_from_outside(table: symtable.SymbolTable) -> set[str]:
    """The global names that a piece of code uses, however deep."""
    names = {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    return names.union(*map(names_from_outside, table.get_children()))
