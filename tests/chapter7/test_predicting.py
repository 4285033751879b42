"""Predicted changes of scores, and measured ones."""

import pytest
import torch

from solutions.chapter7_attention import activations, pair_attributions, scores_hook, sides_for_all_keys, writes_added
from solutions.chapter7_attention import measured as reference_measured
from tests.chapter7.shared import some_head
from utils.engine.graph import NodeType
from utils.grading import expect_close


def nodes_of(x) -> list[int]:
    latents = x.graph.indices(NodeType.LATENT)
    return [2, latents[3], latents[len(latents) // 3]]


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_a_change_at_the_key_is_exact(predicted_change, opened, architecture):
    """Nodes that reach only the keys move the scores of the frozen model by exactly what is predicted."""
    x = opened(architecture)
    head = some_head(x, layer=0)  # in front of layer 0, an embedding is only at its own position
    query, key = x.graph.seq_len - 1, 3
    found = predicted_change(head, query, [key], 0.7)
    before, after = reference_measured(head, query, [[], [key]], 0.7, frozen=True)
    expect_close(found, after.scores - before.scores, "The change of the scores", rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("times", [-1.0, 0.3])
def test_both_sides_count(predicted_change, opened, times):
    """A prediction adds what the nodes do at the query and what they do at the key, each with the other side as it is."""
    x = opened("gemma3")
    head, query = some_head(x), x.graph.seq_len - 1
    nodes = nodes_of(x)
    found = predicted_change(head, query, nodes, times)
    for key in head.visible(query):
        pairs = pair_attributions(head, query, key).pairs
        expected = times * (pairs[nodes].sum() + pairs[:, nodes].sum())
        expect_close(found[key], expected, f"The change of the score of key {key}", rtol=1e-6, atol=1e-9)


def test_without_further_words_writes_are_taken_away(predicted_change, opened):
    """The default takes the nodes' writes away; no nodes change nothing."""
    head = some_head(opened("qwen3"))
    at_query, at_key = sides_for_all_keys(head, 6)
    expect_close(predicted_change(head, 6, [4]), -(at_query[4] + at_key[4]), "The change without node 4", rtol=1e-6)
    expect_close(predicted_change(head, 6, []), torch.zeros_like(at_key[0]), "The change without any node")


@pytest.mark.parametrize("frozen", [True, False], ids=["all held", "nothing held"])
def test_measured_scores_are_those_of_a_run(measured, opened, frozen):
    """Each set of nodes has a run of its own; its scores and its pattern are those of the head at the query."""
    x = opened("qwen3")
    head, query = some_head(x), x.graph.seq_len - 2
    sets = [[], nodes_of(x), [1]]
    found = measured(head, query, sets, -0.8, frozen)
    for nodes, look in zip(sets, found):
        hooks = [*(x.linear if frozen else []), *writes_added(x, [nodes], -0.8)]
        (scores,) = activations(x.model, x.tokens, hooks, [scores_hook(head.layer)])
        row = scores[0, head.head, query, : query + 1]
        expect_close(look.scores, row, "The scores", rtol=1e-6, atol=1e-8)
        expect_close(look.pattern, row.exp() / row.exp().sum(), "The pattern", rtol=1e-6, atol=1e-8)


def test_the_unchanged_pattern_is_the_models(measured, opened):
    """With no node changed, the pattern is the model's own; nothing is held unless it is asked for."""
    x = opened("gemma3")
    head, query = some_head(x), x.graph.seq_len - 1
    unchanged, changed = measured(head, query, [[], [3]])
    expect_close(
        unchanged.pattern, x.pattern(head.layer, head.head)[query, : query + 1], "The pattern", rtol=1e-5, atol=1e-7
    )
    (scores,) = activations(x.model, x.tokens, writes_added(x, [[3]], -1.0), [scores_hook(head.layer)])
    expect_close(
        changed.scores, scores[0, head.head, query], "The scores without the embedding at 3", rtol=1e-6, atol=1e-8
    )
