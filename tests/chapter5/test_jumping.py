"""JumpReLU: its values, both gradients, and why the threshold's gradient is what it is."""

import pytest
import torch

from utils.grading import expect_close

PRE = torch.tensor([[0.2, 1.9, 0.5], [1.1, 2.1, -0.5], [0.9, 0.6, 0.51], [1.4, 5.0, 0.4]], dtype=torch.float64)
THRESHOLD = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
GRAD = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0], [7.0, -8.0, 9.0], [0.5, 0.25, -1.0]], dtype=torch.float64)


def gradients(JumpReLU, bandwidth, grad=GRAD, pre=PRE, threshold=THRESHOLD):
    pre, threshold = pre.clone().requires_grad_(), threshold.clone().requires_grad_()
    JumpReLU.apply(pre, threshold, bandwidth).backward(grad.clone())
    return pre.grad, threshold.grad


def test_nothing_up_to_the_threshold_and_all_above(JumpReLU):
    """Up to the threshold the activation is 0; above it, it is the pre-activation itself."""
    expected = torch.tensor([[0, 0, 0], [1.1, 2.1, 0], [0, 0, 0.51], [1.4, 5.0, 0]], dtype=torch.float64)
    expect_close(JumpReLU.apply(PRE.clone(), THRESHOLD.clone(), 0.5), expected, "The activations")


def test_what_it_is_given_stays_as_it_is(JumpReLU):
    """Neither pass changes the tensors that it is given."""
    pre, threshold, grad = PRE.clone().requires_grad_(), THRESHOLD.clone().requires_grad_(), GRAD.clone()
    acts = JumpReLU.apply(pre, threshold, 0.5)
    expect_close(pre.detach(), PRE, "`pre` after the forward pass")
    acts.backward(grad)
    expect_close(grad, GRAD, "`grad` after the backward pass")
    expect_close(threshold.detach(), THRESHOLD, "`threshold` after both")


def test_the_gradient_of_the_pre_activation(JumpReLU):
    """The gradient passes where the latent is active, and nowhere else."""
    expected = torch.tensor([[0, 0, 0], [-4.0, 5.0, 0], [0, 0, 9.0], [0.5, 0.25, 0]], dtype=torch.float64)
    expect_close(gradients(JumpReLU, 0.5)[0], expected, "The gradient of the pre-activations")


@pytest.mark.parametrize("bandwidth", [0.5, 1.0])
def test_the_gradient_of_the_threshold(JumpReLU, bandwidth):
    """The threshold's gradient is -threshold / bandwidth inside the window, summed over the tokens."""
    expected = torch.zeros(3, dtype=torch.float64)
    for row in range(4):
        for latent in range(3):
            if abs(PRE[row, latent] - THRESHOLD[latent]) < bandwidth / 2:
                expected[latent] -= GRAD[row, latent] * THRESHOLD[latent] / bandwidth
    expect_close(gradients(JumpReLU, bandwidth)[1], expected, f"The threshold's gradient (bandwidth {bandwidth})")


def test_a_window_that_reaches_below_zero(JumpReLU):
    """With a small threshold and a wide window, as in section 3, negative pre-activations count by their distance."""
    pre = torch.tensor([[-0.6], [-0.49], [-0.45], [-0.2], [0.01], [0.4], [0.52], [0.6]], dtype=torch.float64)
    grad = 2.0 ** torch.arange(8, dtype=torch.float64)[:, None]
    # inside lie -0.45, -0.2, 0.01, 0.4 and 0.52
    expected = torch.tensor([-(4 + 8 + 16 + 32 + 64) * 0.03], dtype=torch.float64)
    found = gradients(JumpReLU, 1.0, grad, pre, torch.tensor([0.03], dtype=torch.float64))[1]
    expect_close(found, expected, "The gradient of a threshold of 0.03 (bandwidth 1)")


def test_thresholds_of_any_shape_that_broadcasts(JumpReLU):
    """Thresholds of shape (layer, 1, latent) get gradients of their own shape."""
    pre = torch.stack([PRE, PRE.flip(0), PRE + 0.1])
    threshold = torch.stack([THRESHOLD, THRESHOLD + 0.2, THRESHOLD])[:, None]
    _, found = gradients(JumpReLU, 0.5, torch.ones_like(pre), pre, threshold)
    near = (pre - threshold).abs() < 0.25
    expect_close(found, -(near * threshold / 0.5).sum(1, keepdim=True), "The gradient of (3, 1, 3) thresholds")


def test_the_gradient_is_that_of_a_smoothed_step(JumpReLU):
    """Numerically: the threshold's gradient is the slope of the function whose step is smoothed to a ramp."""
    bandwidth, h = 0.7, 1e-6

    def smoothed(threshold):
        # constant where the threshold is far from the pre-activation; falls with slope -threshold / bandwidth where it is near
        return -(threshold.clamp(PRE - bandwidth / 2, PRE + bandwidth / 2) ** 2) / (2 * bandwidth)

    slope = (smoothed(THRESHOLD + h) - smoothed(THRESHOLD - h)) / (2 * h)
    expected = (GRAD * slope).sum(0)
    expect_close(gradients(JumpReLU, bandwidth)[1], expected, "The gradient against the slope", rtol=1e-6, atol=1e-8)


def test_on_average_the_gradient_is_the_true_slope(JumpReLU):
    """On average over many pre-activations it is the true slope of the average activation."""
    pre = torch.linspace(0, 3, 30_001, dtype=torch.float64)[:, None]
    threshold = torch.tensor([1.2], dtype=torch.float64)
    h = 0.05

    def average(at):
        return (pre * (pre > at)).mean()

    true = (average(threshold + h) - average(threshold - h)) / (2 * h)
    _, found = gradients(JumpReLU, 0.3, torch.full_like(pre, 1 / len(pre)), pre, threshold)
    expect_close(found[0], true, "The threshold's gradient of the average activation", rtol=0.01)
