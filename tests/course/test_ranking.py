"""Ranking as it goes: the graph of the strongest latents is the full graph with the others put into error nodes."""

import pytest
import torch

from solutions import ranking
from solutions.chapter3_attribution_graphs import (
    FreezeHooks,
    TranscoderReplacementHooks,
    attribute,
    edges,
    prepare_backward_batches,
    setup_attribution,
)
from solutions.chapter5_cross_layer_transcoders import (
    CrossLayerTranscoder,
    attribute_cross_layer,
    collect_sources,
    compute_cross_layer_edges,
    tracing,
)
from solutions.ranking import rank_latents
from tests.tiny import ARCHITECTURES, D_MODEL, PROMPT
from tests.tracing import Traced
from utils.engine.graph import AttributionResult, GraphNodes, NodeType
from utils.models import load_clt

QUESTION = "The capital of the state containing Dallas is"


def restricted(full: AttributionResult, kept: GraphNodes) -> torch.Tensor:
    """The full graph's matrix on the nodes of `kept`; each latent that is not there is added to the error at its place."""
    place = {node.node_id: i for i, node in enumerate(kept.nodes)}
    columns = torch.zeros(len(full.graph), len(kept), dtype=full.adjacency_matrix.dtype)
    for i, node in enumerate(full.graph.nodes):
        columns[i, place.get(node.node_id, place.get(f"{node.layer}_error_{node.ctx_idx}", -1))] = 1
    ids = [node.node_id for node in full.graph.nodes]
    rows = full.adjacency_matrix[[ids.index(node.node_id) for node in kept.nodes]]
    return rows @ columns


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("n_latents", [1, 20])
def test_the_graph_is_the_full_one_restricted(tiny, architecture, n_latents):
    model, transcoders = tiny(architecture)
    full = attribute(model, transcoders, PROMPT)
    result = attribute(model, transcoders, PROMPT, max_latent_nodes=n_latents)
    assert len(result.graph.indices(NodeType.LATENT)) == n_latents
    assert result.scores["completeness_gap"] <= 1e-6
    torch.testing.assert_close(result.adjacency_matrix, restricted(full, result.graph))


def test_on_atlas_it_finds_the_strongest(atlas):
    """The graph is the full one restricted, and what it keeps is what the full graph's influence would keep."""
    full = attribute(*atlas, QUESTION)
    result = attribute(*atlas, QUESTION, max_latent_nodes=80)
    matrix = restricted(full, result.graph)
    assert (result.adjacency_matrix - matrix).abs().max() <= 1e-5 * matrix.abs().max()
    latents = full.graph.indices(NodeType.LATENT)
    best = sorted(latents, key=lambda i: -float(full.influence[i]))[:80]
    ids = [node.node_id for node in full.graph.nodes]
    found = [ids.index(result.graph.nodes[i].node_id) for i in result.graph.indices(NodeType.LATENT)]
    assert len(latents) > 160 and len({*best} & {*found}) >= 72
    assert full.influence[found].sum() >= 0.98 * full.influence[best].sum()


def test_all_latents_are_found_when_there_are_not_more(tiny):
    model, transcoders = tiny("gemma3")
    full = attribute(model, transcoders, PROMPT, n_output_nodes=20)
    result = attribute(model, transcoders, PROMPT, n_output_nodes=20, max_latent_nodes=10**6)
    leads = full.influence > 0
    expected = [full.graph.nodes[i].node_id for i in full.graph.indices(NodeType.LATENT) if leads[i]]
    assert [result.graph.nodes[i].node_id for i in result.graph.indices(NodeType.LATENT)] == expected


def test_no_more_rows_are_computed_than_needed(traced):
    x: Traced = traced("qwen3")
    asked = []

    def rows_of(batch):
        asked.extend(node.node_id for node in batch.nodes)
        ids = [node.node_id for node in x.graph.nodes]
        return x.adjacency[[ids.index(node.node_id) for node in batch.nodes]]

    chosen = rank_latents(x.graph, rows_of, 12, rerank_every=5).selection
    assert len(asked) == len(set(asked)) == 3 + 12
    assert sum(len(positions) for positions, _ in chosen.values()) == 12


