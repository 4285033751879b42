"""The strongest paths through a graph, from the tokens of the prompt to an answer.

A step's share is the part of its target's inputs that it is: ``|A[target, source]|`` over the sum of the target's row in the
unpruned matrix. A path's strength is the product of its steps' shares. Influence is made of exactly these products: the
strengths of *all* paths into an answer, those from error nodes included, sum to 1. So a strength of 0.03 reads "3 % of what
reaches the answer comes this way". It is a measure of size; whether a step raises or lowers its target is its sign.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from utils.graph import AttributionResult, NodeType


class Path(NamedTuple):
    """A path: nodes as indices into ``result.graph.nodes`` (token first, answer last), its strength, each step's sign."""

    nodes: tuple[int, ...]
    strength: float
    signs: tuple[int, ...]


# The best paths to a node, by how many latents they hold; the last place means "so many or more".
Buckets = list[list[Path]]


class _Step(NamedTuple):
    source: int
    share: float
    sign: int


def likeliest_answer(result: AttributionResult) -> int:
    """Index of the most probable output token's node."""
    logits = result.graph.indices(NodeType.LOGIT)
    return max(logits, key=lambda i: result.graph.nodes[i].token_prob)


def strongest_paths(
    result: AttributionResult, n_paths: int = 5, answer: int | None = None, min_latents: int = 1
) -> list[Path]:
    """The ``n_paths`` strongest paths of the pruned graph from a token of the prompt to one answer.

    For every node, in the order in which information flows, the best paths that end there are made from the best paths
    that end at its inputs. This is exact: no path among the best can contain a part that is not among the best of its own
    end and number of latents.

    Args:
        result: the graph; only edges that pruning kept are walked.
        n_paths: how many to return at most.
        answer: index of the output node; the likeliest one when not given.
        min_latents: leave out paths with fewer latents on the way than this.

    Returns:
        Paths, the strongest first. Fewer than asked for, or none, if the pruned graph has no more.
    """
    answer = likeliest_answer(result) if answer is None else answer
    steps = _incoming(result)
    nodes = result.graph.nodes
    best: dict[int, Buckets] = {}
    for i in result.kept_indices.tolist():
        kind = nodes[i].node_type
        best[i] = [[] for _ in range(min_latents + 1)]
        if kind is NodeType.EMBEDDING:
            best[i][0].append(Path((i,), 1.0, ()))
        elif kind is NodeType.LATENT or i == answer:
            _extend(best, steps[i], i, n_paths, is_latent=kind is NodeType.LATENT)
    return best[answer][-1] if answer in best else []


def _extend(best: dict[int, Buckets], steps: list[_Step], node: int, n_paths: int, is_latent: bool) -> None:
    """Fill ``best[node]`` with the best paths of its inputs, each one step longer."""
    buckets = best[node]
    for source, share, sign in steps:
        for count, paths in enumerate(best[source]):
            bucket = buckets[min(count + is_latent, len(buckets) - 1)]
            bucket += [Path((*p.nodes, node), p.strength * share, (*p.signs, sign)) for p in paths]
    buckets[:] = [heapq.nlargest(n_paths, paths, key=lambda p: p.strength) for paths in buckets]


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
