"""The linear part of an MLP: what it is, and which way round its matrix is stored."""

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.chapter2_transcoders.comparing import unexplained_variance


@torch.no_grad()
def fit_linear(
    x: Float[Tensor, "token d_in"], y: Float[Tensor, "token d_out"]
) -> tuple[Float[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """The linear map and the bias that explain most of `y`, in closed form: `x @ W.T + b` has the least squared error.

    `x` may have directions without any variance (a pseudo-inverse handles them). Compute in float64: the squares of small
    numbers are added up.

    Returns:
        `W`, (d_out, d_in) as SAELens stores a skip, and `b`, both in the dtype of `y`.
    """
    ### BEGIN SOLUTION
    mean_x, mean_y = x.double().mean(0), y.double().mean(0)
    centred_x, centred_y = x.double() - mean_x, y.double() - mean_y
    W = (torch.linalg.pinv(centred_x.T @ centred_x, hermitian=True) @ centred_x.T @ centred_y).T
    b = mean_y - W @ mean_x
    return W.to(y), b.to(y)
    ### END SOLUTION


@torch.no_grad()
def orient_skip(
    W: Float[Tensor, "d_model d_model"], x: Float[Tensor, "token d_model"], target: Float[Tensor, "token d_model"]
) -> Float[Tensor, "d_model d_model"]:
    """Turn a square matrix of unknown orientation so that `x @ result.T` explains `target`.

    Nothing but the data can tell: both products run, and both give the right shape.

    Args:
        W: the matrix as it was found in a file.
        x: what the MLP reads.
        target: what the skip has to explain: the MLP's output without latents and bias.

    Returns:
        `W` or `W.T`, whichever leaves less of `target` unexplained.
    """
    ### BEGIN SOLUTION
    as_it_is, turned = unexplained_variance(target, x @ W.T), unexplained_variance(target, x @ W)
    return W if as_it_is <= turned else W.T
    ### END SOLUTION
