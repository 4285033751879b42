"""`python -m solutions.trace … --attention`: which edges, what is stored, what the page reads of it and shows."""

import copy
import json

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, attribute_cross_layer
from solutions.chapter6_real_models import attribute_neurons
from solutions.chapter7_attention import open_graph, row_of, with_heads_cut
from solutions.trace import __main__ as command
from solutions.trace.attending import CONSTANTS, attend_graph, strongest_edges
from tests.course.dashboard_samples import chromium
from tests.course.test_accessible import findings
from tests.tiny import D_MODEL, PROMPT, tiny_model, tiny_transcoders
from utils.dashboard import build_graph, check_graph, write_page
from utils.dashboard.read_graph import graph_view
from utils.engine.graph import NodeType


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny"), dtype=torch.float32)


@pytest.fixture(scope="module")
def transcoders(model):
    return tiny_transcoders(model)


@pytest.fixture(scope="module")
def result(model, transcoders):
    return attribute(model, transcoders, PROMPT)


@pytest.fixture(scope="module")
def graph(model, transcoders, result):
    graph = build_graph(result)
    attend_graph(model, transcoders, result, graph, {})
    return graph


def test_the_strongest_edges_are_those_along_which_most_of_the_answer_moves(result):
    edges, nodes = strongest_edges(result, 20), result.graph.nodes
    assert len(set(edges)) == 20
    totals = result.adjacency_matrix.abs().sum(1)
    weights = {node: float(w) for node, w in zip(result.graph.indices(NodeType.LOGIT), result.logit_weights)}

    def score(target, source):
        worth = float(result.influence[target]) + weights.get(target, 0.0)
        return worth * abs(float(result.adjacency_matrix[target, source])) / float(totals[target])

    scores = [score(*edge) for edge in edges]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0
    kept = result.kept_indices.tolist()
    rest = [(kept[t], kept[s]) for t, s in result.pruned_matrix.nonzero().tolist() if (kept[t], kept[s]) not in edges]
    assert rest and max(score(*edge) for edge in rest) <= scores[-1] * (1 + 1e-6)
    assert any(nodes[target].node_type is NodeType.LOGIT for target, _ in edges)
    assert len(strongest_edges(result, 10**6)) == int((result.pruned_matrix != 0).sum())


def test_what_is_stored_is_what_an_edge_loses_without_the_head(model, transcoders, result, graph):
    check_graph(graph)
    stored, ids = graph["metadata"]["attention"], [node["node_id"] for node in graph["nodes"]]
    kept = result.kept_indices.tolist()
    x = open_graph(model, transcoders, result)
    for edge in stored["edges"][::10]:
        target, source = (kept[ids.index(edge[end])] for end in ("target", "source"))
        whole = float(result.adjacency_matrix[target, source])
        assert edge["value"] == pytest.approx(whole, rel=1e-5)
        for head in edge["heads"][:2]:
            without = row_of(with_heads_cut(x, [(head["layer"], head["head"])]), target)[source]
            assert head["loading"] == pytest.approx(whole - float(without), abs=1e-4 * abs(whole) + 1e-6)


def test_pairs_name_nodes_of_the_file_or_say_what_is_not_there(graph):
    ids = {node["node_id"] for node in graph["nodes"]}
    ends = [
        pair[side]
        for head in graph["metadata"]["attention"]["heads"]
        for look in head["looks"]
        for pair in look["pairs"]
        for side in ("query", "key")
    ]
    assert all(end.get("id") in ids or end["name"] for end in ends)
    assert any(end.get("name") not in (None, CONSTANTS) for end in ends), "a node that pruning dropped is named"


