"""Graph files of other tools, damaged files, and a thousand hostile ones."""

import json
import re

import pytest

from tests.course.dashboard_samples import (
    ERROR,
    LABELS,
    LATENT,
    as_circuit_tracer,
    as_neuronpedia_backend,
    cloned,
    fuzzed,
    sample_graph,
)
from tests.course.samples import prune_sample, sample_result
from utils.dashboard import GraphFormatError, build_graph, read_graph, render_page
from utils.dashboard.read_graph import graph_view


@pytest.fixture(scope="module")
def graph():
    """A graph in which no latent has a number that an error's id could be taken for."""
    result = sample_result()
    for node in result.graph.nodes:
        node.feature += 100 * (node.node_type.value == "latent")
    labels = {(layer, latent + 100): name for (layer, latent), name in LABELS.items()}
    return build_graph(prune_sample(result, 70, 9), labels)


def described(view):
    """Nodes by what they are (kind, row, position, key), and links between such names with their weights."""
    names = [(n["kind"], n["row"], n["pos"], n["key"]) for n in view["nodes"]]
    return set(names), {(names[s], names[t]): w for s, t, w in view["links"]}


def same(first, second):
    nodes, links = described(first)
    other_nodes, other_links = described(second)
    assert nodes == other_nodes
    assert links.keys() == other_links.keys()
    assert all(links[key] == pytest.approx(other_links[key], rel=1e-4) for key in links)


def test_a_file_of_circuit_tracer_is_the_same_graph(graph):
    made = as_circuit_tracer(graph)
    names = [node["node_id"] for node in made["nodes"]]
    assert len(set(names)) == len(names), "this sample has no shared ids"
    same(graph_view(graph), graph_view(made))
    assert graph_view(made)["warnings"] == []


def test_ids_shared_by_a_latent_and_an_error_are_told_apart():
    result = prune_sample(sample_result(), 150, 12)
    graph = build_graph(result)
    made = as_circuit_tracer(graph)
    names = [node["node_id"] for node in made["nodes"]]
    shared = {name for name in names if names.count(name) > 1}
    assert len(shared) >= 2
    view = graph_view(made)
    assert f"{len(shared)} ids are shared" in view["warnings"][0]
    assert len({node["id"] for node in view["nodes"]}) == len(names)
    nodes, links = described(graph_view(graph))
    found_nodes, found_links = described(view)
    assert found_nodes == nodes and len(found_links) == len(links)
    # links into the latent, and all that leave both of a pair, are right; a lone one may be of either
    wrong = set(found_links) - set(links)
    doubtful = {(source, target) for source, target in links if source[0] == "mlp_error"}
    assert (
        len(wrong) <= sum("given to the latent" in w and int(w.split()[0]) for w in view["warnings"]) <= len(doubtful)
    )
    assert all(pair[1] in {t for _, t in links} for pair in wrong)


def test_a_file_of_neuronpedias_generator_is_the_same_graph(graph):
    view = graph_view(as_neuronpedia_backend(graph))
    same(graph_view(graph), view)
    assert {n["name"] for n in view["nodes"] if n["kind"] == "logit"} == {" Austin", " Houston", " Albany"}
    assert all(n["prob"] == 0.93 for n in view["nodes"] if n["kind"] == "logit")
    assert not any(n["named"] for n in view["nodes"])


def test_attention_latents_and_unknown_kinds_are_drawn(graph):
    made = as_neuronpedia_backend(graph)
    latents = [node for node in made["nodes"] if node["feature_type"] == LATENT]
    latents[0]["feature_type"], latents[1]["feature_type"] = "lorsa", "bias"
    error = next(node for node in made["nodes"] if node["feature_type"] == ERROR)
    error["feature_type"] = "lorsa error"
    view = graph_view(made)
    by_id = {raw["node_id"]: node for raw, node in zip(made["nodes"], view["nodes"])}
    attention = by_id[latents[0]["node_id"]]
    assert attention["kind"] == "latent" and attention["key"].startswith("attention latent ")
    assert by_id[latents[1]["node_id"]]["kind"] == "other" and by_id[latents[1]["node_id"]]["what"] == "bias"
    assert by_id[error["node_id"]]["what"] == "attention error"
    render_page(made)


