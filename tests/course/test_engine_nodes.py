"""Nodes: who writes what, and who reads what."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import (
    build_embedding_nodes,
    build_intermediate_nodes,
    build_logit_nodes,
    compute_salient_logits,
    select_latents,
)
from tests.tiny import ARCHITECTURES, D_MODEL
from utils.graph import NodeType


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_logits_reading_is_its_demeaned_logit(traced, architecture):
    x = traced(architecture)
    reading_vecs, tokens = compute_salient_logits(x.model, x.freeze.logits, 4)
    readings = reading_vecs @ x.cache["ln_final.hook_out"][0, -1]
    logits = x.freeze.logits[0, -1].double()
    expected = torch.stack([logits[token.token_id] for token in tokens]) - logits.mean()
    torch.testing.assert_close(readings, expected, rtol=1e-5, atol=1e-5)
    top = logits.topk(4)
    assert [token.token_id for token in tokens] == top.indices.tolist()
    probs = torch.tensor([token.prob for token in tokens], dtype=torch.float64)
    torch.testing.assert_close(probs, logits.softmax(-1)[top.indices], rtol=1e-5, atol=1e-6)
    assert [token.str_token for token in tokens] == [x.model.tokenizer.decode([i]) for i in top.indices.tolist()]


def test_logits_by_probability_mass(traced):
    x = traced("gemma3")
    logits = torch.full((1, 2, 20), -30.0)
    logits[0, -1, [3, 8, 5]] = torch.tensor([0.5, 0.3, 0.2]).log()

    def choose(mass, cap=10):
        found = compute_salient_logits(x.model, logits, probability_mass=mass, max_output_nodes=cap)[1]
        return [token.token_id for token in found]

    assert choose(0.4) == [3]
    assert choose(0.6) == [3, 8]
    assert choose(0.9) == [3, 8, 5]
    assert choose(0.9, cap=2) == [3, 8]
    assert len(choose(1.0, cap=50)) <= 20


def test_logits_of_chosen_tokens(traced):
    x = traced("gemma3")
    reading_vecs, tokens = compute_salient_logits(x.model, x.freeze.logits, token_ids=[7, 2, 7])
    assert [token.token_id for token in tokens] == [7, 2]
    assert reading_vecs.shape == (2, D_MODEL)


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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_write_the_first_residual_stream(traced, architecture):
    x = traced(architecture)
    nodes, writing_vecs, reading_vecs = build_embedding_nodes(x.model, x.cache, x.tokens)
    torch.testing.assert_close(writing_vecs, x.cache["blocks.0.hook_in"][0])
    assert not reading_vecs.any()
    assert [node.feature for node in nodes] == x.tokens[0].tolist()
    assert [node.ctx_idx for node in nodes] == list(range(x.tokens.shape[1]))
    assert all(node.layer == "E" and node.node_type is NodeType.EMBEDDING for node in nodes)
    assert [node.str_token for node in nodes] == x.model.to_str_tokens(x.tokens)


def test_latents_are_chosen_by_activation():
    acts = torch.tensor([[0.0, 3.0, 1.0, 2.0], [0.0, 0.0, 0.0, 5.0], [1.0, 0.5, 0.25, 0.125]])

    def chosen(*arguments):
        return list(zip(*(part.tolist() for part in select_latents(acts, *arguments))))

    assert chosen() == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert chosen(0, 2) == [(0, 1), (0, 3), (1, 3), (2, 0), (2, 1)]
    assert chosen(1, 2) == [(1, 3), (2, 0), (2, 1)]
    assert chosen(0, 0) == []
    assert chosen(0, 9) == chosen()


@pytest.mark.parametrize("top_k", [None, 2, 0])
@pytest.mark.parametrize("start_posn", [0, 3])
@pytest.mark.parametrize("skip", [True, False])
def test_every_layer_adds_up_to_its_mlp(traced, top_k, start_posn, skip):
    """Latents, error, and the transcoder's own skip and bias: together exactly what the MLP writes."""
    x = traced("gemma3", skip=skip)
    seq_len = x.tokens.shape[1]
    nodes, writing_vecs, reading_vecs, ranges = build_intermediate_nodes(
        x.transcoders, x.cache, x.tc_hooks, x.tokens, D_MODEL, start_posn, top_k
    )
    assert list(ranges) == [0, 1, 2] and ranges[2][1] == len(nodes) == len(writing_vecs) == len(reading_vecs)
    for layer, (start, end) in ranges.items():
        transcoder, mlp_in = x.transcoders[layer], x.cache[f"blocks.{layer}.mlp.hook_in"][0]
        with torch.no_grad():
            # what SAELens' forward pass gives when no latent is active
            acts = transcoder.encode(mlp_in)
            constant = transcoder(mlp_in) - acts @ transcoder.W_dec
        total = constant
        for node, writing in zip(nodes[start:end], writing_vecs[start:end]):
            total = total.index_add(0, torch.tensor([node.ctx_idx]), writing[None])
        torch.testing.assert_close(total, x.cache[f"blocks.{layer}.hook_mlp_out"][0])

        kinds = [node.node_type for node in nodes[start:end]]
        assert kinds[-seq_len:] == [NodeType.MLP_ERROR] * seq_len
        assert set(kinds[:-seq_len]) <= {NodeType.LATENT}
        for node, writing, reading in zip(nodes[start:end], writing_vecs[start:end], reading_vecs[start:end]):
            if node.node_type is NodeType.LATENT:
                assert node.ctx_idx >= start_posn
                assert node.activation == pytest.approx(float(acts[node.ctx_idx, node.feature])) and node.activation > 0
                torch.testing.assert_close(writing, node.activation * transcoder.W_dec[node.feature].detach())
                torch.testing.assert_close(reading, transcoder.W_enc[:, node.feature].detach())
            else:
                assert not reading.any()
        n_active = (acts[start_posn:] > 0).sum(1)
        expected = n_active if top_k is None else n_active.clamp(max=top_k)
        assert len(kinds) - seq_len == int(expected.sum())


def test_logits_only_read(traced):
    x = traced("gpt2")
    vectors, tokens = compute_salient_logits(x.model, x.freeze.logits)
    nodes, writing_vecs, reading_vecs = build_logit_nodes(vectors, tokens, seq_len=9, d_model=D_MODEL)
    assert writing_vecs.shape == (3, D_MODEL) and not writing_vecs.any()
    assert torch.equal(reading_vecs, vectors)
    assert [(n.layer, n.ctx_idx, n.feature, n.token_prob) for n in nodes] == [
        ("L", 8, token.token_id, token.prob) for token in tokens
    ]


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
