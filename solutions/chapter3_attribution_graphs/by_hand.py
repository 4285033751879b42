"""A graph on paper: the toy model of the chapter's second section. (Circuit Tracing, section 3.1, in numbers of our own.)"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def blank_edge() -> float:
    """The toy graph's edge from Texas to say Austin, worked out on paper: a gradient times what Texas writes."""
    ### BEGIN SOLUTION
    gradient = 0.75 * 5 / 2.5
    return gradient * 3
    ### END SOLUTION


def edges_by_autograd(
    values: Mapping[str, Float[Tensor, ""]], writes: Mapping[str, Float[Tensor, " d_model"]]
) -> Float[Tensor, "n_targets n_sources"]:
    """All edges of a small graph: the gradient of each target's value by each source's writing vector, times that vector.

    Args:
        values: what each target reads, computed from `writes`; numbers that know how they were computed.
        writes: what each source writes; leaves that ask for a gradient.

    Returns:
        [target, source], in the order of the two arguments, without gradients. 0 where a source has no part in a value.
    """
    ### BEGIN SOLUTION
    edges = torch.zeros(len(values), len(writes))
    sources = list(writes.values())
    for row, value in enumerate(values.values()):
        gradients = torch.autograd.grad(value, sources, retain_graph=True, allow_unused=True)
        for column, gradient in enumerate(gradients):
            if gradient is not None:
                edges[row, column] = gradient @ sources[column].detach()
    return edges
    ### END SOLUTION
