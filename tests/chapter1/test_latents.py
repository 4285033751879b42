"""Latents as a function of earlier latents and of tokens: against the model itself, finite differences and interventions."""

import pytest
import torch

from solutions.chapter1_latent_gradients import SparseLatents, frozen_hooks
from tests.chapter1.shared import decoded, error_of, frozen_changes, half_mlp, later_acts, read, slopes
from utils.grading import expect_close, expect_equal

FROM, TO = 0, 2
# Hugging Face's RMS norms compute in float32, also in a float64 model: there, differences of 1e-3 are wrong by about 1e-4
SIZE = {"gpt2": 1e-5, "gemma3": 1e-3}
RTOL = {"gpt2": 1e-6, "gemma3": 2e-3}
ATOL = {"gpt2": 1e-8, "gemma3": 2e-3}


def sources(x, layer=FROM):
    values, positions, latents = x.active(layer)
    return values, torch.stack([positions, latents], 1), (x.tokens.shape[1], x.saes[layer].cfg.d_sae)


def check_later(found, expected, what):
    """`found`: what the exercise gives; `expected`: dense later activations."""
    expect_close(found[0], expected[expected > 0], f"{what}: the active later latents")
    expect_close(found[1], expected, f"{what}: all later activations")


def test_with_the_error_the_latents_are_the_models_own(latents_to_later_latents, case):
    """With the error term, the later latents are those of the unchanged model."""
    x = case("gpt2")
    found = latents_to_later_latents(*sources(x), x.saes[FROM], x.saes[TO], x.model, x.tokens, error_of(x, FROM))
    check_later(found, x.saes[TO].encode(x.clean(TO)), "With the error")


def test_without_the_error_the_model_runs_on_the_reconstruction(latents_to_later_latents, case):
    """Without the error term, the model runs on from the SAE's reconstruction."""
    x = case("gpt2")
    values, indices, shape = sources(x)
    streams = decoded(x, FROM, values[None], *indices.T, error=0.0)
    found = latents_to_later_latents(values, indices, shape, x.saes[FROM], x.saes[TO], x.model, x.tokens)
    check_later(found, later_acts(x, FROM, TO, streams)[0], "Without the error")


def test_other_values_give_other_latents(latents_to_later_latents, case):
    """With a latent's activation changed, the later latents are those of the model after that intervention."""
    x = case("gemma3")
    values, indices, shape = sources(x)
    changed = values * torch.linspace(0.0, 2.0, len(values), dtype=values.dtype)
    streams = decoded(x, FROM, changed[None], *indices.T, error=error_of(x, FROM))
    arguments = (indices, shape, x.saes[FROM], x.saes[TO], x.model, x.tokens, error_of(x, FROM))
    found = latents_to_later_latents(changed, *arguments)
    check_later(found, later_acts(x, FROM, TO, streams)[0], "With changed values")


def test_further_hooks_take_part(latents_to_later_latents, case):
    """`fwd_hooks` are used in the run of the model: with patterns and scales frozen, the later latents differ."""
    x = case("gemma3")
    values, indices, shape = sources(x)
    streams = decoded(x, FROM, 0.5 * values[None], *indices.T, error=error_of(x, FROM))
    expected = later_acts(x, FROM, TO, streams, frozen_changes(x, mlps=False))[0]
    arguments = (x.saes[FROM], x.saes[TO], x.model, x.tokens, error_of(x, FROM), frozen_hooks(x.model, x.tokens))
    check_later(latents_to_later_latents(0.5 * values, indices, shape, *arguments), expected, "With frozen hooks")


def test_hooks_that_change_values_take_part(latents_to_later_latents, case):
    """`fwd_hooks` may do more than freeze: with a weaker MLP on the way, the later latents are those of that model."""
    x = case("gpt2")
    hooks, changes = half_mlp(1)
    streams = decoded(x, FROM, sources(x)[0][None], *sources(x)[1].T, error=error_of(x, FROM))
    expected = later_acts(x, FROM, TO, streams, changes)[0]
    arguments = (x.saes[FROM], x.saes[TO], x.model, x.tokens, error_of(x, FROM), hooks)
    check_later(latents_to_later_latents(*sources(x), *arguments), expected, "With a weaker MLP")


