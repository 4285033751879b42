"""Frozen attention written down, against the frozen model, finite differences and interventions on it."""

import pytest
import torch

from solutions.chapter1_latent_gradients import SparseLatents, frozen_attention
from tests.chapter1.shared import decoded, error_of, frozen_changes, read, slopes
from utils.grading import expect, expect_close, expect_equal

ARCHITECTURES = ("gemma3", "qwen3")


def attention_out(x, layer, streams):
    """What the attention block of `layer` adds in the frozen model when it reads `streams` (batch, seq, d_model)."""
    put = {**frozen_changes(x), f"blocks.{layer - 1}.hook_out": lambda value: streams}
    return read(x, f"blocks.{layer}.hook_attn_out", put, batch=len(streams))


def sparse(x, layer):
    values, positions, latents = x.active(layer)
    return SparseLatents(values, torch.stack([positions, latents], 1), (x.tokens.shape[1], x.saes[layer].cfg.d_sae))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_block_as_a_linear_map(through_attention, case, architecture):
    """For random changes of the residual stream, the map gives what the attention block of the frozen model adds."""
    x, layer = case(architecture), 2
    torch.manual_seed(3)
    streams = torch.randn(4, *x.clean(1).shape, dtype=torch.float64)
    frozen = frozen_attention(x.model, x.tokens, layer)
    expected = attention_out(x, layer, streams)
    expect_close(through_attention(frozen, streams), expected, "What the block adds, for a batch", 1e-5, 1e-5)
    expect_close(through_attention(frozen, streams[0]), expected[0], "What the block adds, for one prompt", 1e-5, 1e-5)


def test_a_finite_difference_of_the_block(through_attention, case):
    """A change at one position moves the block's output by the map of the change: the frozen block has no other slope."""
    x, layer = case("gemma3"), 1
    change = torch.zeros_like(x.clean(0))
    change[2] = torch.linspace(-1.0, 1.0, change.shape[1], dtype=change.dtype)
    upper, lower = attention_out(x, layer, x.clean(0) + torch.stack([change, -change]))
    found = through_attention(frozen_attention(x.model, x.tokens, layer), change)
    expect_close(found, (upper - lower) / 2, "The map of a change at one position", 1e-5, 1e-5)


def test_a_real_block_as_a_linear_map(through_attention, real):
    """At the model's own residual stream, the map gives what the real attention block adds."""
    layer = max(real.saes)
    frozen = frozen_attention(real.model, real.tokens, layer)
    expected = read(real, f"blocks.{layer}.hook_attn_out")
    expect_close(through_attention(frozen, real.clean(layer - 1)), expected, "What the block adds", 1e-3, 1e-4)


def frozen_slopes(x, layer_from, layer_to, size=0.5):
    """The direct Jacobian by differences in the frozen model; being linear, it allows large ones."""
    values, positions, latents = x.active(layer_from)
    _, later_positions, later_latents = x.active(layer_to)

    def readings(values):
        streams = decoded(x, layer_from, values, positions, latents, error_of(x, layer_from))
        put = {**frozen_changes(x), f"blocks.{layer_from}.hook_out": lambda value: streams}
        later = read(x, f"blocks.{layer_to}.hook_out", put, batch=len(streams))
        return (later @ x.saes[layer_to].W_enc)[:, later_positions, later_latents]

    return x.once(("direct Jacobian", layer_from, layer_to), lambda: slopes(readings, values, size))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layers", [(0, 1), (0, 2)])
def test_direct_gradients_are_those_of_the_frozen_model(direct_gradients, case, architecture, layers):
    """Across one block and across two, the matrix product is the finite difference of the frozen model."""
    x = case(architecture)
    found = direct_gradients(x.tokens, x.saes[layers[0]], x.saes[layers[1]], x.model)
    expected = frozen_slopes(x, *layers)
    blocks = "one block" if layers == (0, 1) else "two blocks"
    expect_close(found.jacobian, expected, f"The direct Jacobian across {blocks}", 1e-5, 1e-5)
    for acts, layer, what in ((found.acts_from, layers[0], "sources"), (found.acts_to, layers[1], "targets")):
        expect_equal(acts.indices, sparse(x, layer).indices, f"Positions and latents of the {what}")
        expect_close(acts.values, sparse(x, layer).values, f"Activations of the {what}", rtol=1e-3)


