"""The exercises on influence, pruning and scores, against closed forms and slow loops."""

from functools import cache

import pytest
import torch
from torch import Tensor

from tests.chapter3.dags import (
    N_LAYERS,
    Dag,
    edges_by_hand,
    graph_by_hand,
    influence_by_hand,
    nodes_by_hand,
    paths_by_hand,
    random_dag,
    shares_by_hand,
)
from tests.tiny import ARCHITECTURES
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.grading import expect, expect_close, expect_equal

SEEDS = range(12)
THRESHOLDS = (0.3, 0.6, 0.85, 1.0)


def chain(n_layers: int) -> Tensor:
    """Embedding -> one latent a layer -> logit: the longest path there is."""
    return torch.diag(torch.full((n_layers + 1,), -2.0, dtype=torch.float64), -1)


def in_closed_form(matrix: Tensor, weights: Tensor) -> Tensor:
    """w ((I - A)^-1 - I), with A the normalised matrix."""
    matrix = matrix.double().cpu()
    total = matrix.abs().sum(1, keepdim=True)
    shares = matrix.abs() / torch.where(total == 0, 1, total)
    identity, w = torch.eye(len(matrix), dtype=torch.float64), torch.zeros(len(matrix), dtype=torch.float64)
    w[-len(weights) :] = weights
    return w @ (torch.linalg.inv(identity - shares) - identity)


def as_set(mask: Tensor) -> set[int]:
    return set(mask.nonzero()[:, 0].tolist())


def as_edges(kept: list[int], matrix: Tensor) -> dict[tuple[int, int], float]:
    return {(kept[t], kept[s]): float(matrix[t, s]) for t, s in matrix.nonzero().tolist()}


def test_rows_are_shares(normalize_matrix):
    """A row becomes shares of its sum of absolute values, however small its entries are."""
    matrix = torch.tensor([[-3.0, 1.0, 0.0], [2e-20, -2e-20, 4e-20], [0.0, 5.0, 0.0]])
    expected = torch.tensor([[0.75, 0.25, 0.0], [0.25, 0.25, 0.5], [0.0, 1.0, 0.0]])
    expect_close(normalize_matrix(matrix), expected, "The shares")


def test_a_row_of_zeros_stays_zero(normalize_matrix):
    """A row of zeros stays zero."""
    matrix = torch.tensor([[0.0, 0.0, 0.0], [1.0, -3.0, 0.0], [0.0, 0.0, 0.0]])
    expect_close(normalize_matrix(matrix)[0], torch.zeros(3), "The row of zeros")


def test_the_matrix_is_left_alone(normalize_matrix):
    """The given matrix is not changed."""
    matrix = torch.tensor([[0.0, 0.0], [2.0, -6.0]])
    normalize_matrix(matrix)
    expect_close(matrix, torch.tensor([[0.0, 0.0], [2.0, -6.0]]), "The given matrix afterwards")


