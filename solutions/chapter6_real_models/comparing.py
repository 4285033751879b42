"""Neurons beside latents: how often what a node fires on has something in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Agreement(NamedTuple):
    """What sentences have in common more than others do.

    Attributes:
        concept: a kind and its value, such as ("place", "Texas"); None where there is none.
        share: of the sentences that have it.
        base: the share of all sentences that have it.
    """

    concept: tuple[str, str] | None
    share: float
    base: float

    @property
    def excess(self) -> float:
        """How much more often it comes than everywhere; 0 to 1."""
        return self.share - self.base


def agreement(fired: Sequence[Mapping[str, str]], everywhere: Sequence[Mapping[str, str]]) -> Agreement:
    """The concept that sentences share most, beyond how common it is anyway.

    A concept is a kind with its value. For each, take its share of the sentences in `fired` less its share of those in
    `everywhere`, and return the one where this difference is largest.

    Args:
        fired: the concepts of the sentences on which a node fires most strongly.
        everywhere: the concepts of all sentences of the corpus.

    Returns:
        The concept with both shares. If `fired` is empty, or no concept is more common in it than everywhere, `(None, 0, 0)`.

    Raises:
        ValueError: `everywhere` is empty.
    """
    if not everywhere:
        raise ValueError("A share needs sentences to compare with: `everywhere` is empty.")
    here, all_of_them = (Counter(item for one in many for item in one.items()) for many in (fired, everywhere))
    best = Agreement(None, 0.0, 0.0)
    for concept, count in here.items():
        found = Agreement(concept, count / len(fired), all_of_them[concept] / len(everywhere))
        best = max(best, found, key=lambda one: one.excess)
    return best
