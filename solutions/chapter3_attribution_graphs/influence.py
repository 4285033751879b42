"""Which nodes and edges matter: influence, pruning, and two scores of a whole graph.

An edge can be strong and yet lead nowhere. The influence of a node adds up all paths from it to the output; pruning keeps the
nodes and edges that carry most of it. (Circuit Tracing, section 3.2, "Pruning", and appendix "Graph pruning"; the scores are
those of "Evaluating attribution graphs".)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.engine.arguments import check_threshold
from utils.engine.graph import GraphNodes, NodeType
from utils.engine.largest import largest_reaching
from utils.engine.shares import pass_shares

# Relative differences below this are rounding: on a chain of single edges all scores are the same number.
ROUNDING = 1e-6


def normalize_matrix(adjacency_matrix: Float[Tensor, "n_nodes n_nodes"]) -> Float[Tensor, "n_nodes n_nodes"]:
    """Absolute values, each row divided by its sum: what share of a target's input comes from which source.

    The given matrix, [target, source], is left as it is. A row of zeros stays zero.
    """
    ### BEGIN SOLUTION
    strengths = adjacency_matrix.abs()
    total = strengths.sum(dim=1, keepdim=True)
    # in place: a large matrix takes gigabytes
    return strengths.div_(torch.where(total > 0, total, 1))
    ### END SOLUTION


def weights_of_all_nodes(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"]
) -> Float[Tensor, " n_nodes"]:
    """The weights of the logits at the end, 0 for all other nodes."""
    weights = adjacency_matrix.new_zeros(adjacency_matrix.shape[0])
    weights[len(weights) - len(logit_weights) :] = logit_weights.to(weights)
    return weights


def influence_by_paths(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"]
) -> Float[Tensor, " n_nodes"]:
    """Influence, path by path: slow and simple. `compute_influence` gives the same.

    Every logit (they are the last nodes) hands its weight on to its sources, to each its share. What arrives at a source counts
    for it, and is handed on in the same way, until a node has no sources.

    Args:
        adjacency_matrix: edges, [target, source], not normalised.
        logit_weights: how much begins at each of the logits.

    Returns:
        (n_nodes,) all that arrives at each node.
    """
    share = normalize_matrix(adjacency_matrix)
    influence, first_logit = torch.zeros_like(share[0]), len(share) - len(logit_weights)

    # Write a function that hands an amount on from a node to its sources, and calls itself for each of them.
    ### BEGIN SOLUTION
    def hand_on(target, amount):
        for source in share[target].nonzero()[:, 0].tolist():
            part = amount * share[target, source]
            influence[source] += part
            hand_on(source, part)

    for number, weight in enumerate(logit_weights):
        hand_on(first_logit + number, weight)
    return influence
    ### END SOLUTION


def compute_influence(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"], logit_weights: Float[Tensor, " n_logits"], n_layers: int
) -> Float[Tensor, " n_nodes"]:
    """How much of the output passes through each node: the sum over k >= 1 of `w @ A_norm^k`.

    `A_norm` is the normalised matrix and `w` the logits' probabilities, 0 for all other nodes. The longest path, embedding ->
    one latent a layer -> logit, has `n_layers + 1` edges. Every longer product is zero, so the series ends by itself.

    Args:
        adjacency_matrix: edges, [target, source], not normalised.
        logit_weights: probabilities of the logit nodes, which are the last nodes; they need not add up to 1.
        n_layers: number of layers of the model.

    Returns:
        (n_nodes,) influence, at least 0. Logits have none: they are no one's source.
    """
    passing = weights_of_all_nodes(adjacency_matrix, logit_weights)  # w: what is on its way before the first step
    ### BEGIN SOLUTION
    influence = torch.zeros_like(passing)
    for _ in range(n_layers + 1):
        passing = pass_shares(adjacency_matrix, passing)
        influence = influence + passing
    return influence
    ### END SOLUTION


def smallest_set(scores: Float[Tensor, "*shape"], threshold: float) -> Bool[Tensor, "*shape"]:
    """True for the largest scores that together hold at least `threshold` of the total, and no more of them than that takes.

    Args:
        scores: at least 0, of any shape. A score of 0 is never in the set.
        threshold: a share of the total, in [0, 1].
    """
    ### BEGIN SOLUTION
    ordered = scores.flatten().double().sort(descending=True)
    held_by_larger = ordered.values.cumsum(0) - ordered.values
    needed = (held_by_larger < threshold * ordered.values.sum()) & (ordered.values > 0)
    chosen = torch.zeros_like(needed)
    chosen[ordered.indices] = needed
    return chosen.reshape(scores.shape)
    ### END SOLUTION


def share_of_larger(scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """For each score, the share of the total that all larger scores hold together.

    0 for the largest, below 1 for every other score that is not 0, and 1 for a score of 0. Scores that are equal up to
    rounding have the same share.
    """
    positive = scores > 0
    # double: a float32 sum over a million edges loses the small ones
    some = scores[positive].double()
    ascending = some.sort().values
    # what the smallest 0, 1, 2, ... of them add up to
    smaller = torch.cat([some.new_zeros(1), ascending.cumsum(0)])
    larger = smaller[-1] - smaller[torch.searchsorted(ascending, some * (1 + ROUNDING), right=True)]
    # a share that reaches a threshold up to rounding reaches it
    share = larger / smaller[-1] * (1 + ROUNDING)
    below_one = torch.nextafter(share.new_ones(()), share.new_zeros(()))
    return torch.ones_like(scores, dtype=torch.double).masked_scatter(positive, share.minimum(below_one))


def always_kept(
    n_nodes: int, logit_weights: Float[Tensor, " n_logits"], keep: Bool[Tensor, " n_nodes"] | None
) -> Bool[Tensor, " n_nodes"]:
    """True for the logits (the last nodes), and for whatever `keep` names."""
    always = torch.arange(n_nodes, device=logit_weights.device) >= n_nodes - len(logit_weights)
    return always if keep is None else always | keep.to(always.device)


def restrict(
    matrix: Float[Tensor, "n_nodes n_nodes"], kept: Bool[Tensor, " n_nodes"]
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Ascending indices of the kept nodes, and the matrix restricted to their rows and columns."""
    indices = kept.nonzero()[:, 0]
    return indices, matrix[indices[:, None], indices]