def test_shares_of_a_graph(normalize_matrix, traced_chosen):
    """On a traced prompt the rows of all latents and logits add up to 1, and the others to 0."""
    x = traced_chosen
    reads = x.graph.mask(NodeType.LATENT, NodeType.LOGIT)
    shares = normalize_matrix(x.adjacency)
    expect(bool((shares >= 0).all()), "No share may be negative.")
    expect_close(shares.sum(1), reads.to(shares), "The sums of the rows", atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_all_paths_are_followed(influence_by_paths, seed):
    """Path by path, influence on a random graph is what the nodes give that are gone through one by one."""
    dag = random_dag(seed, density=0.4)
    expected = influence_by_hand(dag.edges, dag.weight_of)
    found = influence_by_paths(dag.matrix, dag.weights)
    expect_equal(tuple(found.shape), (len(dag.matrix),), "The shape of the influence")
    expect_close(found, torch.tensor(list(dict(sorted(expected.items())).values())), "Influence on a random graph")


def test_paths_of_a_small_graph(influence_by_paths):
    """Two paths that meet add up, and a node in the middle counts as well as the ends."""
    matrix = torch.tensor([[0.0, 0, 0, 0], [4, 0, 0, 0], [-1, 3, 0, 0], [1, 0, 1, 0]])
    expected = torch.tensor([0.5 + 0.5 * 0.25 + 0.5 * 0.75, 0.5 * 0.75, 0.5, 0.0]) * 0.8
    expect_close(influence_by_paths(matrix, torch.tensor([0.8])), expected, "The influence")


@pytest.mark.parametrize("seed", SEEDS)
def test_influence_is_the_closed_form(compute_influence, seed):
    """Influence is w ((I - A)^-1 - I), with A the normalised matrix."""
    dag = random_dag(seed, density=0.6)
    expected = in_closed_form(dag.matrix, dag.weights)
    expect_close(compute_influence(dag.matrix, dag.weights, N_LAYERS), expected, "Influence on a random graph")


def test_influence_adds_up_all_paths(compute_influence):
    """Influence adds up all paths, step by step, on a graph of four nodes."""
    #        embedding -> 0.25 of the latent and all of the second logit; error -> 0.75 of the latent; latent -> first logit
    matrix = torch.tensor([[0.0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, -3, 0, 0, 0], [1, 0, 1, 0, 0], [-7, 0, 0, 0, 0]])
    weights = torch.tensor([0.5, 0.25])
    expected = torch.tensor([0.25 + 0.25 * 0.25 + 0.25, 0.25 * 0.75, 0.25, 0.0, 0.0])
    expect_close(compute_influence(matrix, weights, 1), expected, "The influence")


@pytest.mark.parametrize("n_layers", [1, 5])
def test_the_longest_path_counts(compute_influence, n_layers):
    """On the longest path, which has n_layers + 1 edges, every node passes all of the output on."""
    weights = torch.tensor([0.7], dtype=torch.float64)
    expected = torch.tensor([0.7] * (n_layers + 1) + [0.0])
    influence = compute_influence(chain(n_layers), weights, n_layers)
    expect_close(influence, expected, f"The influence along a chain through {n_layers} layers")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_influence_starts_somewhere(compute_influence, traced, architecture):
    """All of the output comes from the nodes that do not read: embeddings and errors."""
    x = traced(architecture)
    weights = torch.tensor([0.5, 0.3, 0.1], dtype=torch.float64)
    influence = compute_influence(x.adjacency, weights, x.graph.n_layers)
    starts = x.graph.indices(NodeType.EMBEDDING, NodeType.MLP_ERROR)
    expect_close(influence[starts].sum(), 0.9, "The influence of all embeddings and errors")


SCORES = [[5.0, 0.0, 1.0], [2.0, 8.0, 0.0]]  # 16 in all: 8, 5, 2, 1


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, []), (0.3, [8]), (0.5, [8]), (0.6, [8, 5]), (0.9, [8, 5, 2]), (0.95, [8, 5, 2, 1]), (1.0, [8, 5, 2, 1])],
)
def test_the_smallest_set_that_reaches_a_share(smallest_set, threshold, expected):
    """The largest scores are taken until they hold the share, and no more; scores of 0 never."""
    scores = torch.tensor(SCORES)
    chosen = smallest_set(scores, threshold)
    expect_equal(tuple(chosen.shape), (2, 3), "The shape of the answer")
    found = sorted(scores[chosen.bool()].tolist(), reverse=True)
    expect_equal(found, [float(x) for x in expected], f"The scores that hold {threshold} of 16")


def test_the_scores_are_left_alone(smallest_set):
    """The answer is a mask, and the given scores are not changed."""
    scores = torch.tensor(SCORES)
    expect_equal(str(smallest_set(scores, 0.5).dtype), "torch.bool", "The dtype of the answer")
    expect_close(scores, torch.tensor(SCORES), "The given scores afterwards")


def test_a_set_of_influences(smallest_set, traced_chosen):
    """On a traced prompt the set holds the share that was asked for, and without its least member it would not."""
    x = traced_chosen
    influence = in_closed_form(x.adjacency, torch.tensor([0.6, 0.3, 0.1]))
    held = influence[smallest_set(influence, 0.7)]
    share, least = float(held.sum() / influence.sum()), float(held.min() / influence.sum())
    expect(share >= 0.6999, "The set must hold at least 0.7 of the total.", share)
    expect(share - least <= 0.7001, "Without its least member the set must not hold 0.7.", share - least)