def test_the_function_can_be_differentiated(latents_to_later_latents, case):
    """Along a direction, the derivative is what finite differences say."""
    x = case("gpt2")
    values, indices, shape = sources(x)
    arguments = (x.saes[FROM], x.saes[TO], x.model, x.tokens, error_of(x, FROM))
    direction = torch.linspace(-1.0, 1.0, len(values), dtype=values.dtype)
    streams = decoded(
        x, FROM, torch.stack([values + s * direction for s in (1e-5, -1e-5)]), *indices.T, error_of(x, FROM)
    )
    upper, lower = later_acts(x, FROM, TO, streams)

    def totals(step):
        active, dense = latents_to_later_latents(values + step * direction, indices, shape, *arguments)
        return torch.stack([dense.sum(), active.sum()])

    of_all, of_active = torch.func.jacrev(totals)(torch.tensor(0.0, dtype=values.dtype))
    expected = (upper - lower).sum() / 2e-5
    expect_close(of_all, expected, "The slope of the sum of all later latents", rtol=1e-5)
    expect_close(of_active, expected, "The slope of the sum of the active later latents", rtol=1e-5)


def check_sparse(found, values, positions, latents, what):
    expect_equal(found.indices, torch.stack([positions, latents], 1), f"{what}: positions and latents")
    expect_close(found.values, values, f"{what}: activations", rtol=1e-3)


@pytest.mark.parametrize("architecture", SIZE)
def test_the_jacobian_agrees_with_finite_differences(latent_to_latent_gradients, case, architecture):
    """With the error term, the Jacobian is the finite difference at the model's own residual stream."""
    x = case(architecture)
    values, positions, latents = x.active(FROM)
    _, later_positions, later_latents = x.active(TO)

    def later(values):
        streams = decoded(x, FROM, values, positions, latents, error_of(x, FROM))
        return later_acts(x, FROM, TO, streams)[:, later_positions, later_latents]

    found = latent_to_latent_gradients(x.tokens, x.saes[FROM], x.saes[TO], x.model)
    expected = x.once("Jacobian", lambda: slopes(later, values, SIZE[architecture]))
    scale = expected.abs().max().item()
    expect_close(found.jacobian, expected, "The Jacobian", RTOL[architecture], ATOL[architecture] * scale)


def test_sources_and_targets_are_said(latent_to_latent_gradients, case):
    """Columns are the active earlier latents, rows the active later ones, in the order of `to_sparse`."""
    x = case("gpt2")
    found = latent_to_latent_gradients(x.tokens, x.saes[FROM], x.saes[TO], x.model)
    check_sparse(found.acts_from, *x.active(FROM), "The sources")
    check_sparse(found.acts_to, *x.active(TO), "The targets")


def test_without_the_error_the_jacobian_is_taken_elsewhere(latent_to_latent_gradients, case):
    """Without the error term, the Jacobian and the active later latents are those of the run on the reconstruction."""
    x = case("gpt2")
    values, positions, latents = x.active(FROM)

    def all_later(values):
        return later_acts(x, FROM, TO, decoded(x, FROM, values, positions, latents, 0.0))

    acts = x.once("acts without the error", lambda: all_later(values[None])[0])
    later_positions, later_latents = torch.where(acts > 0)
    found = latent_to_latent_gradients(x.tokens, x.saes[FROM], x.saes[TO], x.model, with_error=False)
    targets = (acts[later_positions, later_latents], later_positions, later_latents)
    expected = x.once(
        "Jacobian without the error",
        lambda: slopes(lambda values: all_later(values)[:, later_positions, later_latents], values, SIZE["gpt2"]),
    )
    expect_close(found.jacobian, expected, "The Jacobian without the error", RTOL["gpt2"], 1e-8 * expected.max().item())
    check_sparse(found.acts_to, *targets, "The targets without the error")


