"""The whole pipeline, `attribute`, compared with the same steps taken one by one."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute, compute_influence, prune_graph
from tests.chapter3.test_edges import expect_unchanged
from tests.tiny import ARCHITECTURES, PROMPT
from tests.tracing import state_of
from utils.engine.graph import AttributionResult, NodeType
from utils.grading import expect, expect_close, expect_equal


def logit_tokens(result: AttributionResult) -> list[int]:
    return [result.graph.nodes[i].feature for i in result.graph.indices(NodeType.LOGIT)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_graph_is_that_of_the_steps(traced, architecture):
    """Nodes, edges, biases and values are those of the single steps."""
    start_posn = int(architecture != "qwen3")  # the tiny Qwen has no beginning-of-sequence token
    x = traced(architecture, start_posn=start_posn)
    result = attribute(x.model, x.transcoders, PROMPT)
    expect_equal([n.node_id for n in result.graph.nodes], [n.node_id for n in x.graph.nodes], "The nodes")
    expect_close(result.adjacency_matrix, x.adjacency, "The adjacency matrix")
    expect_close(result.bias, x.bias, "The biases")
    expect_close(result.values, x.values, "The values")
    expect(result.scores["completeness_gap"] <= 1e-6, "Edges and bias must add up.", result.scores["completeness_gap"])


@pytest.mark.parametrize("thresholds", [(0.8, 0.85), (0.5, 0.95)])
@pytest.mark.parametrize("keep_embeddings", [True, False])
def test_the_graph_is_pruned(traced, thresholds, keep_embeddings):
    """The graph is pruned by the probabilities of the tokens, with both thresholds; embeddings are kept if wished, hidden nodes never."""
    x = traced("gemma3", start_posn=4)
    arguments = dict(zip(("node_threshold", "edge_threshold"), thresholds)) | {"keep_embeddings": keep_embeddings}
    result = attribute(x.model, x.transcoders, PROMPT, start_posn=4, **arguments)
    hidden = torch.tensor([node.ctx_idx < 4 for node in x.graph.nodes])
    keep = torch.tensor([node.node_type is NodeType.EMBEDDING for node in x.graph.nodes]) & keep_embeddings
    probs = torch.tensor([x.graph.nodes[i].token_prob for i in x.graph.indices(NodeType.LOGIT)], dtype=torch.float64)
    kept, matrix = prune_graph(x.adjacency, probs, 3, *thresholds, keep=keep, hidden=hidden)
    influence = compute_influence(x.adjacency, probs, 3)
    expect_close(result.influence, influence, "The influence, by the probabilities of the tokens")
    expect_equal(result.kept_indices, kept, "The kept nodes")
    expect_close(result.pruned_matrix, matrix, "The pruned matrix")


@pytest.mark.parametrize("arguments", [{"top_k": 2}, {"start_posn": 4}])
def test_latents_can_be_limited(traced, arguments):
    """`top_k` and `start_posn` decide which latents become nodes."""
    x = traced("gemma3", **arguments)
    result = attribute(x.model, x.transcoders, PROMPT, **({"start_posn": 0} | arguments))
    expect_equal(
        [n.node_id for n in result.graph.nodes], [n.node_id for n in x.graph.nodes], f"The nodes with {arguments}"
    )


def test_targets_can_be_chosen(tiny):
    """The traced tokens are chosen by number, by probability, or by name."""
    model, transcoders = tiny("gemma3")
    top = model(model.to_tokens(PROMPT))[0, -1].topk(20).indices.tolist()

    def targets(**arguments):
        return logit_tokens(attribute(model, transcoders, PROMPT, top_k=0, **arguments))

    expect_equal(targets(), top[:3], "The tokens traced without a choice")
    expect_equal(targets(n_output_nodes=5), top[:5], "The tokens with n_output_nodes=5")
    expect_equal(targets(probability_mass=1e-9), top[:1], "The tokens with probability_mass=1e-9")
    expect_equal(targets(probability_mass=1.0, max_output_nodes=4), top[:4], "The tokens with max_output_nodes=4")
    expect_equal(targets(target_tokens=["Austin", 3]), [model.to_single_token("Austin"), 3], "The tokens by name")


def test_chosen_targets_weigh_the_same(traced):
    """Tokens that are chosen by name weigh the same, so that also an unlikely one gets its edges."""
    x = traced("gemma3")
    result = attribute(x.model, x.transcoders, PROMPT, target_tokens=["Austin", 3])
    influence = compute_influence(result.adjacency_matrix, torch.tensor([0.5, 0.5], dtype=torch.float64), 3)
    expect_close(result.influence, influence, "The influence when two tokens are chosen")


def test_progress_and_batches(tiny):
    """`batch_size` limits the batches, and after each one `progress` is told how many targets are done."""
    calls = []
    model, transcoders = tiny("gpt2")
    result = attribute(model, transcoders, PROMPT, batch_size=30, progress=lambda *call: calls.append(call))
    total = len(result.graph.indices(NodeType.LATENT, NodeType.LOGIT))
    expect(bool(calls) and calls[-1] == (total, total), f"In the end all {total} targets are done.", calls[-1:])
    steps = [later - earlier for (earlier, _), (later, _) in zip([(0, total), *calls], calls)]
    expect(max(steps) <= 30, "No batch may have more than 30 targets.", max(steps))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_any_gradient_mode_will_do(traced, mode):
    """The result is the same in any gradient mode, and nothing is left behind on the model."""
    x = traced("qwen3")
    with mode():
        before = state_of(x.model, x.transcoders)
        result = attribute(x.model, x.transcoders, PROMPT)
        expect_unchanged(before, state_of(x.model, x.transcoders), "after tracing")
    expect_close(result.adjacency_matrix, x.adjacency, f"The matrix in {mode.__name__} mode")
    expect(not result.adjacency_matrix.requires_grad, "The matrix must be plain numbers, without gradients.")
