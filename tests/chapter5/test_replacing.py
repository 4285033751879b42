"""The model with a cross-layer transcoder in the place of its MLPs, and equal sparsity."""

import pytest
import torch

from utils.engine.hooks import hooked
from utils.grading import expect_close

ARCHITECTURES = ("gemma3", "gpt2")


@torch.no_grad()
def plain_run(model, clt, tokens, errors=None, cutoff=0.0):
    """The replaced model in the plainest words."""
    acts, hooks = {}, []
    for layer in range(clt.n_layers):

        def read(x, hook, layer=layer):
            pre = x @ clt.W_enc[layer] + clt.b_enc[layer]
            active = torch.where(pre > clt.log_threshold[layer].exp(), pre, 0.0)
            norms = torch.stack([rows.norm() for rows in clt.W_dec[layer].transpose(0, 1)])
            acts[layer] = torch.where(active * norms > cutoff, active, 0.0)

        def write(y, hook, layer=layer):
            total = clt.b_dec[layer].expand_as(y)
            for source in range(layer + 1):
                total = total + acts[source] @ clt.W_dec[source][layer - source]
            return total if errors is None else total + errors[layer]

        hooks += [(f"blocks.{layer}.mlp.hook_in", read), (f"blocks.{layer}.hook_mlp_out", write)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


def random_tokens():
    return torch.randint(3, 15, (2, 6), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def run(cross_layer_hooks, model, clt, tokens, **arguments):
    with hooked(model, cross_layer_hooks(clt, **arguments)):
        return model(tokens)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_mlp_is_replaced(cross_layer_hooks, tiny_clt, architecture):
    """The replaced model is that of a plain implementation: live inputs, and all latents so far in every MLP's place."""
    model, clt = tiny_clt(architecture)
    tokens = random_tokens()
    expected = plain_run(model, clt, tokens)
    expect_close(run(cross_layer_hooks, model, clt, tokens), expected, "The logits", rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_errors_are_added(cross_layer_hooks, tiny_clt, architecture):
    """Each layer's error is added to its reconstruction."""
    model, clt = tiny_clt(architecture)
    tokens = random_tokens()
    generator = torch.Generator().manual_seed(8)
    errors = {layer: torch.randn(2, 6, 24, generator=generator, dtype=torch.float64) for layer in range(3)}
    expected = plain_run(model, clt, tokens, errors)
    found = run(cross_layer_hooks, model, clt, tokens, errors=errors)
    expect_close(found, expected, "The logits with errors", rtol=1e-5, atol=1e-7)


def test_weak_latents_are_silenced(cross_layer_hooks, tiny_clt):
    """A cutoff silences the latents whose activation times decoder norm is not above it, in every layer they write to."""
    model, clt = tiny_clt("gemma3")
    tokens = random_tokens()
    for cutoff in (4.0, 8.0):
        expected = plain_run(model, clt, tokens, cutoff=cutoff)
        found = run(cross_layer_hooks, model, clt, tokens, cutoff=cutoff)
        expect_close(found, expected, f"The logits with a cutoff of {cutoff}", rtol=1e-5, atol=1e-7)


def test_errors_beside_a_cutoff(cross_layer_hooks, tiny_clt):
    """Errors are added also where weak latents are silenced."""
    model, clt = tiny_clt("gemma3")
    tokens, generator = random_tokens(), torch.Generator().manual_seed(9)
    errors = {layer: torch.randn(2, 6, 24, generator=generator, dtype=torch.float64) for layer in range(3)}
    expected = plain_run(model, clt, tokens, errors, 4.0)
    found = run(cross_layer_hooks, model, clt, tokens, errors=errors, cutoff=4.0)
    expect_close(found, expected, "The logits with errors and a cutoff", rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_a_strength_equal_to_the_cutoff_is_silenced(cross_layer_hooks, tiny_clt):
    """A latent whose strength is just the cutoff, as `choose_cutoff` chooses it, is not above it: it is silenced."""
    model, clt = tiny_clt("gemma3")
    tokens, name = random_tokens(), "blocks.0.mlp.hook_in"
    _, cache = model.run_with_cache(tokens, names_filter=[name])
    strengths = (clt.encode(0, cache[name]) * clt.decoder_norms()[0]).flatten()
    cutoff = strengths[strengths > 0].median().item()
    expected = plain_run(model, clt, tokens, cutoff=cutoff * (1 + 1e-9))
    found = run(cross_layer_hooks, model, clt, tokens, cutoff=cutoff)
    expect_close(found, expected, "The logits with a cutoff that one latent just reaches", rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_the_same_hooks_serve_another_prompt(cross_layer_hooks, tiny_clt):
    """Run on a second prompt, the same hooks use the second prompt's activations."""
    model, clt = tiny_clt("gemma3")
    first, second = random_tokens(), random_tokens().flip(0, 1)
    with hooked(model, cross_layer_hooks(clt)):
        model(first)
        found = model(second)
    expect_close(found, plain_run(model, clt, second), "The logits of the second prompt", rtol=1e-5, atol=1e-7)


STRENGTHS = torch.tensor([[0.0, 5.0, 1.0, 0.5], [7.0, 0.0, 0.0, 3.0], [2.0, 0.25, 6.0, 4.0]])


def test_the_cutoff_by_hand(choose_cutoff):
    """The cutoff is the largest strength that is silenced: above it, as many remain as are wanted."""
    for active, cutoff in ((1.0, 4.0), (2.0, 1.0), (2.5, 0.5), (0.5, 6.0)):
        expect_close(choose_cutoff(STRENGTHS, active), cutoff, f"The cutoff for {active} latents a token")


def test_as_many_as_wanted_remain_above(choose_cutoff):
    """Above the cutoff remain exactly as many as are wanted, on average over tokens that have very different numbers."""
    generator = torch.Generator().manual_seed(6)
    strengths = torch.rand(40, 30, generator=generator) * torch.linspace(0, 5, 40)[:, None]
    for active in (3.0, 7.3):
        count = (strengths > choose_cutoff(strengths, active)).sum().item()
        expect_close(count / 40, int(active * 40) / 40, f"Latents a token above the cutoff for {active}")


def test_nothing_is_silenced_where_fewer_are_active(choose_cutoff):
    """Where fewer are active than wanted, the cutoff is 0."""
    for active in (3.5, 4.0, 9.0):
        expect_close(choose_cutoff(STRENGTHS, active), 0.0, f"The cutoff for {active} latents a token")
