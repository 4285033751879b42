"""The cross-layer transcoder: its start, what it reads, where it writes, and how scales are folded in."""

from functools import cache

import pytest
import torch

from solutions import chapter5_cross_layer_transcoders as chapter5
from tests.chapter5.shared import gradients_of
from utils.grading import expect, expect_close, expect_equal

N_LAYERS, D_MODEL, WIDTH = 3, 5, 7


def with_random_weights(kind, **kinds):
    """An answer with random weights (float64)."""
    clt = kind(N_LAYERS, D_MODEL, WIDTH, **kinds).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, weight in sorted(clt.named_parameters()):
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.5)
    return clt


def some_acts(seed: int = 2):
    generator = torch.Generator().manual_seed(seed)
    acts = torch.rand(N_LAYERS, 4, WIDTH, generator=generator, dtype=torch.float64)
    return {layer: acts[layer] * (acts[layer] > 0.5) for layer in range(N_LAYERS)}


def test_the_start(CrossLayerTranscoder):
    """At the start biases are zero, thresholds as asked for, and a latent writes one vector of length 1 into its own layer."""
    clt = CrossLayerTranscoder(N_LAYERS, D_MODEL, WIDTH, threshold=0.04)
    shapes = [tuple(rows.shape) for rows in clt.W_dec]
    expect_equal(shapes, [(3, 7, 5), (2, 7, 5), (1, 7, 5)], "The shapes of W_dec")
    expect_close(clt.log_threshold.exp(), torch.full((3, 7), 0.04), "The thresholds", rtol=1e-5)
    expect_close(clt.b_enc.data, torch.zeros(3, 7), "b_enc")
    expect_close(clt.b_dec.data, torch.zeros(3, 5), "b_dec")
    for layer, rows in enumerate(clt.W_dec):
        lengths = torch.zeros(N_LAYERS - layer, WIDTH)
        lengths[0] = 1
        expect_close(rows.norm(dim=-1), lengths, f"The lengths of what layer {layer}'s latents write", atol=1e-5)
    names = {"W_enc", "b_enc", "log_threshold", "W_dec.0", "W_dec.1", "W_dec.2", "b_dec"}
    expect_equal(
        {name for name, weight in clt.named_parameters() if weight.requires_grad}, names, "The trained parameters"
    )
    n = sum(weight.numel() for weight in clt.parameters() if weight.requires_grad)
    expect_equal(n, 3 * 5 * 7 + 3 * 7 * 2 + 6 * 7 * 5 + 3 * 5, "The number of trained weights")


def test_what_latents_read(CrossLayerTranscoder):
    """A pre-activation is what the layer's encoder reads, plus its bias; an activation is that above its threshold."""
    clt = with_random_weights(CrossLayerTranscoder)
    x = torch.randn(2, 4, D_MODEL, dtype=torch.float64)
    for layer in (0, 2):
        pre = torch.einsum("bpd,df->bpf", x, clt.W_enc[layer]) + clt.b_enc[layer]
        expect_close(clt.pre_activations(layer, x), pre, f"The pre-activations of layer {layer}", rtol=1e-6, atol=1e-9)
        acts = torch.where(pre > clt.log_threshold[layer].exp(), pre, 0.0)
        expect_close(clt.encode(layer, x), acts, f"The activations of layer {layer}", rtol=1e-6, atol=1e-9)


