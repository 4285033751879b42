"""A transcoder from scratch, on a small case whose answer is known."""

import pytest
import torch

from solutions import chapter2_transcoders as chapter2
from utils.grading import expect, expect_close


def test_the_largest_of_the_batch_are_kept(batch_topk):
    """The largest pre-activations of the batch are kept, wherever they are."""
    pre = torch.tensor([[5.0, 4.0, 3.0], [1.0, 0.5, -2.0], [0.2, 6.0, -7.0], [0.1, 0.3, 2.0]])
    expected = torch.tensor([[5.0, 4.0, 3.0], [0.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 0.0]])
    expect_close(batch_topk(pre, 1.0), expected, "The activations when one a token is kept")


def test_a_fraction_of_a_latent_a_token(batch_topk):
    """On average one and a half, or half a latent a token may be kept, too."""
    pre = torch.tensor([[5.0, 4.0, 3.0], [1.0, 0.5, -2.0], [0.2, 6.0, -7.0], [0.1, 0.3, 2.0]])
    expected = torch.tensor([[5.0, 4.0, 3.0], [1.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 2.0]])
    expect_close(batch_topk(pre, 1.5), expected, "The activations when one and a half a token are kept")
    expected = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 0.0]])
    expect_close(batch_topk(pre, 0.5), expected, "The activations when half a latent a token is kept")


def test_negative_numbers_are_never_kept(batch_topk):
    """Negative pre-activations are never kept, even where too few are positive."""
    pre = torch.tensor([[-1.0, 2.0, -3.0], [-4.0, -5.0, -0.5]])
    expected = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    expect_close(batch_topk(pre, 2.0), expected, "The activations where one of six is positive")


def test_the_gradient_flows_through_what_is_kept(batch_topk):
    """The gradient flows through what is kept, and through nothing else."""
    pre = torch.tensor([[5.0, 4.0, 1.0], [1.5, 0.5, -2.0]], requires_grad=True)
    batch_topk(pre, 1.0).pow(2).sum().backward()
    expected = torch.tensor([[10.0, 8.0, 0.0], [0.0, 0.0, 0.0]])
    expect(pre.grad is not None, "A gradient must flow through the activations that are kept.")
    expect_close(pre.grad, expected, "The gradient")


@pytest.fixture(scope="module")
def small():
    """Inputs, and outputs made of a linear map and twelve sparse latents: a transcoder can explain nearly all."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 10, generator=generator)
    read = torch.nn.functional.normalize(torch.randn(10, 12, generator=generator), dim=0)
    write = torch.nn.functional.normalize(torch.randn(12, 7, generator=generator), dim=1)
    linear = torch.randn(10, 7, generator=generator) * 0.2
    acts = (x @ read - 1.5).relu()
    return 3 * x, acts @ write * 4 + x @ linear + 2.0


CONFIG = chapter2.TrainingConfig(width=24, active=1.0, steps=200, batch_size=256, learning_rate=2e-2, dead_after=15)


def left_by(transcoder, x, y):
    """What the exported transcoder leaves unexplained, and its active latents a token."""
    exported = transcoder.export(0)
    acts = exported.encode(x)
    return chapter2.unexplained_variance(y, exported(x)), (acts > 0).float().sum(1).mean().item()


def test_training_explains_what_a_linear_map_cannot(train_transcoder, small):
    """On a small case the trained transcoder leaves less than a third of what a linear map leaves."""
    x, y = small
    with torch.no_grad():
        transcoder = train_transcoder(x, y, CONFIG)
    W, b = chapter2.fit_linear(x, y)
    linear = chapter2.unexplained_variance(y, x @ W.T + b)
    left, active = left_by(transcoder, x, y)
    expect(
        left < linear / 3,
        "The trained transcoder must leave less than a third of what a linear map leaves unexplained.",
        got=(round(left, 6), round(active, 3)),
    )
    expect(active < 2, "No more than two latents may be active on a token here.", got=active)


def test_training_follows_the_recipe(train_transcoder, by_recipe):
    """Eight steps, in which latents die, give just the weights that the recipe gives."""
    x, y, expected = by_recipe
    transcoder = train_transcoder(x, y, SHORT)
    # the biases first: every part of the recipe moves them
    expect_close(transcoder.b_enc, expected["b_enc"], "The encoders' biases after eight steps", rtol=1e-5, atol=1e-6)
    expect_close(transcoder.W_dec, expected["W_dec"], "The decoders after eight steps", rtol=1e-5, atol=1e-6)
    expect_close(transcoder.W_skip, expected["W_skip"], "The skip after eight steps", rtol=1e-5, atol=1e-6)


# few steps: a planted mistake, and two of them together, are tried quickly
SHORT = chapter2.TrainingConfig(
    width=24, active=0.5, steps=8, batch_size=32, learning_rate=1e-2, auxiliary=0.7, auxiliary_latents=3, dead_after=1
)


@pytest.fixture(scope="module")
def by_recipe(small):
    """Inputs and outputs in double precision, so that nothing but the recipe makes a difference, and the weights it gives."""
    x, y = (values.double() for values in small)
    expected, n_dead = step_by_step(x, y, SHORT)
    assert n_dead > 3, "This training must need the auxiliary loss."
    return x, y, expected


def step_by_step(x, y, config):
    """The recipe with Adam written out: the weights, and how many latents are dead in the end."""
    transcoder = chapter2.SkipTranscoder(x, y, config)
    first = {name: torch.zeros_like(p) for name, p in transcoder.named_parameters()}
    second = {name: torch.zeros_like(p) for name, p in transcoder.named_parameters()}
    for step in range(config.steps):
        index = torch.randint(len(x), (config.batch_size,))
        reconstruction, acts, pre = transcoder(x[index] / transcoder.x_scale)
        error = y[index] / transcoder.y_scale - reconstruction
        loss = error.square().mean() + config.auxiliary * transcoder.auxiliary_loss(error, pre)
        gradients = torch.autograd.grad(loss, [p for _, p in transcoder.named_parameters()])
        rate = config.learning_rate * (1 - step / config.steps)
        with torch.no_grad():
            for (name, p), g in zip(transcoder.named_parameters(), gradients):
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.99 * second[name] + 0.01 * g * g
                mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.99 ** (step + 1))
                p -= rate * mean / (square.sqrt() + 1e-8)
        transcoder.after_step(acts.detach())
    n_dead = int((transcoder.silent > config.dead_after).sum())
    return {name: p.detach() for name, p in transcoder.named_parameters()}, n_dead