def test_neurons_and_a_cross_layer_transcoder(model):
    torch.manual_seed(3)
    weights = CrossLayerTranscoder(3, D_MODEL, 31, threshold=0.5).weights()
    weights.W_dec = [torch.randn_like(rows) for rows in weights.W_dec]
    clt = CrossLayerTranscoder.from_weights(weights)
    for dictionary, result in (
        (None, attribute_neurons(model, PROMPT, max_latent_nodes=20)),
        (weights, attribute_cross_layer(model, clt, PROMPT)),
    ):
        graph = build_graph(result)
        attend_graph(model, dictionary, result, graph, {})
        assert graph_view(graph)["attention"]["edges"]


def test_the_command_stores_it_and_the_page_has_it(model, transcoders, tmp_path):
    tiny_model(tmp_path / "tiny" / "model", dtype=torch.float32)
    for layer, transcoder in transcoders.items():
        transcoder.save_model(tmp_path / "tiny" / "transcoders" / f"layer_{layer}")
    assert command.main([PROMPT, "--attention", "--model", str(tmp_path / "tiny"), "--out", str(tmp_path / "o")]) == 0
    assert json.loads((tmp_path / "o" / "graph.json").read_text())["metadata"]["attention"]["edges"]
    assert '"attention":{"heads"' in (tmp_path / "o" / "index.html").read_text()


# ---------------------------------------------------------------- reading


def test_it_is_read_by_index(graph):
    view, stored = graph_view(graph), graph["metadata"]["attention"]
    found = view["attention"]
    assert [head["name"] for head in found["heads"]] == [f"{h['layer']}.{h['head']}" for h in stored["heads"]]
    assert len(found["edges"]) == len(stored["edges"])
    edge, kept = found["edges"][0], stored["edges"][0]
    assert [view["nodes"][edge[end]]["id"] for end in ("source", "target")] == [kept["source"], kept["target"]]
    place, loading, query, key = edge["heads"][0]
    assert found["heads"][place]["name"] == f"{kept['heads'][0]['layer']}.{kept['heads'][0]['head']}"
    assert loading == pytest.approx(kept["heads"][0]["loading"], rel=1e-3)
    assert [query, key] == [kept["heads"][0]["query"], kept["heads"][0]["key"]]


def damaged(graph, place, value):
    copied = copy.deepcopy(graph)
    where = copied["metadata"]["attention"]
    *way, last = place
    for step in way:
        where = where[step]
    where[last] = value
    return graph_view(copied)["attention"]


@pytest.mark.parametrize("value", [None, "x", 3, [], {}, {"edges": 1, "heads": 2}, {"edges": [None], "heads": [1]}])
def test_what_is_of_another_form_is_left_out(graph, value):
    copied = copy.deepcopy(graph)
    copied["metadata"]["attention"] = value
    assert graph_view(copied)["attention"] is None


@pytest.mark.parametrize("value", [None, "x", -1, 10**9, 1.5, True, [], float("nan")])
def test_a_damaged_part_is_left_out_and_the_rest_stays(graph, value):
    whole = graph_view(graph)["attention"]
    assert len(damaged(graph, ["edges", 0, "source"], value)["edges"]) == len(whole["edges"]) - 1
    n_heads = len(whole["edges"][0]["heads"])
    assert len(damaged(graph, ["edges", 0, "heads", 0, "query"], value)["edges"][0]["heads"]) == n_heads - 1
    assert len(damaged(graph, ["heads", 0, "pattern"], value)["heads"]) == len(whole["heads"]) - 1
    pairs = damaged(graph, ["heads", 0, "looks", 0, "pairs", 0, "query"], value)["heads"][0]["looks"][0]["pairs"]
    assert len(pairs) == len(whole["heads"][0]["looks"][0]["pairs"]) - 1


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def page(graph, tmp_path_factory):
    graph = copy.deepcopy(graph)
    graph["metadata"]["attention"]["edges"].pop()  # as if it had been weaker than those that are looked into
    path = write_page(graph, tmp_path_factory.mktemp("page") / "page.html")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        yield page
        assert errors == []