def test_direct_gradients_of_the_real_model(direct_gradients, real):
    """In the real model with all frozen, adding a latent's direction to the residual stream moves the later latents by the gradient."""
    layer_from, layer_to = sorted(real.saes)
    found = direct_gradients(real.tokens, real.saes[layer_from], real.saes[layer_to], real.model)
    _, positions, latents = real.active(layer_from)
    _, later_positions, later_latents = real.active(layer_to)
    some = torch.arange(0, len(latents), 7)

    def changes():
        streams = real.clean(layer_from).repeat(len(some) + 1, 1, 1)
        streams[torch.arange(len(some)), positions[some]] += real.saes[layer_from].W_dec[latents[some]]
        put = {**frozen_changes(real), f"blocks.{layer_from}.hook_out": lambda value: streams}
        later = read(real, f"blocks.{layer_to}.hook_out", put, batch=len(streams))
        readings = (later @ real.saes[layer_to].W_enc)[:, later_positions, later_latents]
        return (readings[:-1] - readings[-1]).T

    expected = real.once("direct gradients of some latents", changes)
    expect_close(found.jacobian[:, some], expected, "Gradients of some latents", 1e-3, 1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_head_by_an_intervention(effects_by_head, case, architecture):
    """Taking a source away where only one head notices lowers what the later latents read by that head's effect."""
    x, layer = case(architecture), 1
    acts_from, acts_to = sparse(x, 0), sparse(x, 1)
    frozen = frozen_attention(x.model, x.tokens, layer)
    found = effects_by_head(acts_from, acts_to, x.saes[0], x.saes[1], frozen)
    z_hook = f"blocks.{layer}.attn.hook_z"
    z = read(x, z_hook)
    positions, latents = acts_from.indices.T
    later_positions, later_latents = acts_to.indices.T
    streams = x.clean(0).repeat(len(latents) + 1, 1, 1)
    writes = acts_from.values[:, None] * x.saes[0].W_dec[latents]
    streams[torch.arange(len(latents)), positions] -= writes
    for head in range(z.shape[1]):

        def only_this(value, head=head):
            held = z.expand_as(value).clone()
            held[:, :, head] = value[:, :, head]
            return held

        def effects(only_this=only_this):
            put = {**frozen_changes(x), "blocks.0.hook_out": lambda value: streams, z_hook: only_this}
            out = read(x, f"blocks.{layer}.hook_attn_out", put, batch=len(streams)) @ x.saes[1].W_enc
            return (out[-1] - out[:-1])[:, later_positions, later_latents].T

        expected = x.once(("effects through a head", head), effects)
        actual = found[head] if found.ndim == 3 and head < len(found) else found
        expect_close(actual, expected, f"Effects through head {head}", 1e-5, 1e-5)


def test_heads_and_the_path_past_them_add_up(effects_by_head, case):
    """All heads together with the path that stays at one position give the direct effect of a finite difference."""
    x = case("gemma3")
    acts_from, acts_to = sparse(x, 1), sparse(x, 2)
    frozen = frozen_attention(x.model, x.tokens, 2)
    found = effects_by_head(acts_from, acts_to, x.saes[1], x.saes[2], frozen)
    writes = acts_from.values[:, None] * x.saes[1].W_dec[acts_from.indices[:, 1]]
    same = acts_to.indices[:, :1] == acts_from.indices[:, 0]
    past = same * (writes @ x.saes[2].W_enc[:, acts_to.indices[:, 1]]).T
    expected = frozen_slopes(x, 1, 2) * acts_from.values - past
    expect_close(found.sum(0), expected, "The sum over heads", 1e-5, 1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_head_taken_out(ablate_head, case, architecture):
    """The logits are those of a model in which the head's rows of W_O are zero."""
    x, layer, head = case(architecture), 1, 2
    found = ablate_head(x.model, x.tokens, layer, head)
    z = read(x, f"blocks.{layer}.attn.hook_z")
    W_O = x.model.blocks[layer].attn.W_O.detach()
    norm = f"blocks.{layer}.ln1_post.hook_in"
    if norm in x.model.hook_dict:  # what the heads write, before the norm behind the block
        change = {norm: lambda value: value - (z[:, head] @ W_O[head])[None]}
    else:
        change = {f"blocks.{layer}.hook_attn_out": lambda value: value - (z[:, head] @ W_O[head])[None]}
    expect_close(found, read(x, "unembed.hook_out", change), "The logits without the head", 1e-4, 1e-4)


def test_each_head_is_another(ablate_head, case):
    """Taking out different heads, or heads of different layers, gives different logits."""
    x = case("gemma3")
    for layer, head in ((0, 0), (2, 3)):
        z = read(x, f"blocks.{layer}.attn.hook_z")
        kept = z.clone()
        kept[:, head] = 0
        expected = read(x, "unembed.hook_out", {f"blocks.{layer}.attn.hook_z": lambda value, kept=kept: kept[None]})
        found = ablate_head(x.model, x.tokens, layer, head)
        expect_close(found, expected, f"The logits without head {head} of layer {layer}", 1e-5, 1e-5)


def test_the_model_is_left_as_it_was(ablate_head, case):
    """Afterwards the model answers as before: no hook stays behind."""
    x = case("qwen3")
    before = read(x, "unembed.hook_out")
    ablate_head(x.model, x.tokens, 0, 1)
    after = read(x, "unembed.hook_out")
    expect(torch.equal(before, after), "After the call the model must answer as it did before.")


def test_what_others_hold_of_the_run_is_left_as_it_was(ablate_head, case):
    """Another hook that holds what the heads hand over still has the model's own values afterwards."""
    x, layer = case("qwen3"), 1
    held = []

    def hold(z: torch.Tensor, hook) -> None:
        held.append((z, z.clone()))

    with x.model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", hold)]):
        ablate_head(x.model, x.tokens, layer, 2)
    expect(
        all(torch.equal(z, before) for z, before in held),
        "Your hook changes the model's own tensor: change a copy of z.",
    )
