"""Which nodes and edges matter: influence, pruning, and two scores of a whole graph.

An edge can be strong and yet lead nowhere. The influence of a node adds up all paths from it to the output; pruning keeps the
nodes and edges that carry most of it. (Circuit Tracing, section 3.2, "Pruning", and appendix "Graph pruning"; the scores are
those of "Evaluating attribution graphs".)
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.graph import GraphNodes, NodeType

# Relative differences below this are rounding: on a chain of single edges all scores are the same number.
ROUNDING = 1e-6


def normalize_matrix(adjacency_matrix: Float[Tensor, "n_nodes n_nodes"]) -> Float[Tensor, "n_nodes n_nodes"]:
    """Absolute values, each row divided by its sum: what share of a target's input comes from which source.

    A row of zeros stays zero.
    """
    strengths = adjacency_matrix.abs()
    total = strengths.sum(dim=1, keepdim=True)
    return strengths / torch.where(total > 0, total, 1)


def compute_influence(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"], n_layers: int
) -> Float[Tensor, " n_nodes"]:
    """Share of the output that passes through each node: the sum over k >= 1 of `w @ A_norm^k`.

    The longest path, embedding -> one latent a layer -> logit, has `n_layers + 1` edges. Every longer product is zero, so the
    series ends by itself.

    Args:
        adjacency_matrix: edges, [target, source].
        logit_weights: probabilities of the logit nodes, which are the last nodes.
        n_layers: number of layers of the model.

    Returns:
        (n_nodes,) influence, at least 0. Logits have none: they are no one's source.
    """
    shares = normalize_matrix(adjacency_matrix)
    passing = _weights_of_all_nodes(adjacency_matrix, logit_weights)
    influence = torch.zeros_like(passing)
    for _ in range(n_layers + 1):
        passing = passing @ shares
        influence = influence + passing
    return influence


def _weights_of_all_nodes(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"]
) -> Float[Tensor, " n_nodes"]:
    """The weights of the logits at the end, 0 for all other nodes."""
    weights = adjacency_matrix.new_zeros(adjacency_matrix.shape[0])
    weights[len(weights) - len(logit_weights) :] = logit_weights.to(weights)
    return weights


def _smallest_set(scores: Float[Tensor, "*shape"], threshold: float) -> Bool[Tensor, "*shape"]:
    """The fewest scores, largest first, that add up to at least `threshold` of the total. Equal scores go together.

    Raises:
        ValueError: the threshold is not a share.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"A pruning threshold must be between 0 and 1, not {threshold}.")
    if threshold == 1:
        return scores > 0
    # double: a float32 sum over a million edges loses the small ones
    descending = scores.flatten().double().sort(descending=True).values
    cumulative = descending.cumsum(0)
    if not len(descending) or cumulative[-1] <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    last = int((cumulative < threshold * cumulative[-1] * (1 - ROUNDING)).sum())
    return (scores >= descending[last] * (1 - ROUNDING)) & (scores > 0)


def _always_kept(
    n_nodes: int, logit_weights: Float[Tensor, " n_logits"], keep: Bool[Tensor, " n_nodes"] | None
) -> Bool[Tensor, " n_nodes"]:
    """Logits, and whatever `keep` names."""
    device = logit_weights.device
    always = torch.arange(n_nodes, device=device) >= n_nodes - len(logit_weights)
    return always if keep is None else always | keep.to(device)


