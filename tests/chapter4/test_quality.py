"""A graph with fewer latents is the graph that tracing with only these latents gives."""

import pytest

from solutions.chapter3_attribution_graphs import attribute
from tests.chapter4.shared import chain
from tests.tiny import PROMPT
from utils.engine.graph import NodeType
from utils.grading import expect_close, expect_equal


@pytest.mark.parametrize("top_k", [0, 2])
def test_folding_is_tracing_with_fewer_latents(fold_into_errors, traced4, top_k):
    """The smaller graph is the one that tracing with only these latents gives."""
    x = traced4("gemma3")
    fewer = attribute(x.model, x.transcoders, PROMPT, start_posn=0, top_k=top_k)
    wanted = {node.node_id for node in fewer.graph.nodes}
    nodes = x.result.graph.nodes
    kept = [i for i, node in enumerate(nodes) if node.node_type is NodeType.LATENT and node.node_id in wanted]
    matrix, left = fold_into_errors(x.result.adjacency_matrix, nodes, kept)
    expect_equal([node.node_id for node in left], [node.node_id for node in fewer.graph.nodes], "The nodes")
    expect_close(matrix, fewer.adjacency_matrix, "The matrix", rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kept", [[1, 2], {1, 2}], ids=["a list", "a set"])
def test_keeping_all_changes_nothing(fold_into_errors, kept):
    """Keeping all latents gives the same graph, whether they are given as a list or a set."""
    x = chain()
    matrix, left = fold_into_errors(x.adjacency_matrix, x.graph.nodes, kept)
    expect_equal(len(left), 5, "The number of nodes")
    expect_close(matrix, x.adjacency_matrix, "The matrix", rtol=1e-9)


def test_the_whole_matrix_is_left_as_it_is(fold_into_errors, traced4):
    """The matrix that is given is not changed."""
    x = traced4("gemma3")
    before = x.result.adjacency_matrix.clone()
    try:
        fold_into_errors(x.result.adjacency_matrix, x.result.graph.nodes, [])
        expect_close(x.result.adjacency_matrix, before, "The matrix that was given", rtol=1e-12)
    finally:
        x.result.adjacency_matrix.copy_(before)
