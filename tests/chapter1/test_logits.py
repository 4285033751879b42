"""Gradients of logits and real ablations."""

import pytest
import torch

from solutions.chapter1_latent_gradients import frozen_hooks
from tests.chapter1.shared import decoded, error_of, frozen_changes, half_mlp, read, slopes
from utils.grading import expect_close, expect_equal

LAYER = 1


def demeaned_logits(x, streams, changes=None, layer=LAYER):
    """Demeaned logits at the last position (batch, vocabulary) for replaced residual streams after a layer."""
    put = {**(changes or {}), f"blocks.{layer}.hook_out": lambda value: streams}
    logits = read(x, "unembed.hook_out", put, batch=len(streams)).reshape(len(streams), x.tokens.shape[1], -1)[:, -1]
    return logits - logits.mean(-1, keepdim=True)


@pytest.mark.parametrize("with_error", [True, False])
def test_logit_gradients_agree_with_finite_differences(latent_to_logit_gradients, case, with_error):
    """Tokens, demeaned logits and gradients are those of the run with the error term, or without it."""
    x, k = case("gpt2"), 4
    values, positions, latents = x.active(LAYER)
    error = error_of(x, LAYER) if with_error else 0.0
    found = latent_to_logit_gradients(x.tokens, x.saes[LAYER], x.model, k, with_error)
    logits = demeaned_logits(x, decoded(x, LAYER, values[None], positions, latents, error))[0]
    top = logits.topk(k)
    how = "With the error" if with_error else "Without the error"
    expect_close(found.logits, top.values, f"{how}: the demeaned logits of the top tokens")
    expect_equal(found.token_ids, top.indices, f"{how}: the top tokens")

    def of_top(values):
        return demeaned_logits(x, decoded(x, LAYER, values, positions, latents, error))[:, top.indices]

    expected = x.once(("logit gradients", with_error), lambda: slopes(of_top, values, 1e-5))
    expect_close(found.jacobian, expected, f"{how}: the gradients", 1e-6, 1e-8 * expected.abs().max().item())


def test_logit_gradients_with_hooks(latent_to_logit_gradients, case):
    """`fwd_hooks` are used in the run of the model: with all frozen, the gradients predict large changes exactly."""
    x = case("gemma3")
    values, positions, latents = x.active(LAYER)
    found = latent_to_logit_gradients(
        x.tokens, x.saes[LAYER], x.model, 3, fwd_hooks=frozen_hooks(x.model, x.tokens, mlps=True)
    )
    changed = values * torch.linspace(0.0, 2.0, len(values), dtype=values.dtype)
    streams = decoded(x, LAYER, torch.stack([values, changed]), positions, latents, error_of(x, LAYER))
    before, after = demeaned_logits(x, streams, frozen_changes(x))[:, found.token_ids]
    expect_close(found.jacobian @ (changed - values), after - before, "Gradient times change", 1e-5, 1e-5)
    expect_equal(found.acts_from.indices, torch.stack([positions, latents], 1), "Positions and latents of the columns")


def test_logit_gradients_of_a_changed_model(latent_to_logit_gradients, case):
    """With hooks that change values, the five top tokens, their logits and the gradients are those of the changed model."""
    x = case("gpt2")
    hooks, changes = half_mlp(LAYER + 1)
    values, positions, latents = x.active(LAYER)

    def logits(values):
        return demeaned_logits(x, decoded(x, LAYER, values, positions, latents, error_of(x, LAYER)), changes)

    found = latent_to_logit_gradients(x.tokens, x.saes[LAYER], x.model, fwd_hooks=hooks)
    top = logits(values[None])[0].topk(5)
    expect_equal(found.token_ids, top.indices, "The top tokens of the changed model, five without `k`")
    expect_close(found.logits, top.values, "Their demeaned logits")
    expected = x.once(
        "logit gradients of the changed model", lambda: slopes(lambda v: logits(v)[:, top.indices], values, 1e-5)
    )
    expect_close(
        found.jacobian, expected, "The gradients of the changed model", 1e-6, 1e-8 * expected.abs().max().item()
    )


