"""The pipeline from tokens to edges, compared with the same steps taken one by one."""

import pytest
import torch

from tests.chapter3.shared import TOLERANCE
from tests.chapter3.test_edges import expect_unchanged
from tests.tiny import ARCHITECTURES, PROMPT
from tests.tracing import state_of
from utils.engine.graph import NodeType
from utils.grading import expect, expect_close, expect_equal

THREE = {"n_output_nodes": 3}


def ids_of(graph) -> list[str]:
    return [node.node_id for node in graph.nodes]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_graph_is_that_of_the_steps(trace_graph, traced, architecture):
    """Nodes, edges, biases and values are those of the single steps."""
    x = traced(architecture)
    graph, adjacency, bias, values = trace_graph(x.model, x.transcoders, x.tokens, THREE)
    expect_equal(ids_of(graph), ids_of(x.graph), "The nodes")
    expect_close(adjacency, x.adjacency, "The adjacency matrix")
    expect_close(bias, x.bias, "The biases")
    expect_close(values, x.values, "The values")


@pytest.mark.parametrize("arguments", [{"top_k": 2}, {"start_posn": 4}])
def test_latents_can_be_limited(trace_graph, traced, arguments):
    """`top_k` and `start_posn` decide which latents become nodes."""
    x = traced("gemma3", **arguments)
    graph = trace_graph(x.model, x.transcoders, x.tokens, THREE, **arguments)[0]
    expect_equal(ids_of(graph), ids_of(x.graph), f"The nodes with {arguments}")
    expect_equal(graph.start_posn, x.graph.start_posn, "The first visible position")


def test_the_targets_are_chosen(trace_graph, tiny):
    """`choice` decides which tokens are traced."""
    model, transcoders = tiny("gemma3")
    tokens = model.to_tokens(PROMPT)
    top = model(tokens)[0, -1].topk(4).indices.tolist()
    for choice, expected in (({"n_output_nodes": 4}, top), ({"token_ids": [5, 3]}, [5, 3])):
        graph = trace_graph(model, transcoders, tokens, choice, top_k=0)[0]
        found = [graph.nodes[i].feature for i in graph.indices(NodeType.LOGIT)]
        expect_equal(found, expected, f"The tokens traced with {choice}")


def test_progress_and_batches(trace_graph, traced):
    """`batch_size` limits the batches, and after each one `progress` is told how many targets are done."""
    x, calls = traced("gpt2"), []
    trace_graph(x.model, x.transcoders, x.tokens, THREE, batch_size=30, progress=lambda *call: calls.append(call))
    total = len(x.graph.indices(NodeType.LATENT, NodeType.LOGIT))
    expect(bool(calls) and calls[-1] == (total, total), f"In the end all {total} targets are done.", calls[-1:])
    steps = [later - earlier for (earlier, _), (later, _) in zip([(0, total), *calls], calls)]
    expect(max(steps) <= 30, "No batch may have more than 30 targets.", max(steps))


def test_nothing_is_left_behind(trace_graph, traced):
    """Nothing is left behind on the model, and the matrix is plain numbers."""
    x = traced("qwen3")
    with torch.no_grad():
        before = state_of(x.model, x.transcoders)
        adjacency = trace_graph(x.model, x.transcoders, x.tokens, THREE)[1]
        expect_unchanged(before, state_of(x.model, x.transcoders), "after tracing")
    expect(not adjacency.requires_grad, "The matrix must be plain numbers, without gradients.")


def test_a_question_to_the_model(trace_graph, chosen, traced_chosen):
    """On the model, edges and biases add up."""
    x = traced_chosen
    graph, adjacency, bias, values = trace_graph(x.model, x.transcoders, x.tokens, THREE, top_k=8)
    scale = adjacency.abs().sum(1) + bias.abs() + values.abs() + 1e-9
    gap = float(((adjacency.sum(1) + bias - values).abs() / scale).max())
    expect(gap <= TOLERANCE[x.model.W_U.dtype], "Edges and biases must add up.", gap)
