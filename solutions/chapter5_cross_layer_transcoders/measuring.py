"""How long are the paths of a graph, and how many nodes does it take?"""

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.chapter3_attribution_graphs import normalize_matrix, weights_of_all_nodes
from utils.engine.graph import AttributionResult, NodeType


def path_lengths(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"], n_layers: int
) -> Float[Tensor, " length"]:
    """How the influence that reaches the logits is spread over paths of different lengths.

    A whole path begins at a node that reads nothing (an embedding or an error: its row in the matrix is zero) and ends at a logit;
    its strength is the product of the normalised edges along it, times the logit's weight. Influence is made of just these
    products.

    Args:
        adjacency_matrix: edges, [target, source], not normalised; unpruned.
        logit_weights: probabilities of the logit nodes, which are the last nodes.
        n_layers: number of layers of the model; no path has more than `n_layers + 1` edges.

    Returns:
        (n_layers + 1,): the share of the whole paths' strength that has 1 edge, 2 edges, ...; they add up to 1.
    """
    passing = weights_of_all_nodes(adjacency_matrix, logit_weights)  # the logits' weights, 0 elsewhere
    ### BEGIN SOLUTION
    shares = normalize_matrix(adjacency_matrix)
    begins = (adjacency_matrix == 0).all(dim=1)
    strengths = []
    for _ in range(n_layers + 1):
        passing = passing @ shares
        strengths.append(passing[begins].sum())
    return torch.stack(strengths) / sum(strengths)
    ### END SOLUTION


def mean_path_length(result: AttributionResult) -> float:
    """The average number of edges on a path from a token or an error to a logit, weighted by the paths' strength."""
    shares = path_lengths(result.adjacency_matrix, result.logit_weights, result.graph.n_layers)
    return float((shares * torch.arange(1, len(shares) + 1).to(shares)).sum())


def nodes_at_influence(result: AttributionResult, share: float) -> int:
    """How many latents and errors, the most influential first, hold `share` of all latents' and errors' influence."""
    influence = result.influence[result.graph.indices(NodeType.LATENT, NodeType.MLP_ERROR)].double()
    running = influence.sort(descending=True).values.cumsum(0) / influence.sum()
    return int((running < share).sum()) + 1
