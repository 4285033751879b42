"""How good is a graph of fewer latents? What is left out does not vanish: it goes into the errors."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.chapter3_attribution_graphs import compute_graph_scores, compute_influence
from utils.engine.graph import AttributionResult, GraphNodes, NodeInfo, NodeType


def fold_into_errors(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], nodes: Sequence[NodeInfo], kept: Collection[int]
) -> tuple[Float[Tensor, "n_left n_left"], list[NodeInfo]]:
    """The graph with only some of its latents; what the others write joins the error of their layer and position.

    Because the frozen model is linear, this is exactly the graph that tracing with only these latents would give.

    Args:
        adjacency_matrix: direct effects, [target, source], before pruning.
        nodes: its nodes, with one error for every layer and position.
        kept: indices of the latents to keep; all nodes that are no latents are kept anyway.

    Returns:
        The smaller matrix and its nodes, in the old order. The matrix given is left as it is.
    """
    ### BEGIN SOLUTION
    matrix = adjacency_matrix.clone()
    errors = {(n.layer, n.ctx_idx): i for i, n in enumerate(nodes) if n.node_type is NodeType.MLP_ERROR}
    left = []
    for i, node in enumerate(nodes):
        if node.node_type is not NodeType.LATENT or i in kept:
            left.append(i)
        else:
            matrix[:, errors[node.layer, node.ctx_idx]] += adjacency_matrix[:, i]
    return matrix[left][:, left], [nodes[i] for i in left]
    ### END SOLUTION


def scores_by_size(result: AttributionResult, sizes: Sequence[int]) -> list[dict[str, float]]:
    """Scores of a prompt's graph with only its n most influential latents, for every n.

    Returns:
        For every n "latents", the two scores of `compute_graph_scores`, and "floor": the least that "completeness" can be, because
        nodes that receive nothing count as explained.
    """
    latents = torch.tensor(result.graph.indices(NodeType.LATENT))
    by_influence = latents[result.influence[latents].argsort(descending=True)].tolist()
    rows = []
    for size in sizes:
        matrix, nodes = fold_into_errors(result.adjacency_matrix, result.graph.nodes, set(by_influence[:size]))
        small = GraphNodes(nodes=nodes, seq_len=result.graph.seq_len, n_layers=result.graph.n_layers)
        through = float(compute_influence(matrix, result.logit_weights, small.n_layers).sum())
        answers = float(
            result.logit_weights.sum()
        )  # the weight with which all paths begin, and end at nodes that receive nothing
        floor = {"floor": answers / (answers + through)}
        rows.append({"latents": size} | compute_graph_scores(matrix, result.logit_weights, small) | floor)
    return rows
