"""What chapter 3 gives: the choice of output tokens, the nodes of embeddings and logits, the batches of targets."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from solutions.chapter3_attribution_graphs import (
    OutputToken,
    build_embedding_nodes,
    build_logit_nodes,
    compute_salient_logits,
    prepare_backward_batches,
)
from tests.tiny import ARCHITECTURES, D_MODEL
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.grading import expect, expect_close, expect_equal

FIELDS = ("node_type", "layer", "ctx_idx", "feature", "str_token")
VOCABULARY = "zero one two three four five six seven eight nine ten".split()


def fields_of(nodes, fields=FIELDS) -> list[tuple]:
    return [tuple(getattr(node, field) for field in fields) for node in nodes]


def small_model():
    """Just what the choice of logits needs: 11 tokens, d_model 5."""
    W_U = torch.randn(5, 11, generator=torch.Generator().manual_seed(0)) + torch.arange(5.0)[:, None]
    return SimpleNamespace(W_U=W_U, tokenizer=SimpleNamespace(decode=lambda ids: VOCABULARY[int(ids[0])]))


def some_logits() -> torch.Tensor:
    """Two prompts of three tokens. At the end of the first: 0.4 for 7, 0.3 for 2, 0.2 for 9, the rest for 0, 1 and 3."""
    logits = torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(1))
    probs = torch.full((11,), 1e-5)
    probs[[7, 2, 9, 0, 1, 3]] = torch.tensor([0.4, 0.3, 0.2, 0.05, 0.03, 0.02 - 5e-5])
    # adding a number to all logits changes no probability
    logits[0, -1] = probs.log() + 3
    return logits


def ids_of(tokens) -> list[int]:
    return [token.token_id for token in tokens]


def test_the_most_probable_tokens_are_chosen():
    """The most probable tokens after the last position are chosen, with their texts and probabilities."""
    tokens = compute_salient_logits(small_model(), some_logits(), 3)[1]
    expect_equal(ids_of(tokens), [7, 2, 9], "The chosen tokens")
    expect_close(torch.tensor([token.prob for token in tokens]), torch.tensor([0.4, 0.3, 0.2]), "Their probabilities")
    expect_equal([token.str_token for token in tokens], ["seven", "two", "nine"], "Their texts")
    expect_equal(len(compute_salient_logits(small_model(), some_logits(), 50)[1]), 11, "The number, of 50 wished for")


def test_reading_vectors_are_demeaned():
    """The reading vectors are the tokens' columns of `W_U` less the mean column of the whole vocabulary."""
    model = small_model()
    reading_vecs, _ = compute_salient_logits(model, some_logits(), 2)
    expected = torch.stack([model.W_U[:, 7], model.W_U[:, 2]]) - torch.stack(list(model.W_U.T)).mean(0)
    expect_close(reading_vecs, expected, "The reading vectors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_reading_is_the_demeaned_logit(traced, architecture):
    """What the reading vectors read after ln_final are the model's own logits less their mean."""
    x = traced(architecture)
    reading_vecs, tokens = compute_salient_logits(x.model, x.freeze.logits, 4)
    logits = x.freeze.logits[0, -1].double()
    expect_equal(ids_of(tokens), logits.topk(4).indices.tolist(), "The chosen tokens")
    readings = reading_vecs @ x.cache["ln_final.hook_out"][0, -1]
    expect_close(readings, logits.topk(4).values - logits.mean(), "The readings", rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mass", "cap", "expected"),
    [(0.3, 10, 1), (0.5, 10, 2), (0.8, 10, 3), (0.94, 10, 4), (0.94, 3, 3), (0.5, 2, 2), (1.0, 99, 11)],
)
def test_the_smallest_set_that_reaches_a_probability(mass, cap, expected):
    """With `probability_mass` the smallest set of top tokens that reaches it is chosen, up to `max_output_nodes`."""
    model, logits = small_model(), some_logits()
    reading_vecs, tokens = compute_salient_logits(model, logits, probability_mass=mass, max_output_nodes=cap)
    expect_equal(len(tokens), expected, f"How many tokens reach {mass} with at most {cap}")
    expect_equal(ids_of(tokens)[:3], [7, 2, 9][:expected], "The first tokens")
    expect_equal(len(reading_vecs), expected, "How many reading vectors there are")
    expect_close(tokens[0].prob, 0.4, "The probability of the first token")


@pytest.mark.parametrize(("mass", "expected"), [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_a_mass_that_is_reached_exactly(mass, expected):
    """A mass that the probabilities reach exactly needs no further token."""
    logits = torch.full((1, 2, 11), -1e4)
    logits[0, -1, [2, 5, 6, 9]] = 3.0  # four tokens with 1/4 each
    tokens = compute_salient_logits(small_model(), logits, probability_mass=mass)[1]
    expect_equal(len(tokens), expected, f"How many tokens of probability 1/4 reach {mass}")


def test_probabilities_are_precise():
    """From logits in half precision the probabilities are computed in float32."""
    logits = some_logits().bfloat16()
    tokens = compute_salient_logits(small_model(), logits, 4)[1]
    expected = logits[0, -1].float().softmax(-1)[ids_of(tokens)]
    expect_close(torch.tensor([token.prob for token in tokens]), expected, "The probabilities")


def test_tokens_can_be_named():
    """With `token_ids` exactly these tokens are chosen, in this order, each once."""
    model = small_model()
    reading_vecs, tokens = compute_salient_logits(model, some_logits(), 1, token_ids=[9, 3, 7, 3])
    expect_equal(ids_of(tokens), [9, 3, 7], "The chosen tokens")
    expect_close(tokens[0].prob, 0.2, "The probability of token 9")
    expect_close(reading_vecs, (model.W_U - model.W_U.mean(1, keepdim=True)).T[[9, 3, 7]], "The reading vectors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_write_what_the_first_block_gets(traced, architecture):
    """An embedding writes what the first block gets, with all that the model adds to it or multiplies it by, and reads nothing."""
    x = traced(architecture)
    _, writing_vecs, reading_vecs = build_embedding_nodes(x.model, x.cache, x.tokens)
    expect_close(writing_vecs, x.cache["blocks.0.hook_in"][0], "The writing vectors")
    expect_close(reading_vecs, torch.zeros(x.tokens.shape[1], D_MODEL), "The reading vectors")


def test_embeddings_have_their_positions_and_tokens(traced):
    """There is one node a position, with its token's id and text."""
    x = traced("gemma3")
    nodes, _, _ = build_embedding_nodes(x.model, x.cache, x.tokens)
    tokens, texts = x.tokens[0].tolist(), x.model.to_str_tokens(x.tokens)
    expected = [(NodeType.EMBEDDING, "E", i, token, text) for i, (token, text) in enumerate(zip(tokens, texts))]
    expect_equal(fields_of(nodes), expected, f"The nodes' {', '.join(FIELDS)}")


def test_embeddings_are_kept_precisely(traced):
    """From a model in half precision the vectors are in float32."""
    x = traced("gemma3")
    cache = {"blocks.0.hook_in": x.cache["blocks.0.hook_in"].bfloat16()}
    _, writing_vecs, reading_vecs = build_embedding_nodes(x.model, cache, x.tokens)
    expect_equal(str(writing_vecs.dtype), "torch.float32", "The dtype of the writing vectors")
    expect_equal(str(reading_vecs.dtype), "torch.float32", "The dtype of the reading vectors")


OUTPUT = [OutputToken("Austin", 0.6, 17), OutputToken("Paris", 0.3, 4), OutputToken("Dallas", 0.05, 9)]


def test_logits_are_at_the_end():
    """Each output token has a node at the last position, with its id, probability and text."""
    nodes, _, _ = build_logit_nodes(torch.randn(3, 5), OUTPUT, seq_len=7, d_model=5)
    fields = (*FIELDS, "token_prob")
    expected = [(NodeType.LOGIT, "L", 6, token.token_id, token.str_token, token.prob) for token in OUTPUT]
    expect_equal(fields_of(nodes, fields), expected, f"The nodes' {', '.join(fields)}")


def test_logits_only_read():
    """A logit reads with the vector it is given, and writes nothing."""
    given = torch.randn(3, 5, dtype=torch.float64)
    _, writing_vecs, reading_vecs = build_logit_nodes(given, OUTPUT, seq_len=7, d_model=5)
    expect_close(reading_vecs, given, "The reading vectors")
    expect_close(writing_vecs, torch.zeros(3, 5), "The writing vectors")
    expect(writing_vecs.dtype == given.dtype, "Writing and reading vectors must have the same dtype.")


def small_graph() -> GraphNodes:
    """Two positions, three layers (the second without latents), two logits; 5 + 0 + 2 latents."""
    positions = {"E": [0, 1], 0: [0, 0, 1, 1, 1], 1: [], 2: [1, 0], "L": [1, 1]}
    graph = GraphNodes(seq_len=2, n_layers=3)
    for layer, at in positions.items():
        start = len(graph.nodes)
        kind = {"E": NodeType.EMBEDDING, "L": NodeType.LOGIT}.get(layer, NodeType.LATENT)
        graph.nodes += [NodeInfo(kind, layer, position, 10 * i) for i, position in enumerate(at)]
        if isinstance(layer, int):
            graph.nodes += [NodeInfo(NodeType.MLP_ERROR, layer, position, 0) for position in range(2)]
        graph.node_range_dict[layer] = (start, len(graph.nodes))
    graph.writing_vecs, graph.reading_vecs = torch.randn(2, len(graph), 3)
    return graph


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_batches_hold_every_target_once(size):
    """Latents and logits are each in one batch, in order; no batch is too large or mixes layers."""
    batches = prepare_backward_batches(small_graph(), size)
    first = {1: [2, 3, 4, 5, 6, 11, 12, 15, 16], 2: [2, 4, 6, 11, 15]}.get(size, [2, 11, 15])
    lengths = {1: [1] * 9, 2: [2, 2, 1, 2, 2]}.get(size, [5, 2, 2])
    expect_equal([batch.global_start_idx for batch in batches], first, "The indices of the batches' first nodes")
    expect_equal([len(batch.nodes) for batch in batches], lengths, "The lengths of the batches")


def test_batches_know_their_nodes():
    """A batch has its nodes' reading vectors, positions and layers."""
    graph = small_graph()
    for batch in prepare_backward_batches(graph, 2):
        start = batch.global_start_idx
        nodes = graph.nodes[start : start + len(batch.nodes)]
        expect_equal([node.node_id for node in batch.nodes], [node.node_id for node in nodes], "The nodes of a batch")
        vectors = graph.reading_vecs[start : start + len(nodes)]
        expect_close(batch.reading_vecs, vectors, "The reading vectors of a batch")
        expect(isinstance(batch.positions, Tensor), "`positions` must be a tensor.", batch.positions)
        expect_equal(batch.positions, torch.tensor([node.ctx_idx for node in nodes]), "The positions of a batch")
        expect_equal(batch.layers, [node.layer for node in nodes], "The layers of a batch")
