"""What a latent fires on in a corpus, and a hypothesis about it that can be counted."""

from collections import Counter
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from utils.atlas.case import Case, Fact


class Example(NamedTuple):
    """A place in the corpus where a latent fires."""

    row: int
    position: int
    activation: float


class F1Score(NamedTuple):
    """How well a prediction agrees with what happens."""

    precision: float
    recall: float
    f1: float


def top_examples(activations: Float[Tensor, "row position"], k: int) -> list[Example]:
    """The `k` sentences on which a latent fires most, each at the position where it fires most in it.

    Args:
        activations: of one latent on a corpus, one row a sentence; 0 where it is silent.
        k: at most this many. Sentences on which the latent is silent are no examples.

    Returns:
        The strongest first.
    """
    ### BEGIN SOLUTION
    strongest, positions = activations.max(1)
    values, rows = strongest.topk(min(k, len(strongest)))
    return [
        Example(row, int(positions[row]), value)
        for row, value in zip(rows.tolist(), values.tolist(), strict=True)
        if value > 0
    ]
    ### END SOLUTION


def hypothesis_f1(predicted: Bool[Tensor, " sentence"], fires: Bool[Tensor, " sentence"]) -> F1Score:
    """How well a hypothesis says on which sentences a latent fires.

    Args:
        predicted: the hypothesis says that it fires.
        fires: it does.

    Returns:
        precision: of the predicted sentences, the share on which it fires.
        recall: of the sentences on which it fires, the share that was predicted.
        f1: their harmonic mean.
        Where nothing is predicted, or where both shares are zero, what cannot be computed is 0.
    """
    ### BEGIN SOLUTION
    both = (predicted & fires).sum().item()
    n_predicted, n_fires = predicted.sum().item(), fires.sum().item()
    precision = both / n_predicted if n_predicted else 0.0
    recall = both / n_fires if n_fires else 0.0
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return F1Score(precision, recall, f1)
    ### END SOLUTION


def case_study(case: Case) -> set[Fact]:
    """Your hypothesis about a latent that is known by its number only: the facts that it stands for.

    It is read as "the latent fires somewhere in a sentence if and only if at least one of these facts holds for it", and
    graded by F1 on sentences that nobody has looked at.

    A fact is a pair: ("place", "Texas"), ("relation", "capital"), ("language", "fr"), ("token", " Dallas"), ...; the ones that
    hold for a sentence of the case are `observation.facts`, and `case.study` has all the observations. You may simply write
    down what you think, `return {("place", "Texas")}`, or compute it.
    """
    ### BEGIN SOLUTION
    firing = sum(observation.fires for observation in case.study)
    total = Counter(fact for observation in case.study for fact in observation.facts)
    together = Counter(fact for observation in case.study if observation.fires for fact in observation.facts)
    # of facts that do equally well, the one that holds more often: the others may fit by accident
    best = max(sorted(together), key=lambda fact: (2 * together[fact] / (total[fact] + firing), total[fact]))
    return {best}
    ### END SOLUTION
