"""The linear part of an MLP."""

import torch

from utils.grading import expect, expect_close


def data(n: int = 40, d_in: int = 7, d_out: int = 5):
    """Inputs and outputs far from zero, related by a linear map and noise."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, d_in, generator=generator, dtype=torch.float64) * torch.arange(1.0, d_in + 1) + 2
    W = torch.randn(d_out, d_in, generator=generator, dtype=torch.float64)
    b = torch.arange(1.0, d_out + 1, dtype=torch.float64)
    noise = torch.randn(n, d_out, generator=generator, dtype=torch.float64)
    return x, torch.einsum("oi,ti->to", W, x) + b, W, b, noise


def test_a_linear_map_is_found_exactly(fit_linear):
    """Where the outputs are linear in the inputs, map and bias are found exactly."""
    x, y, W, b, _ = data()
    found_W, found_b = fit_linear(x, y)
    expect_close(found_W, W, "The map", rtol=1e-6)
    expect_close(found_b, b, "The bias", rtol=1e-6)


def test_no_other_map_does_better(fit_linear):
    """What is left is orthogonal to the inputs and has mean zero: no other map does better."""
    x, y, _, _, noise = data()
    y = y + 3 * noise
    W, b = fit_linear(x, y)
    left = y - torch.einsum("oi,ti->to", W, x) - b
    expect_close(left.mean(0), torch.zeros_like(b), "The mean of what is left", atol=1e-8)
    expect_close(left.T @ x, torch.zeros_like(W), "What is left, times the inputs", atol=1e-6)


def test_a_direction_without_variance_does_no_harm(fit_linear):
    """An input dimension that never varies does no harm."""
    x, y, _, _, _ = data()
    x = x.clone()
    x[:, 3] = 2.0
    W, b = fit_linear(x, y)
    others = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    best = others @ torch.linalg.lstsq(others, y, driver="gelsd").solution
    expect_close(x @ W.T + b, best, "The best linear explanation", rtol=1e-6)


def test_the_results_have_the_dtype_of_the_outputs(fit_linear):
    """In float32 the map is as good as in float64, and is float32."""
    x, y, W, _, _ = data()
    far = x + torch.tensor([0, 0, 3000.0, 0, 0, 0, 0], dtype=x.dtype)
    found_W, _ = fit_linear(far.float(), y.float())
    expect(found_W.dtype is torch.float32, "The map must have the dtype of the outputs.", got=str(found_W.dtype))
    expect_close(found_W.double(), W, "The map in float32", rtol=2e-3, atol=2e-3)


def test_squares_of_small_numbers_are_not_lost(fit_linear):
    """An input dimension that varies little, but matters, is used: sums are taken in float64."""
    x, _, W, b, _ = data(n=400)
    small, large = x.clone(), W.clone()
    small[:, 3], large[:, 3] = 1e-4 * (x[:, 3] - 2), 1e4 * W[:, 3]
    y = torch.einsum("oi,ti->to", large, small) + b
    found_W, found_b = fit_linear(small.float(), y.float())
    found = small @ found_W.double().T + found_b.double()
    left = (y - found).pow(2).sum() / (y - y.mean(0)).pow(2).sum()
    expect(left < 1e-4, "On float32 inputs with one small dimension, next to nothing may be left.", got=left.item())


def test_a_small_dimension_counts_in_float64(fit_linear):
    """In float64, too, an input dimension that varies little, but matters, is used."""
    x, _, W, b, _ = data(n=400)
    small, large = x.clone(), W.clone()
    small[:, 3], large[:, 3] = 1e-4 * (x[:, 3] - 2), 1e4 * W[:, 3]
    y = torch.einsum("oi,ti->to", large, small) + b
    found_W, found_b = fit_linear(small, y)
    expect_close(small @ found_W.T + found_b, y, "What the map makes of the inputs", rtol=1e-4, atol=1e-3)


def skip_data(turned: bool):
    """A square matrix as a file may hold it, inputs, and what the skip has to explain."""
    generator = torch.Generator().manual_seed(4)
    W = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(31, 6, generator=generator, dtype=torch.float64) + 1
    noise = torch.randn(31, 6, generator=generator, dtype=torch.float64)
    target = torch.einsum("oi,ti->to", W, x) + noise
    return (W.T.contiguous() if turned else W), W, x, target


def test_a_matrix_that_is_right_is_left_alone(orient_skip):
    """A matrix that is stored as (d_out, d_in) comes back as it is."""
    stored, W, x, target = skip_data(turned=False)
    expect_close(orient_skip(stored, x, target), W, "The skip's matrix")


def test_a_matrix_that_is_turned_is_turned_back(orient_skip):
    """A matrix that is stored as (d_in, d_out) comes back transposed."""
    stored, W, x, target = skip_data(turned=True)
    expect_close(orient_skip(stored, x, target), W, "The skip's matrix")
