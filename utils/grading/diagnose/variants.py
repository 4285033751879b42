"""Other versions of a reference answer: wrong ones (`Mistake`, planted to be recognised) and right ones (`Alternate`).

A version is given as patches of the reference's source, or in full; `make_answer` makes the function or class.
"""

import inspect
import itertools
import linecache
import sys
from collections.abc import Sequence
from dataclasses import dataclass

Patches = Sequence[tuple[str, str]]

_numbers = itertools.count()


class VersionError(ValueError):
    """A mistake or an alternate does not fit the solution; the text is meant for its author."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer, and the sentence that a student who made it should read.

    Args:
        name: short, unique within the exercise.
        sentence: what is wrong, said to the student.
        patches: (old text, new text) of the exercise's own source; each old text must occur exactly once in it.
        source: instead of patches, the whole wrong answer. What the solution's module defines is at hand.
    """

    name: str
    sentence: str
    patches: Patches = ()
    source: str | None = None


@dataclass(frozen=True)
class Alternate:
    """Another right answer: by patches, or in full, as `Mistake`."""

    name: str
    patches: Patches = ()
    source: str | None = None


def patched_source(version: Mistake | Alternate, source: str) -> str:
    """The source of a version, made from that of the reference.

    Raises:
        VersionError: an old text does not occur exactly once, or there is not either a source or patches.
    """
    if bool(version.patches) == bool(version.source):
        raise VersionError(f"{version.name}: give either patches or a source.")
    if version.source:
        return version.source
    for old, new in version.patches:
        if source.count(old) != 1:
            raise VersionError(f"{version.name}: {old!r} occurs {source.count(old)} times, but it must occur once.")
        source = source.replace(old, new)
    return source


def combined(first: Mistake, second: Mistake, source: str) -> Mistake | None:
    """Two mistakes in one answer: the second's patches on the first's source. None where they do not fit together.

    Args:
        source: of the reference.
    """
    if second.source:
        first, second = second, first
    try:
        text = patched_source(first, source)
        both = patched_source(second, text) if second.patches else None
    except VersionError:
        return None
    if both is None or _touch_the_same(first, second):
        return None
    return Mistake(f"{first.name} and {second.name}", f"{first.sentence} Also: {second.sentence}", source=both)


def _touch_the_same(first: Mistake, second: Mistake) -> bool:
    """Whether a patch of one rewrites what a patch of the other replaces or puts in."""
    return any(
        old in text or text in old
        for old, _ in second.patches
        for patch in first.patches
        for text in patch
        if text.strip()
    )


def make_answer(version: Mistake | Alternate, reference: object) -> object:
    """The function or class that a version defines, run in a copy of the globals of the module that defines the reference.

    Raises:
        VersionError: a patch does not fit, or the source cannot be run.
    """
    source = patched_source(version, inspect.getsource(reference))
    # inspect and tracebacks look for sources in linecache
    filename = f"<{version.name} {next(_numbers)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace = dict(vars(sys.modules[reference.__module__]))
    try:
        exec(compile(source, filename, "exec"), namespace)
    except Exception as error:
        raise VersionError(f"{version.name}: its source cannot be run: {type(error).__name__}: {error}") from error
    if namespace[reference.__name__] is reference:
        raise VersionError(f"{version.name}: its source does not define {reference.__name__}.")
    return namespace[reference.__name__]
