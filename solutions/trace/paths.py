"""What an answer is made of: its direct inputs, and the strongest paths from the tokens of the prompt to it.

A step's share is the part of its target's inputs that it is: ``|A[target, source]|`` over the sum of the target's row in the
unpruned matrix. A path's strength is the product of its steps' shares. Influence is made of exactly these products: the
strengths of *all* paths into an answer, those from error nodes included, sum to 1. So a strength of 0.03 reads "3 % of what
reaches the answer comes this way". It is a measure of size; whether a step raises or lowers its target is its sign.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import torch

from utils.engine.graph import AttributionResult, NodeInfo, NodeType
from utils.engine.shares import pass_shares


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
    """Index of the output node that weighs most; of several that weigh the same, the most probable one."""
    logits, weights = result.graph.indices(NodeType.LOGIT), result.graph.logit_weights.tolist()
    return max(zip(logits, weights), key=lambda pair: (pair[1], result.graph.nodes[pair[0]].token_prob))[0]


class Source(NamedTuple):
    """A source of a target: its index in ``result.graph.nodes``, its share of the target's inputs, whether it raises it."""

    node: int
    share: float
    sign: int


def top_sources(result: AttributionResult, target: int, n: int = 5, order: int = 1) -> list[Source]:
    """The strongest sources of a target, ``order`` steps before it, in the graph before pruning.

    Args:
        target: index into ``result.graph.nodes``.
        n: how many to return at most. Hidden positions are left out.
        order: 1 for direct sources, 2 for the sources of its sources: their shares are sums over what lies between. All
            shares of first order sum to 1; those of second order to what does not begin at embeddings and errors.

    Raises:
        ValueError: the order is below 1.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, not {order}.")
    matrix = result.adjacency_matrix
    totals = torch.linalg.vector_norm(matrix, ord=1, dim=1)
    totals = totals.where(totals > 0, 1)
    share, effect = matrix[target].abs() / totals[target], matrix[target] / totals[target]
    for _ in range(order - 1):
        share, effect = pass_shares(matrix, share), (effect / totals) @ matrix
    shown = share.masked_fill(result.graph.hidden.to(share.device), 0)
    best = shown.topk(min(n, len(shown)))
    found = zip(best.indices.tolist(), best.values.tolist())
    return [Source(i, value, -1 if effect[i] < 0 else 1) for i, value in found if value > 0]


class Inputs(NamedTuple):
    """What reaches a target directly, in shares of all that reaches it: `kept` by pruning, strongest first, and `dropped`."""

    kept: list[Source]
    dropped: float


def direct_inputs(result: AttributionResult, target: int) -> Inputs:
    """The direct inputs of a target that the pruned graph shows, and the share of those that it does not show.

    Args:
        target: index into ``result.graph.nodes`` of a node that pruning kept.
    """
    row = result.kept_indices.tolist().index(target)
    steps = _incoming(result, [row])[target]
    kept = [Source(step.source, step.share, step.sign) for step in sorted(steps, key=lambda step: -step.share)]
    silent = not bool(result.adjacency_matrix[target].any())
    return Inputs(kept, 0.0 if silent else max(0.0, 1 - sum(source.share for source in kept)))


def strongest_paths(
    result: AttributionResult,
    n_paths: int = 6,
    answer: int | None = None,
    *,
    per_token: int | None = None,
    through: Callable[[NodeInfo], bool] | None = None,
) -> list[Path]:
    """The strongest paths of the pruned graph from tokens of the prompt to one answer, those of a single edge among them.

    For every node, in the order in which information flows, the best paths that end there are made from the best paths
    that end at its inputs, apart for every token they begin at. This is exact: a path among the best of its token holds
    no part that is not among the best of this token itself.

    Args:
        result: the graph; only edges that pruning kept are walked.
        n_paths: how many to return at most.
        answer: index of the output node; the likeliest one when not given.
        per_token: take at most so many that begin at the same position, so that one token cannot fill the list.
        through: where it is given, a path must pass through at least one latent for which this holds.

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
            best[i] = {(i, through is None): [Path((i,), 1.0, ())]}
        elif node.node_type is NodeType.LATENT or i == answer:
            qualifies = node.node_type is NodeType.LATENT and through is not None and through(node)
            best[i] = _extended(best, steps[i], i, limit, qualifies)
    found = [paths for (_, passed), paths in best.get(answer, {}).items() if passed]
    return heapq.nlargest(n_paths, chain.from_iterable(found), key=lambda path: path.strength)


# The best paths to a node, by the token they begin at and whether they pass what they must pass, if there is such a thing.
Table = dict[tuple[int, bool], list[Path]]


def _extended(best: dict[int, Table], steps: list[_Step], node: int, limit: int, qualifies: bool) -> Table:
    """The best paths of a node's inputs, each one step longer."""
    table: dict[tuple[int, bool], list[Path]] = defaultdict(list)
    for source, share, sign in steps:
        for (start, passed), paths in best.get(source, {}).items():
            longer = [Path((*p.nodes, node), p.strength * share, (*p.signs, sign)) for p in paths]
            table[start, passed or qualifies] += longer
    return {key: heapq.nlargest(limit, paths, key=lambda path: path.strength) for key, paths in table.items()}


def _incoming(result: AttributionResult, rows: Sequence[int] | None = None) -> dict[int, list[_Step]]:
    """The kept inputs of kept nodes: of those in these rows of the pruned matrix, or of all."""
    kept = result.kept_indices.tolist()
    rows = range(len(kept)) if rows is None else rows
    matrix = result.pruned_matrix[list(rows)]
    row_sums = result.adjacency_matrix[[kept[row] for row in rows]].abs().sum(1).tolist()
    steps: dict[int, list[_Step]] = {kept[row]: [] for row in rows}
    targets, sources = matrix.nonzero(as_tuple=True)
    weights = matrix[targets, sources].tolist()
    for target, source, weight in zip(targets.tolist(), sources.tolist(), weights):
        share = abs(weight) / row_sums[target]
        steps[kept[rows[target]]].append(_Step(kept[source], share, -1 if weight < 0 else 1))
    return steps