@cache
def clear_nodes(threshold: float, keep_share: float = 0.0, hide_share: float = 0.0) -> list[tuple]:
    """Random graphs on which rounding cannot change what is kept: (dag, keep, hidden, kept nodes)."""
    found = []
    for seed in SEEDS:
        dag = random_dag(seed, density=0.8)
        keep, hidden = dag.mask("E", keep_share), dag.mask("X", hide_share)
        kept, is_clear = nodes_by_hand(dag, threshold, as_set(keep), as_set(hidden))
        if is_clear:
            found.append((dag, keep, hidden, sorted(kept)))
    return found


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_most_influential_nodes_are_kept(prune_nodes, threshold):
    """Kept are the fewest most influential nodes that reach the threshold, and the logits."""
    for dag, _, _, expected in clear_nodes(threshold):
        kept, _ = prune_nodes(dag.matrix, dag.weights, N_LAYERS, threshold)
        expect_equal(kept, torch.tensor(expected), f"The nodes kept at {threshold} of {len(dag.kinds)}")


def test_logits_are_always_kept(prune_nodes):
    """Logits are kept at any threshold."""
    dag = random_dag(0)
    for threshold in (0.0, 0.5, 1.0):
        kept, _ = prune_nodes(dag.matrix, dag.weights, N_LAYERS, threshold)
        expect(dag.logits <= set(kept.tolist()), f"Logits must be kept at threshold {threshold}.", kept)


def test_raising_the_threshold_keeps_more_nodes(prune_nodes):
    """Raising the threshold keeps more nodes."""
    dag = random_dag(1, density=1.0)
    counts = [len(prune_nodes(dag.matrix, dag.weights, N_LAYERS, t)[0]) for t in (0.1, 0.4, 0.7, 1.0)]
    expect(counts == sorted(counts) and counts[0] < counts[-1], "A higher threshold must keep more nodes.", counts)


def test_nodes_can_be_kept_whatever_their_influence(prune_nodes):
    """Nodes in `keep` are kept at any threshold, and change nothing for the others."""
    for dag, keep, _, expected in clear_nodes(0.6, keep_share=1.0):
        kept, _ = prune_nodes(dag.matrix, dag.weights, N_LAYERS, 0.6, keep=keep)
        expect_equal(kept, torch.tensor(expected), "The kept nodes, all embeddings among them")


def test_hidden_nodes_are_dropped_and_not_counted(prune_nodes):
    """Hidden nodes are dropped, even if they are in `keep`, and the share is counted without them."""
    for dag, keep, hidden, expected in clear_nodes(0.8, keep_share=0.5, hide_share=0.7):
        kept, _ = prune_nodes(dag.matrix, dag.weights, N_LAYERS, 0.8, keep=keep | hidden, hidden=hidden)
        expect_equal(kept, torch.tensor(expected), "The kept nodes, some errors hidden")


def test_the_matrix_of_the_kept_nodes(prune_nodes):
    """The second result has the edges among the kept nodes, as they were."""
    dag = random_dag(3, density=1.0)
    kept, matrix = prune_nodes(dag.matrix, dag.weights, N_LAYERS, 0.5)
    expected = torch.stack([torch.stack([dag.matrix[t, s] for s in kept]) for t in kept])
    expect_close(matrix, expected, "The matrix")


def test_pruning_nodes_of_a_graph(prune_nodes, traced_chosen):
    """On a traced prompt the kept nodes hold the share of influence that was asked for, and one fewer would not."""
    x = traced_chosen
    weights = torch.tensor([0.6, 0.3, 0.1]).to(x.adjacency)
    influence = in_closed_form(x.adjacency, weights.cpu())
    kept, _ = prune_nodes(x.adjacency, weights, x.graph.n_layers, 0.6)
    held, total = influence[kept.cpu()], influence.sum()
    expect(
        bool(held.sum() >= 0.599 * total), "The kept nodes must hold at least 0.6 of the influence.", held.sum() / total
    )
    short = (held.sum() - held[held > 0].min()) / total
    expect(bool(short <= 0.601), "Without the least of them the kept nodes must not hold 0.6 of the influence.", short)


@cache
def clear_edges(threshold: float) -> list[tuple]:
    """Random graphs on which rounding cannot change which edges are kept: (dag, kept edges)."""
    found = []
    for seed in SEEDS:
        dag = random_dag(seed, density=0.8)
        kept, is_clear = edges_by_hand(dag.edges, dag, threshold)
        if is_clear:
            found.append((dag, kept))
    return found


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_edges_that_carry_most_are_kept(prune_edges, threshold):
    """Kept are the fewest edges with the largest scores that reach the threshold, with their strengths."""
    for dag, expected in clear_edges(threshold):
        kept, matrix = prune_edges(dag.matrix, dag.weights, N_LAYERS, threshold)
        found = as_edges(kept.tolist(), matrix)
        what = f"The edges kept at {threshold} of {len(dag.edges)}"
        expect_equal(set(found), set(expected), f"{what}, as (target, source)")
        expect_close(torch.tensor(sorted(found.values())), torch.tensor(sorted(expected.values())), "Their strengths")


