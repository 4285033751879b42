"""Supernodes that are found in a graph: words, equal names, like inputs and outputs; and how a page opens with them."""

import json

import pytest

from tests.course.dashboard_samples import (
    LABELS,
    as_circuit_tracer,
    as_neuronpedia_backend,
    cloned,
    fuzzed,
    sample_graph,
)
from tests.course.samples import prune_sample, sample_result
from utils.dashboard import GraphFormatError, build_graph, check_graph, open_with_boxes, page_boxes
from utils.dashboard.grouping import MOST_BOXES, find_boxes, weight, word_numbers
from utils.dashboard.read_graph import graph_view
from utils.dashboard.render import page_view
from utils.latents.files import uncantor


@pytest.mark.parametrize(
    "tokens, words",
    [
        (["<bos>", " state", " D", "alla", "s", " is"], [0, 1, 2, 2, 2, 3]),
        (["The", " ugl", "iest", "."], [0, 1, 1, 2]),
        (["1", "9", "+", "2"], [0, 0, 1, 2]),
        (["l", "’", "homme"], [0, 1, 2]),
        ([" пло", "хой", " é", "té"], [0, 0, 1, 1]),
        (["日", "本", "語"], [0, 1, 2]),
        (["", "a", ""], [0, 1, 2]),
    ],
)
def test_tokens_of_a_word_have_one_number(tokens, words):
    assert word_numbers(tokens) == words


def view_of(nodes, links, tokens=(" Da", "llas", " is")):
    """A graph to group: nodes as `(kind, layer, pos, influence, name)`; a name in quotes only lists tokens."""
    rows = []
    for kind, layer, pos, own, name in nodes:
        node = {"kind": kind, "layer": layer, "pos": pos, "own": own, "share": 0.0, "name": name, "total": 0.0}
        node |= {"named": bool(name), "quiet": name.startswith("on '")}
        rows.append(node | ({"prob": 1.0} if kind == "logit" else {}))
    return {"tokens": list(tokens), "nodes": rows, "links": links, "paths": []}


def members(view):
    return {box.name: sorted(box.members) for box in find_boxes(view)}


LOGIT = ("logit", -1, 2, None, "Austin")


def test_tokens_of_a_word_are_one_box():
    nodes = [
        ("embedding", -1, 0, 0.4, " Da"),
        ("embedding", -1, 1, 0.3, "llas"),
        ("embedding", -1, 2, 0.2, " is"),
        LOGIT,
    ]
    assert members(view_of(nodes, [[0, 3, 1], [1, 3, 1], [2, 3, 1]])) == {"Austin": [3], "Dallas": [0, 1], " is": [2]}


def test_equal_names_at_one_place_are_one_box_in_all_layers():
    nodes = [
        ("latent", 0, 2, 0.5, "capital"),
        ("latent", 4, 2, 0.3, "capital?"),
        ("latent", 1, 1, 0.2, "capital"),
        LOGIT,
    ]
    boxes = find_boxes(view_of(nodes, [[0, 3, 1], [1, 3, 1], [2, 3, 1]]))
    assert sorted(sorted(box.members) for box in boxes) == [[0, 1], [2], [3]]
    assert {box.name for box in boxes[1:]} == {"capital"}


def test_latents_without_a_name_are_one_box_if_inputs_and_outputs_are_alike():
    nodes = [
        ("embedding", -1, 0, 0.1, " Da"),
        ("embedding", -1, 2, 0.1, " is"),
        ("latent", 1, 2, 0.3, "on ' a'"),
        ("latent", 2, 2, 0.2, "on ' b'"),
        ("latent", 2, 2, 0.2, "on ' c'"),  # reads something else
        ("latent", 4, 2, 0.2, "on ' d'"),  # alike, but two layers away
        ("latent", 1, 1, 0.2, "on ' e'"),  # alike, but elsewhere
        LOGIT,
    ]
    links = [[0, k, 1.0] for k in (2, 3, 5, 6)] + [[1, 4, 1.0]] + [[k, 7, 1.0] for k in (2, 3, 4, 5, 6)]
    found = members(view_of(nodes, links))
    assert found["on ' a' + 1 like it"] == [2, 3]
    assert all(len(group) == 1 for name, group in found.items() if "like it" not in name)


def test_of_opposite_effects_two_latents_are_not_alike():
    nodes = [
        ("embedding", -1, 0, 0.1, " Da"),
        ("latent", 1, 2, 0.3, "on ' a'"),
        ("latent", 1, 2, 0.2, "on ' b'"),
        LOGIT,
    ]
    found = members(view_of(nodes, [[0, 1, 1.0], [0, 2, 1.0], [1, 3, 1.0], [2, 3, -1.0]]))
    assert found["on ' a'"] == [1] and found["on ' b'"] == [2]


