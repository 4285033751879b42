"""The attribution graph of a small stand-alone MLP, where everything can be checked by hand."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class MlpGraph(NamedTuple):
    """Nodes are the inputs, then the units of every layer, the last layer's being the outputs.

    Attributes:
        adjacency: direct effects, [target, source].
        bias: of every unit; 0 for inputs.
        values: what every unit reads, before its ReLU; 0 for inputs, which read nothing.
    """

    adjacency: Float[Tensor, "n_nodes n_nodes"]
    bias: Float[Tensor, " n_nodes"]
    values: Float[Tensor, " n_nodes"]


def attribute_mlp(
    weights: Sequence[Float[Tensor, "out in"]], biases: Sequence[Float[Tensor, " out"]], x: Float[Tensor, " in"]
) -> MlpGraph:
    """The attribution graph of an MLP with a ReLU after every layer but the last.

    Layer number i computes `weights[i] @ a + biases[i]` from what the layer before it gives. Every unit is a latent: its value is what
    it reads, and its activation (the ReLU of it) is what it writes. An input writes itself. An edge is the derivative of what the
    target reads by what the source writes, times what the source writes.
    """
    n_nodes = len(x) + sum(map(len, biases))
    adjacency = x.new_zeros(n_nodes, n_nodes)
    ### BEGIN SOLUTION
    written, values = x, [torch.zeros_like(x)]
    start = 0
    for weight, bias in zip(weights, biases, strict=True):
        end = start + len(written)
        adjacency[end : end + len(bias), start:end] = weight * written
        values.append(weight @ written + bias)
        written, start = values[-1].relu(), end
    return MlpGraph(adjacency, torch.cat([torch.zeros_like(x), *biases]), torch.cat(values))
    ### END SOLUTION