def test_old_files_without_paired_numbers_are_read(graph):
    made = as_circuit_tracer(graph)
    del made["metadata"]["schema_version"]
    for node in made["nodes"]:
        if node["feature_type"] == LATENT:
            layer, index, _ = node["node_id"].split("_")
            node["feature"] = int(f"{layer}{int(index):05d}")
    same(graph_view(graph), graph_view(made))


def test_a_view_saved_by_circuit_tracers_page_is_read(graph):
    made = as_circuit_tracer(graph)
    names = [node["node_id"] for node in made["nodes"] if node["feature_type"] == LATENT][:4]
    number = next(node["feature"] for node in made["nodes"] if node["node_id"] == names[0])
    made["qParams"] = {
        "pinnedIds": ",".join([*names, "gone"]),
        "supernodes": json.dumps([["pair", names[0], names[1]], ["empty", "gone"]]),
        "clerps": json.dumps(
            [[number, "by number"], [f"\U0001f916{'_'.join(names[1].split('_')[:2])}", "by robot"], [names[2], "by id"]]
        ),
        "clickedId": names[3],
        "pruningThreshold": "0.6",
        "linkType": None,
        "sg_pos": None,
    }
    view = graph_view(made)["view"]
    assert view["pins"] == names and view["groups"] == [["pair", *names[:2]]]
    assert view["clicked"] == names[3] and view["prune"] == 0.6
    keys = ["/".join(name.split("_")[:2]) for name in names]
    assert view["labels"] == {keys[0]: "by number", keys[1]: "by robot", keys[2]: "by id"}


def test_shares_of_influence_are_the_same_with_and_without_our_additions(graph):
    full, bare = graph_view(graph), graph_view(as_circuit_tracer(graph))
    for ours, theirs in zip(full["nodes"], bare["nodes"]):
        assert theirs["cum"] == ours["cum"]
        # what was dropped between two nodes is counted with the second
        assert theirs["share"] >= ours["share"] - 1e-4
    assert sum(n["share"] for n in bare["nodes"]) == pytest.approx(max(n["cum"] or 0 for n in bare["nodes"]), abs=1e-3)


def test_a_one_layer_graph_is_drawn():
    view = graph_view(as_circuit_tracer(build_graph(sample_result(n_layers=1))))
    assert view["rows"] == ["Input", "Layer 0", "Output"]


# ---------------------------------------------------------------- damage


def change(key, value, kind=LATENT):
    def damage(graph):
        next(node for node in graph["nodes"] if node["feature_type"] == kind)[key] = value

    return damage