def test_logit_gradients_predict_a_small_ablation_of_the_real_model(latent_to_logit_gradients, real):
    """In the real model, taking away 1 % of a latent changes the logits by 1 % of activation times gradient."""
    layer = max(real.saes)
    values, positions, latents = real.active(layer)
    found = latent_to_logit_gradients(real.tokens, real.saes[layer], real.model, 3)
    strongest = (found.jacobian.abs().sum(0) * values).topk(6).indices
    streams = real.clean(layer).repeat(len(strongest) + 1, 1, 1)
    write = values[:, None] * real.saes[layer].W_dec[latents]
    streams[torch.arange(len(strongest)), positions[strongest]] -= 0.01 * write[strongest]
    logits = demeaned_logits(real, streams, layer=layer)[:, found.token_ids]
    changes = (logits[:-1] - logits[-1]).T
    predicted = -0.01 * (found.jacobian * values)[:, strongest]
    expect_close(predicted, changes, "Predicted changes", 0.1, 0.1 * changes.abs().max().item())


def effects_one_by_one(x, layer, token_ids, step, changes=None):
    """The effects of `ablation_effects`: one copy of the residual stream for each latent, changed in a loop."""
    values, positions, latents = x.active(layer)
    clean = x.clean(layer)
    streams = [clean]
    for value, position, latent in zip(values, positions, latents):
        stream = clean.clone()
        stream[position] -= step * value * x.saes[layer].W_dec[latent]
        streams.append(stream)
    logits = demeaned_logits(x, torch.stack(streams), changes, layer)[:, token_ids]
    return (logits[1:] - logits[0]).T


@pytest.mark.parametrize("step", [1.0, 0.3, -0.5])
def test_ablations_one_by_one(ablation_effects, case, step):
    """Each column is the change of the demeaned logits when one latent alone is taken away, wholly or in part, or made stronger."""
    x, token_ids = case("gemma3"), torch.tensor([5, 3, 11])
    found = ablation_effects(x.tokens, x.saes[LAYER], x.model, token_ids, step)
    expected = x.once(("ablations", step), lambda: effects_one_by_one(x, LAYER, token_ids, step))
    expect_close(found, expected, f"Effects of taking away {step:.0%}", 1e-4, 1e-5)


def test_ablations_with_hooks(ablation_effects, case):
    """`fwd_hooks` are used in all runs of the model: in a frozen model, half an ablation has half the effect."""
    x, token_ids = case("gemma3"), torch.tensor([2, 7])
    hooks = frozen_hooks(x.model, x.tokens, mlps=True)
    whole, half = (ablation_effects(x.tokens, x.saes[LAYER], x.model, token_ids, s, hooks) for s in (1.0, 0.5))
    expected = x.once(
        "ablations in the frozen model", lambda: effects_one_by_one(x, LAYER, token_ids, 1.0, frozen_changes(x))
    )
    expect_close(whole, expected, "Effects in the frozen model", 1e-4, 1e-5)
    expect_close(2 * half, expected, "Twice the effects of half an ablation", 1e-4, 1e-5)


def test_small_ablations_follow_the_slope(ablation_effects, case):
    """For a very small step, the effect is the step times activation times the finite-difference slope."""
    x, token_ids = case("gpt2"), torch.tensor([4, 9])
    values, positions, latents = x.active(LAYER)
    error = error_of(x, LAYER)

    def of_chosen(values):
        return demeaned_logits(x, decoded(x, LAYER, values, positions, latents, error))[:, token_ids]

    jacobian = x.once("slopes of two logits", lambda: slopes(of_chosen, values, 1e-5))
    found = ablation_effects(x.tokens, x.saes[LAYER], x.model, token_ids, 1e-5)
    expected = -jacobian * values
    expect_close(found / 1e-5, expected, "Effect divided by step", 1e-3, 1e-4 * expected.abs().max().item())


def test_hooks_are_in_the_run_before_as_well(ablation_effects, case):
    """With hooks that change the model, before and after the ablation both have them: their own effect cancels."""
    x, token_ids, place = case("gemma3"), torch.tensor([2, 7]), f"blocks.{LAYER + 1}.hook_mlp_out"
    found = ablation_effects(
        x.tokens, x.saes[LAYER], x.model, token_ids, 1.0, [(place, lambda value, hook: 0.5 * value)]
    )
    halved = {place: lambda value: 0.5 * value}
    expected = x.once("ablations in the changed model", lambda: effects_one_by_one(x, LAYER, token_ids, 1.0, halved))
    expect_close(found, expected, "Effects in a model with a weaker MLP", 1e-4, 1e-5)
