"""QK attributions: a head's score, split among the nodes at the query and the nodes at the key.

The residual stream in front of a head is a sum: what every node has added to it, and constants. A score is bilinear in the
stream at the query and the stream at the key, so that it splits into pairs. (Kamath et al. 2025, "Tracing Attention
Computation Through Feature Interactions", section "QK attributions".)
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.chapter3_attribution_graphs import FrozenRun, walk_back
from solutions.chapter7_attention.heads import attention_parts, make_vectors, sides_of_head
from solutions.opened import OpenGraph


class HeadOnPrompt(NamedTuple):
    """One head on one prompt.

    Attributes:
        x: the opened graph.
        layer, head: which one.
        queries, keys: live tensors, which know how they were computed from the residual stream.
        silent_queries, silent_keys: the same when no node writes: what the constants give.
        scaling: what `query @ key` is multiplied with.
        softcap: the bound of the scores, or None.
    """

    x: OpenGraph
    layer: int
    head: int
    queries: Float[Tensor, "seq d_head"]
    keys: Float[Tensor, "seq d_head"]
    silent_queries: Float[Tensor, "seq d_head"]
    silent_keys: Float[Tensor, "seq d_head"]
    scaling: float
    softcap: float | None

    @property
    def scores(self) -> Float[Tensor, "query key"]:
        """The scores before any cap, of all queries with all keys, also those that a query cannot see."""
        return (self.queries @ self.keys.T).detach() * self.scaling

    def visible(self, query: int) -> list[int]:
        """The keys that this query can see: not later ones, and none outside of a window."""
        scores = self.x.scores[self.layer][self.head, query]
        return [key for key in range(query + 1) if scores[key] > -1e4]


class PairAttributions(NamedTuple):
    """A score, or a difference of scores, split into pairs.

    Attributes:
        pairs: what each pair adds; rows are nodes at the query, columns are nodes at the key. The last row and the last column
            stand for the constants of either side.
        value: what all pairs add up to.
    """

    pairs: Float[Tensor, "n_nodes_1 n_nodes_1"]
    value: float


def split_score(
    at_query: Float[Tensor, "n_query d_head"], at_key: Float[Tensor, "n_key d_head"], scaling: float
) -> Float[Tensor, "n_query n_key"]:
    """What each part of a query and each part of a key add to their score together.

    The query is the sum of the rows of `at_query`, the key that of `at_key`, and the score is `query @ key * scaling`. All pairs add
    up to it.

    Args:
        at_query, at_key: the parts.
        scaling: what the product is multiplied with, usually one over the square root of d_head.
    """
    ### BEGIN SOLUTION
    return at_query @ at_key.T * scaling
    ### END SOLUTION


def head_on_prompt(x: OpenGraph, layer: int, head: int) -> HeadOnPrompt:
    """A head's live queries and keys on the prompt of an opened graph.

    Raises:
        ValueError: there is no such head, or the model's attention is of a form that is not known here.
    """
    n_layers, n_heads = x.model.cfg.n_layers, x.model.cfg.n_heads
    if not (0 <= layer < n_layers and 0 <= head < n_heads):
        raise ValueError(f"There is no head {layer}.{head}: the model has {n_layers} layers of {n_heads} heads.")
    parts = attention_parts(x, layer)
    sides = sides_of_head(parts, head)
    with torch.enable_grad():
        queries, keys = (make_vectors(side, x.stream(layer)) for side in sides)
    silent_queries, silent_keys = (make_vectors(side, x.silent[layer]) for side in sides)
    return HeadOnPrompt(x, layer, head, queries, keys, silent_queries, silent_keys, parts.scaling, parts.softcap)


def contributions(
    x: OpenGraph,
    layer: int,
    values: Float[Tensor, "seq width"],
    reading_vecs: Float[Tensor, "batch width"],
    positions: Sequence[int],
) -> Float[Tensor, "n_nodes batch"]:
    """What every node adds to some readings of a live tensor in front of `layer`, in the frozen model.

    Target number b reads `values[positions[b]] @ reading_vecs[b]`. All targets are walked back together. With the constants, what
    the nodes add is the reading.

    Args:
        x: the opened graph: `x.run` is the recorded run, `x.sources` says what writes where, `len(x.graph)` is the number of
            nodes.
        layer: everything that is written before this layer counts.
        values: computed from `x.stream(layer)`, the residual stream itself included.
        reading_vecs, positions: the targets.
    """
    ### BEGIN SOLUTION
    run = FrozenRun(x.run.writes, {layer: values[None]})
    where = torch.tensor(list(positions), device=values.device)
    found = x.graph.writing_vecs.new_zeros(len(x.graph), len(where))
    for place, grad in walk_back(run, reading_vecs, where, layer):
        nodes, at, vectors = x.sources[place]
        found[nodes] += (grad[:, at].to(vectors) * vectors).sum(-1).T
    return found
    ### END SOLUTION


def parts_of(
    head: HeadOnPrompt, values: Float[Tensor, "seq d_head"], silent: Float[Tensor, "seq d_head"], position: int
) -> Float[Tensor, "n_nodes_1 d_head"]:
    """A query or a key as a sum: a row for every node, and the last one for the constants.

    Args:
        head: the head.
        values: its queries or its keys, live.
        silent: the same when no node writes.
        position: which of them.
    """
    axes = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    found = contributions(head.x, head.layer, values, axes, [position] * len(axes))
    return torch.cat([found, silent[position : position + 1].to(found)])


def key_contrast(keys: Float[Tensor, "seq d_head"], key: int, others: Sequence[int]) -> Float[Tensor, "seq d_head"]:
    """Keys, with the one at `key` replaced by its difference from the mean of some others.

    The softmax does not change when all scores rise alike; what a head turns to a key for is this difference.

    Args:
        keys: the keys of a head.
        key: the position that is asked about.
        others: the positions that it is compared with; `key` itself does not count among them.

    Raises:
        ValueError: there are no others.
    """
    others = [other for other in others if other != key]
    if not others:
        raise ValueError("There is no other key to compare with: this query sees only one.")
    ### BEGIN SOLUTION
    compared = keys.clone()
    compared[key] = keys[key] - keys[others].mean(dim=0)
    return compared
    ### END SOLUTION


def pair_attributions(
    head: HeadOnPrompt, query: int, key: int, others: Sequence[int] | None = None
) -> PairAttributions:
    """A score split into pairs of a node at the query and a node at the key.

    Args:
        head: the head.
        query, key: the positions.
        others: the positions whose mean score is subtracted; None takes the score itself.
    """
    ### BEGIN SOLUTION
    keys, silent_keys = head.keys, head.silent_keys
    if others is not None:
        with torch.enable_grad():
            keys = key_contrast(keys, key, others)
        silent_keys = key_contrast(silent_keys, key, others)
    at_query = parts_of(head, head.queries, head.silent_queries, query)
    at_key = parts_of(head, keys, silent_keys, key)
    value = float(head.queries[query].detach() @ keys[key].detach()) * head.scaling
    return PairAttributions(split_score(at_query, at_key, head.scaling), value)
    ### END SOLUTION


def sides_for_all_keys(
    head: HeadOnPrompt, query: int
) -> tuple[Float[Tensor, "n_nodes_1 key"], Float[Tensor, "n_nodes_1 key"]]:
    """For every key up to the query: what each node at the query, and what each node at the key adds to the score.

    These are the sums of the rows and of the columns of `pair_attributions`, of all keys, from two batches of walks.

    Args:
        head: the head.
        query: the position of the query.

    Returns:
        Of the query side and of the key side; the last row stands for the constants of that side.
    """
    keys = list(range(query + 1))
    q, all_keys = head.queries.detach()[query], head.keys.detach()[keys]
    at_query = contributions(head.x, head.layer, head.queries, all_keys * head.scaling, [query] * len(keys))
    at_key = contributions(head.x, head.layer, head.keys, (q * head.scaling).expand(len(keys), -1), keys)
    silent_query = (all_keys @ head.silent_queries[query].to(q)) * head.scaling
    silent_key = (head.silent_keys[keys].to(q) @ q) * head.scaling
    return torch.cat([at_query, silent_query[None].to(at_query)]), torch.cat([at_key, silent_key[None].to(at_key)])


class Pair(NamedTuple):
    """A node at the query, a node at the key, and what the two add to a score. None stands for the constants of a side."""

    query_node: int | None
    key_node: int | None
    value: float


def strongest_pairs(pairs: Float[Tensor, "n_nodes_1 n_nodes_1"], n: int) -> list[Pair]:
    """The pairs of largest absolute value, strongest first.

    Args:
        pairs: from `pair_attributions`.
        n: how many; fewer if there are not so many that are not 0.
    """
    last = len(pairs) - 1
    found = []
    for place in pairs.abs().flatten().topk(min(n, pairs.numel())).indices.tolist():
        row, column = divmod(place, len(pairs))
        if pairs[row, column] != 0:
            found.append(
                Pair(None if row == last else row, None if column == last else column, float(pairs[row, column]))
            )
    return found