def opened(page, graph):
    """The strongest edge that has a head's part, opened from its target's list."""
    edge = graph["metadata"]["attention"]["edges"][0]
    page.keyboard.press("Escape")
    page.locator(f'.graph .node[data-id="{edge["target"]}"]').click(force=True)
    page.mouse.move(2, 2)
    if page.locator("#panel .inputs .more").count():
        page.locator("#panel .inputs .more").click()
    row = page.locator(f'#panel .inputs .row[data-id="{edge["source"]}"]')
    row.locator("xpath=following-sibling::button").click()
    return edge


def test_an_edge_opens_with_its_heads(page, graph):
    edge = opened(page, graph)
    address = f"{edge['source']}%3E{edge['target']}"
    assert address in page.evaluate("() => location.hash")
    rows = page.locator("#panel .head-row").all_inner_texts()
    assert [row.split("\n")[0].split()[-1] for row in rows] == [f"{h['layer']}.{h['head']}" for h in edge["heads"]]
    assert page.locator(".over .edge").count() == 1, "the edge alone is brought out"


def test_a_head_opens_with_its_pattern_and_its_pairs(page, graph):
    edge = opened(page, graph)
    page.locator("#panel .head-row").first.click()
    head = edge["heads"][0]
    stored = next(
        h for h in graph["metadata"]["attention"]["heads"] if (h["layer"], h["head"]) == (head["layer"], head["head"])
    )
    look = next(x for x in stored["looks"] if (x["query"], x["key"]) == (head["query"], head["key"]))
    n = len(stored["pattern"])
    assert page.locator("#panel .pattern .cell").count() == n * (n + 1) // 2
    assert page.locator("#panel .query-key").count() == len(look["pairs"])
    assert page.locator("#panel .pattern").get_attribute("aria-label").startswith("Attention of head")
    page.locator("#panel .head-row").first.click()
    assert page.locator("#panel .pattern").count() == 0


def test_a_line_that_is_brought_out_can_be_clicked(page, graph):
    edge = graph["metadata"]["attention"]["edges"][0]
    page.keyboard.press("Escape")
    page.locator(f'.graph .node[data-id="{edge["target"]}"]').click(force=True)
    page.mouse.move(2, 2)
    free = page.evaluate(
        """([source, target]) => {
          const picture = pictures[0], graph = graphs[0], places = [source, target].map((id) => graph.place.get(id));
          const bright = picture.bright.filter(({ link }) => link.source === places[0] && link.target === places[1]);
          const board = picture.board.getBoundingClientRect();
          const isFree = ([x, y]) => picture.nodeAt({ clientX: x, clientY: y }) < 0;
          return pointsOf(bright, board, FINE).find((point) => isFree(point));
        }""",
        [edge["source"], edge["target"]],
    )
    page.mouse.click(*free)
    assert page.locator("#panel h2").inner_text().count("→") + page.locator("#panel h2").inner_text().count("⊣") == 1
    page.keyboard.press("Escape")
    assert "clickedId" not in page.evaluate("() => location.hash")


def test_an_edge_in_the_address_is_opened_and_a_foreign_one_is_not(page, graph):
    edge = graph["metadata"]["attention"]["edges"][1]
    for address, found in ((f"{edge['source']}%3E{edge['target']}", 1), (f"{edge['target']}%3E{edge['source']}", 0)):
        page.goto(page.url.split("#")[0] + "#v=1&clickedId=" + address)
        page.wait_for_function("() => location.hash.includes('v=1')")
        assert page.locator("#panel .head-list").count() == found


def test_an_edge_without_data_says_how_to_get_them(page, graph):
    edge = graph["metadata"]["attention"]["edges"][-1]
    page.goto(page.url.split("#")[0] + f"#v=1&clickedId={edge['source']}%3E{edge['target']}")
    page.wait_for_function("() => document.querySelector('#panel').innerText.includes('strongest edges')")


def test_the_card_of_an_edge_is_for_everyone(page, graph):
    opened(page, graph)
    page.locator("#panel .head-row").first.click()
    assert findings(page, "#panel") == []
