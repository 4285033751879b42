"""A claim about why a head looks somewhere, put to the test: nodes are changed in the model, and the pattern is measured."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.chapter7_attention.attributing import HeadOnPrompt, sides_for_all_keys
from solutions.chapter7_attention.heads import capped
from solutions.opened import activations, scores_hook, writes_added


class Looking(NamedTuple):
    """Where a head looks from one query: its scores as the softmax gets them, and the pattern, for every key up to the query."""

    scores: Float[Tensor, " key"]
    pattern: Float[Tensor, " key"]


def predicted_pattern(
    scores: Float[Tensor, " key"], change: Float[Tensor, " key"], softcap: float | None = None
) -> Float[Tensor, " key"]:
    """The pattern that follows when the scores of a query change.

    Args:
        scores: before any cap; -inf where the query cannot look.
        change: what is added to them.
        softcap: the bound that the model puts on scores before the softmax (see `capped`), or None.
    """
    return capped(scores + change, softcap).softmax(dim=-1)


def predicted_change(
    head: HeadOnPrompt, query: int, nodes: Sequence[int], times: float = -1.0
) -> Float[Tensor, " key"]:
    """How the scores of a query change when some nodes write `times` their vectors in addition; -1 takes their writes away.

    Each side's change is taken with the other side as it is. Exact with all scales frozen, unless the nodes reach both sides: the
    product of the two changes is left out.

    Args:
        head: the head.
        query: the position of the query.
        nodes: indices of nodes.
        times: how much is added.
    """
    ### BEGIN SOLUTION
    at_query, at_key = sides_for_all_keys(head, query)
    chosen = list(nodes)
    return times * (at_query[chosen] + at_key[chosen]).sum(dim=0)
    ### END SOLUTION


@torch.no_grad()
def measured(
    head: HeadOnPrompt, query: int, node_sets: Sequence[Sequence[int]], times: float = -1.0, frozen: bool = False
) -> list[Looking]:
    """Where the head looks when nodes write `times` their vectors in addition: one run of the model for each set of nodes.

    Args:
        head: the head.
        query: the position of the query.
        node_sets: the nodes that are changed, in each run.
        times: how much is added; -1 takes what they wrote on this prompt away.
        frozen: hold patterns, scales and MLPs, as in the graph. Otherwise everything behind the change answers.
    """
    x = head.x
    ### BEGIN SOLUTION
    hooks = [*(x.linear if frozen else ()), *writes_added(x, node_sets, times)]
    tokens = x.tokens.repeat(len(node_sets), 1)
    (scores,) = activations(x.model, tokens, hooks, [scores_hook(head.layer)])
    rows = scores[:, head.head, query, : query + 1]
    return [Looking(row, row.softmax(dim=-1)) for row in rows]
    ### END SOLUTION
