"""The three losses, on cases small enough to work out by hand."""

import math

import torch

from tests.chapter5.shared import gradients_of
from utils.grading import expect_close


def test_reconstruction_by_hand(reconstruction_loss):
    """Squared errors, averaged over tokens and dimensions, summed over layers."""
    outputs = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]], [[5.0, 5.0], [1.0, 0.0], [0.0, 0.0]]])
    # layer 0: errors 1 and 2 and 1; layer 1: an error of 3
    made = outputs + torch.tensor([[[1.0, 0.0], [0.0, -2.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 3.0], [0.0, 0.0]]])
    expect_close(reconstruction_loss(made, outputs), torch.tensor((1 + 4 + 1) / 6 + 9 / 6), "The loss", rtol=1e-5)


def test_every_layer_counts_once(reconstruction_loss):
    """An error of 1 everywhere costs 1 in each of 4 layers."""
    zeros = torch.zeros(4, 3, 5)
    expect_close(reconstruction_loss(zeros + 1, zeros), torch.tensor(4.0), "The loss", rtol=1e-5)


def test_the_reconstruction_learns(reconstruction_loss):
    """The gradient of the reconstruction is twice its error, shared among tokens and dimensions."""
    made = torch.tensor([[[1.0, -2.0], [0.0, 4.0]], [[3.0, 0.0], [0.5, 1.0]]], requires_grad=True)
    (found,) = gradients_of(reconstruction_loss(made, torch.ones(2, 2, 2)), [made])
    expect_close(found, 2 * (made.detach() - 1) / 4, "The gradient of the reconstruction", rtol=1e-5)


def test_sparsity_by_hand(sparsity_loss):
    """Each active latent costs tanh(scale · norm · activation); summed over latents, averaged over tokens."""
    acts = torch.tensor([[[0.5, 0.0], [0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.25, 0.0], [1.0, 4.0]]])
    norms = torch.tensor([[1.0, 3.0], [2.0, 0.5]])
    terms = [0.5 * 1, 2 * 3, 0.25 * 2, 1 * 2, 4 * 0.5]
    for scale in (1.0, 0.2):
        expected = sum(math.tanh(scale * term) for term in terms) / 3
        expect_close(sparsity_loss(acts, norms, scale), torch.tensor(expected), f"The loss at {scale}", rtol=1e-5)


def test_a_strong_latent_costs_hardly_more_than_one(sparsity_loss):
    """Latents that are clearly active cost 1 each: they are counted, not weighed."""
    acts = torch.zeros(2, 5, 3)
    acts[0, :, 1], acts[1, 2, 0] = 100.0, 1000.0
    expect_close(sparsity_loss(acts, torch.ones(2, 3), 4.0), torch.tensor(1.2), "The loss", rtol=1e-5)


def test_activations_and_decoders_feel_the_sparsity(sparsity_loss):
    """The gradient reaches activations and decoder norms: neither is detached."""
    acts = torch.tensor([[[0.5, 0.0], [0.25, 1.0]], [[0.1, 2.0], [0.0, 0.75]]], requires_grad=True)
    norms = torch.tensor([[1.0, 0.5], [2.0, 0.25]], requires_grad=True)
    found = gradients_of(sparsity_loss(acts, norms, 1.5), [acts, norms])
    slope = (1 - (1.5 * norms[:, None] * acts).tanh() ** 2).detach() * 1.5 / 2
    expect_close(found[0], slope * norms.detach()[:, None], "The gradient of the activations", rtol=1e-4)
    expect_close(found[1], (slope * acts.detach()).sum(1), "The gradient of the decoder norms", rtol=1e-4)


def test_dead_latents_by_hand(dead_latent_loss):
    """What a dead latent lacks to its threshold, times its norm; summed over the dead, averaged over tokens."""
    pre = torch.tensor([[[0.0, 9.0], [2.0, 9.0], [-1.0, 9.0]], [[1.0, -3.0], [0.0, 0.5], [1.0, 0.0]]])
    threshold = torch.tensor([[1.0, 1.0], [4.0, 0.5]])
    norms = torch.tensor([[2.0, 1.0], [1.0, 0.25]])
    dead = torch.tensor([[True, True], [False, True]])
    # latent 0 of layer 0 lacks 1, nothing, 2, at norm 2; latent 1 of layer 1 lacks 3.5, nothing, 0.5, at norm 1/4
    expected = (2 * (1 + 0 + 2) + 0.25 * (3.5 + 0 + 0.5)) / 3
    expect_close(dead_latent_loss(pre, threshold, norms, dead), torch.tensor(expected), "The loss", rtol=1e-5)


def test_the_dead_are_pulled_up_and_only_they(dead_latent_loss):
    """The gradient raises pre-activations of dead latents that are below their thresholds, and no others."""
    pre = torch.tensor([[[0.0, 3.0, 0.2]], [[-2.0, 0.0, 0.6]]], requires_grad=True)
    dead = torch.tensor([[True, True, False], [False, True, True]])
    (found,) = gradients_of(dead_latent_loss(pre, torch.full((2, 3), 0.5), torch.full((2, 3), 5.0), dead), [pre])
    expected = torch.tensor([[[-5.0, 0.0, 0.0]], [[0.0, -5.0, 0.0]]])
    expect_close(found, expected, "The gradient of the pre-activations", rtol=1e-5)


def test_thresholds_and_decoders_of_the_dead_are_pulled_too(dead_latent_loss):
    """The gradient reaches thresholds and decoder norms of dead latents, too: nothing is detached."""
    pre = torch.tensor([[[0.0, 3.0, 0.2], [0.3, 0.0, 0.1]], [[-2.0, 0.0, 0.6], [0.0, -1.0, 0.1]]])
    threshold, norms = torch.full((2, 3), 0.5, requires_grad=True), torch.full((2, 3), 5.0, requires_grad=True)
    dead = torch.tensor([[True, True, False], [False, True, True]])
    found = gradients_of(dead_latent_loss(pre, threshold, norms, dead), [threshold, norms])
    # of the two tokens' share: below the threshold are both, the second, none; none, both, the second
    expect_close(
        found[0], torch.tensor([[5.0, 2.5, 0.0], [0.0, 5.0, 2.5]]), "The gradient of the thresholds", rtol=1e-5
    )
    lacking = torch.tensor([[(0.5 + 0.2) / 2, 0.5 / 2, 0.0], [0.0, (0.5 + 1.5) / 2, 0.4 / 2]])
    expect_close(found[1], lacking, "The gradient of the decoder norms", rtol=1e-5)
