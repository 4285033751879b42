"""Random graphs, and influence and pruning on them with lists and loops, step by step as the text says it."""

import random
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

N_LAYERS = 4
N_LOGITS = 2

Edges = dict[tuple[int, int], float]  # (target, source) -> strength


class Dag(NamedTuple):
    """A random graph of 4 layers: edges, logit weights, and what each node is (E, F for a latent, X for an error, L)."""

    matrix: Tensor
    weights: Tensor
    kinds: list[str]

    @property
    def edges(self) -> Edges:
        return {(t, s): float(self.matrix[t, s]) for t, s in self.matrix.nonzero().tolist()}

    @property
    def weight_of(self) -> dict[int, float]:
        n = len(self.kinds)
        return {i: float(self.weights[i - n]) if i >= n - N_LOGITS else 0.0 for i in range(n)}

    @property
    def logits(self) -> set[int]:
        return {i for i, kind in enumerate(self.kinds) if kind == "L"}

    def mask(self, kind: str, share: float = 1.0) -> Tensor:
        """True for the first nodes of a kind."""
        found = torch.tensor([k == kind for k in self.kinds])
        return found & (found.cumsum(0) <= share * found.sum())


@cache
def random_dag(seed: int, density: float | None = None) -> Dag:
    """A latent that happens to have no input is called an error."""
    rng = random.Random(seed)
    kinds = ["E"] * rng.randint(2, 4)
    layers = [-1] * len(kinds)
    for layer in range(N_LAYERS):
        for kind in "FX":
            count = rng.randint(1, 3)
            kinds += [kind] * count
            layers += [layer] * count
    kinds += ["L"] * N_LOGITS
    layers += [N_LAYERS] * N_LOGITS
    n, density = len(kinds), density or rng.choice([0.2, 0.5, 1.0])
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for target in range(n):
        for source in range(n):
            if layers[source] < layers[target] and kinds[target] in "FL" and rng.random() < density:
                matrix[target, source] = rng.gauss(0, 1)
    weights = torch.tensor([rng.random() for _ in range(N_LOGITS)], dtype=torch.float64)
    kinds = ["X" if kind == "F" and not row.any() else kind for kind, row in zip(kinds, matrix)]
    # probabilities of a few tokens do not add up to 1
    return Dag(matrix, 0.9 * weights / weights.sum(), kinds)


def shares_by_hand(edges: Edges) -> Edges:
    """Of each target's input."""
    total: dict[int, float] = {}
    for (target, _), strength in edges.items():
        total[target] = total.get(target, 0.0) + abs(strength)
    return {(t, s): abs(strength) / total[t] for (t, s), strength in edges.items()}


def influence_by_hand(edges: Edges, weight_of: dict[int, float]) -> dict[int, float]:
    """From the last node to the first: targets come after their sources."""
    shares, found = shares_by_hand(edges), {}
    for node in sorted(weight_of, reverse=True):
        found[node] = sum(share * (found[t] + weight_of[t]) for (t, s), share in shares.items() if s == node)
    return found


def paths_by_hand(edges: Edges, begins: set[int], end: int) -> list[tuple[tuple[int, ...], float]]:
    """All paths from a beginning to an end with the products of their shares, the strongest first."""
    shares = shares_by_hand(edges)

    def to(node: int) -> list[tuple[tuple[int, ...], float]]:
        longer = [
            ((*path, t), strength * share) for (t, s), share in shares.items() if t == node for path, strength in to(s)
        ]
        return longer + ([((node,), 1.0)] if node in begins else [])

    return sorted(to(end), key=lambda pair: -pair[1])


def edge_scores_by_hand(edges: Edges, weight_of: dict[int, float]) -> Edges:
    """What passes along each edge."""
    influence = influence_by_hand(edges, weight_of)
    return {(t, s): share * (influence[t] + weight_of[t]) for (t, s), share in shares_by_hand(edges).items()}


def smallest_set(scores: dict, threshold: float) -> set:
    """The largest scores, one by one, until they add up to the threshold."""
    chosen, so_far, enough = set(), 0.0, threshold * sum(scores.values())
    for key, score in sorted(scores.items(), key=lambda item: -item[1]):
        if so_far >= enough or score == 0:
            break
        chosen.add(key)
        so_far += score
    return chosen


def is_clear(scores: dict, threshold: float) -> bool:
    """Whether rounding cannot change the smallest set: no two scores at its border are nearly equal, nor is the sum near."""
    kept = smallest_set(scores, threshold)
    sums = [sum(scores[key] for key in kept)]
    left = sorted((score for key, score in scores.items() if key not in kept and score > 0), reverse=True)
    if not kept or not left:
        return bool(kept)
    last = min(scores[key] for key in kept)
    sums.append(sums[0] - last)
    enough = threshold * sum(scores.values())
    return left[0] < last * 0.999 and all(abs(total - enough) > 1e-3 * enough for total in sums)


def nodes_by_hand(dag: Dag, threshold: float, keep: set[int], hidden: set[int]) -> tuple[set[int], bool]:
    """The kept nodes, and whether the choice is clear."""
    influence = influence_by_hand(dag.edges, dag.weight_of)
    scores = {node: 0.0 if node in hidden else score for node, score in influence.items()}
    return (smallest_set(scores, threshold) | dag.logits | keep) - hidden, is_clear(scores, threshold)


def edges_by_hand(edges: Edges, dag: Dag, threshold: float) -> tuple[Edges, bool]:
    """The kept edges, and whether the choice is clear."""
    scores = edge_scores_by_hand(edges, dag.weight_of)
    kept = smallest_set(scores, threshold)
    return {key: edges[key] for key in edges if key in kept}, is_clear(scores, threshold)


def among(edges: Edges, nodes: set[int]) -> Edges:
    return {(t, s): strength for (t, s), strength in edges.items() if t in nodes and s in nodes}


def without_dead_ends(dag: Dag, nodes: set[int], edges: Edges, always: set[int]) -> tuple[set[int], Edges]:
    """Drop dead ends until there are none."""
    while True:
        edges = among(edges, nodes)
        dead = {i for i in nodes - always if not any(s == i for _, s in edges)}
        dead |= {i for i in nodes - always if dag.kinds[i] == "F" and not any(t == i for t, _ in edges)}
        if not dead:
            return nodes, edges
        nodes = nodes - dead


def graph_by_hand(
    dag: Dag, node_threshold: float, edge_threshold: float, keep: set[int], hidden: set[int]
) -> tuple[set[int], Edges, bool]:
    """The kept nodes and edges, and whether all choices are clear."""
    nodes, nodes_clear = nodes_by_hand(dag, node_threshold, keep, hidden)
    edges, edges_clear = edges_by_hand(among(dag.edges, nodes), dag, edge_threshold)
    always = (dag.logits | keep) - hidden
    touched = {node for edge in edges for node in edge}
    return *without_dead_ends(dag, (nodes & touched) | always, edges, always), nodes_clear and edges_clear
