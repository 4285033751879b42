"""Contributions, QK attributions and head loadings: exact on every architecture, and for all three kinds of nodes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, attribute_cross_layer
from solutions.chapter6_real_models import attribute_neurons
from solutions.chapter7_attention import (
    activations,
    attention_report,
    capped,
    carry,
    contributions,
    edges_past_heads,
    head_loadings,
    head_on_prompt,
    measured,
    open_graph,
    pair_attributions,
    predicted_change,
    row_of,
    run_again,
    scores_hook,
    sides_for_all_keys,
    stream_hook,
    strongest_pairs,
    with_heads_cut,
    writes_added,
)
from tests.chapter5.shared import random_clt
from tests.tiny import ARCHITECTURES, D_MODEL, MORE_ARCHITECTURES, PROMPT
from tests.tracing import state_of
from utils.engine.graph import AttributionResult, NodeType

ALL = (*ARCHITECTURES, *MORE_ARCHITECTURES)
EXACT = {"rtol": 1e-6, "atol": 1e-8}
KINDS = ("transcoders", "neurons", "clt")


@pytest.fixture(scope="module")
def opened(tiny):
    """`opened(architecture, kind)`: an opened graph and its result, in float64, each made once."""
    done = {}

    def make(architecture: str, kind: str = "transcoders") -> SimpleNamespace:
        if (architecture, kind) not in done:
            model, transcoders = tiny(architecture)
            dictionary = {"transcoders": transcoders, "neurons": None, "clt": random_clt()}[kind]
            result = trace(model, dictionary)
            done[architecture, kind] = SimpleNamespace(
                model=model, dictionary=dictionary, result=result, x=open_graph(model, dictionary, result)
            )
        return done[architecture, kind]

    return make


def trace(model, dictionary, prompt: str = PROMPT) -> AttributionResult:
    if dictionary is None:
        return attribute_neurons(model, prompt, max_latent_nodes=60)
    if isinstance(dictionary, CrossLayerTranscoder):
        return attribute_cross_layer(model, dictionary, prompt)
    return attribute(model, dictionary, prompt)


CASES = [(architecture, "transcoders") for architecture in ALL] + [
    (architecture, kind) for architecture in ("gemma3", "gpt2", "qwen3") for kind in ("neurons", "clt")
]


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_contributions_add_up_to_the_stream(opened, architecture, kind):
    """What the nodes add and what the constants add is the residual stream, in front of every layer."""
    x = opened(architecture, kind).x
    names = [stream_hook(layer) for layer in range(3)]
    true = activations(x.model, x.tokens, x.freeze.fwd_hooks, names)
    axes = torch.eye(D_MODEL, dtype=torch.double)
    for layer in range(3):
        for position in (1, x.graph.seq_len - 1):
            found = contributions(x, layer, x.stream(layer), axes, [position] * D_MODEL)
            torch.testing.assert_close(found.sum(0) + x.silent[layer][position], true[layer][0, position], **EXACT)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_all_pairs_add_up_to_the_score(opened, architecture, kind):
    """The pairs are the model's own score, capped where it caps; the sums over one side are those of all keys at once."""
    x = opened(architecture, kind).x
    for layer, head in ((0, 2), (1, 1), (2, 0), (2, 2)):
        found = head_on_prompt(x, layer, head)
        query = x.graph.seq_len - 2
        true = x.scores[layer][head, query]
        at_query, at_key = sides_for_all_keys(found, query)
        for key in found.visible(query)[-3:]:
            split = pair_attributions(found, query, key)
            assert float(split.pairs.sum()) == pytest.approx(split.value, rel=1e-6, abs=1e-8)
            assert float(capped(torch.tensor(split.value, dtype=torch.double), found.softcap)) == pytest.approx(
                float(true[key]), rel=1e-6, abs=1e-6
            )
            torch.testing.assert_close(split.pairs.sum(1), at_query[:, key], **EXACT)
            torch.testing.assert_close(split.pairs.sum(0), at_key[:, key], **EXACT)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_a_contrast_is_the_score_less_the_mean_of_the_others(opened, architecture, kind):
    found = head_on_prompt(opened(architecture, kind).x, 2, 2)
    query = found.x.graph.seq_len - 1
    keys = found.visible(query)
    key, others = keys[-2], [other for other in keys if other != keys[-2]]
    whole = pair_attributions(found, query, key, keys)
    scores = found.scores[query]
    assert whole.value == pytest.approx(float(scores[key] - scores[others].mean()), rel=1e-6)
    assert float(whole.pairs.sum()) == pytest.approx(whole.value, rel=1e-6)
    parts = torch.stack([pair_attributions(found, query, other).pairs for other in others])
    torch.testing.assert_close(whole.pairs, pair_attributions(found, query, key).pairs - parts.mean(0), **EXACT)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_writing_more_moves_the_score_by_what_the_pairs_say(opened, architecture, kind):
    """In the frozen model, a node that writes delta times its vector in addition moves a score by exactly its pairs."""
    x = opened(architecture, kind).x
    found, delta = head_on_prompt(x, 2, 1), 0.37
    query, key = x.graph.seq_len - 1, x.graph.seq_len - 2
    pairs = pair_attributions(found, query, key).pairs
    nodes = [0, key, *x.graph.indices(NodeType.LATENT)[::17][:6]]
    (scores,) = activations(
        x.model,
        x.tokens.repeat(len(nodes) + 1, 1),
        [*x.linear, *writes_added(x, [[], *([node] for node in nodes)], delta)],
        [scores_hook(2)],
    )
    rows = uncapped(scores[:, 1, query, key], found.softcap)
    for row, node in enumerate(nodes, start=1):
        expected = delta * (pairs[node].sum() + pairs[:, node].sum()) + delta**2 * pairs[node, node]
        torch.testing.assert_close(rows[row] - rows[0], expected, rtol=1e-6, atol=1e-8)
    # to first order, for all keys at once, and for a set of nodes
    change = predicted_change(found, query, nodes[:3], delta)
    assert change[key] == pytest.approx(float(delta * (pairs[nodes[:3]].sum() + pairs[:, nodes[:3]].sum())), rel=1e-6)
    looks = measured(found, query, [[], nodes[:1]], delta, frozen=True)
    assert float(uncapped(looks[1].scores[key], found.softcap)) == pytest.approx(float(rows[1]), rel=1e-9)


