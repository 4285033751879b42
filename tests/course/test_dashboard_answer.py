"""What the page says of the answer, in a real browser: its direct inputs, its paths, its supernodes, and that numbers are seen.

Skipped, with the reason, where Playwright or Chromium is missing.
"""

import re

import pytest

from tests.course.dashboard_samples import as_circuit_tracer, cloned, sample_graph
from tests.course.samples import prune_sample, sample_result
from utils.dashboard import build_graph, open_with_boxes
from utils.dashboard.read_graph import graph_view


@pytest.fixture(scope="module")
def graph():
    """A graph as the command writes it: with a path, and boxes to open with."""
    return open_with_boxes(sample_graph(paths=True))


def direct(graph):
    """The answer of the graph's path, its direct links, strongest first, and the sum of all that reached it before pruning."""
    answer = graph["metadata"]["paths"][0]["nodes"][-1]
    links = sorted((e for e in graph["links"] if e["target"] == answer), key=lambda e: -abs(e["weight"]))
    return answer, links, next(n["input_total"] for n in graph["nodes"] if n["node_id"] == answer)


def percents(text):
    return [float(found) / 100 for found in re.findall(r"(\d+(?:\.\d+)?)\u202f%", text)]


def test_the_sentence_names_the_strongest_direct_inputs_and_what_was_pruned(show, graph):
    page = show(graph)
    _, links, total = direct(graph)
    sentence = page.locator("#sentences .answer")
    said = percents(sentence.inner_text())
    shares = [abs(link["weight"]) / total for link in links]
    expected = [*shares[:5], *([sum(shares[5:])] if shares[5:] else []), 1 - sum(shares)]
    assert said == pytest.approx(expected, abs=0.0051) and sum(said) == pytest.approx(1, abs=0.02)
    ids = {n["node_id"]: n for n in graph["nodes"]}
    names = sentence.locator("button").all_inner_texts()
    assert len(names) == min(5, len(links))
    for name, link in zip(names, links):
        source = ids[link["source"]]
        assert source["feature_type"] != "embedding" or name == source["token"].replace(" ", "·")
    minus = sentence.locator(".number.minus").count()
    assert minus == sum(link["weight"] < 0 for link in links[:5])
    sentence.locator("button").first.click()
    assert page.evaluate("() => state.sides[0].clicked") == links[0]["source"]


def test_the_page_opens_with_direct_inputs_and_paths_lit(show, graph):
    page = show(graph)
    answer, links, _ = direct(graph)
    path = graph["metadata"]["paths"][0]["nodes"]
    near = {e.get_attribute("data-of") for e in page.locator(".over .near").all()}
    assert near == {*path, answer, *(link["source"] for link in links[:5])}
    assert page.locator(".over path.edge").count() >= min(5, len(links))


def test_the_paths_say_what_they_make_together(show):
    graph = sample_graph(paths=True)
    answer, links, _ = direct(graph)
    step = {"nodes": [links[0]["source"], answer], "strength": 0.125}
    graph["metadata"]["paths"].append(step)
    page = show(graph)
    heading = page.locator(".list.paths h3").inner_text()
    assert "together" in heading and percents(heading) == [pytest.approx(0.375, abs=0.006)]
    assert page.locator(".list.paths .row").count() == 2


def test_a_low_window_has_the_sentence_in_the_panel(show, graph):
    page = show(graph, (844, 390))
    assert not page.locator("#sentences .answer").is_visible()
    assert page.locator("#panel .answer").is_visible()


def test_a_graph_of_another_tool_says_no_share_that_its_file_does_not_hold(show):
    page = show(as_circuit_tracer(sample_graph()))
    assert "Direct inputs of" in page.locator("#sentences").inner_text()
    assert "pruning" not in page.locator("#sentences").inner_text()


# ---------------------------------------------------------------- supernodes


def test_the_page_opens_with_supernodes_that_can_be_taken_apart(show, graph):
    page = show(graph)
    boxes = page.locator("#sub-graph .box")
    groups = graph["qParams"]["supernodes"]
    assert 5 <= boxes.count() <= 9 and groups
    names = page.locator("#sub-graph .box.group title").all_text_contents()
    assert [name for name in names if name != "Ungroup"] == [group[0] for group in groups]
    assert page.locator("#sub-graph .box.group .apart").count() == len(groups)
    before = boxes.count()
    page.locator("#sub-graph .box.group .apart").first.click()
    assert boxes.count() == before + len(groups[0]) - 2


def test_a_graph_without_a_view_gets_its_supernodes_by_a_button(show):
    graph = as_circuit_tracer(sample_graph())
    graph["qParams"] = {}
    page = show(graph, address="#v=1&tab=subgraph")
    assert page.locator("#sub-graph .box").count() == 0
    page.locator("#sub-boxes").click()
    boxes = page.evaluate("() => graphs[0].boxes.map(([name]) => name)")
    assert page.locator("#sub-graph .box").count() == len(boxes) >= 5
    page.locator("#undo").click()
    assert page.locator("#sub-graph .box").count() == 0


