"""The strongest paths through a graph, from the tokens of the prompt to an answer.

A step's share is the part of its target's inputs that it is: ``|A[target, source]|`` over the sum of the target's row in the
unpruned matrix. A path's strength is the product of its steps' shares. Influence is made of exactly these products: the
strengths of *all* paths into an answer, those from error nodes included, sum to 1. So a strength of 0.03 reads "3 % of what
reaches the answer comes this way". It is a measure of size; whether a step raises or lowers its target is its sign.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

from utils.engine.graph import AttributionResult, NodeInfo, NodeType


class Path(NamedTuple):
    """A path: nodes as indices into ``result.graph.nodes`` (token first, answer last), its strength, each step's sign."""

    nodes: tuple[int, ...]
    strength: float
    signs: tuple[int, ...]


class _Step(NamedTuple):
    source: int
    share: float
    sign: int


def likeliest_answer(result: AttributionResult) -> int:
    """Index of the most probable output token's node."""
    logits = result.graph.indices(NodeType.LOGIT)
    return max(logits, key=lambda i: result.graph.nodes[i].token_prob)


def strongest_paths(
    result: AttributionResult,
    n_paths: int = 6,
    answer: int | None = None,
    *,
    per_token: int | None = None,
    through: Callable[[NodeInfo], bool] = lambda node: True,
) -> list[Path]:
    """The strongest paths of the pruned graph from tokens of the prompt, through at least one latent, to one answer.

    For every node, in the order in which information flows, the best paths that end there are made from the best paths
    that end at its inputs, apart for every token they begin at. This is exact: a path among the best of its token holds
    no part that is not among the best of this token itself.

    Args:
        result: the graph; only edges that pruning kept are walked.
        n_paths: how many to return at most.
        answer: index of the output node; the likeliest one when not given.
        per_token: take at most so many that begin at the same position, so that one token cannot fill the list.
        through: a path must pass through at least one latent for which this holds.

    Returns:
        Paths, the strongest first. Fewer than asked for, or none, if the pruned graph has no more.
    """
    answer = likeliest_answer(result) if answer is None else answer
    limit = n_paths if per_token is None else per_token
    steps = _incoming(result)
    best: dict[int, Table] = {}
    for i in result.kept_indices.tolist():
        node = result.graph.nodes[i]
        if node.node_type is NodeType.EMBEDDING:
            best[i] = {(i, False): [Path((i,), 1.0, ())]}
        elif node.node_type is NodeType.LATENT or i == answer:
            qualifies = node.node_type is NodeType.LATENT and through(node)
            best[i] = _extended(best, steps[i], i, limit, qualifies)
    found = [paths for (_, passed), paths in best.get(answer, {}).items() if passed]
    return heapq.nlargest(n_paths, chain.from_iterable(found), key=lambda path: path.strength)


# The best paths to a node, by the token they begin at and whether they passed a latent of the wanted kind.
Table = dict[tuple[int, bool], list[Path]]


def _extended(best: dict[int, Table], steps: list[_Step], node: int, limit: int, qualifies: bool) -> Table:
    """The best paths of a node's inputs, each one step longer."""
    table: dict[tuple[int, bool], list[Path]] = defaultdict(list)
    for source, share, sign in steps:
        for (start, passed), paths in best.get(source, {}).items():
            longer = [Path((*p.nodes, node), p.strength * share, (*p.signs, sign)) for p in paths]
            table[start, passed or qualifies] += longer
    return {key: heapq.nlargest(limit, paths, key=lambda path: path.strength) for key, paths in table.items()}


def _incoming(result: AttributionResult) -> dict[int, list[_Step]]:
    """Every kept node's kept inputs."""
    kept = result.kept_indices.tolist()
    row_sums = result.adjacency_matrix.abs().sum(1).tolist()
    steps: dict[int, list[_Step]] = {i: [] for i in kept}
    targets, sources = result.pruned_matrix.nonzero(as_tuple=True)
    weights = result.pruned_matrix[targets, sources].tolist()
    for target, source, weight in zip(targets.tolist(), sources.tolist(), weights):
        share = abs(weight) / row_sums[kept[target]]
        steps[kept[target]].append(_Step(kept[source], share, -1 if weight < 0 else 1))
    return steps
