"""`attribute` from a prompt to a pruned graph: what it promises, and what it refuses."""

import dataclasses
import inspect

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute, compute_influence, prune_again
from tests.tiny import ARCHITECTURES, N_CTX, PROMPT
from tests.tracing import state_of
from utils.engine import arguments as arguments_module
from utils.engine.arguments import TracingArguments, evaluating
from utils.engine.graph import NodeType
from utils.engine.hooks import hooked


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_pipeline(tiny, architecture):
    model, transcoders = tiny(architecture)
    before = state_of(model, transcoders)
    result = attribute(model, transcoders, PROMPT, dictionary_name="random")
    assert state_of(model, transcoders) == before
    n, n_layers = len(result.graph), model.cfg.n_layers

    assert result.scores["completeness_gap"] <= 1e-6
    assert 0 <= result.scores["replacement"] <= 1 and 0 <= result.scores["completeness"] <= 1
    torch.testing.assert_close(result.adjacency_matrix.sum(1) + result.bias, result.values)
    torch.testing.assert_close(
        result.influence, compute_influence(result.adjacency_matrix, result.logit_weights, n_layers)
    )
    assert result.adjacency_matrix.shape == (n, n)
    assert result.prompt == PROMPT and result.str_tokens == model.to_str_tokens(PROMPT)
    assert (result.node_threshold, result.edge_threshold) == (0.8, 0.85)
    assert result.dictionary_name == "random" and "/" not in result.model_name

    # a pruned edge is an unpruned one or 0
    kept = result.kept_indices
    whole = result.adjacency_matrix[kept][:, kept]
    assert torch.equal(result.pruned_matrix, torch.where(result.pruned_matrix != 0, whole, 0))
    kinds = [node.node_type for node in result.kept_nodes]
    assert kinds.count(NodeType.LOGIT) == 3
    # the beginning of the sequence is hidden, if the model has one; every other embedding is kept
    first = int(architecture != "qwen3")
    assert min(node.ctx_idx for node in result.kept_nodes) == result.graph.start_posn == first
    assert kinds.count(NodeType.EMBEDDING) == result.graph.seq_len - first


@pytest.mark.parametrize("max_latent_nodes", [None, 5])
def test_one_run_alone_computes_logits(tiny, max_latent_nodes):
    """The first one, which chooses the targets. The logits of a large vocabulary cost as much as all layers."""
    model, transcoders = tiny("gemma3")
    n_positions = []
    with hooked(model, [("unembed.hook_out", lambda logits, hook: n_positions.append(logits.shape[1]))]):
        result = attribute(model, transcoders, PROMPT, max_latent_nodes=max_latent_nodes)
    assert n_positions == [result.graph.seq_len, 0, 0]


def test_hiding_positions_changes_the_pruned_graph_alone(tiny):
    model, transcoders = tiny("gemma3")
    all_shown = attribute(model, transcoders, PROMPT, top_k=0, start_posn=0)
    some_hidden = attribute(model, transcoders, PROMPT, top_k=0, start_posn=4)
    torch.testing.assert_close(some_hidden.adjacency_matrix, all_shown.adjacency_matrix)
    assert min(node.ctx_idx for node in some_hidden.kept_nodes) == 4
    assert min(node.ctx_idx for node in all_shown.kept_nodes) == 0
    assert attribute(model, transcoders, PROMPT, start_posn=4).scores["completeness_gap"] <= 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_half_precision(tiny, architecture):
    result = attribute(*tiny(architecture, dtype=torch.bfloat16), PROMPT)
    assert result.adjacency_matrix.dtype == result.values.dtype == torch.float32
    assert result.scores["completeness_gap"] <= 0.1