def test_thresholds_learn_within_the_bandwidth(CrossLayerTranscoder):
    """The logarithm of a threshold gets the gradient of the JumpReLU, with the bandwidth that was asked for."""
    clt = with_random_weights(CrossLayerTranscoder, bandwidth=0.7)
    x = torch.randn(9, D_MODEL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    clt.encode(1, x).sum().backward()
    threshold = clt.log_threshold[1].exp().detach()
    near = (x @ clt.W_enc[1] + clt.b_enc[1] - threshold).abs() < 0.35
    expected = -(near.sum(0) * threshold / 0.7) * threshold
    expect(clt.log_threshold.grad is not None, "A gradient must reach log_threshold.")
    expect_close(clt.log_threshold.grad[1], expected.detach(), "The gradient of log_threshold", rtol=1e-6)


def test_each_mlp_is_written_by_all_layers_up_to_it(CrossLayerTranscoder):
    """An MLP's reconstruction is b_dec plus what the latents of its own and all earlier layers write into it."""
    clt, acts = with_random_weights(CrossLayerTranscoder), some_acts()
    for target in range(N_LAYERS):
        expected = clt.b_dec[target].expand(4, D_MODEL).clone()
        for token in range(4):
            for source in range(target + 1):
                for latent in range(WIDTH):
                    expected[token] += acts[source][token, latent] * clt.W_dec[source][target - source][latent]
        given = {layer: acts[layer] for layer in range(target + 1)}
        expect_close(clt.decode(target, given), expected, f"The reconstruction of MLP {target}", rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("cross_layer", [True, False])
def test_every_weight_learns(CrossLayerTranscoder, cross_layer):
    """The gradients of reconstructions and of decoder norms reach all weights that they are made of."""
    found = gradients(with_random_weights(CrossLayerTranscoder, cross_layer=cross_layer))
    for name, gradient in expected_gradients(cross_layer).items():
        expect_close(found.get(name), gradient, f"The gradient of {name}", rtol=1e-5, atol=1e-9)


@cache
def expected_gradients(cross_layer):
    """Those of the reference, computed once: where answers are graded, it is taken away before they run."""
    return gradients(with_random_weights(chapter5.CrossLayerTranscoder, cross_layer=cross_layer))


def gradients(clt):
    """What each weight gets from the reconstructions' squares, and from the decoder norms."""
    x = torch.randn(N_LAYERS, 9, D_MODEL, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights = dict(sorted(clt.named_parameters(), reverse=True))
    losses = {"the reconstruction": clt(x)[0].pow(2).sum(), "the decoder norms": clt.decoder_norms().pow(2).sum()}
    return {
        f"{name} from {kind}": gradient
        for kind, loss in losses.items()
        for name, gradient in zip(weights, gradients_of(loss, list(weights.values())))
    }


def test_per_layer_transcoders_are_a_special_case(CrossLayerTranscoder):
    """Without cross-layer decoders each layer's latents write into their own MLP only."""
    clt, acts = with_random_weights(CrossLayerTranscoder, cross_layer=False), some_acts()
    expected = clt.b_dec[2] + acts[2] @ clt.W_dec[2][0]
    expect_close(clt.decode(2, acts), expected, "The reconstruction of MLP 2", rtol=1e-6, atol=1e-9)
    own = torch.stack([rows[0].norm(dim=-1) for rows in clt.W_dec])
    expect_close(clt.decoder_norms(), own, "The decoder norms with cross_layer=False", rtol=1e-5)


def test_norms_are_of_all_decoders_together(CrossLayerTranscoder):
    """A latent's decoder norm is the length of its decoders into all layers, taken as one vector."""
    clt = with_random_weights(CrossLayerTranscoder)
    expected = torch.stack(
        [torch.stack([rows[:, latent].flatten().norm() for latent in range(WIDTH)]) for rows in clt.W_dec]
    )
    expect_close(clt.decoder_norms(), expected, "The decoder norms", rtol=1e-5)


def test_scales_are_folded_into_the_weights(CrossLayerTranscoder):
    """The folded transcoder does with raw inputs what the first one does with normalised ones."""
    clt = with_random_weights(CrossLayerTranscoder)
    kept = {name: weight.clone() for name, weight in clt.state_dict().items()}
    input_scale = torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)
    output_scale = torch.tensor([2.0, 0.25, 11.0], dtype=torch.float64)
    folded = clt.fold_scales(input_scale, output_scale)
    x, outputs, acts = expected_run()
    raw_outputs, raw_acts = folded(x * input_scale[:, None, None])
    expect_close(raw_acts, acts, "The activations on raw inputs", rtol=1e-6, atol=1e-9)
    expect_close(raw_outputs, outputs * output_scale[:, None, None], "The raw outputs", rtol=1e-6, atol=1e-9)
    for name, weight in clt.state_dict().items():
        expect_close(weight, kept[name], f"{name} of the transcoder itself")


@cache
def expected_run():
    """Inputs, and what the reference makes of them; computed once, as `expected_gradients`."""
    x = torch.randn(N_LAYERS, 4, D_MODEL, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    with torch.no_grad():
        return x, *with_random_weights(chapter5.CrossLayerTranscoder)(x)
