"""Sparse and dense latents."""

import pytest
import torch

from utils.grading import expect, expect_close, expect_equal


def example() -> torch.Tensor:
    """Three positions, five latents; two, none and one of them active."""
    dense = torch.zeros(3, 5, dtype=torch.float64)
    dense[0, 4], dense[0, 1], dense[2, 3] = 0.5, 2.0, 1.25
    return dense


def check(found, values, indices, shape, what):
    expect(found is not None, f"{what}: your function returns nothing. Is a `return` missing?")
    names = getattr(found, "_fields", ())
    expect(
        names == ("values", "indices", "shape"), f"{what}: give a SparseLatents(values, indices, shape).", type(found)
    )
    expect_equal(found[1], torch.tensor(indices, dtype=torch.long).reshape(-1, len(shape)), f"{what}: the indices")
    expect_close(found[0], torch.tensor(values, dtype=torch.float64), f"{what}: the values")
    expect(isinstance(found[2], tuple), f"{what}: the shape is a tuple.", type(found[2]))
    expect_equal(found[2], shape, f"{what}: the shape")


def test_values_and_indices_of_several_positions(to_sparse):
    """The active latents of several positions come row by row, each with its position and latent."""
    check(to_sparse(example()), [2.0, 0.5, 1.25], [[0, 1], [0, 4], [2, 3]], (3, 5), "Three active latents")


def test_one_active_latent(to_sparse):
    """A single active latent has one value and one row of indices."""
    dense = torch.zeros(3, 5, dtype=torch.float64)
    dense[1, 2] = 0.75
    check(to_sparse(dense), [0.75], [[1, 2]], (3, 5), "One active latent")


def test_no_active_latent(to_sparse):
    """Without active latents there are no values, and the indices have shape (0, 2)."""
    check(to_sparse(torch.zeros(3, 5, dtype=torch.float64)), [], [], (3, 5), "No active latent")


def test_other_numbers_of_dimensions(to_sparse):
    """One dimension and three work like two, and a negative value is kept."""
    dense = torch.tensor([0.0, -1.5, 0.0, 2.0], dtype=torch.float64)
    check(to_sparse(dense), [-1.5, 2.0], [[1], [3]], (4,), "One dimension")
    dense = torch.zeros(2, 3, 4, dtype=torch.float64)
    dense[1, 0, 3], dense[0, 2, 1] = 3.0, 1.0
    check(to_sparse(dense), [1.0, 3.0], [[0, 2, 1], [1, 0, 3]], (2, 3, 4), "Three dimensions")


def test_gradients_pass_from_the_values_back(to_sparse):
    """A gradient passes from the values back to the dense tensor: the next functions are differentiated through them."""
    dense = example().requires_grad_()
    values = to_sparse(dense)[0]
    expect(values.requires_grad, "The values must still know how they were computed: do not detach them.")
    (gradient,) = torch.autograd.grad((values * torch.tensor([1.5, 2.5, 3.5], dtype=torch.float64)).sum(), dense)
    expected = torch.zeros(3, 5, dtype=torch.float64)
    expected[0, 1], expected[0, 4], expected[2, 3] = 1.5, 2.5, 3.5
    expect_close(gradient, expected, "The gradient in the dense tensor")


@pytest.mark.parametrize("n_active", [0, 1, 3])
def test_dense_again(to_dense, n_active):
    """Values go to their positions and latents, and all else is zero: for no active latent, for one, for three."""
    indices = torch.tensor([[0, 1], [0, 4], [2, 3]])[:n_active]
    values = torch.tensor([2.0, 0.5, 1.25], dtype=torch.float64)[:n_active]
    expected = torch.zeros(3, 5, dtype=torch.float64)
    for (position, latent), value in zip(indices.tolist(), values.tolist(), strict=True):
        expected[position, latent] = value
    dense = to_dense(values, indices, (3, 5))
    expect_close(dense, expected, "The dense activations")
    expect_equal(str(dense.dtype), "torch.float64", "The dtype of the dense activations, for values in float64")


def test_dense_in_other_numbers_of_dimensions(to_dense):
    """One dimension and three work like two."""
    expected = torch.tensor([0.0, -1.5, 0.0, 2.0])
    expect_close(to_dense(torch.tensor([2.0, -1.5]), torch.tensor([[3], [1]]), (4,)), expected, "One dimension")
    expected = torch.zeros(2, 3, 4)
    expected[1, 0, 3], expected[0, 2, 1] = 3.0, 1.0
    indices = torch.tensor([[0, 2, 1], [1, 0, 3]])
    expect_close(to_dense(torch.tensor([1.0, 3.0]), indices, (2, 3, 4)), expected, "Three dimensions")


def test_gradients_reach_the_values(to_dense):
    """A gradient passes from the dense tensor to the values, also inside torch.func.jacrev."""
    indices = torch.tensor([[0, 1], [0, 4], [2, 3]])
    weights = torch.arange(15.0).reshape(3, 5)
    values = torch.tensor([2.0, 0.5, 1.25])

    def weighted(values):
        return (to_dense(values, indices, (3, 5)) * weights).sum()

    expected = torch.tensor([1.0, 4.0, 13.0])
    expect_close(torch.func.jacrev(weighted)(values), expected, "The gradient of a weighted sum in the values")


def test_there_and_back(to_sparse, to_dense):
    """`to_dense` of what `to_sparse` gives is the tensor one began with."""
    torch.manual_seed(0)
    dense = torch.randn(7, 11, dtype=torch.float64).relu()
    expect_close(to_dense(*to_sparse(dense)), dense, "The tensor after both")