def test_a_model_in_training_mode_is_traced_without_dropout(tiny):
    model, transcoders = tiny("gpt2")
    expected = attribute(model, transcoders, PROMPT, top_k=1).adjacency_matrix
    try:
        model.train()
        before = state_of(model, transcoders)
        assert torch.equal(attribute(model, transcoders, PROMPT, top_k=1).adjacency_matrix, expected)
        assert state_of(model, transcoders) == before
    finally:
        model.eval()


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("at_pass", [0, 1, 2, "progress"])
def test_a_failure_midway_leaves_nothing_behind(tiny, at_pass, requires_grad):
    """Fail in each of the forward passes, and between backward batches."""
    model, transcoders = tiny("gemma3")
    parameters = {p: p.requires_grad for p in model.parameters()}
    for parameter in parameters:
        parameter.requires_grad_(requires_grad)
    passes = []

    def hook(value, hook):
        passes.append(1)
        if len(passes) - 1 == at_pass:
            raise RuntimeError("midway")

    def progress(done, total):
        if at_pass == "progress":
            raise RuntimeError("midway")

    try:
        model.add_hook("blocks.1.mlp.hook_out", hook)
        before = state_of(model, transcoders)
        with pytest.raises(RuntimeError, match="midway"):
            attribute(model, transcoders, PROMPT, progress=progress)
        assert state_of(model, transcoders) == before
    finally:
        model.reset_hooks()
        for parameter, flag in parameters.items():
            parameter.requires_grad_(flag)
    assert attribute(model, transcoders, PROMPT).scores["completeness_gap"] <= 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "  \n"}, "prompt is empty"),
        ({"prompt": "the " * N_CTX}, f"has {N_CTX + 1} tokens, but the model takes at most {N_CTX}"),
        ({"node_threshold": 1.5}, "node_threshold must be between 0 and 1, not 1.5"),
        ({"edge_threshold": -0.1}, "edge_threshold must be between 0 and 1"),
        ({"node_threshold": float("nan")}, "node_threshold must be between 0 and 1"),
        ({"start_posn": 9}, "start_posn must be between 0 and 8"),
        ({"start_posn": -1}, "start_posn must be between 0 and 8"),
        ({"top_k": -1}, "top_k must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"n_output_nodes": 0}, "n_output_nodes must be at least 1"),
        ({"probability_mass": 2.0}, "probability_mass must be above 0 and at most 1"),
        ({"target_tokens": ["Houston"]}, "does not know the token 'Houston'"),
        ({"target_tokens": ["Austin Paris"]}, "is not one token but 2 .Austin | Paris."),
        ({"target_tokens": [""]}, "does not know the token ''"),
        ({"target_tokens": [999]}, "There is no token 999"),
        ({"target_tokens": []}, "at least one is needed"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tiny, arguments, message):
    model, transcoders = tiny("gemma3")
    before = state_of(model, transcoders)
    with pytest.raises(ValueError, match=message) as error:
        attribute(model, transcoders, **({"prompt": PROMPT} | arguments))
    assert "\n" not in str(error.value)
    assert state_of(model, transcoders) == before


def test_a_missing_transcoder_is_refused(tiny):
    model, transcoders = tiny("gemma3")
    with pytest.raises(ValueError, match="no transcoder for layer 1"):
        attribute(model, {0: transcoders[0], 2: transcoders[2]}, PROMPT)


def test_atlas(atlas):
    result = attribute(*atlas, "The capital of the state containing Dallas is")
    assert result.scores["completeness_gap"] <= 1e-4
    logits = [result.graph.nodes[i] for i in result.graph.indices(NodeType.LOGIT)]
    assert max(logits, key=lambda node: node.token_prob).str_token.strip().startswith("A")


def test_all_dictionaries_are_traced_with_the_same_arguments():
    """`attribute` writes its arguments out; the other pipelines take them as `TracingArguments`."""
    written_out = dict(list(inspect.signature(attribute).parameters.items())[3:])
    shared = {field.name: field.default for field in dataclasses.fields(TracingArguments)}
    assert {name: parameter.default for name, parameter in written_out.items()} == shared


def test_autocast_of_the_caller_is_switched_off(tiny):
    model, transcoders = tiny("gemma3")
    expected = attribute(model, transcoders, PROMPT).adjacency_matrix
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attribute(model, transcoders, PROMPT).adjacency_matrix, expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_edges_of_half_precision_weights_are_those_in_float32(tiny, architecture):
    """The same weights, computed with in float32; afterwards they are in half precision again, bit for bit."""
    model, transcoders = tiny(architecture, dtype=torch.bfloat16)
    before = {name: x.clone() for name, x in model.original_model.state_dict().items()}
    result = attribute(model, transcoders, PROMPT)
    assert result.scores["completeness_gap"] <= 1e-4
    after = model.original_model.state_dict()
    assert all(after[name].dtype == x.dtype and torch.equal(after[name], x) for name, x in before.items())
    with evaluating(model):
        logits = model(model.to_tokens(PROMPT))[0, -1]
    assert logits.dtype == torch.float32
    top = [result.graph.nodes[i] for i in result.graph.indices(NodeType.LOGIT)]
    assert [node.feature for node in top] == logits.topk(3).indices.tolist()


def test_edges_that_do_not_add_up_are_said(tiny, monkeypatch):
    model, transcoders = tiny("gemma3", dtype=torch.bfloat16)
    monkeypatch.setattr(arguments_module, "_has_room", lambda n_bytes, device: n_bytes == 0)
    with pytest.warns(UserWarning, match="load the model in float32"):
        result = attribute(model, transcoders, PROMPT)
    assert result.scores["completeness_gap"] > 1e-2


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.95, 0.99)])
def test_pruning_again_is_pruning(tiny, thresholds):
    model, transcoders = tiny("gemma3")
    first = attribute(model, transcoders, PROMPT, start_posn=3)
    again = prune_again(first, *thresholds)
    expected = attribute(
        model, transcoders, PROMPT, start_posn=3, node_threshold=thresholds[0], edge_threshold=thresholds[1]
    )
    assert torch.equal(again.kept_indices, expected.kept_indices)
    assert torch.equal(again.pruned_matrix, expected.pruned_matrix)
    assert (again.node_threshold, again.edge_threshold) == thresholds
    assert (first.node_threshold, first.edge_threshold) == (0.8, 0.85)
    assert again.adjacency_matrix is first.adjacency_matrix
    without = prune_again(first, *thresholds, keep_embeddings=False)
    assert set(without.kept_indices.tolist()) <= set(again.kept_indices.tolist())
    with pytest.raises(ValueError, match="node_threshold must be between"):
        prune_again(first, 1.5, 0.5)


def test_a_result_moves_to_another_device(tiny):
    result = attribute(*tiny("gemma3"), PROMPT, top_k=1)
    moved = result.to("meta")
    tensors = [x for part in (moved, moved.graph) for x in vars(part).values() if isinstance(x, torch.Tensor)]
    assert len(tensors) == 9 and {x.device.type for x in tensors} == {"meta"}
    assert result.adjacency_matrix.device.type == "cpu" and moved.graph.nodes == result.graph.nodes