def test_nodes_without_an_edge_are_dropped(prune_edges):
    """Nodes that have lost all their edges are dropped; a single edge in or out is enough to stay."""
    for dag, edges in clear_edges(0.6):
        expected = sorted({node for edge in edges for node in edge} | dag.logits)
        kept, matrix = prune_edges(dag.matrix, dag.weights, N_LAYERS, 0.6)
        expect_equal(kept, torch.tensor(expected), "The kept nodes")
        expect_equal(tuple(matrix.shape), (len(expected), len(expected)), "The shape of the matrix")


def test_some_nodes_stay_without_an_edge(prune_edges):
    """Logits and nodes in `keep` stay even without an edge."""
    dag = random_dag(2, density=1.0)
    keep = dag.mask("E")
    kept, matrix = prune_edges(dag.matrix, dag.weights, N_LAYERS, 0.0, keep=keep)
    expect_equal(kept, torch.tensor(sorted(as_set(keep) | dag.logits)), "The nodes kept at threshold 0")
    expect(not matrix.any(), "At threshold 0 no edge is kept.")


def test_raising_the_threshold_keeps_more_edges(prune_edges):
    """Raising the threshold keeps more edges."""
    dag = random_dag(1, density=1.0)
    counts = [int((prune_edges(dag.matrix, dag.weights, N_LAYERS, t)[1] != 0).sum()) for t in (0.1, 0.4, 0.7, 1.0)]
    expect(counts == sorted(counts) and counts[0] < counts[-1], "A higher threshold must keep more edges.", counts)


def test_pruning_edges_of_a_graph(prune_edges, traced_chosen):
    """On a traced prompt the kept edges hold the share of the scores that was asked for."""
    x = traced_chosen
    weights = torch.tensor([0.6, 0.3, 0.1]).to(x.adjacency)
    kept, matrix = prune_edges(x.adjacency, weights, x.graph.n_layers, 0.5)
    through = in_closed_form(x.adjacency, weights.cpu())
    through[-3:] += weights.cpu()
    strengths = x.adjacency.abs().double().cpu()
    scores = strengths * (through / strengths.sum(1).clamp(min=1e-30))[:, None]
    kept = kept.cpu()
    held = scores[kept[:, None], kept][matrix.cpu() != 0]
    share, least = held.sum() / scores.sum(), held.min() / scores.sum()
    expect(bool(share >= 0.499), "The kept edges must hold at least half of all scores.", share)
    expect(bool(share - least <= 0.501), "Without the least of them the kept edges must not hold half.", share - least)


@cache
def clear_graphs(
    node_threshold: float, edge_threshold: float, keep_kind: str = "", hide_share: float = 0.0
) -> list[tuple]:
    """Random graphs on which rounding cannot change what is kept: (dag, keep, hidden, kept nodes, kept edges)."""
    found = []
    for seed in SEEDS:
        dag = random_dag(seed, density=0.5)
        keep, hidden = dag.mask(keep_kind, 0.7), dag.mask("X", hide_share)
        nodes, edges, is_clear = graph_by_hand(dag, node_threshold, edge_threshold, as_set(keep), as_set(hidden))
        if is_clear:
            found.append((dag, keep, hidden, sorted(nodes), edges))
    return found


@pytest.mark.parametrize(("node_threshold", "edge_threshold"), [(0.6, 0.9), (0.9, 0.6), (1.0, 0.7)])
@pytest.mark.parametrize("keep_kind", ["", "E", "F"], ids=["keep nothing", "keep embeddings", "keep latents"])
def test_pruning_equals_the_slow_loop(prune_graph, node_threshold, edge_threshold, keep_kind):
    """The kept nodes and edges are those of a slow loop that follows the text."""
    for dag, keep, _, nodes, edges in clear_graphs(node_threshold, edge_threshold, keep_kind):
        kept, matrix = prune_graph(dag.matrix, dag.weights, N_LAYERS, node_threshold, edge_threshold, keep=keep)
        expect_equal(kept, torch.tensor(nodes), "The kept nodes")
        found = as_edges(kept.tolist(), matrix)
        expect_equal(set(found), set(edges), "The kept edges, as (target, source)")
        expect_close(torch.tensor(sorted(found.values())), torch.tensor(sorted(edges.values())), "Their strengths")


