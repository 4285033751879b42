"""A neuron made linear, and the vector along which it reads."""

import math

import pytest
import torch
from torch.nn.functional import gelu, silu

from tests.chapter6.shared import D_MLP, N_LAYERS, random_weights
from utils.engine.neurons import acts_hook, inner_hooks
from utils.grading import expect, expect_close

X = torch.tensor([[1.0, -2.0, 0.5], [3.0, -0.25, 2.0]], dtype=torch.float64)
Y = torch.tensor([[2.0, 1.5, -4.0], [-0.5, 0.75, 0.1]], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_half_rule_by_hand(half_rule):
    """With u = 2 and g = 1, one unit of u adds half of s times 1, one unit of g half of s times 2."""
    of_u, of_g = half_rule(silu, torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    expect_close(of_u, torch.tensor([[sigmoid(1) / 2]]), "The slope of u")
    expect_close(of_g, torch.tensor([[sigmoid(1)]]), "The slope of g")


@pytest.mark.parametrize("phi", [silu, gelu], ids=["SiLU", "GELU"])
def test_it_is_exact_at_the_prompt(half_rule, phi):
    """At the prompt's own values a_lin is the activation, and both factors get the same."""
    of_u, of_g = half_rule(phi, X, Y)
    expect_close(of_u * X + of_g * Y, phi(Y) * X, "a_lin at the prompt")
    expect_close(of_u * X, of_g * Y, "What u and g get")


def test_a_factor_that_is_zero(half_rule):
    """Where the gate is exactly 0, s is the derivative; where u is 0, u still has a slope."""
    of_u, of_g = half_rule(silu, torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    expect_close(of_u, torch.tensor([[0.0, sigmoid(2)]]), "The slopes of u")
    expect_close(of_g, torch.tensor([[1.0, 0.0]]), "The slopes of g")


def test_an_mlp_without_a_gate(half_rule):
    """Without a gate the only slope is phi(u) / u, at 0 the derivative."""
    slopes = half_rule(gelu, torch.tensor([[0.0, 2.0]]), None)
    expect(isinstance(slopes, tuple), "Without a gate, return a tuple of one tensor too.")
    expect_close(
        torch.stack(list(slopes)),
        torch.stack([torch.tensor([[0.5, float(gelu(torch.tensor(2.0))) / 2]])]),
        "The slopes",
    )


@pytest.mark.parametrize("gated", [True, False], ids=["with a gate", "without a gate"])
def test_reading_along_the_vectors(reading_vectors, gated):
    """Reading along the vectors and adding the constants gives a_lin, also for inputs that are not the prompt's."""
    weights = random_weights(gated)
    generator = torch.Generator().manual_seed(1)
    slopes = tuple(torch.randn(5, 11, generator=generator, dtype=torch.float64) for _ in range(2 if gated else 1))
    positions, neurons = torch.tensor([4, 0, 2, 2]), torch.tensor([10, 3, 0, 6])
    vectors, constants = reading_vectors(weights, slopes, positions, neurons)
    x = torch.randn(7, generator=generator, dtype=torch.float64)
    expected = []
    for position, neuron in zip(positions.tolist(), neurons.tolist()):
        a_lin = slopes[0][position, neuron] * (x @ weights.W_in[:, neuron] + weights.b_in[neuron])
        if gated:
            a_lin = a_lin + slopes[1][position, neuron] * (x @ weights.W_gate[:, neuron] + weights.b_gate[neuron])
        expected.append(a_lin)
    expect_close(vectors @ x + constants, torch.stack(expected), "What the neurons read")


def test_the_vector_of_a_single_neuron(reading_vectors):
    """The vector is a column of each matrix times its slope; the constant comes from the biases alone."""
    weights = random_weights()
    slopes = (torch.full((3, 11), 2.0, dtype=torch.float64), torch.full((3, 11), -1.0, dtype=torch.float64))
    vectors, constants = reading_vectors(weights, slopes, torch.tensor([1]), torch.tensor([5]))
    expect_close(vectors, (2 * weights.W_in[:, 5] - weights.W_gate[:, 5])[None], "The vector")
    expect_close(constants, (2 * weights.b_in[5] - weights.b_gate[5])[None], "The constant")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_every_neuron_of_a_model(reading_vectors, linear_prompt, architecture):
    """In a whole model every neuron's reading, with its constant, is its activation on the prompt."""
    from utils.engine.neurons import neuron_weights

    x = linear_prompt(architecture)
    places = {f"blocks.{layer}.mlp.hook_in" for layer in range(N_LAYERS)}
    with x.freeze:
        _, cache = x.model.run_with_cache(x.tokens, names_filter=places.__contains__)
    n_tokens = x.tokens.shape[1]
    positions, neurons = torch.arange(n_tokens).repeat_interleave(D_MLP), torch.arange(D_MLP).repeat(n_tokens)
    for layer in range(N_LAYERS):
        weights = neuron_weights(x.model, layer)
        vectors, constants = reading_vectors(weights, x.hooks.slopes[layer], positions, neurons)
        inputs = cache[f"blocks.{layer}.mlp.hook_in"][0][positions]
        read = ((inputs * vectors).sum(1) + constants).reshape(n_tokens, D_MLP)
        expect_close(read, x.hooks.acts[layer], f"The readings of layer {layer}", rtol=1e-5, atol=1e-6)
    assert acts_hook(0) in x.cache and set(inner_hooks(x.cache, 0)) <= set(x.cache.keys())