def test_errors_at_one_place_are_one_box():
    nodes = [("mlp_error", 0, 2, 0.5, "MLP error 0"), ("mlp_error", 3, 2, 0.3, "MLP error 3"), LOGIT]
    assert members(view_of(nodes, [[0, 2, 1], [1, 2, 1]]))["errors"] == [0, 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", [cloned, as_circuit_tracer, as_neuronpedia_backend])
def test_few_boxes_of_what_matters_are_found_in_graphs_of_every_tool(seed, form):
    graph = form(sample_graph(seed=seed))
    view = graph_view(graph)
    boxes = find_boxes(view)
    inside = [i for box in boxes for i in box.members]
    assert 5 <= len(boxes) <= MOST_BOXES and len(inside) == len(set(inside))
    assert view["nodes"][boxes[0].members[0]]["kind"] == "logit"
    linked = {frozenset((s, t)) for s, t, _ in view["links"]}
    for box in boxes[1:]:
        others = set(inside) - set(box.members)
        assert any(frozenset((i, j)) in linked for i in box.members for j in others), f"{box.name} stands alone"
    assert page_view(graph)["graphs"][0]["boxes"] == [[box.name, *box.members] for box in boxes]


def test_the_boxes_are_the_groups_with_most_influence():
    view = graph_view(sample_graph(seed=1))
    boxes = find_boxes(view)
    sizes = [sum(weight(view["nodes"][i]) for i in box.members) for box in boxes[1:]]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 0


def test_a_graph_that_opens_with_boxes_is_one_that_other_tools_read():
    graph = open_with_boxes(sample_graph(paths=True))
    check_graph(graph)
    view, params = graph_view(graph), graph["qParams"]
    assert [[name, *ids] for name, *ids in view["view"]["groups"]] == params["supernodes"]
    assert all(len(group) > 2 and set(group[1:]) <= set(params["pinnedIds"]) for group in params["supernodes"])
    boxes = find_boxes(view)
    assert len(params["pinnedIds"]) == sum(len(box.members) for box in boxes)
    assert set(view["view"]["pins"]) == {view["nodes"][i]["id"] for box in boxes for i in box.members}


def test_the_boxes_of_a_result_are_those_of_its_page():
    """Chapter 4 tests the boxes that the page shows: the same names, and the same tokens and latents at the same places."""
    result = prune_sample(sample_result(seed=2), 70, 9)
    graph = open_with_boxes(build_graph(result, LABELS))
    boxes = page_boxes(result, LABELS)
    assert len(boxes) >= 5 and result.kept_indices.tolist() != list(range(len(result.kept_indices)))
    shown = {node["node_id"]: (node["feature_type"], node["ctx_idx"], node["feature"]) for node in graph["nodes"]}
    pinned = [shown[name] for name in graph["qParams"]["pinnedIds"] if shown[name][0] == "cross layer transcoder"]
    nodes = [result.graph.nodes[i] for box in boxes for i in box.members]
    latents = [node for node in nodes if node.node_type.value == "latent"]
    assert [(node.ctx_idx, node.feature) for node in latents] == [(pos, uncantor(key)[1]) for _, pos, key in pinned]
    groups = [[box.name, len(box.members)] for box in boxes if len(box.members) > 1]
    assert groups == [[name, len(ids)] for name, *ids in graph["qParams"]["supernodes"]]


def test_a_graph_of_nothing_but_tokens_and_one_without_links_have_boxes_too():
    nodes = [("embedding", -1, 0, 0.4, " Da"), LOGIT]
    assert members(view_of(nodes, [[0, 1, 1.0]])) == {"Austin": [1], " Da": [0]}
    assert members(view_of(nodes, [])) == {"Austin": [1]}
    assert find_boxes(view_of([], [])) == []


def test_hostile_files_have_boxes_or_are_refused():
    for text in fuzzed(60, seed=5):
        try:
            view = graph_view(json.loads(text))
        except (ValueError, GraphFormatError):
            continue
        inside = [i for box in find_boxes(view) for i in box.members]
        assert len(inside) == len(set(inside)) and all(0 <= i < len(view["nodes"]) for i in inside)


# ---------------------------------------------------------------- neurons, ablations


def test_neurons_are_called_neurons():
    result = sample_result()
    result.dictionary_name = "neurons"
    view = graph_view(build_graph(result))
    assert view["word"] == "neuron"
    assert {node["where"].split()[0] for node in view["nodes"] if node["kind"] == "latent"} == {"neuron"}
    assert all("latent" not in " ".join(row) for row in view["facts"])
    assert graph_view(sample_graph())["word"] == "latent"
    odd = sample_graph()
    odd["metadata"]["generation_settings"]["latent_word"] = "<b>"
    assert graph_view(odd)["word"] == "latent"


def with_ablations(**changes):
    graph = open_with_boxes(sample_graph())
    latents = [n["node_id"] for n in graph["nodes"] if n["feature_type"] == "cross layer transcoder"]
    box = {"nodes": latents[:2], "removed": 1.5, "control": 6.25} | changes
    graph["metadata"]["ablations"] = {"target": " Austin", "baseline": 7.0, "draws": 5, "boxes": [box]}
    return graph, latents


def test_ablations_are_read_by_index():
    graph, latents = with_ablations()
    check_graph(graph)
    place = [node["node_id"] for node in graph["nodes"]]
    found = graph_view(graph)["ablations"]
    assert found["target"] == " Austin" and found["baseline"] == 7.0 and found["draws"] == 5
    (box,) = found["boxes"]
    assert box == {"members": sorted(map(place.index, latents[:2])), "removed": 1.5, "control": 6.25}


@pytest.mark.parametrize(
    "changes", [{"nodes": ["nowhere"]}, {"nodes": []}, {"nodes": "x"}, {"removed": None}, {"removed": "1"}]
)
def test_a_damaged_ablation_is_left_out(changes):
    assert graph_view(with_ablations(**changes)[0])["ablations"]["boxes"] == []


def test_an_ablation_without_controls_says_none():
    assert graph_view(with_ablations(control=None)[0])["ablations"]["boxes"][0]["control"] is None
    graph = sample_graph()
    for damaged in (None, [], {}, {"baseline": "x", "boxes": []}, {"baseline": 1.0, "boxes": 3}):
        graph["metadata"]["ablations"] = damaged
        assert graph_view(graph)["ablations"] is None