def test_hidden_nodes_are_pruned(prune_graph):
    """Hidden nodes are pruned, even if they are in `keep`."""
    for dag, keep, hidden, nodes, _ in clear_graphs(0.8, 0.8, "E", hide_share=0.7):
        kept, _ = prune_graph(dag.matrix, dag.weights, N_LAYERS, 0.8, 0.8, keep=keep | hidden, hidden=hidden)
        expect_equal(kept, torch.tensor(nodes), "The kept nodes, some errors hidden")


def test_dead_ends_are_dropped_until_there_are_none(prune_graph):
    """A chain that no longer leads to a logit is dropped whole, not only its last node."""
    # 0 -> 1 -> 2 -> 3 -> both logits (weakly); 4 -> both logits. At 0.95 the weak edges go, the edges of the chain stay.
    matrix = torch.zeros(7, 7)
    for target, source, strength in [(1, 0, 1), (2, 1, 1), (3, 2, 1), (5, 3, 0.02), (6, 3, 0.02), (5, 4, 1), (6, 4, 1)]:
        matrix[target, source] = strength
    kept, small = prune_graph(matrix, torch.tensor([0.5, 0.5]), 4, 1.0, 0.95)
    expect_equal(kept, torch.tensor([4, 5, 6]), "The kept nodes")
    expect_close(small, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), "The kept edges")


def test_a_pruned_graph_of_the_model(prune_graph, traced_chosen):
    """On a traced prompt every kept latent has an edge in and an edge out, and kept edges have their strengths."""
    x = traced_chosen
    weights = torch.tensor([0.6, 0.3, 0.1]).to(x.adjacency)
    keep = x.graph.mask(NodeType.EMBEDDING)
    kept, matrix = prune_graph(x.adjacency, weights, x.graph.n_layers, 0.7, 0.9, keep=keep)
    latents = x.graph.mask(NodeType.LATENT)[kept]
    expect(bool(latents.any()), "Some latents must be kept.")
    expect(bool((matrix[latents] != 0).any(1).all()), "Every kept latent must have an edge in.")
    expect(bool((matrix[:, latents] != 0).any(0).all()), "Every kept latent must have an edge out.")
    must = set(x.graph.indices(NodeType.EMBEDDING, NodeType.LOGIT))
    expect(must <= set(kept.tolist()), "Embeddings (in `keep`) and logits must be kept.")
    whole = x.adjacency[kept[:, None], kept]
    expect_close(matrix, torch.where(matrix != 0, whole, 0), "The kept edges")