def test_the_jacobian_of_a_frozen_model(latent_to_latent_gradients, case):
    """With hooks that freeze patterns, scales and MLPs, the Jacobian predicts even a large change of all latents exactly."""
    x = case("gemma3")
    values, positions, latents = x.active(FROM)
    hooks = frozen_hooks(x.model, x.tokens, mlps=True)
    found = latent_to_latent_gradients(x.tokens, x.saes[FROM], x.saes[TO], x.model, True, hooks)
    changed = values * torch.linspace(0.0, 3.0, len(values), dtype=values.dtype)
    streams = decoded(x, FROM, torch.stack([values, changed]), positions, latents, error_of(x, FROM))
    put = {**frozen_changes(x), f"blocks.{FROM}.hook_out": lambda value: streams}
    before, after = read(x, f"blocks.{TO}.hook_out", put, batch=2) @ x.saes[TO].W_enc
    _, later_positions, later_latents = x.active(TO)
    expected = (after - before)[later_positions, later_latents]
    expect_close(found.jacobian @ (changed - values), expected, "Frozen Jacobian times change", 1e-5, 1e-5)


def test_the_jacobian_of_a_changed_model(latent_to_latent_gradients, case):
    """With hooks that change values, the Jacobian and the active later latents are those of the changed model."""
    x = case("gpt2")
    hooks, changes = half_mlp(1)
    values, positions, latents = x.active(FROM)

    def all_later(values):
        streams = decoded(x, FROM, values, positions, latents, error_of(x, FROM))
        return later_acts(x, FROM, TO, streams, changes)

    acts = x.once("acts of the changed model", lambda: all_later(values[None])[0])
    later_positions, later_latents = torch.where(acts > 0)
    found = latent_to_latent_gradients(x.tokens, x.saes[FROM], x.saes[TO], x.model, fwd_hooks=hooks)
    targets = (acts[later_positions, later_latents], later_positions, later_latents)
    expected = x.once(
        "Jacobian of the changed model",
        lambda: slopes(lambda values: all_later(values)[:, later_positions, later_latents], values, SIZE["gpt2"]),
    )
    expect_close(
        found.jacobian, expected, "The Jacobian of the changed model", RTOL["gpt2"], 1e-8 * expected.max().item()
    )
    check_sparse(found.acts_to, *targets, "The targets in the changed model")


def test_a_small_intervention_on_the_real_model(latent_to_latent_gradients, real):
    """In the real model, taking away 1 % of a latent changes the later latents by 1 % of activation times slope."""
    layer_from, layer_to = sorted(real.saes)
    values, positions, latents = real.active(layer_from)
    found = latent_to_latent_gradients(real.tokens, real.saes[layer_from], real.saes[layer_to], real.model)
    strongest = (found.jacobian.abs().sum(0) * values).topk(6).indices
    clean = real.clean(layer_from)
    streams = clean.repeat(len(strongest), 1, 1)
    write = values[:, None] * real.saes[layer_from].W_dec[latents]
    streams[torch.arange(len(strongest)), positions[strongest]] -= 0.01 * write[strongest]
    _, later_positions, later_latents = real.active(layer_to)
    after = later_acts(real, layer_from, layer_to, streams)[:, later_positions, later_latents]
    before = later_acts(real, layer_from, layer_to, clean[None])[0, later_positions, later_latents]
    changes = (after - before).T * (after > 0).T
    predicted = -0.01 * (found.jacobian * values)[:, strongest] * (after > 0).T
    expect_close(predicted, changes, "Predicted changes", rtol=0.1, atol=0.1 * changes.abs().max().item())


@pytest.mark.parametrize("architecture", SIZE)
def test_token_gradients_agree_with_finite_differences(token_to_latent_gradients, case, architecture):
    """The gradients are the finite differences for embeddings made a little longer or shorter."""
    x = case(architecture)
    embedding = read(x, "blocks.0.hook_in")
    _, positions, latents = x.active(1)

    def acts(scales):
        put = {"blocks.0.hook_in": lambda value: scales[:, :, None] * embedding}
        return x.saes[1].encode(read(x, "blocks.1.hook_out", put, batch=len(scales)))[:, positions, latents]

    gradients, found = token_to_latent_gradients(x.tokens, x.saes[1], x.model)
    ones = torch.ones(len(embedding), dtype=embedding.dtype)
    expected = x.once("token gradients", lambda: slopes(acts, ones, SIZE[architecture]))
    scale = expected.abs().max().item()
    expect_equal(found.indices, torch.stack([positions, latents], 1), "Positions and latents of the rows")
    expect_close(gradients, expected, "The gradients", RTOL[architecture], ATOL[architecture] * scale)


