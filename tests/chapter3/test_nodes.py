"""The four exercises on nodes: who writes what, and who reads what."""

from types import SimpleNamespace

import pytest
import torch

from solutions.chapter3_attribution_graphs import OutputToken, select_latents
from tests.tiny import ARCHITECTURES, D_MODEL
from utils.engine.graph import NodeType
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


def test_the_most_probable_tokens_are_chosen(compute_salient_logits):
    """The most probable tokens after the last position are chosen, with their texts and probabilities."""
    tokens = compute_salient_logits(small_model(), some_logits(), 3)[1]
    expect_equal(ids_of(tokens), [7, 2, 9], "The chosen tokens")
    expect_close(torch.tensor([token.prob for token in tokens]), torch.tensor([0.4, 0.3, 0.2]), "Their probabilities")
    expect_equal([token.str_token for token in tokens], ["seven", "two", "nine"], "Their texts")
    expect_equal(len(compute_salient_logits(small_model(), some_logits(), 50)[1]), 11, "The number, of 50 wished for")


def test_reading_vectors_are_demeaned(compute_salient_logits):
    """The reading vectors are the tokens' columns of `W_U` less the mean column of the whole vocabulary."""
    model = small_model()
    reading_vecs, _ = compute_salient_logits(model, some_logits(), 2)
    expected = torch.stack([model.W_U[:, 7], model.W_U[:, 2]]) - torch.stack(list(model.W_U.T)).mean(0)
    expect_close(reading_vecs, expected, "The reading vectors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_reading_is_the_demeaned_logit(compute_salient_logits, traced, architecture):
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
def test_the_smallest_set_that_reaches_a_probability(compute_salient_logits, mass, cap, expected):
    """With `probability_mass` the smallest set of top tokens that reaches it is chosen, up to `max_output_nodes`."""
    model, logits = small_model(), some_logits()
    reading_vecs, tokens = compute_salient_logits(model, logits, probability_mass=mass, max_output_nodes=cap)
    expect_equal(len(tokens), expected, f"How many tokens reach {mass} with at most {cap}")
    expect_equal(ids_of(tokens)[:3], [7, 2, 9][:expected], "The first tokens")
    expect_equal(len(reading_vecs), expected, "How many reading vectors there are")
    expect_close(tokens[0].prob, 0.4, "The probability of the first token")


@pytest.mark.parametrize(("mass", "expected"), [(0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_a_mass_that_is_reached_exactly(compute_salient_logits, mass, expected):
    """A mass that the probabilities reach exactly needs no further token."""
    logits = torch.full((1, 2, 11), -1e4)
    logits[0, -1, [2, 5, 6, 9]] = 3.0  # four tokens with 1/4 each
    tokens = compute_salient_logits(small_model(), logits, probability_mass=mass)[1]
    expect_equal(len(tokens), expected, f"How many tokens of probability 1/4 reach {mass}")


def test_probabilities_are_precise(compute_salient_logits):
    """From logits in half precision the probabilities are computed in float32."""
    logits = some_logits().bfloat16()
    tokens = compute_salient_logits(small_model(), logits, 4)[1]
    expected = logits[0, -1].float().softmax(-1)[ids_of(tokens)]
    expect_close(torch.tensor([token.prob for token in tokens]), expected, "The probabilities")


def test_tokens_can_be_named(compute_salient_logits):
    """With `token_ids` exactly these tokens are chosen, in this order, each once."""
    model = small_model()
    reading_vecs, tokens = compute_salient_logits(model, some_logits(), 1, token_ids=[9, 3, 7, 3])
    expect_equal(ids_of(tokens), [9, 3, 7], "The chosen tokens")
    expect_close(tokens[0].prob, 0.2, "The probability of token 9")
    expect_close(reading_vecs, (model.W_U - model.W_U.mean(1, keepdim=True)).T[[9, 3, 7]], "The reading vectors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_write_what_the_first_block_gets(build_embedding_nodes, traced, architecture):
    """An embedding writes what the first block gets, with all that the model adds to it or multiplies it by, and reads nothing."""
    x = traced(architecture)
    _, writing_vecs, reading_vecs = build_embedding_nodes(x.model, x.cache, x.tokens)
    expect_close(writing_vecs, x.cache["blocks.0.hook_in"][0], "The writing vectors")
    expect_close(reading_vecs, torch.zeros(x.tokens.shape[1], D_MODEL), "The reading vectors")


def test_embeddings_have_their_positions_and_tokens(build_embedding_nodes, traced):
    """There is one node a position, with its token's id and text."""
    x = traced("gemma3")
    nodes, _, _ = build_embedding_nodes(x.model, x.cache, x.tokens)
    tokens, texts = x.tokens[0].tolist(), x.model.to_str_tokens(x.tokens)
    expected = [(NodeType.EMBEDDING, "E", i, token, text) for i, (token, text) in enumerate(zip(tokens, texts))]
    expect_equal(fields_of(nodes), expected, f"The nodes' {', '.join(FIELDS)}")


def test_embeddings_are_kept_precisely(build_embedding_nodes, traced):
    """From a model in half precision the vectors are in float32."""
    x = traced("gemma3")
    cache = {"blocks.0.hook_in": x.cache["blocks.0.hook_in"].bfloat16()}
    _, writing_vecs, reading_vecs = build_embedding_nodes(x.model, cache, x.tokens)
    expect_equal(str(writing_vecs.dtype), "torch.float32", "The dtype of the writing vectors")
    expect_equal(str(reading_vecs.dtype), "torch.float32", "The dtype of the reading vectors")


def test_embeddings_of_the_model(build_embedding_nodes, traced_chosen):
    """On the model, the embeddings write what the first block gets."""
    x = traced_chosen
    nodes, writing_vecs, _ = build_embedding_nodes(x.model, x.cache, x.tokens)
    expect_equal([node.feature for node in nodes], x.tokens[0].tolist(), "The tokens")
    expect_close(writing_vecs, x.cache["blocks.0.hook_in"][0], "The writing vectors")


KEPT = [(None, 0), (2, 0), (2, 3), (0, 0)]


@pytest.mark.parametrize(("top_k", "start_posn"), KEPT[:3])
def test_latents_write_and_read(build_intermediate_nodes, traced, top_k, start_posn):
    """A latent writes its activation times its row of `W_dec`, and reads with its column of `W_enc`."""
    x = traced("gemma3")
    nodes, writing_vecs, reading_vecs, ranges = build_intermediate_nodes(
        x.transcoders, x.cache, x.tc_hooks, x.tokens, D_MODEL, start_posn, top_k
    )
    for layer, (start, end) in ranges.items():
        transcoder = x.transcoders[layer]
        latents = [i for i in range(start, end) if nodes[i].node_type is NodeType.LATENT]
        writes = [nodes[i].activation * transcoder.W_dec[nodes[i].feature].detach() for i in latents]
        reads = [transcoder.W_enc[:, nodes[i].feature].detach() for i in latents]
        expect_close(writing_vecs[latents], torch.stack(writes), f"What the latents of layer {layer} write")
        expect_close(reading_vecs[latents], torch.stack(reads), f"The reading vectors of layer {layer}")


@pytest.mark.parametrize(("top_k", "start_posn"), KEPT)
@pytest.mark.parametrize("skip", [True, False])
def test_a_layer_adds_up_to_its_mlp(build_intermediate_nodes, traced, top_k, start_posn, skip):
    """Latents, error, skip and bias add up to what the MLP writes, whatever is kept."""
    x = traced("gemma3", skip=skip)
    nodes, writing_vecs, _, ranges = build_intermediate_nodes(
        x.transcoders, x.cache, x.tc_hooks, x.tokens, D_MODEL, start_posn, top_k
    )
    for layer, (start, end) in ranges.items():
        transcoder, mlp_in = x.transcoders[layer], x.cache[f"blocks.{layer}.mlp.hook_in"][0]
        with torch.no_grad():
            # SAELens' own forward pass less what all its latents write: skip and bias
            total = transcoder(mlp_in) - transcoder.encode(mlp_in) @ transcoder.W_dec
        for node, writing in zip(nodes[start:end], writing_vecs[start:end]):
            total[node.ctx_idx] += writing
        expect_close(total, x.cache[f"blocks.{layer}.hook_mlp_out"][0], f"What is written in layer {layer}", rtol=1e-6)


def test_the_error_is_what_is_left(build_intermediate_nodes, traced_chosen, tolerance):
    """On the model, the error is the MLP's output less bias, skip and each kept latent."""
    x, layer = traced_chosen, 1
    nodes, writing_vecs, _, ranges = build_intermediate_nodes(
        x.transcoders, x.cache, x.tc_hooks, x.tokens, x.model.cfg.d_model, 0, 3
    )
    start, end = ranges[layer]
    transcoder, mlp_in = x.transcoders[layer], x.cache[f"blocks.{layer}.mlp.hook_in"][0]
    left = (x.cache[f"blocks.{layer}.hook_mlp_out"][0] - transcoder.b_dec.detach()).float()
    if hasattr(transcoder, "W_skip"):
        left -= (mlp_in @ transcoder.W_skip.detach().T).float()
    for position, latent in zip(*select_latents(x.tc_hooks.transcoder_acts[layer][0], 0, 3)):
        left[position] -= (x.tc_hooks.transcoder_acts[layer][0, position, latent] * transcoder.W_dec[latent]).detach()
    errors = [i for i in range(start, end) if nodes[i].node_type is NodeType.MLP_ERROR]
    expect_close(writing_vecs[errors], left, "The errors of layer 1", tolerance, tolerance * float(left.abs().max()))


OUTPUT = [OutputToken("Austin", 0.6, 17), OutputToken("Paris", 0.3, 4), OutputToken("Dallas", 0.05, 9)]


def test_logits_are_at_the_end(build_logit_nodes):
    """Each output token has a node at the last position, with its id, probability and text."""
    nodes, _, _ = build_logit_nodes(torch.randn(3, 5), OUTPUT, seq_len=7, d_model=5)
    fields = (*FIELDS, "token_prob")
    expected = [(NodeType.LOGIT, "L", 6, token.token_id, token.str_token, token.prob) for token in OUTPUT]
    expect_equal(fields_of(nodes, fields), expected, f"The nodes' {', '.join(fields)}")


def test_logits_only_read(build_logit_nodes):
    """A logit reads with the vector it is given, and writes nothing."""
    given = torch.randn(3, 5, dtype=torch.float64)
    _, writing_vecs, reading_vecs = build_logit_nodes(given, OUTPUT, seq_len=7, d_model=5)
    expect_close(reading_vecs, given, "The reading vectors")
    expect_close(writing_vecs, torch.zeros(3, 5), "The writing vectors")
    expect(writing_vecs.dtype == given.dtype, "Writing and reading vectors must have the same dtype.")
