"""Influence and pruning, against closed forms and a slow, plain reference."""

import random

import pytest
import torch

from solutions.chapter3_attribution_graphs import (
    compute_graph_scores,
    compute_influence,
    normalize_matrix,
    prune_edges,
    prune_graph,
    prune_nodes,
)
from tests.tiny import ARCHITECTURES
from utils.graph import GraphNodes, NodeInfo, NodeType

N_LOGITS = 2


def random_dag(seed: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """A random graph of 4 layers: edges, logit weights, and what each node is (E, F for latent, X for error, L)."""
    rng = random.Random(seed)
    kinds, layers = ["E"] * rng.randint(1, 4), [-1] * 4
    layers = layers[: len(kinds)]
    for layer in range(4):
        for kind in ("F", "X"):
            count = rng.randint(0, 3)
            kinds += [kind] * count
            layers += [layer] * count
    kinds += ["L"] * N_LOGITS
    layers += [4] * N_LOGITS
    n, density = len(kinds), rng.choice([0.2, 0.5, 1.0])
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for target in range(n):
        for source in range(n):
            if layers[source] < layers[target] and kinds[target] in "FL" and rng.random() < density:
                matrix[target, source] = rng.gauss(0, 1)
    weights = torch.tensor([rng.random() for _ in range(N_LOGITS)], dtype=torch.float64)
    return matrix, weights / weights.sum(), kinds


def by_hand(matrix, weights, kinds, node_threshold, edge_threshold, keep):
    """Pruning with lists and loops, step by step as the text says it. Returns the kept nodes and edges."""
    n = len(kinds)
    edges = {(t, s): float(matrix[t, s]) for t in range(n) for s in range(n) if matrix[t, s] != 0}
    weight = {i: 0.0 for i in range(n)} | {n - N_LOGITS + i: float(w) for i, w in enumerate(weights)}

    def shares(edges):
        total = {t: sum(abs(a) for (u, _), a in edges.items() if u == t) for t in range(n)}
        return {(t, s): abs(a) / total[t] for (t, s), a in edges.items()}

    def influences(share):
        found = {}
        for node in reversed(range(n)):  # targets come after their sources
            found[node] = sum(p * (found[t] + weight[t]) for (t, s), p in share.items() if s == node)
        return found

    def largest(scores, threshold):
        chosen, total, so_far, last = set(), sum(scores.values()), 0.0, float("inf")
        for key, score in sorted(scores.items(), key=lambda item: -item[1]):
            enough = bool(chosen) and so_far >= threshold * total * (1 - 1e-6)
            if score == 0 or (enough and threshold < 1 and score < last * (1 - 1e-6)):
                break  # equal scores go together
            chosen.add(key)
            so_far, last = so_far + score, last if enough else score
        return chosen

    share = shares(edges)
    always = {i for i in range(n) if kinds[i] == "L"} | keep
    nodes = largest(influences(share), node_threshold) | always
    edges = {(t, s): a for (t, s), a in edges.items() if t in nodes and s in nodes}
    share = shares(edges)
    influence = influences(share)
    chosen = largest({(t, s): p * (influence[t] + weight[t]) for (t, s), p in share.items()}, edge_threshold)
    edges = {key: a for key, a in edges.items() if key in chosen}
    while True:
        dead = {i for i in nodes - always if not any(s == i for _, s in edges)}
        dead |= {i for i in nodes - always if kinds[i] == "F" and not any(t == i for t, _ in edges)}
        if not dead:
            return sorted(nodes), edges
        nodes -= dead
        edges = {(t, s): a for (t, s), a in edges.items() if t in nodes and s in nodes}


@pytest.mark.parametrize("keep_embeddings", [True, False])
def test_pruning_equals_the_slow_reference(keep_embeddings):
    for seed in range(200):
        matrix, weights, kinds = random_dag(seed)
        node_threshold, edge_threshold = random.Random(seed).choices([0.3, 0.6, 0.8, 0.95, 1.0], k=2)
        keep = torch.tensor([kind == "E" and keep_embeddings for kind in kinds])
        # an all-zero row would make a latent look like an error
        latents = [i for i, kind in enumerate(kinds) if kind == "F" and not matrix[i].any()]
        for i in latents:
            kinds[i] = "X"
        indices, pruned = prune_graph(matrix, weights, 4, node_threshold, edge_threshold, keep)
        nodes, edges = by_hand(
            matrix, weights, kinds, node_threshold, edge_threshold, set(keep.nonzero()[:, 0].tolist())
        )
        assert indices.tolist() == nodes, f"seed {seed}"
        found = {(nodes[t], nodes[s]): float(pruned[t, s]) for t, s in pruned.nonzero().tolist()}
        assert found == edges, f"seed {seed}"


def test_rows_are_shares():
    matrix = torch.tensor([[0.0, 0.0], [-3.0, 1.0], [0.0, 1e-30], [2.0, 0.0]])[:, :2]
    shares = normalize_matrix(matrix)
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0.0], [0.75, 0.25], [0.0, 1.0], [1.0, 0.0]]))


