"""Chapter 3's `best_paths` and the command's `strongest_paths` find the same paths in a graph of the bundled model."""

import pytest

from solutions.chapter3_attribution_graphs import attribute, best_paths, normalize_matrix
from solutions.trace.paths import strongest_paths
from tests.course.test_trace import DALLAS, needs_atlas
from utils.engine.graph import AttributionResult, NodeType
from utils.models import load


@pytest.fixture(scope="module")
def traced() -> AttributionResult:
    """The graph of the Dallas prompt with two answers of equal weight, and many edges."""
    answers = {" Austin": 0.5, " Salt": 0.5}
    return attribute(*load("atlas"), DALLAS, target_tokens=answers, edge_threshold=0.98)


def paths_of_the_chapter(result: AttributionResult, answer: int, n_paths: int) -> list[tuple[tuple[int, ...], float]]:
    """`best_paths` of the pruned graph as the notebook calls it, with nodes as indices into `result.graph.nodes`."""
    kept = result.kept_indices.tolist()
    shares = normalize_matrix(result.adjacency_matrix)[result.kept_indices[:, None], result.kept_indices]
    shares = shares * (result.pruned_matrix != 0)
    begins = [row for row, i in enumerate(kept) if result.graph.nodes[i].node_type is NodeType.EMBEDDING]
    found = best_paths(shares, begins, kept.index(answer), n_paths)
    return [(tuple(kept[row] for row in path), strength) for path, strength in found]


@needs_atlas
@pytest.mark.parametrize("n_paths", [1, 8, 200])
@pytest.mark.parametrize("rank", [0, 1])
def test_both_find_the_same_paths(traced, rank, n_paths):
    """They agree where a path begins at an embedding of the pruned graph and its shares are those before pruning.

    They differ in the rest. `best_paths` knows no kinds of nodes: a path may begin at any node that is named, an error too,
    and where `end` is such a node the path without an edge counts. `strongest_paths` begins at embeddings alone. It also has
    each step's sign, a limit for each token (`per_token`) and a condition (`through`).
    """
    answer = traced.graph.indices(NodeType.LOGIT)[rank]
    expected = paths_of_the_chapter(traced, answer, n_paths)
    found = strongest_paths(traced, n_paths, answer)
    assert len(found) == n_paths
    assert [path.strength for path in found] == pytest.approx([strength for _, strength in expected], rel=1e-4)
    assert [path.nodes for path in found] == [nodes for nodes, _ in expected]
