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


def toy_model(writes: Mapping[str, Float[Tensor, " 4"]]) -> dict[str, Float[Tensor, ""]]:
    """What the three targets of the toy model read, its norms and its attention weight frozen at the numbers of the table.

    Args:
        writes: what each source writes, concepts included: "Dallas", "capital", "Texas", "error", "say Austin".

    Returns:
        What "Texas", "say Austin" and "Austin" read, biases included: tensors without dimensions, of which gradients by `writes`
        can be taken.
    """
    place, state, question, answer = torch.eye(4)
    ### BEGIN SOLUTION
    at_dallas = writes["Dallas"] + writes["Texas"] + writes["error"]
    at_capital = writes["capital"] + 0.75 * (at_dallas @ state) * state
    at_the_end = at_capital + writes["say Austin"]
    texas = writes["Dallas"] / 2 @ (2 * place) - 1
    say_austin = at_capital / 2.5 @ (5 * state + 2.5 * question) - 4
    austin = at_the_end / 6.5 @ (6.5 * state - 1.625 * question + 6.5 * answer)
    return {"Texas": texas, "say Austin": say_austin, "Austin": austin}
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
