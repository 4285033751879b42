"""The exercises on nodes: what a logit is compared with, and who writes and reads what."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import select_latents as chosen_latents
from tests.tiny import D_MODEL
from utils.engine.graph import NodeType
from utils.grading import expect_close, expect_equal


def unembedding(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """d_model 5, 11 tokens."""
    return (torch.randn(5, 11, generator=torch.Generator().manual_seed(0)) + torch.arange(5.0)[:, None]).to(dtype)


def test_one_token_against_others(contrast_vector):
    """The vector is the token's column of `W_U` less the mean column of the others."""
    W_U = unembedding()
    expected = W_U[:, 7] - (W_U[:, 2] + W_U[:, 9] + W_U[:, 4]) / 3
    expect_close(contrast_vector(W_U, 7, [2, 9, 4]), expected, "The vector for 7 against 2, 9 and 4")


def test_one_token_against_all(contrast_vector):
    """Without others, the token is compared with the mean column of the whole vocabulary."""
    W_U = unembedding()
    expected = W_U[:, 3] - torch.stack(list(W_U.T)).mean(0)
    expect_close(contrast_vector(W_U, 3), expected, "The vector for 3 against the whole vocabulary")


def test_a_contrast_reads_a_difference_of_logits(contrast_vector, traced_chosen):
    """On the model, the vector reads the difference of the model's own logits after ln_final."""
    x = traced_chosen
    logits, final = x.freeze.logits[0, -1].float(), x.cache["ln_final.hook_out"][0, -1].float()
    for others in ([5, 17, 40], None):
        mean = logits.mean() if others is None else logits[others].mean()
        found = contrast_vector(x.model.W_U, 29, others) @ final
        expect_close(found, logits[29] - mean, f"Token 29 against {others or 'all'}", rtol=1e-3, atol=1e-3)


def test_half_precision_is_brought_to_float32(contrast_vector):
    """From weights in half precision the vector is computed in float32."""
    found = contrast_vector(unembedding(torch.bfloat16), 1, [0, 2])
    expect_equal(str(found.dtype), "torch.float32", "The dtype of the vector")


KEPT = [(None, 0), (2, 0), (2, 3), (0, 0)]


ACTS = torch.tensor([[0.0, 3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 5.0, 0.0], [1.0, 0.5, 0.25, 0.125, 4.0]])
ALL = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ALL),
        ({"top_k": 2}, [(0, 1), (0, 3), (1, 3), (2, 0), (2, 4)]),
        ({"start_posn": 1, "top_k": 1}, [(1, 3), (2, 4)]),
        ({"start_posn": 2}, ALL[4:]),
        ({"top_k": 0}, []),
        ({"top_k": 9}, ALL),
    ],
    ids=["all", "two a position", "one a position from position 1", "from position 2", "none", "more than there are"],
)
def test_which_latents_are_kept(select_latents, arguments, expected):
    """Kept are the active latents, the most active of each position, from the first visible position on."""
    positions, latents = select_latents(ACTS.clone(), **arguments)
    found = list(zip(positions.tolist(), latents.tolist()))
    expect_equal(found, expected, "The pairs of position and latent")


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
    for position, latent in zip(*chosen_latents(x.tc_hooks.transcoder_acts[layer][0], 0, 3)):
        left[position] -= (x.tc_hooks.transcoder_acts[layer][0, position, latent] * transcoder.W_dec[latent]).detach()
    errors = [i for i in range(start, end) if nodes[i].node_type is NodeType.MLP_ERROR]
    expect_close(writing_vecs[errors], left, "The errors of layer 1", tolerance, tolerance * float(left.abs().max()))
