"""Influence, scores and pruning against what circuit-tracer 0.5.0 makes of the same matrices (`circuit_tracer.json` says how)."""

import json
from pathlib import Path

import pytest
import torch

from solutions.chapter3_attribution_graphs import compute_graph_scores, compute_influence, prune_graph
from utils.engine.graph import GraphNodes, NodeInfo, NodeType

STORED = json.loads(Path(__file__).with_name("circuit_tracer.json").read_text())["graphs"]
KINDS = {"E": NodeType.EMBEDDING, "F": NodeType.LATENT, "X": NodeType.MLP_ERROR, "L": NodeType.LOGIT}


@pytest.fixture(params=STORED, ids=lambda stored: f"{len(stored['kinds'])} nodes, {len(stored['edges'])} edges")
def case(request):
    """A stored graph, its matrix and its logit weights."""
    stored = request.param
    matrix = torch.zeros(len(stored["kinds"]), len(stored["kinds"]), dtype=torch.float64)
    for target, source, weight in stored["edges"]:
        matrix[target, source] = weight
    return stored, matrix, torch.tensor(stored["logit_weights"], dtype=torch.float64)


def test_influence_is_circuit_tracers(case):
    stored, matrix, weights = case
    expected = torch.tensor(stored["influence"], dtype=torch.float64)
    torch.testing.assert_close(compute_influence(matrix, weights, stored["n_layers"]), expected, rtol=0, atol=2e-6)


def test_scores_are_circuit_tracers(case):
    stored, matrix, weights = case
    nodes = [NodeInfo(KINDS[kind], 0, 0, feature=0) for kind in stored["kinds"]]
    scores = compute_graph_scores(matrix, weights, GraphNodes(nodes, n_layers=stored["n_layers"]))
    assert scores["replacement"] == pytest.approx(stored["replacement"], abs=2e-6)
    assert scores["completeness"] == pytest.approx(stored["completeness"], abs=2e-6)


def test_pruning_is_circuit_tracers_when_embeddings_are_kept(case):
    stored, matrix, weights = case
    embeddings = torch.tensor([kind == "E" for kind in stored["kinds"]])
    for pruning in stored["prunings"]:
        thresholds = pruning["node_threshold"], pruning["edge_threshold"]
        kept, pruned = prune_graph(matrix, weights, stored["n_layers"], *thresholds, keep=embeddings)
        assert kept.tolist() == pruning["nodes"]
        edges = sorted([int(kept[t]), int(kept[s])] for t, s in pruned.nonzero().tolist())
        assert edges == pruning["edges"] and len(edges) > 3
