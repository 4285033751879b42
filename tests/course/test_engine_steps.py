"""From tokens to edges in one call, compared with the same steps taken one by one."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import trace_graph
from tests.tiny import ARCHITECTURES, PROMPT
from tests.tracing import state_of
from utils.engine.graph import NodeType

THREE = {"n_output_nodes": 3}


def ids_of(graph) -> list[str]:
    return [node.node_id for node in graph.nodes]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_graph_is_that_of_the_steps(traced, architecture):
    x = traced(architecture)
    graph, *numbers = trace_graph(x.model, x.transcoders, x.tokens, THREE)
    assert ids_of(graph) == ids_of(x.graph)
    torch.testing.assert_close(numbers, [x.adjacency, x.bias, x.values], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("arguments", [{"top_k": 2}, {"start_posn": 4}])
def test_latents_can_be_limited(traced, arguments):
    x = traced("gemma3", **arguments)
    graph = trace_graph(x.model, x.transcoders, x.tokens, THREE, **arguments)[0]
    assert ids_of(graph) == ids_of(x.graph) and graph.start_posn == x.graph.start_posn


def test_the_targets_are_chosen(tiny):
    model, transcoders = tiny("gemma3")
    tokens = model.to_tokens(PROMPT)
    top = model(tokens)[0, -1].topk(4).indices.tolist()
    for choice, expected in (({"n_output_nodes": 4}, top), ({"token_ids": [5, 3]}, [5, 3])):
        graph = trace_graph(model, transcoders, tokens, choice, top_k=0)[0]
        assert [graph.nodes[i].feature for i in graph.indices(NodeType.LOGIT)] == expected, choice


def test_progress_and_batches(traced):
    x, calls = traced("gpt2"), []
    trace_graph(x.model, x.transcoders, x.tokens, THREE, batch_size=30, progress=lambda *call: calls.append(call))
    total = len(x.graph.indices(NodeType.LATENT, NodeType.LOGIT))
    steps = [later - earlier for (earlier, _), (later, _) in zip([(0, total), *calls], calls)]
    assert calls[-1] == (total, total) and max(steps) <= 30


def test_nothing_is_left_behind(traced):
    x = traced("qwen3")
    with torch.no_grad():
        before = state_of(x.model, x.transcoders)
        adjacency = trace_graph(x.model, x.transcoders, x.tokens, THREE)[1]
        assert state_of(x.model, x.transcoders) == before
    assert not adjacency.requires_grad
