"""Massive activations: a few numbers that are thousands of times as large as the others, at positions that mean nothing."""

from jaxtyping import Bool, Float
from torch import Tensor


def massive_positions(
    states: Float[Tensor, "layer seq d_model"], smallest: float = 100.0, ratio: float = 1000.0
) -> Bool[Tensor, "layer seq"]:
    """Where the residual stream holds a massive activation.

    An activation is massive if its absolute value is at least `smallest` and at least `ratio` times the median absolute value of
    its layer, over all positions and dimensions. (Sun et al. 2024, "Massive Activations in Large Language Models", arXiv 2402.17762.)

    Args:
        states: the residual stream of one prompt, in front of or behind each layer.
        smallest: in the units of the residual stream.
        ratio: how many times the median.
    """
    ### BEGIN SOLUTION
    sizes = states.abs()
    medians = sizes.flatten(1).median(dim=1).values
    largest = sizes.amax(dim=-1)
    return (largest >= smallest) & (largest >= ratio * medians[:, None])
    ### END SOLUTION