def drop(key):
    return lambda graph: graph["nodes"][3].pop(key)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda g: g.clear(), "has no 'metadata'"),
        (lambda g: g.update(nodes={}), "'nodes' must be a list"),
        (lambda g: g["metadata"].pop("prompt_tokens"), "prompt_tokens must be a list of at least one text"),
        (lambda g: g["metadata"].update(prompt_tokens=["a", 1]), "prompt_tokens"),
        (lambda g: g["metadata"].update(prompt=[1]), "metadata.prompt must be text"),
        (lambda g: g["metadata"].update(prompt_tokens=["a"] * 2001), "2,001 tokens"),
        (lambda g: g["nodes"].__setitem__(4, "text"), "Node number 4 must be an object"),
        (drop("node_id"), "Node number 3 has no node_id"),
        (drop("feature_type"), "has no feature_type"),
        (change("node_id", 7), "has a node_id that is not text"),
        (change("ctx_idx", 10), "at position 10 of 10 tokens"),
        (change("ctx_idx", -1), "at position -1"),
        (change("ctx_idx", "2"), "ctx_idx of node '.*' must be a whole number"),
        (change("ctx_idx", 10**400), "must be a whole number"),
        (change("layer", "L"), "layer of node '.*' is 'L'"),
        (change("layer", None), "is None, which is not a layer"),
        (change("layer", 10**9), "is on layer 1000000000"),
        (change("influence", 1.5), "influence of node .* is 1.5, which is not between 0 and 1"),
        (change("influence", float("nan")), "influence of node .* is nan"),
        (change("activation", float("inf")), "activation of node .* is inf"),
        (change("activation", "1"), "activation of node .* must be a number"),
        (change("activation", True), "activation of node .* must be a number"),
        (change("clerp", 5), "clerp of node .* must be text"),
        (change("token_prob", -0.1, "logit"), "token_prob of node"),
        (lambda g: g["nodes"].append(dict(g["nodes"][3])), "Two nodes have the id 'E_"),
        (lambda g: g["links"].__setitem__(1, None), "Link number 1 must be an object"),
        (lambda g: g["links"][2].update(source=None), "Link number 2 has no source"),
        (lambda g: g["links"][2].update(target="nowhere"), "Link number 2 names the target 'nowhere'"),
        (lambda g: g["links"][0].pop("weight"), "Link number 0 has no weight"),
        (lambda g: g["links"][0].update(weight="1"), "must be a number"),
        (lambda g: g["links"][0].update(weight=float("nan")), "weighs nan"),
        (lambda g: g["links"][0].update(weight=10**400), "weighs a very large number"),
        (lambda g: g["links"].append(dict(g["links"][0])), "Two links go from"),
        (lambda g: g["links"][0].update(source=g["links"][0]["target"]), "to itself"),
        (lambda g: g.update(nodes=[{}] * 20_001), "20,001 nodes: prune it to 20,000"),
    ],
)
def test_damage_is_said_in_one_sentence_that_says_where(graph, damage, sentence):
    broken = cloned(graph)
    damage(broken)
    with pytest.raises(GraphFormatError, match=sentence) as refusal:
        render_page(broken)
    is_sentence(str(refusal.value))


def is_sentence(text):
    assert text[0].isupper() or text[0] in "'(" or re.match(r"[\w.-]+(: | )", text), text
    assert text.endswith(".") and "\n" not in text and len(text) < 300, text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "graph.json is not JSON: Expecting value at line 1, column 1"),
        (b'{"metadata": {}', "is not JSON: .* at line 1, column 16"),
        (b"\xff\xfe\x00", "is not JSON: byte 0 is not UTF-8"),
        (b"[" * 100_000, "nesting is too long"),
        (b'{"metadata": ' + b"9" * 5000 + b"}", "a number"),
        (b"[]", "graph.json: This is not a graph"),
        (b"null", "graph.json: This is not a graph"),
        (b'{"metadata": {}, "nodes": [], "links": []}', "graph.json: metadata.prompt_tokens"),
    ],
)
def test_what_is_no_graph_is_refused_with_the_files_name(tmp_path, content, sentence):
    path = tmp_path / "graph.json"
    path.write_bytes(content)
    with pytest.raises(GraphFormatError, match=sentence) as refusal:
        read_graph(path)
    is_sentence(str(refusal.value))
    assert path.read_bytes() == content


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraphFormatError, match="nowhere.json cannot be read: No such file"):
        read_graph(tmp_path / "nowhere.json")


# ---------------------------------------------------------------- a thousand files


def test_a_thousand_hostile_files_are_drawn_or_refused_in_a_sentence(tmp_path):
    clean = render_page(sample_graph())
    frame = without_data(clean)
    path, drawn, refused = tmp_path / "graph.json", 0, 0
    for text in fuzzed(1000):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            html = render_page(read_graph(path))
        except GraphFormatError as refusal:
            is_sentence(str(refusal))
            refused += 1
            continue
        assert without_data(html) == frame, text[:300]
        drawn += 1
    assert drawn > 200 and refused > 200, (drawn, refused)


def without_data(html):
    """A page without its data and its title: what the browser reads as markup, script and style."""
    start = html.index('id="view">')
    end = html.index("</script>", start)
    data = html[start:end]
    assert not set(data[10:]) & set("<>&") and data.isascii()
    page = html[:start] + html[end:]
    title = re.search(r"<title>([^<]*)</title>", page)
    return page.replace(title[0], "")
