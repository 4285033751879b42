"""One step of influence, without a matrix of shares beside the matrix of edges."""

import torch
from jaxtyping import Float
from torch import Tensor

# So many edges of a large graph are normalised together: they stay in the processor's cache.
BLOCK = 1 << 19


def pass_shares(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], amounts: Float[Tensor, " n_nodes"]
) -> Float[Tensor, " n_nodes"]:
    """Every node hands what it has on to its sources, in shares of its row: `amounts @ normalize_matrix(adjacency_matrix)`.

    Some rows at a time: the shares of a large graph are a second matrix of gigabytes.
    """
    passed, n_rows = torch.zeros_like(amounts), max(1, BLOCK // len(amounts))
    for rows, given in zip(adjacency_matrix.split(n_rows), amounts.split(n_rows), strict=True):
        if bool(given.any()):
            strengths = rows.abs()
            total = strengths.sum(dim=1)
            passed += (given / torch.where(total > 0, total, 1)) @ strengths
    return passed