def test_a_box_says_what_was_measured_without_it(show, graph):
    graph = cloned(graph)
    latents = [n for n in graph["nodes"] if n["feature_type"] == "cross layer transcoder"]
    first = max(latents, key=lambda n: n["own_influence"])
    for n in [n for n in latents if n["ctx_idx"] == first["ctx_idx"]][:3] + [first]:
        n["clerp"] = "one name"
    graph = open_with_boxes(graph)
    ids = next(ids for name, *ids in graph["qParams"]["supernodes"] if name == "one name")
    box = {"nodes": ids[::-1], "removed": 2.25, "control": 6.5}
    graph["metadata"]["ablations"] = {"target": " Austin", "baseline": 7.0, "draws": 5, "boxes": [box]}
    page = show(graph)
    (effect,) = page.locator("#sub-graph .box .effect").all_text_contents()
    assert "7.00 → 2.25" in effect and "control 6.50" in effect
    group = page.locator("#sub-graph .box.group", has=page.locator(".effect"))
    group.click(position={"x": 30, "y": 8})
    measured = page.locator("#panel .measured").inner_text()
    assert "goes from 7.00 to 2.25" in measured and "6.50 (mean of 5 draws)" in measured
    group.focus()
    page.keyboard.press("u")
    assert page.locator("#sub-graph .box .effect").count() == 0  # alone they were not removed


# ---------------------------------------------------------------- names and numbers


def test_neurons_are_never_called_latents(show):
    result = prune_sample(sample_result(seed=0), 70, 9)
    result.dictionary_name = "neurons"
    page = show(open_with_boxes(build_graph(result)))
    page.locator(".graph .node.latent").first.click(force=True)
    page.evaluate("() => drawTables()")
    words = page.evaluate(
        "() => [document.body.innerText, ...[...document.querySelectorAll('[title], [aria-label], svg title, svg text')]"
        ".flatMap((e) => [e.getAttribute('title'), e.getAttribute('aria-label'), e.tagName === 'title' || e.tagName === 'text' ? e.textContent : ''])]"
        ".filter(Boolean)"
    )
    assert any("neuron" in text for text in words)
    assert not [text for text in words if "latent" in text.lower()]


def test_a_latents_number_stands_in_every_row(show, graph):
    page = show(graph)
    ids = {n["node_id"]: n for n in graph["nodes"]}
    rows = page.locator(".list.top .row").all()
    latents = [row for row in rows if ids[row.get_attribute("data-id")]["feature_type"] == "cross layer transcoder"]
    assert len(latents) > 5
    for row in latents:
        layer, latent, _ = row.get_attribute("data-id").split("_")
        assert f"{layer}/{latent}" in row.inner_text()


def test_an_influence_has_a_bar_and_a_share_a_percent_sign(show, graph):
    page = show(graph)
    influence = page.locator(".list.top .row .number").all()
    assert all("%" not in cell.inner_text() and "influence" in cell.get_attribute("class") for cell in influence)
    widths = [float(cell.evaluate("e => parseFloat(e.style.getPropertyValue('--part'))")) for cell in influence]
    assert widths[0] == 100 and widths == sorted(widths, reverse=True)
    assert "gradient" in influence[0].evaluate("e => getComputedStyle(e).backgroundImage")
    assert all("%" in cell.inner_text() for cell in page.locator(".list.paths .row .number").all())
    names = dict(row[:2] for row in graph_view(graph)["facts"])
    assert "completeness score" not in names and {"completeness gap", "share not from errors"} <= names.keys()


@pytest.mark.parametrize("size", [(1280, 720), (1440, 900), (1920, 1080)])
def test_the_table_shows_its_numbers(show, graph, size):
    """No column of numbers is cut or lies outside the window, however wide it is."""
    graph = open_with_boxes(prune_long(graph))
    page = show(graph, size, "#v=1&tab=table")
    room = page.locator("#tables").bounding_box()
    for table in ("nodes", "links"):
        heads = page.locator(f"table.{table} thead th").all()
        edges = [head.bounding_box() for head in heads]
        assert all(edge["x"] >= room["x"] and edge["x"] + edge["width"] <= room["x"] + room["width"] for edge in edges)
    if size[0] == 1920:  # both beside each other, and no empty column at their side
        nodes, links = (page.locator(f"table.{name}").bounding_box() for name in ("nodes", "links"))
        assert nodes["y"] == links["y"] or links["y"] > nodes["y"] + nodes["height"]
        assert links["x"] + links["width"] > room["x"] + 0.9 * room["width"]


def prune_long(graph):
    """The same graph with long labels, as label files have them."""
    nodes = [dict(node) for node in graph["nodes"]]
    for node in nodes:
        if node["feature_type"] == "cross layer transcoder":
            node["clerp"] = "fires on the last token of a city's name in sentences about states and their capitals"
    return {**graph, "nodes": nodes}
