"""Influence and pruning: rounding, ties, many random graphs, and the scores of a whole graph."""

import random

import pytest
import torch

from solutions.benchmark.peak import CLEAR, peak_mib, reset_peak, resident_mib
from solutions.chapter3_attribution_graphs import (
    completeness_gap,
    compute_graph_scores,
    compute_influence,
    normalize_matrix,
    pass_shares,
    prune_edges,
    prune_graph,
    prune_nodes,
    share_of_larger,
)
from tests.chapter3.dags import N_LAYERS, graph_by_hand, random_dag
from tests.tiny import ARCHITECTURES
from utils.engine import largest, shares
from utils.engine.graph import GraphNodes, NodeInfo, NodeType


@pytest.mark.parametrize("kept_kind", ["", "E"])
def test_pruning_equals_the_slow_loop_on_many_graphs(kept_kind):
    n_clear = 0
    for seed in range(200):
        dag = random_dag(seed)
        thresholds = random.Random(seed).choices([0.3, 0.6, 0.8, 0.95, 1.0], k=2)
        keep = dag.mask(kept_kind)
        nodes, edges, is_clear = graph_by_hand(dag, *thresholds, set(keep.nonzero()[:, 0].tolist()), set())
        if is_clear:
            kept, pruned = prune_graph(dag.matrix, dag.weights, N_LAYERS, *thresholds, keep)
            assert kept.tolist() == sorted(nodes), f"seed {seed}"
            found = {(int(kept[t]), int(kept[s])): float(pruned[t, s]) for t, s in pruned.nonzero().tolist()}
            assert found == edges, f"seed {seed}"
            n_clear += 1
    assert n_clear > 100


@pytest.mark.parametrize("block", [1, 7, 40, 1 << 19])
def test_shares_are_passed_on_some_rows_at_a_time(monkeypatch, block):
    """The same as with the whole matrix of shares, in any number of blocks."""
    monkeypatch.setattr(shares, "BLOCK", block)
    torch.manual_seed(0)
    matrix = torch.randn(9, 9, dtype=torch.float64).tril(-1)
    matrix[3] = 0
    amounts = torch.rand(9, dtype=torch.float64)
    amounts[5:7] = 0
    torch.testing.assert_close(pass_shares(matrix, amounts), amounts @ normalize_matrix(matrix))


@pytest.mark.skipif(not CLEAR.exists(), reason="the peak can be reset on Linux only")
def test_a_large_graph_needs_no_second_matrix():
    """Influence, scores, pruning and the gap of 6,000 nodes: less than a third of the matrix beside it."""
    n_nodes, n_layers = 6_000, 4
    layer_of = torch.arange(n_nodes) * (n_layers + 2) // n_nodes
    torch.manual_seed(0)
    matrix = torch.randn(n_nodes, n_nodes).mul_(layer_of[:, None] > layer_of).mul_(torch.rand(n_nodes) ** 8)
    weights = torch.tensor([0.6, 0.3])
    compute_influence(matrix[:50, :50], weights, n_layers)  # whatever is loaded late is loaded now
    before = resident_mib()
    reset_peak()
    compute_influence(matrix, weights, n_layers)
    kept, _ = prune_graph(matrix, weights, n_layers, 0.5, 0.8)
    completeness_gap(matrix, matrix[:, 0], matrix[:, 1])
    size = n_nodes**2 * 4 / 2**20
    assert peak_mib() - before < size / 3
    assert 2 < len(kept) < n_nodes / 3


def test_shares_of_larger_scores():
    scores = torch.tensor([[0.2, 0.0, 0.5], [0.1, 0.2, 0.0]])
    expected = torch.tensor([[0.5, 1.0, 0.0], [0.9, 0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(share_of_larger(scores), expected, rtol=1e-5, atol=0)


def test_scores_that_are_equal_up_to_rounding_go_together():
    scores = torch.tensor([0.3, 0.3 * (1 + 1e-7), 0.1, 0.3 * (1 - 1e-7)], dtype=torch.float64)
    assert (share_of_larger(scores)[[0, 1, 3]] == 0).all()


def test_a_threshold_reached_up_to_rounding_is_reached():
    """0.8 as a sum of float32 numbers is a little above or below 0.8."""
    for last in (0.1, 0.1 - 1e-8, 0.1 + 1e-8):
        scores = torch.tensor([0.7, last, 0.15, 0.05])
        assert (share_of_larger(scores) < 0.85).tolist() == [True, False, True, False]


def test_every_score_above_zero_is_kept_at_one():
    scores = torch.tensor([1.0, 1e-30, 0.0, 1e-7])
    assert (share_of_larger(scores) < 1).tolist() == [True, True, False, True]
    assert not (share_of_larger(torch.zeros(3)) < 1).any()
    assert share_of_larger(torch.zeros(0)).shape == (0,)


def test_a_million_small_scores_count():
    scores = torch.cat([torch.ones(1), torch.full((1_000_000,), 1e-6)])
    assert (share_of_larger(scores) < 0.4).sum() == 1
    assert (share_of_larger(scores) < 0.6).sum() == len(scores)


@pytest.mark.parametrize("kind", ["even", "ties", "wide", "nearly equal", "equal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bins_find_the_set_that_sorting_finds(kind, dtype, monkeypatch):
    """Also with many ties, with scores over 17 powers of ten, and when the scores come in blocks."""
    make = {
        "even": lambda x: x,
        "ties": lambda x: (5 * x).round() / 7,
        "wide": lambda x: (40 * x - 30).exp(),
        "nearly equal": lambda x: 0.1 * (1 + 1e-7 * x),
        "equal": lambda x: 0 * x + 0.1,
    }[kind]
    for seed, size in enumerate((1, 2, 5, 30, 300, 3000)):
        generator = torch.Generator().manual_seed(seed)
        present = torch.rand(size, generator=generator) < 0.7
        scores = make(torch.rand(size, generator=generator, dtype=dtype)) * present
        monkeypatch.setattr(largest, "BLOCK", 7 if seed % 2 else 1 << 21)
        monkeypatch.setattr(largest, "FEW", 0 if seed else 1 << 16)
        for threshold in (0.0, 0.3, 0.5, 0.8, 0.85, 0.98, 1.0):
            found = largest.largest_reaching(scores, threshold)
            assert torch.equal(found, share_of_larger(scores) < threshold), (size, threshold)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    dag = random_dag(0)
    for prune in (prune_nodes, prune_edges):
        with pytest.raises(ValueError, match="between 0 and 1"):
            prune(dag.matrix, dag.weights, N_LAYERS, threshold)


def test_small_probabilities_prune_alike():
    """Only shares count: tokens of probability 1e-12 give the same graph as likely ones."""
    for seed in range(10):
        dag = random_dag(seed)
        likely, unlikely = (prune_graph(dag.matrix, dag.weights * scale, 4, 0.6, 0.8)[0] for scale in (1.0, 1e-12))
        assert torch.equal(likely, unlikely)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_real_matrix_is_nilpotent_at_two_more_than_the_layers(traced, architecture):
    x = traced(architecture)
    edges = (x.adjacency != 0).double()
    assert torch.linalg.matrix_power(edges, x.graph.n_layers + 1).any()
    assert not torch.linalg.matrix_power(edges, x.graph.n_layers + 2).any()


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
