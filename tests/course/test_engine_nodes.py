"""Nodes: who writes what, and who reads what."""

import pytest

from solutions.chapter3_attribution_graphs import compute_salient_logits
from utils.engine.graph import NodeType


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_output_nodes": 0},
        {"probability_mass": 0.0},
        {"probability_mass": 1.5},
        {"probability_mass": 0.5, "max_output_nodes": 0},
        {"token_ids": []},
        {"token_ids": [99]},
    ],
)
def test_a_wrong_choice_of_logits_is_refused(traced, arguments):
    x = traced("gemma3")
    with pytest.raises(ValueError):
        compute_salient_logits(x.model, x.freeze.logits, **arguments)


def test_the_graph_has_all_nodes_in_order(traced):
    x = traced("gemma3")
    graph = x.graph
    bounds = list(graph.node_range_dict.values())
    assert list(graph.node_range_dict) == ["E", 0, 1, 2, "L"]
    assert bounds[0][0] == 0 and bounds[-1][1] == len(graph)
    assert all(before[1] == after[0] for before, after in zip(bounds, bounds[1:]))
    for place, (start, end) in graph.node_range_dict.items():
        assert {node.layer for node in graph.nodes[start:end]} == {place}
    assert len({node.node_id for node in graph.nodes}) == len(graph)
    for node, bias in zip(graph.nodes, graph.reading_bias):
        expected = x.transcoders[node.layer].b_enc[node.feature].detach() if node.node_type is NodeType.LATENT else 0.0
        assert float(bias) == pytest.approx(float(expected))