def as_graph(dag) -> GraphNodes:
    """The nodes of a random graph, for what looks at their kinds."""
    kinds = {"E": NodeType.EMBEDDING, "F": NodeType.LATENT, "X": NodeType.MLP_ERROR, "L": NodeType.LOGIT}
    nodes = [NodeInfo(kinds[kind], 0, 0, i) for i, kind in enumerate(dag.kinds)]
    return GraphNodes(nodes, writing_vecs=torch.zeros(len(nodes), 1), n_layers=N_LAYERS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_replacement_score(compute_graph_scores, seed):
    """The replacement score is the embeddings' part of the influence of embeddings and errors."""
    dag = random_dag(seed, density=0.6)
    influence = influence_by_hand(dag.edges, dag.weight_of)
    embeddings, errors = (sum(influence[i] for i, k in enumerate(dag.kinds) if k == kind) for kind in "EX")
    found = compute_graph_scores(dag.matrix, dag.weights, as_graph(dag))
    expect_close(found["replacement"], embeddings / (embeddings + errors), "The replacement score")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_share_not_from_errors(compute_graph_scores, seed):
    """The other score is the share of nodes' inputs that is not from errors, weighted by influence and the logits' own weights."""
    dag = random_dag(seed, density=0.6)
    influence, shares = influence_by_hand(dag.edges, dag.weight_of), shares_by_hand(dag.edges)
    weight = {i: influence[i] + dag.weight_of[i] for i in influence}
    from_errors = {i: sum(x for (t, s), x in shares.items() if t == i and dag.kinds[s] == "X") for i in influence}
    expected = sum(weight[i] * (1 - from_errors[i]) for i in weight) / sum(weight.values())
    found = compute_graph_scores(dag.matrix, dag.weights, as_graph(dag))
    expect_close(found["completeness"], expected, "The share not from errors")


def test_a_graph_without_edges_scores_nothing(compute_graph_scores):
    """Without edges the replacement score is 0, and with weights of 0 so is the other one."""
    dag = random_dag(0)
    nothing = torch.zeros_like(dag.matrix)
    found = compute_graph_scores(nothing, dag.weights, as_graph(dag))
    expect_close(found["replacement"], 0.0, "The replacement score of no edges")
    found = compute_graph_scores(nothing, torch.zeros_like(dag.weights), as_graph(dag))
    expect_close(found["completeness"], 0.0, "The share not from errors of no influence")


def test_scores_of_a_graph(compute_graph_scores, traced_chosen):
    """On a traced prompt both scores are those of the closed form."""
    x = traced_chosen
    weights = torch.tensor([0.6, 0.3, 0.1]).to(x.adjacency)
    influence = in_closed_form(x.adjacency, weights.cpu())
    embeddings, errors = x.graph.indices(NodeType.EMBEDDING), x.graph.indices(NodeType.MLP_ERROR)
    expected = influence[embeddings].sum() / influence[[*embeddings, *errors]].sum()
    found = compute_graph_scores(x.adjacency, weights, x.graph)
    expect_close(found["replacement"], float(expected), "The replacement score", rtol=1e-4)


def shares_of(dag: Dag) -> Tensor:
    shares = torch.zeros_like(dag.matrix)
    for (target, source), share in shares_by_hand(dag.edges).items():
        shares[target, source] = share
    return shares


@cache
def all_paths(seed: int) -> tuple[Tensor, list[int], int, list]:
    """A random graph's shares, where its paths begin and end, and all of them, the strongest first."""
    dag = random_dag(seed)
    begins, end = as_set(dag.mask("E")), len(dag.matrix) - 1
    return shares_of(dag), sorted(begins), end, paths_by_hand(dag.edges, begins, end)


@pytest.mark.parametrize("n_paths", [1, 3, 10_000])
def test_the_best_of_all_paths(best_paths, n_paths):
    """The paths are the strongest of all, in this order, on random graphs."""
    for seed in SEEDS:
        shares, begins, end, paths = all_paths(seed)
        expected = paths[:n_paths]
        found = best_paths(shares, begins, end, n_paths)
        expect_equal([tuple(path) for path, _ in found], [path for path, _ in expected], "The paths")
        strengths = [[strength for _, strength in paths] for paths in (found, expected)]
        expect_close(*torch.tensor(strengths, dtype=torch.float64), "Their strengths")


def test_all_strengths_add_up(best_paths):
    """All paths into an answer from where paths begin together have the strength 1."""
    dag = random_dag(3, density=1.0)
    begins, end = as_set(dag.mask("E") | dag.mask("X")), len(dag.matrix) - 1
    n_paths = len(paths_by_hand(dag.edges, begins, end))
    found = best_paths(shares_of(dag), sorted(begins), end, n_paths)
    expect_close(sum(float(strength) for _, strength in found), 1.0, "The sum of all strengths")


def test_paths_through_a_beginning(best_paths):
    """A path may begin at a node that another path goes through, and where no path leads there is none."""
    shares = torch.tensor([[0.0, 0, 0, 0], [0.25, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 0]])
    expected = {2: [((1, 2), 0.5), ((0, 1, 2), 0.125)], 0: [((0,), 1.0)], 3: []}
    found = {end: [(tuple(path), float(s)) for path, s in best_paths(shares, [0, 1], end)] for end in expected}
    expect_equal(found, expected, "The paths to each end")


def test_more_paths_than_can_be_walked(best_paths):
    """In a graph of 3 to the power of 30 paths the best one is found at once."""
    shares = torch.zeros(91, 91, dtype=torch.float64)
    for layer in range(1, 30):
        shares[3 * layer : 3 * layer + 3, 3 * layer - 3 : 3 * layer] = torch.rand(3, 3) + 0.1
    shares[90, 87:90] = torch.rand(3) + 0.1
    expected = torch.ones(3, dtype=torch.float64)
    for layer in range(1, 30):
        expected = (shares[3 * layer : 3 * layer + 3, 3 * layer - 3 : 3 * layer] * expected).max(dim=1).values
    found = best_paths(shares, [0, 1, 2], 90, 1)
    expect_equal(len(found), 1, "How many paths are found")
    expect_close(float(found[0][1]), float((shares[90, 87:90] * expected).max()), "The strength of the best path")