def test_influence_is_the_closed_form():
    for seed in range(50):
        matrix, weights, _ = random_dag(seed)
        shares = normalize_matrix(matrix)
        n = len(matrix)
        w = torch.zeros(n, dtype=torch.float64)
        w[-N_LOGITS:] = weights
        identity = torch.eye(n, dtype=torch.float64)
        expected = w @ (torch.linalg.inv(identity - shares) - identity)
        torch.testing.assert_close(compute_influence(matrix, weights, n_layers=4), expected)


def test_the_series_needs_all_its_terms():
    """A chain embedding -> one latent a layer -> logit: every node passes all of the output on."""
    n_layers = 5
    n = n_layers + 2
    chain = torch.diag(torch.full((n - 1,), -2.0, dtype=torch.float64), -1)
    weights = torch.tensor([0.7], dtype=torch.float64)
    influence = compute_influence(chain, weights, n_layers)
    torch.testing.assert_close(influence, torch.tensor([0.7] * (n - 1) + [0.0], dtype=torch.float64))
    # one term fewer loses the embedding
    assert compute_influence(chain, weights, n_layers - 1)[0] == 0
    assert torch.linalg.matrix_power(chain, n_layers + 1).any()
    assert not torch.linalg.matrix_power(chain, n_layers + 2).any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_real_matrix_is_nilpotent_at_two_more_than_the_layers(traced, architecture):
    x = traced(architecture)
    edges = (x.adjacency != 0).double()
    assert torch.linalg.matrix_power(edges, x.graph.n_layers + 1).any()
    assert not torch.linalg.matrix_power(edges, x.graph.n_layers + 2).any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_influence_starts_at_embeddings_and_errors(traced, architecture):
    """Shares of a row add up to 1, so all of the output arrives at the nodes that do not read."""
    x = traced(architecture)
    weights = torch.tensor([0.5, 0.3, 0.1], dtype=torch.float64)
    influence = compute_influence(x.adjacency, weights, x.graph.n_layers)
    starts = x.graph.indices(NodeType.EMBEDDING, NodeType.MLP_ERROR)
    assert float(influence[starts].sum()) == pytest.approx(0.9)


def test_pruning_keeps_what_it_must():
    for seed in range(40):
        matrix, weights, kinds = random_dag(seed)
        n = len(kinds)
        keep = torch.zeros(n, dtype=torch.bool)
        keep[0] = True
        for threshold in (0.0, 0.5, 1.0):
            kept, small = prune_nodes(matrix, weights, 4, threshold, keep)
            assert {0, n - 2, n - 1} <= set(kept.tolist())
            assert kept.tolist() == sorted(kept.tolist())
            assert torch.equal(small, matrix[kept][:, kept])
            kept, _ = prune_edges(matrix, weights, 4, threshold, keep)
            assert {0, n - 2, n - 1} <= set(kept.tolist())
            kept, _ = prune_graph(matrix, weights, 4, threshold, threshold, keep)
            assert {0, n - 2, n - 1} <= set(kept.tolist())