@pytest.mark.parametrize("batch_size", [1, 128])
def test_no_row_is_computed_twice(tiny, monkeypatch, batch_size):
    """Every target is walked back once, and within a round of the ranking the walks end later and later."""
    model, transcoders = tiny("gpt2")
    walked, done = [], []
    walk_back = ranking.walk_back

    def counted(run, vectors, positions, layer):
        walked.append(positions.tolist())
        return walk_back(run, vectors, positions, layer)

    monkeypatch.setattr(ranking, "walk_back", counted)
    monkeypatch.setattr(edges, "walk_back", counted)
    result = attribute(
        model,
        transcoders,
        PROMPT,
        max_latent_nodes=8,
        batch_size=batch_size,
        progress=lambda *so_far: done.append(so_far),
    )
    n_targets = len(result.graph.indices(NodeType.LATENT, NodeType.LOGIT))
    assert sum(map(len, walked)) == n_targets == 8 + 3
    assert done[-1] == (n_targets, n_targets) and done == sorted(done)
    # 8 latents are one round, which the logits' walk comes before
    lasts = [max(positions) for positions in walked[1:]]
    assert lasts == sorted(lasts)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cross_layer_graph_keeps_its_edges(tiny, architecture):
    """Edges among what is kept are those of the full graph, and the errors take up the rest."""
    model, clt = tiny(architecture)[0], random_clt()
    expect_restricted(
        attribute_cross_layer(model, clt, PROMPT), attribute_cross_layer(model, clt, PROMPT, max_latent_nodes=20), 1e-9
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cross_layer_graph_has_the_edges_of_its_own_nodes(tiny, monkeypatch, architecture):
    """All edges, those of errors included, are what the smaller graph's sources do; no row is computed twice."""
    model, walked = tiny(architecture)[0], []
    walk_back = tracing.walk_back

    def counted(run, vectors, positions, layer):
        walked.extend(positions.tolist())
        return walk_back(run, vectors, positions, layer)

    monkeypatch.setattr(tracing, "walk_back", counted)
    clt = random_clt()
    result = attribute_cross_layer(model, clt, PROMPT, max_latent_nodes=20)
    assert len(walked) == len(result.graph.indices(NodeType.LATENT, NodeType.LOGIT)) == 20 + 3
    monkeypatch.undo()
    with torch.inference_mode(False), torch.no_grad():
        freeze, tokens = FreezeHooks(model), model.to_tokens(PROMPT)
        cache = freeze.cache_frozen_values(tokens)
        hooks = TranscoderReplacementHooks(model, clt.weights().transcoders(), cache)
        run, sources = setup_attribution(model, tokens, freeze, hooks), collect_sources(clt, result.graph, cache)
        expected = compute_cross_layer_edges(result.graph, sources, prepare_backward_batches(result.graph), run)
    torch.testing.assert_close(result.adjacency_matrix, expected)


def random_clt() -> CrossLayerTranscoder:
    torch.manual_seed(0)
    clt = CrossLayerTranscoder(3, D_MODEL, 31, threshold=0.5).double()
    clt.load_state_dict({name: torch.randn_like(x) * 0.3 for name, x in clt.state_dict().items()})
    return clt


def test_a_cross_layer_graph_of_atlas_keeps_its_edges(atlas):
    clt = CrossLayerTranscoder.from_weights(load_clt("atlas"))
    full = attribute_cross_layer(atlas.model, clt, QUESTION)
    expect_restricted(full, attribute_cross_layer(atlas.model, clt, QUESTION, max_latent_nodes=60), 1e-5)


def expect_restricted(full: AttributionResult, result: AttributionResult, tolerance: float) -> None:
    ids = [node.node_id for node in full.graph.nodes]
    same = [i for i, node in enumerate(result.graph.nodes) if node.node_type is not NodeType.MLP_ERROR]
    there = [ids.index(result.graph.nodes[i].node_id) for i in same]
    edges, expected = result.adjacency_matrix[same][:, same], full.adjacency_matrix[there][:, there]
    assert 0 < len(result.graph.indices(NodeType.LATENT)) < len(full.graph.indices(NodeType.LATENT))
    assert (edges - expected).abs().max() <= tolerance * expected.abs().max()
    # what a target reads in all is the same, so the errors hold what the others wrote
    sums, before = result.adjacency_matrix[same].sum(1), full.adjacency_matrix[there].sum(1)
    assert (sums - before).abs().max() <= 10 * tolerance * expected.abs().max()
    assert result.scores["completeness_gap"] <= max(1e-6, 10 * tolerance)