def uncapped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else softcap * torch.atanh(scores / softcap)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_a_loading_is_the_edge_less_the_edge_without_the_head(opened, architecture, kind):
    case = opened(architecture, kind)
    x, adjacency = case.x, case.result.adjacency_matrix
    latents = x.graph.indices(NodeType.LATENT)
    last = next(i for i in reversed(latents) if x.graph.nodes[i].layer == 2)
    for target in (len(x.graph) - 1, last):
        torch.testing.assert_close(row_of(x, target), adjacency[target], **EXACT)
        sources = adjacency[target].abs().topk(3).indices.tolist()
        carried = carry(x, [(target, source) for source in sources])
        for layer, head in ((0, 0), (1, 2), (2, 1)):
            without = row_of(with_heads_cut(x, [(layer, head)]), target)
            for source in sources:
                loading = head_loadings(carried, target, source)[layer, head].sum()
                torch.testing.assert_close(loading, adjacency[target, source] - without[source], **EXACT)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_loadings_count_each_path_once_for_each_of_its_heads(opened, architecture, kind):
    """Their sum is what one per cent more of all heads' outputs adds to the edge. For one attention step it is all that moves."""
    case = opened(architecture, kind)
    x, target = case.x, len(case.x.graph) - 1
    past = edges_past_heads(x, [target])[target]
    layers = {0: [i for i, n in enumerate(x.graph.nodes) if n.layer == 1], 1: x.graph.indices(NodeType.EMBEDDING)}
    steps = 1e-4
    more, less = (row_of(replace(x, run=run_again(x, louder_heads(times))), target) for times in (1 + steps, 1 - steps))
    slopes = (more - less) / (2 * steps)
    for n_steps, sources in layers.items():
        sources = sorted(sources, key=lambda i: -abs(float(case.result.adjacency_matrix[target, i])))[:3]
        carried = carry(x, [(target, source) for source in sources])
        for source in sources:
            total = head_loadings(carried, target, source).sum()
            torch.testing.assert_close(total, slopes[source], rtol=1e-5, atol=1e-7)
            moved = case.result.adjacency_matrix[target, source] - past[source]
            if n_steps == 0:  # only the attention of layer 2 lies between layer 1 and the end
                torch.testing.assert_close(total, moved, **EXACT)
            else:
                assert abs(float(total - moved)) > 1e-6


def louder_heads(times: float):
    def scale(z: Tensor, hook) -> Tensor:
        return z.detach() + times * (z - z.detach())

    return [(f"blocks.{layer}.attn.hook_z", scale) for layer in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_plain_data(opened, kind):
    case = opened("qwen3", kind)
    target = len(case.x.graph) - 1
    source = int(case.result.adjacency_matrix[target].abs().argmax())
    early = int(case.result.adjacency_matrix[target, : case.x.graph.seq_len - 1].abs().argmax())
    edges = [(target, source), (target, early)]
    before = state_of(case.model, case.dictionary if kind == "transcoders" else {})
    report = attention_report(case.model, case.dictionary, case.result, edges, n_heads=3, n_pairs=4)
    assert state_of(case.model, case.dictionary if kind == "transcoders" else {}) == before
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert [(edge["target"], edge["source"]) for edge in report["edges"]] == edges
    listed = {(head["layer"], head["head"]) for edge in report["edges"] for head in edge["heads"]}
    assert listed == {(head["layer"], head["head"]) for head in report["heads"]} and listed
    moved = report["edges"][1]
    assert moved["past_heads"] == pytest.approx(0, abs=1e-9)
    without = row_of(with_heads_cut(case.x, [(moved["heads"][0]["layer"], moved["heads"][0]["head"])]), target)
    assert moved["heads"][0]["loading"] == pytest.approx(moved["value"] - float(without[early]), rel=1e-6)
    for head in report["heads"]:
        found = head_on_prompt(case.x, head["layer"], head["head"])
        for look in head["looks"]:
            others = [key for key in found.visible(look["query"]) if key != look["key"]]
            split = pair_attributions(found, look["query"], look["key"], others or None)
            assert look["pairs"] == [pair._asdict() for pair in strongest_pairs(split.pairs, 4)]
            assert look["score"] == pytest.approx(float(found.scores[look["query"], look["key"]]))


def test_bad_input_is_refused_in_one_sentence(opened, tiny):
    case = opened("qwen3")
    n = len(case.x.graph)
    for edge, message in (((n, 0), "There is no edge"), ((0, 0), "reads nothing")):
        with pytest.raises(ValueError, match=message):
            attention_report(case.model, case.dictionary, case.result, [edge])
    with pytest.raises(ValueError, match="There is no head 3.0"):
        head_on_prompt(case.x, 3, 0)
    with pytest.raises(ValueError, match="not made of this model"):
        open_graph(tiny("llama")[0], case.dictionary, case.result)
    assert attention_report(case.model, case.dictionary, case.result, []) == {"edges": [], "heads": []}
