"""Edges are direct effects: they add up to what a target reads, and interventions find the same numbers."""

import pytest
import torch

from solutions.benchmark import adjacency_by_loop
from solutions.chapter3_attribution_graphs import (
    FrozenRun,
    completeness_gap,
    compute_adjacency_matrix,
    edges,
    prepare_backward_batches,
    setup_attribution,
    walk_back,
)
from tests.tiny import ARCHITECTURES, D_MODEL
from tests.tracing import trace
from utils.engine.graph import NodeType

GAP = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.1}


def gap_of(x) -> float:
    return float(completeness_gap(x.adjacency, x.bias, x.values).max())


@pytest.mark.parametrize("dtype", GAP)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_edges_and_bias_add_up(traced, architecture, dtype):
    x = traced(architecture, dtype=dtype)
    assert gap_of(x) <= GAP[dtype]
    assert x.adjacency.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("arguments", [{"top_k": 2}, {"top_k": 0}, {"start_posn": 3}, {"start_posn": 3, "top_k": 1}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_they_add_up_whatever_is_kept(traced, architecture, arguments):
    assert gap_of(traced(architecture, **arguments)) <= 1e-6


@pytest.mark.parametrize("kinds", [{"skip": False}, {"n_layers": 1}, {"prompt": "Dallas"}])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_they_add_up_without_skip_with_one_layer_and_with_one_token(traced, architecture, kinds):
    x = traced(architecture, **kinds)
    assert gap_of(x) <= 1e-6
    if architecture == "qwen3" and "prompt" in kinds:
        assert x.tokens.shape[1] == 1


def test_they_add_up_on_atlas(atlas):
    x = trace(*atlas, "The capital of the state containing Dallas is")
    assert gap_of(x) <= 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_values_are_the_models_own(traced, architecture):
    """The value of a latent is its activation; that of a logit, the model's own logit less the mean."""
    x = traced(architecture)
    logits = x.freeze.logits[0, -1]
    for node, value in zip(x.graph.nodes, x.values):
        if node.node_type is NodeType.LATENT:
            assert float(value) == pytest.approx(node.activation, rel=1e-6)
        elif node.node_type is NodeType.LOGIT:
            assert float(value) == pytest.approx(float(logits[node.feature] - logits.mean()), rel=1e-5, abs=1e-5)
        else:
            assert value == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_matrix_only_points_forward(traced, architecture):
    x = traced(architecture)
    assert not x.adjacency.triu().any()
    nodes = x.graph.nodes
    positions = torch.tensor([node.ctx_idx for node in nodes])
    assert not x.adjacency[positions[:, None] < positions[None, :]].any(), "an edge from a later position"
    reads = torch.tensor([node.node_type in (NodeType.LATENT, NodeType.LOGIT) for node in nodes])
    writes = torch.tensor([node.node_type is not NodeType.LOGIT for node in nodes])
    assert not x.adjacency[~reads].any() and not x.adjacency[:, ~writes].any()
    assert (x.adjacency[reads].abs().sum(1) > 0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_obvious_loop_gives_the_same_matrix(traced, architecture):
    x = traced(architecture, top_k=2)
    loop = adjacency_by_loop(x.model, x.tokens, x.graph, x.freeze, x.tc_hooks, batch_size=40)
    torch.testing.assert_close(x.adjacency, loop, rtol=1e-9, atol=1e-11)


def test_the_batch_size_changes_nothing(traced):
    x = traced("gpt2", top_k=1)
    calls = []
    matrix = compute_adjacency_matrix(
        x.model,
        x.tokens,
        x.graph,
        x.freeze,
        x.tc_hooks,
        prepare_backward_batches(x.graph, 5),
        progress=lambda done, total: calls.append((done, total)),
    )
    torch.testing.assert_close(matrix, x.adjacency)
    n_targets = len(x.graph.indices(NodeType.LATENT, NodeType.LOGIT))
    assert calls[-1] == (n_targets, n_targets) and calls == sorted(calls)


def test_walking_back_is_a_backward_pass(traced):
    """Block by block gives what one backward pass of autograd gives."""
    x = traced("qwen3")
    torch.manual_seed(0)
    reading_vec, position = torch.randn(D_MODEL, dtype=torch.float64), 5
    objective = (x.run.reads[2][0, position] * reading_vec).sum()
    places = ["E", 0, 1]
    whole = torch.autograd.grad(objective, [x.run.writes[place] for place in places], retain_graph=True)
    walked = dict(walk_back(x.run, reading_vec[None], torch.tensor([position]), 2))
    assert list(walked) == places[::-1]
    for place, grad in zip(places, whole):
        torch.testing.assert_close(walked[place], grad)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_runs_that_end_at_the_targets_give_the_same_edges(traced, monkeypatch, architecture, size):
    """With every batch walked back through the whole prompt the matrix is the same, and the runs are really shorter."""
    monkeypatch.setattr(edges, "SHORTEN_FROM", 0)
    x = traced(architecture)
    batches = prepare_backward_batches(x.graph, size)
    whole = FrozenRun(x.run.writes, x.run.reads)  # it does not know how it was made, so it cannot be cut
    arguments = (x.model, x.tokens, x.graph, x.freeze, x.tc_hooks, batches)
    expected = compute_adjacency_matrix(*arguments, whole)
    torch.testing.assert_close(compute_adjacency_matrix(*arguments, x.run), expected, rtol=1e-9, atol=1e-12)
    for batch in batches:
        last, seq_len = int(batch.positions.max()), x.tokens.shape[1]
        assert x.run.until(last).reads["L"].shape[1] == last + 1 <= seq_len


def passes_of(x) -> list[tuple[int, ...]]:
    """The shapes of the embedding in all forward passes of one computation of the edges."""
    passes = []
    x.model.add_hook("blocks.0.hook_in", lambda value, hook: passes.append(tuple(value.shape)))
    try:
        compute_adjacency_matrix(x.model, x.tokens, x.graph, x.freeze, x.tc_hooks, prepare_backward_batches(x.graph, 1))
    finally:
        x.model.reset_hooks()
    return passes


def test_a_long_prompt_is_cut_at_16_lengths_at_most(traced, monkeypatch):
    monkeypatch.setattr(edges, "SHORTEN_FROM", 0)
    x = traced("gpt2")
    passes, seq_len = passes_of(x), x.tokens.shape[1]
    assert 1 < len(passes) == len(set(passes)) <= min(seq_len, 17)  # each length once, and the whole prompt first
    assert passes[0] == (1, seq_len, D_MODEL)


def test_a_shorter_run_is_recorded_only_where_it_pays(traced, monkeypatch):
    """For a few targets of a small model a forward pass takes longer than the positions that it leaves out."""
    x = traced("gpt2")
    seq_len = x.tokens.shape[1]
    assert passes_of(x) == [(1, seq_len, D_MODEL)]

    monkeypatch.setattr(edges, "SHORTEN_FROM", 3 * 2 * D_MODEL**2)
    run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
    assert run.until(seq_len - 3, 2) is run
    shorter = run.until(seq_len - 3, 3)
    assert shorter.reads["L"].shape[1] == seq_len - 2
    assert run.until(seq_len - 3, 1) is shorter  # it is there already