def test_token_gradients_of_a_frozen_model(token_to_latent_gradients, case):
    """With everything frozen, a latent is what the tokens bring plus a constant: removing a token removes its gradient."""
    x = case("gemma3")
    gradients, _ = token_to_latent_gradients(x.tokens, x.saes[1], x.model, frozen_hooks(x.model, x.tokens, mlps=True))
    embedding = read(x, "blocks.0.hook_in")
    _, positions, latents = x.active(1)
    keep = 1 - torch.eye(len(embedding), dtype=embedding.dtype)
    put = {**frozen_changes(x), "blocks.0.hook_in": lambda value: keep[:, :, None] * embedding}
    without = read(x, "blocks.1.hook_out", put, batch=len(keep)) @ x.saes[1].W_enc
    before = x.clean(1) @ x.saes[1].W_enc
    expected = (before - without)[:, positions, latents].T
    expect_close(gradients, expected, "The gradients in the frozen model", 1e-5, 1e-5)


def test_token_gradients_of_a_changed_model(token_to_latent_gradients, case):
    """With hooks that change values, gradients and active latents are those of the changed model."""
    x = case("gpt2")
    hooks, changes = half_mlp(0)
    embedding = read(x, "blocks.0.hook_in")

    def acts(scales):
        put = {**changes, "blocks.0.hook_in": lambda value: scales[:, :, None] * embedding}
        later = read(x, "blocks.1.hook_out", put, batch=len(scales))
        return x.saes[1].encode(later.reshape(len(scales), *later.shape[-2:]))

    ones = torch.ones(len(embedding), dtype=embedding.dtype)
    positions, latents = torch.where(acts(ones[None])[0] > 0)
    gradients, found = token_to_latent_gradients(x.tokens, x.saes[1], x.model, hooks)
    expect_equal(found.indices, torch.stack([positions, latents], 1), "Positions and latents of the rows")
    expected = x.once(
        "token gradients of the changed model",
        lambda: slopes(lambda scales: acts(scales)[:, positions, latents], ones, SIZE["gpt2"]),
    )
    scale = expected.abs().max().item()
    expect_close(gradients, expected, "The gradients of the changed model", RTOL["gpt2"], ATOL["gpt2"] * scale)


def test_token_gradients_in_the_real_model(token_to_latent_gradients, real):
    """In the real model, an embedding made 1 % shorter changes the latents by 1 % of the gradient."""
    layer = min(real.saes)
    gradients, found = token_to_latent_gradients(real.tokens, real.saes[layer], real.model)
    embedding = read(real, "blocks.0.hook_in")
    _, positions, latents = real.active(layer)
    scales = 1 - 0.01 * torch.eye(len(embedding), dtype=embedding.dtype)
    put = {"blocks.0.hook_in": lambda value: scales[:, :, None] * embedding}
    after = real.saes[layer].encode(read(real, f"blocks.{layer}.hook_out", put, batch=len(scales)))
    after = after[:, positions, latents]
    alive = (after > 0).T
    changes = (after - real.active(layer)[0]).T * alive
    expect_close(-0.01 * gradients * alive, changes, "Predicted changes", 0.15, 0.1 * changes.abs().max().item())


def test_results_are_of_the_given_type(latent_to_latent_gradients, case):
    """The result has `jacobian`, `acts_from` and `acts_to`, the latter two as SparseLatents."""
    x = case("gpt2")
    found = latent_to_latent_gradients(x.tokens, x.saes[FROM], x.saes[TO], x.model)
    kinds = [type(found.acts_from).__name__, type(found.acts_to).__name__]
    expect_equal(kinds, [SparseLatents.__name__] * 2, "Types of acts_from and acts_to")
    n_targets, n_sources = len(x.active(TO)[0]), len(x.active(FROM)[0])
    expect_equal(tuple(found.jacobian.shape), (n_targets, n_sources), "Shape of the Jacobian, targets first")