def prune_nodes(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    n_layers: int,
    threshold: float = 0.8,
    keep: Bool[Tensor, " n_nodes"] | None = None,
    hidden: Bool[Tensor, " n_nodes"] | None = None,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Keep the smallest set of nodes, largest influence first, whose influence adds up to at least `threshold` of the total.

    Args:
        adjacency_matrix, n_layers, logit_weights: see `compute_influence`.
        threshold: share of influence to keep, in [0, 1]; a higher one keeps more nodes. Nodes without influence are not kept
            even at 1.
        keep: nodes that are kept whatever their influence. Logits always are. They do not change what else is kept.
        hidden: nodes that are dropped whatever their influence, even if they are in `keep`. Their influence does not count,
            neither in the total nor in the sum.

    Returns:
        Ascending indices of the kept nodes, and the matrix restricted to them (n_kept, n_kept), not normalised.

    Raises:
        ValueError: the threshold is not in [0, 1].
    """
    check_threshold(threshold)
    always = always_kept(len(adjacency_matrix), logit_weights, keep)
    # Set `scores`, (n_nodes,): by what nodes are chosen.
    ### BEGIN SOLUTION
    scores = compute_influence(adjacency_matrix, logit_weights, n_layers)
    if hidden is not None:
        scores = scores.masked_fill(hidden, 0)
    ### END SOLUTION
    chosen = largest_reaching(scores, threshold)
    # Set `kept`, (n_nodes,) of bools: the nodes in `chosen`, as the other rules change them.
    ### BEGIN SOLUTION
    kept = chosen | always
    if hidden is not None:
        kept &= ~hidden
    ### END SOLUTION
    return restrict(adjacency_matrix, kept)


def prune_edges(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    n_layers: int,
    threshold: float = 0.85,
    keep: Bool[Tensor, " n_nodes"] | None = None,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Keep the smallest set of edges, largest score first, that adds up to at least `threshold` of the total; then drop nodes
    that have no edge left, neither as source nor as target.

    The score of an edge is the influence that passes along it: `A_norm[t, s] * (influence[t] + w[t])`, where `A_norm` and the
    influence are those of the given matrix.

    Args:
        adjacency_matrix: edges, [target, source], after `prune_nodes`.
        logit_weights, n_layers: see `compute_influence`.
        threshold: share of the total score to keep, in [0, 1]; a higher one keeps more edges. Edges of score 0 are not kept
            even at 1.
        keep: nodes that are kept even without an edge. Logits always are.

    Returns:
        Ascending indices of the kept nodes (into the given matrix), and the matrix restricted to them, pruned edges 0, the
        others as they were.

    Raises:
        ValueError: the threshold is not in [0, 1].
    """
    check_threshold(threshold)
    always = always_kept(len(adjacency_matrix), logit_weights, keep)
    own_weights = weights_of_all_nodes(adjacency_matrix, logit_weights)  # w
    # Set `scores`, one for each edge. `normalize_matrix` gives the shares.
    ### BEGIN SOLUTION
    influence = compute_influence(adjacency_matrix, logit_weights, n_layers)
    through = influence + own_weights
    scores = normalize_matrix(adjacency_matrix).mul_(through[:, None])
    ### END SOLUTION
    chosen = largest_reaching(scores, threshold)
    # Set `pruned`, the whole matrix with the pruned edges 0, and `kept`, (n_nodes,) of bools.
    ### BEGIN SOLUTION
    pruned = torch.where(chosen, adjacency_matrix, 0)
    kept = (pruned != 0).any(dim=0) | (pruned != 0).any(dim=1) | always
    ### END SOLUTION
    return restrict(pruned, kept)


def prune_graph(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    n_layers: int,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.85,
    keep: Bool[Tensor, " n_nodes"] | None = None,
    hidden: Bool[Tensor, " n_nodes"] | None = None,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """Prune nodes, then edges, then, until nothing changes, every node that has become a dead end.

    A dead end is a node (latent, error or embedding) without an outgoing edge, or a node that reads (a latent) without an
    incoming one. A node goes together with all its edges, which can make others dead ends. Nodes in `keep`, and logits, are
    never dead ends. With the embeddings in `keep` this gives the masks of circuit-tracer's `prune_graph` on the same matrix.

    Args:
        adjacency_matrix, n_layers, logit_weights: see `compute_influence`.
        node_threshold, edge_threshold: shares to keep, in [0, 1]; higher ones keep more.
        keep, hidden: see `prune_nodes`.

    Returns:
        Ascending indices of the kept nodes into the given matrix, and the matrix restricted to them, pruned edges 0.

    Raises:
        ValueError: a threshold is not in [0, 1].
    """
    always = always_kept(len(adjacency_matrix), logit_weights, keep)
    reads = (adjacency_matrix != 0).any(dim=1)
    # Set `kept`, ascending indices into the given matrix; `matrix`, the edges among them; and `alive`, a bool for each of them.
    ### BEGIN SOLUTION
    kept, matrix = prune_nodes(adjacency_matrix, logit_weights, n_layers, node_threshold, keep, hidden)
    by_edges, matrix = prune_edges(matrix, logit_weights, n_layers, edge_threshold, always[kept])
    kept = kept[by_edges]

    has_input, has_output = ~reads[kept] | always[kept], always[kept]
    alive = torch.ones_like(has_output)
    while True:
        edges = (matrix != 0) & alive[:, None] & alive
        still = alive & (edges.any(dim=1) | has_input) & (edges.any(dim=0) | has_output)
        if torch.equal(still, alive):
            break
        alive = still
    ### END SOLUTION
    indices, matrix = restrict(matrix, alive)
    return kept[indices], matrix


def compute_graph_scores(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    logit_weights: Float[Tensor, " n_logits"],
    graph: GraphNodes,
) -> dict[str, float]:
    """How much of the output the graph explains; both scores are 1 for a model without errors.

    Returns:
        "replacement": of the influence that starts at embeddings and errors, the share that starts at embeddings (paths that
        avoid errors). "completeness": the share of a node's input that is not from errors, averaged over all nodes with their influence (and
        a logit's own weight) as weight; a node without input counts as 1.
    """
    embeddings, errors = graph.indices(NodeType.EMBEDDING), graph.indices(NodeType.MLP_ERROR)
    own_weights = weights_of_all_nodes(adjacency_matrix, logit_weights)  # w
    n_layers = graph.n_layers
    # Set `replacement` and `completeness`. Both are 0 where they would be 0 / 0.
    ### BEGIN SOLUTION
    influence = compute_influence(adjacency_matrix, logit_weights, n_layers)
    from_embeddings, from_errors = influence[embeddings].sum(), influence[errors].sum()
    replacement = from_embeddings / (from_embeddings + from_errors) if from_embeddings + from_errors > 0 else 0

    weight = influence + own_weights
    inputs = torch.linalg.vector_norm(adjacency_matrix, ord=1, dim=1)
    not_from_errors = 1 - adjacency_matrix[:, errors].abs().sum(dim=1) / torch.where(inputs > 0, inputs, 1)
    completeness = (not_from_errors * weight).sum() / weight.sum() if weight.sum() > 0 else 0
    ### END SOLUTION
    return {"replacement": float(replacement), "completeness": float(completeness)}


def best_paths(
    shares: Float[Tensor, "n_nodes n_nodes"], begins: Sequence[int], end: int, n_paths: int = 3
) -> list[tuple[tuple[int, ...], float]]:
    """The strongest paths from some nodes to one node, without a walk along all paths.

    A path's strength is the product of the shares of its edges. The best paths to a node are best paths to its sources, each one
    edge longer: so `n_paths` of them are enough to remember at each node.

    Args:
        shares: [target, source], at least 0; every source stands before its targets.
        begins: nodes at which a path may begin; other paths may pass them.
        end: the node at which a path ends. If it is in `begins`, the path of this node alone is one of them.
        n_paths: how many to return at most.

    Returns:
        Pairs (nodes of the path, from its beginning to `end`; its strength), the strongest first. A path of strength 0 is none.
    """
    # `best[node]`: the best paths that end at this node. The one path to a beginning, without an edge, has the strength 1.
    best = {node: [((node,), 1.0)] if node in begins else [] for node in range(len(shares))}
    ### BEGIN SOLUTION
    for target in range(len(shares)):
        found = list(best[target])
        for source in shares[target].nonzero()[:, 0].tolist():
            share = float(shares[target, source])
            for path, strength in best[source]:
                found.append(((*path, target), strength * share))
        best[target] = sorted(found, key=lambda pair: pair[1], reverse=True)[:n_paths]
    return best[end]
    ### END SOLUTION