def prune_nodes(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    n_layers: int,
    threshold: float = 0.8,
    keep: Bool[Tensor, " n_nodes"] | None = None,
    hidden: Bool[Tensor, " n_nodes"] | None = None,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Keep the fewest nodes whose influence adds up to `threshold` of the total.

    Args:
        adjacency_matrix, logit_weights, n_layers: see `compute_influence`.
        threshold: share of influence to keep, in [0, 1]; a higher one keeps more nodes.
        keep: nodes that are kept whatever their influence. Logits always are.
        hidden: nodes that are dropped whatever their influence; the share is counted without them.

    Returns:
        Ascending indices of the kept nodes, and the matrix restricted to them.

    Raises:
        ValueError: the threshold is not in [0, 1].
    """
    influence = compute_influence(adjacency_matrix, logit_weights, n_layers)
    if hidden is not None:
        influence = influence.masked_fill(hidden, 0)
    kept = _smallest_set(influence, threshold) | _always_kept(len(influence), logit_weights, keep)
    if hidden is not None:
        kept &= ~hidden
    return _restrict(adjacency_matrix, kept)


def prune_edges(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    n_layers: int,
    threshold: float = 0.85,
    keep: Bool[Tensor, " n_nodes"] | None = None,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Keep the fewest edges whose scores add up to `threshold` of the total, then drop nodes without any edge.

    The score of an edge is the influence that passes along it: `A_norm[t, s] * (influence[t] + w[t])`.

    Args:
        adjacency_matrix: edges, after `prune_nodes`.
        logit_weights, n_layers: see `compute_influence`.
        threshold: share of the score to keep, in [0, 1]; a higher one keeps more edges.
        keep: nodes that are kept even without an edge. Logits always are.

    Returns:
        Ascending indices of the kept nodes (into the given matrix), and the matrix restricted to them, pruned edges 0.

    Raises:
        ValueError: the threshold is not in [0, 1].
    """
    influence = compute_influence(adjacency_matrix, logit_weights, n_layers)
    through = influence + _weights_of_all_nodes(adjacency_matrix, logit_weights)
    scores = normalize_matrix(adjacency_matrix) * through[:, None]
    pruned = torch.where(_smallest_set(scores, threshold), adjacency_matrix, 0)
    has_edge = (pruned != 0).any(dim=0) | (pruned != 0).any(dim=1)
    return _restrict(pruned, has_edge | _always_kept(len(influence), logit_weights, keep))


def drop_dead_ends(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    needs_input: Bool[Tensor, " n_nodes"],
    needs_output: Bool[Tensor, " n_nodes"],
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Drop nodes that need an incoming or outgoing edge and have none, until nothing changes.

    Dropping one node can leave another without an edge, hence the loop; it ends after at most one round a layer.
    """
    edges = adjacency_matrix != 0
    kept = torch.ones_like(needs_input)
    while True:
        alive = edges & kept[:, None] & kept
        still = kept & (alive.any(dim=1) | ~needs_input) & (alive.any(dim=0) | ~needs_output)
        if bool((still == kept).all()):
            return _restrict(adjacency_matrix, kept)
        kept = still


def _restrict(
    matrix: Float[Tensor, "n_nodes n_nodes"], kept: Bool[Tensor, " n_nodes"]
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    indices = kept.nonzero()[:, 0]
    return indices, matrix[indices[:, None], indices]


def prune_graph(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    n_layers: int,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.85,
    keep: Bool[Tensor, " n_nodes"] | None = None,
    hidden: Bool[Tensor, " n_nodes"] | None = None,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Prune nodes, then edges, then everything that has become a dead end.

    A dead end is a latent, an error or an embedding without an outgoing edge, or a latent without an incoming one. Nodes in
    `keep`, and logits, are never dropped. With the embeddings in `keep` this gives the masks of circuit-tracer's
    `prune_graph` on the same matrix.

    Args:
        adjacency_matrix, logit_weights, n_layers: see `compute_influence`.
        node_threshold, edge_threshold: shares to keep, in [0, 1]; higher ones keep more.
        keep, hidden: see `prune_nodes`.

    Returns:
        Ascending indices of the kept nodes, and the matrix restricted to them, pruned edges 0.

    Raises:
        ValueError: a threshold is not in [0, 1].
    """
    always = _always_kept(len(adjacency_matrix), logit_weights, keep)
    reads = (adjacency_matrix != 0).any(dim=1)

    kept, matrix = prune_nodes(adjacency_matrix, logit_weights, n_layers, node_threshold, keep, hidden)
    by_edges, matrix = prune_edges(matrix, logit_weights, n_layers, edge_threshold, always[kept])
    kept = kept[by_edges]
    alive, matrix = drop_dead_ends(matrix, needs_input=reads[kept] & ~always[kept], needs_output=~always[kept])
    return kept[alive], matrix


def compute_graph_scores(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"], graph: GraphNodes
) -> dict[str, float]:
    """How much of the output the graph explains; both scores are 1 for a model without errors.

    Returns:
        "replacement": of the influence that starts at embeddings and errors, the share that starts at embeddings (paths that
        avoid errors). "completeness": the share of all nodes' inputs, weighted by their influence, that is not from errors.
    """
    influence = compute_influence(adjacency_matrix, logit_weights, graph.n_layers)
    embeddings, errors = graph.indices(NodeType.EMBEDDING), graph.indices(NodeType.MLP_ERROR)
    from_embeddings, from_errors = float(influence[embeddings].sum()), float(influence[errors].sum())
    through = influence + _weights_of_all_nodes(adjacency_matrix, logit_weights)
    not_from_errors = 1 - normalize_matrix(adjacency_matrix)[:, errors].sum(dim=1)
    total = float(through.sum())
    return {
        "replacement": from_embeddings / (from_embeddings + from_errors) if from_embeddings + from_errors else 0.0,
        "completeness": float((not_from_errors * through).sum()) / total if total else 0.0,
    }
