"""Contributions, the contrast of keys, and pairs of nodes."""

import pytest
import torch

from solutions.chapter7_attention import activations, head_on_prompt, parts_of, stream_hook, writes_added
from tests.chapter7.shared import FORMS, N_LAYERS, some_head
from utils.engine.graph import NodeType
from utils.grading import expect_close


@pytest.mark.parametrize(
    ("architecture", "cross_layer"),
    [("qwen3", False), ("gpt2", False), ("qwen3", True)],
    ids=["qwen3", "gpt2", "latents that write in several layers"],
)
def test_contributions_and_constants_are_the_stream(contributions, opened, architecture, cross_layer):
    """What the nodes add, with the constants, is the residual stream in front of the layer."""
    x = opened(architecture, cross_layer)
    axes = torch.eye(x.model.cfg.d_model, dtype=torch.float64)
    for layer in range(N_LAYERS):
        (true,) = activations(x.model, x.tokens, x.freeze.fwd_hooks, [stream_hook(layer)])
        position = x.graph.seq_len - 2
        found = contributions(x, layer, x.stream(layer), axes, [position] * len(axes))
        expect_close(
            found.sum(0) + x.silent[layer][position],
            true[0, position],
            f"Nodes and constants in front of layer {layer}",
            rtol=1e-6,
            atol=1e-9,
        )


def test_a_contribution_is_what_an_intervention_does(contributions, opened):
    """In the frozen model, a node that writes twice as much moves the stream by its contribution; later nodes add nothing."""
    x, layer = opened("gemma3"), 2
    (plain,) = activations(x.model, x.tokens, x.linear, [stream_hook(layer)])
    positions = [2, x.graph.seq_len - 1]
    axes = torch.eye(x.model.cfg.d_model, dtype=torch.float64)[:2]
    found = contributions(x, layer, x.stream(layer), axes, positions)
    latents = x.graph.indices(NodeType.LATENT)
    nodes = [1, 2, latents[0], latents[len(latents) // 2], latents[-1]]
    for node in nodes:
        hooks = [*x.linear, *writes_added(x, [[node]], 1.0)]
        (more,) = activations(x.model, x.tokens, hooks, [stream_hook(layer)])
        change = (more - plain)[0, positions]
        expect_close(
            found[node], torch.stack([change[0, 0], change[1, 1]]), f"What node {node} adds", rtol=1e-6, atol=1e-9
        )


def test_readings_of_queries(contributions, opened):
    """Any live tensor in front of the layer can be read: a query, with the constants, is what the nodes add."""
    head = some_head(opened("llama"), 1, 3)
    torch.manual_seed(8)
    vectors = torch.randn(4, head.queries.shape[1], dtype=torch.float64)
    positions = [1, 5, 8, 5]
    found = contributions(head.x, head.layer, head.queries, vectors, positions).sum(0)
    constants = (head.silent_queries[positions] * vectors).sum(1)
    expect_close(found + constants, (head.queries.detach()[positions] * vectors).sum(1), "The readings", rtol=1e-6)


def test_a_key_against_the_others(key_contrast):
    """A key's contrast is its difference from the mean of the others; all other rows stay."""
    keys = torch.tensor([[1.0, 2.0], [5.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
    found = key_contrast(keys, 1, [0, 2])
    expect_close(found, torch.tensor([[1.0, 2.0], [3.0, -3.0], [3.0, 4.0], [0.0, 8.0]]), "The keys")


def test_the_key_is_not_among_the_others(key_contrast):
    """The key itself does not count among the others, even if it is listed; positions that are not listed do not count."""
    torch.manual_seed(9)
    keys = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    found = key_contrast(keys, 4, [1, 3, 4])
    expect_close(found[4], keys[4] - (keys[1] + keys[3]) / 2, "The contrast of key 4")
    (gradient,) = torch.autograd.grad(found[4].sum(), keys)
    expect_close(gradient[:, 0], torch.tensor([0, -0.5, 0, -0.5, 1, 0], dtype=torch.float64), "Its gradient")


@pytest.mark.parametrize("architecture", FORMS)
def test_pairs_add_up_to_the_models_score(pair_attributions, opened, architecture):
    """All pairs, those with constants included, are the score that the model computes."""
    x = opened(architecture)
    head = some_head(x)
    query = x.graph.seq_len - 1
    for key in head.visible(query)[-2:]:
        found = pair_attributions(head, query, key)
        true = x.scores[head.layer][head.head, query, key]
        expect_close(found.pairs.sum(), true, f"All pairs of query {query} and key {key}", rtol=1e-6)
        expect_close(found.value, float(true), "The value", rtol=1e-6)
        # silent nodes leave the constants of both sides
        constants = head.silent_queries[query] @ head.silent_keys[key] * head.scaling
        expect_close(found.pairs[-1, -1], constants, "The pair of the constants of both sides", rtol=1e-6)


def test_rows_are_the_query_side(pair_attributions, opened):
    """A row belongs to a node at the query: a node that writes twice as much there adds its row, and its column at the key."""
    x = opened("qwen3")
    head, query, key = some_head(x), x.graph.seq_len - 1, 3
    found = pair_attributions(head, query, key).pairs
    # what stands behind the key cannot be at the key
    late = [i for i, node in enumerate(x.graph.nodes) if node.ctx_idx > key]
    expect_close(found[:, late], torch.zeros_like(found[:, late]), "Columns of nodes behind the key")
    change = head_on_prompt(x, head.layer, head.head)
    latent = x.graph.indices(NodeType.EMBEDDING)[query]
    at_query = activations(
        x.model,
        x.tokens,
        [*x.linear, *writes_added(x, [[latent]], 1.0)],
        [f"blocks.{head.layer}.attn.hook_attn_scores"],
    )[0]
    moved = at_query[0, head.head, query, key] - change.scores[query, key]
    expect_close(found[latent].sum(), moved, "The row of the last token's embedding", rtol=1e-5, atol=1e-7)


def pairs_of_a_score(head, query, key):
    """The pairs of one score, from the parts of its query and of its key."""
    at_query = parts_of(head, head.queries, head.silent_queries, query)
    return at_query @ parts_of(head, head.keys, head.silent_keys, key).T * head.scaling


def test_pairs_of_a_contrast(pair_attributions, opened):
    """Against others, the pairs are those of the key less the mean of those of the others, constants included."""
    head = some_head(opened("gpt2"))
    query, key, others = head.x.graph.seq_len - 1, 4, [1, 2, 6]
    found = pair_attributions(head, query, key, others)
    of_others = torch.stack([pairs_of_a_score(head, query, other) for other in others])
    expect_close(found.pairs, pairs_of_a_score(head, query, key) - of_others.mean(0), "The pairs", rtol=1e-6, atol=1e-9)
    scores = head.scores[query]
    expect_close(found.value, float(scores[key] - scores[others].mean()), "The value", rtol=1e-6)