def test_a_higher_threshold_keeps_more():
    for seed in range(40):
        matrix, weights, _ = random_dag(seed)
        nodes = [set(prune_nodes(matrix, weights, 4, t)[0].tolist()) for t in (0.0, 0.3, 0.6, 0.9, 1.0)]
        edges = [int((prune_edges(matrix, weights, 4, t)[1] != 0).sum()) for t in (0.0, 0.3, 0.6, 0.9, 1.0)]
        assert all(few <= many for few, many in zip(nodes, nodes[1:]))
        assert edges == sorted(edges)
        assert edges[-1] <= int((matrix != 0).sum())


def test_hidden_nodes_are_dropped_and_not_counted():
    #            hidden  a    b   logit
    row = torch.tensor([0.9, 0.06, 0.04, 0.0])
    matrix = torch.zeros(4, 4)
    matrix[3] = row
    weights = torch.tensor([1.0])
    hidden = torch.tensor([True, False, False, False])
    assert prune_nodes(matrix, weights, 0, 0.5)[0].tolist() == [0, 3]
    assert prune_nodes(matrix, weights, 0, 0.5, hidden=hidden)[0].tolist() == [1, 3]
    assert prune_nodes(matrix, weights, 0, 0.7, hidden=hidden)[0].tolist() == [1, 2, 3]
    kept, _ = prune_graph(matrix, weights, 0, 1.0, 1.0, keep=torch.tensor([True] * 4), hidden=hidden)
    assert kept.tolist() == [1, 2, 3]


def test_dead_ends_are_dropped_until_nothing_changes():
    """Node 3 loses both of its edges to the logits; that leaves 2 without a target, and then 1: one round is not enough."""
    matrix = torch.zeros(7, 7)
    for target, source, strength in [(1, 0, 1), (2, 1, 1), (3, 2, 1), (5, 3, 0.02), (6, 3, 0.02), (5, 4, 1), (6, 4, 1)]:
        matrix[target, source] = strength
    assert int((prune_edges(matrix, torch.tensor([0.5, 0.5]), 4, 0.95)[1] != 0).sum()) == 5
    kept, small = prune_graph(matrix, torch.tensor([0.5, 0.5]), 4, 1.0, 0.95)
    assert kept.tolist() == [4, 5, 6]
    assert torch.equal(small, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    matrix, weights, _ = random_dag(0)
    for prune in (prune_nodes, prune_edges):
        with pytest.raises(ValueError, match="between 0 and 1"):
            prune(matrix, weights, 4, threshold)


def test_small_probabilities_prune_alike():
    """Only shares count: tokens of probability 1e-12 give the same graph as likely ones."""
    for seed in range(10):
        matrix, weights, _ = random_dag(seed)
        likely, unlikely = (prune_graph(matrix, weights * scale, 4, 0.6, 0.8)[0] for scale in (1.0, 1e-12))
        assert torch.equal(likely, unlikely)


def test_scores():
    """Two inputs into a logit: an embedding through a latent (3/4), and an error (1/4)."""
    nodes = [
        NodeInfo(NodeType.EMBEDDING, "E", 0, 1),
        NodeInfo(NodeType.LATENT, 0, 0, 5),
        NodeInfo(NodeType.MLP_ERROR, 0, 0, 0),
        NodeInfo(NodeType.LOGIT, "L", 0, 2),
    ]
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[1, 0], matrix[3, 1], matrix[3, 2] = 2.0, -3.0, 1.0
    scores = compute_graph_scores(matrix, torch.tensor([0.5], dtype=torch.float64), GraphNodes(nodes, n_layers=1))
    assert scores["replacement"] == pytest.approx(0.75)
    # influence (with the logit's own weight): logit 0.5, latent 0.375, embedding 0.375, error 0.125;
    # only the logit's inputs contain an error
    through = [0.375, 0.375, 0.125, 0.5]
    assert scores["completeness"] == pytest.approx((sum(through) - 0.5 * 0.25) / sum(through))
    matrix[3, 2] = 0
    scores = compute_graph_scores(matrix, torch.tensor([0.5], dtype=torch.float64), GraphNodes(nodes, n_layers=1))
    assert scores == {"replacement": 1.0, "completeness": 1.0}
