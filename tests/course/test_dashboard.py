"""The graph JSON and the page: the format's traps, hostile text, and numbers that agree with the result."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
import torch

from tests.course.samples import HOSTILE, prune_sample, sample_result
from utils import dashboard
from utils.dashboard.graph_json import build_graph, check_graph, slugify, write_graph
from utils.dashboard.render import page_view, render_page, write_page
from utils.engine.json_input import GraphFormatError
from utils.latents.files import cantor, uncantor
from utils.models import dictionary_name

SCHEMA = json.loads((Path(dashboard.__file__).parent / "graph.schema.json").read_text())
LABELS = {(0, 0): "The (word)", (2, 7): "Dallas (city)"}


@pytest.fixture
def result():
    return prune_sample(sample_result(), n_nodes=70, edges_per_row=9)


@pytest.fixture
def hostile_graph():
    """Every hostile text as a token of the prompt, and most of them as an answer and as labels too."""
    answers = {text: 0.1 for text in HOSTILE[:8]}
    made = sample_result(HOSTILE, n_layers=3, per_cell=1, answers=answers, prompt="".join(HOSTILE))
    labels = {(layer, k): HOSTILE[(layer + k) % len(HOSTILE)] for layer in range(3) for k in range(len(HOSTILE))}
    return build_graph(made, labels)


def valid(graph):
    jsonschema.Draft7Validator(SCHEMA).validate(graph)
    check_graph(graph)
    return graph


def test_the_schema_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "options",
    [{}, {"n_layers": 1}, {"tokens": ["a"]}, {"per_cell": 0}, {"answers": {"a": 1.0}}, {"tokens": ["a", "a", "a"]}],
)
def test_graphs_of_every_shape_are_valid(options, tmp_path):
    graph = valid(build_graph(sample_result(**options), LABELS))
    read_back = json.loads(write_graph(graph, tmp_path / "graph.json").read_text())
    assert read_back == graph


def test_hostile_text_survives_as_data(hostile_graph, tmp_path):
    valid(hostile_graph)
    read_back = json.loads(write_graph(hostile_graph, tmp_path / "graph.json").read_text(encoding="ascii"))
    assert read_back["metadata"]["prompt_tokens"] == HOSTILE


def test_links_go_from_source_to_target_with_the_kept_weights(result):
    graph = build_graph(result)
    kept = result.kept_indices.tolist()
    place = {node["node_id"]: i for i, node in enumerate(graph["nodes"])}
    rebuilt = torch.zeros_like(result.pruned_matrix)
    for link in graph["links"]:
        rebuilt[place[link["target"]], place[link["source"]]] = link["weight"]
    assert torch.equal(rebuilt, result.pruned_matrix)
    assert [n["ctx_idx"] for n in graph["nodes"]] == [result.graph.nodes[i].ctx_idx for i in kept]
    sizes = [abs(link["weight"]) for link in graph["links"]]
    assert sizes == sorted(sizes, reverse=True)


def test_an_error_is_never_taken_for_a_latent():
    """Latent p of layer 0 at position p has, in a careless form, the id of the error of layer p at position p."""
    graph = build_graph(sample_result(per_cell=1))
    for key in ("node_id", "jsNodeId"):
        assert len({node[key] for node in graph["nodes"]}) == len(graph["nodes"])
    error = next(node for node in graph["nodes"] if node["feature_type"] == "mlp reconstruction error")
    assert (error["node_id"], error["feature"]) == ("0_-1_0", -1)


def test_cantor_numbers_name_layer_and_latent(result):
    pairs = [(0, 0), (0, 1), (1, 0), (27, 163_839), (61, 16_777_215)]
    assert [uncantor(cantor(*pair)) for pair in pairs] == pairs
    for node in build_graph(result)["nodes"]:
        if node["feature_type"] == "cross layer transcoder":
            layer, latent, position = map(int, node["node_id"].split("_"))
            assert uncantor(node["feature"]) == (layer, latent)
            assert (node["layer"], node["ctx_idx"]) == (str(layer), position)


@pytest.mark.parametrize("token", [" plain", 'say "d"', "(p=0.9)", ' ") (p=', "a)b(c"])
def test_other_readers_find_token_and_probability_in_a_logits_label(token):
    graph = build_graph(sample_result(answers={token: 0.375}))
    logit = next(node for node in graph["nodes"] if node["feature_type"] == "logit")
    assert logit["clerp"].split("(p=")[1].split(")")[0] == "0.375"  # as the three viewers read it
    assert logit["clerp"].count('"') == 2
    assert logit["token"] == token
    assert logit["isLogit"] and logit["influence"] is None


def test_influence_is_the_running_share(result):
    graph = build_graph(result)
    inner = sorted((n for n in graph["nodes"] if not n["isLogit"]), key=lambda n: n["influence"])
    own = [node["own_influence"] for node in inner]
    assert own == sorted(own, reverse=True)
    not_logits = result.influence.clone()
    not_logits[-3:] = 0
    for node in (inner[0], inner[5]):
        above = not_logits[not_logits >= node["own_influence"] - 1e-9].sum() / not_logits.sum()
        assert node["influence"] == pytest.approx(above.item(), abs=1e-5)


def test_shares_are_of_all_inputs_before_pruning(result):
    graph = build_graph(result)
    kept = result.kept_indices.tolist()
    for i, node in zip(kept, graph["nodes"]):
        assert node["input_total"] == pytest.approx(result.adjacency_matrix[i].abs().sum().item())


def test_the_saved_view_has_arrays_and_selects_the_answer(result):
    view = build_graph(result)["qParams"]
    assert view["pinnedIds"] == [] and view["supernodes"] == []
    assert view["clickedId"] == "7_50_9"


def test_scan_and_slug_can_be_uploaded(result):
    result.model_name, result.prompt = "google/gemma-3", "¿Qué? / <b>"
    meta = valid(build_graph(result))["metadata"]
    for key in ("scan", "slug"):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", meta[key])
    assert build_graph(result, scan="org/repo@main")["metadata"]["scan"] == "org/repo@main"
    with pytest.raises(GraphFormatError, match="slug"):
        build_graph(result, slug="../up")


@pytest.mark.parametrize(
    "hub_id, name, source_set",
    [
        ("google/gemma-3-270m-it", "gemma-3-270m-it", "gemmascope-2-transcoder-16k"),
        ("google/gemma-3-1b-it", "gemma-3-1b-it", "gemmascope-2-transcoder-16k"),
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b", "transcoder-hp-lowl0"),
    ],
)
def test_neuronpedia_finds_the_courses_models(result, hub_id, name, source_set):
    result.model_name, result.dictionary_name = hub_id, dictionary_name(name)
    graph = valid(build_graph(result))
    assert graph["metadata"]["scan"] == name
    assert graph["metadata"]["feature_details"] == {"neuronpedia_source_set": source_set}
    links = [node["link"] for node in page_view(graph)["graphs"][0]["nodes"] if node["kind"] == "latent"]
    named = [node["node_id"].split("_")[:2] for node in graph["nodes"] if node["feature_type"].startswith("cross")]
    assert links == [f"https://www.neuronpedia.org/{name}/{layer}-{source_set}/{latent}" for layer, latent in named]
    result.dictionary_name = "neurons"  # which Neuronpedia does not show
    graph = build_graph(result)
    assert graph["metadata"]["scan"] == name and "feature_details" not in graph["metadata"]
    assert not any("link" in node for node in page_view(graph)["graphs"][0]["nodes"])


@pytest.mark.parametrize("scan", ["a/b", "javascript:x", "", 'x" onclick="', None, 3])
def test_no_address_is_made_of_odd_names(result, scan):
    graph = build_graph(result)
    graph["metadata"] |= {"scan": scan, "feature_details": {"neuronpedia_source_set": "set"}}
    assert not any("link" in node for node in page_view(graph)["graphs"][0]["nodes"])


def test_different_prompts_have_different_slugs():
    prompts = ["a b", "a  b", "a-b", "a b ", "ab", "日本", "中国", "x" * 70, "x" * 71, "", " "]
    slugs = [slugify(prompt) for prompt in prompts]
    assert slugs[0] == "a-b"
    assert len(set(slugs)) == len(prompts)
    assert all(re.fullmatch(r"[A-Za-z0-9-]{1,69}", slug) for slug in slugs)


def test_paths_are_pinned_and_must_exist(result):
    targets, sources = result.pruned_matrix.nonzero(as_tuple=True)
    step = [int(result.kept_indices[sources[0]]), int(result.kept_indices[targets[0]])]
    graph = valid(build_graph(result, paths=[(step, 0.25)]))
    assert graph["qParams"]["pinnedIds"] == graph["metadata"]["paths"][0]["nodes"]
    assert only(page_view(graph))["paths"][0]["strength"] == 0.25
    with pytest.raises(GraphFormatError, match="not a link"):
        build_graph(result, paths=[(step[::-1], 0.25)])
    dropped = next(i for i in range(253) if i not in set(result.kept_indices.tolist()))
    with pytest.raises(GraphFormatError, match="dropped"):
        build_graph(result, paths=[([dropped, step[1]], 0.25)])


def damage_node(**changes):
    return lambda graph: graph["nodes"][20].update(changes)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda g: g["nodes"].append(dict(g["nodes"][3])), "Two nodes have the id"),
        (
            lambda g: g["links"].append({"source": g["nodes"][0]["node_id"], "target": "nowhere", "weight": 1.0}),
            "'nowhere'",
        ),
        (lambda g: g["links"].append(dict(g["links"][0])), "Two links"),
        (lambda g: g["links"][0].update(weight=float("nan")), "weighs nan"),
        (lambda g: g["qParams"].update(pinnedIds=["gone"]), "pins 'gone'"),
        (lambda g: g.pop("links"), "no 'links'"),
        (lambda g: g["nodes"][0].pop("clerp"), "has no clerp"),
        (lambda g: g["nodes"][-1].update(clerp="a plain label"), r"\(p=…\)"),
        (damage_node(ctx_idx=10), "position 10 of 10"),
        (damage_node(ctx_idx=-1), "position -1"),
        (damage_node(influence=1.5), "not between 0 and 1"),
        (damage_node(own_influence=1.0), "not a running share"),
        (damage_node(activation=float("inf")), "activation inf"),
    ],
)
def test_damage_is_named(result, damage, sentence):
    graph = build_graph(result)
    damage(graph)
    with pytest.raises(GraphFormatError, match=sentence):
        check_graph(graph)


def test_a_result_with_nan_is_refused(result):
    result.pruned_matrix[result.pruned_matrix != 0] = float("nan")
    with pytest.raises(GraphFormatError, match="weighs nan"):
        build_graph(result)


# ---------------------------------------------------------------- the page


class Page(HTMLParser):
    """What a browser's parser would find in a page."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.open = [], [], {}, []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.open:
            return
        tag, attrs = self.open[-1]
        key = attrs.get("type", tag) if tag == "script" else tag
        self.text[key] = self.text.get(key, "") + data

    def handle_endtag(self, tag):
        self.open = self.open[:-1]


def data_of(page):
    return json.loads(page.text["application/json"])


def only(view):
    """The one graph of a page's data."""
    (graph,) = view["graphs"]
    return graph


def test_hostile_text_adds_no_markup(result, hostile_graph):
    plain, hostile = Page(render_page(build_graph(result))), Page(render_page(hostile_graph))
    assert hostile.tags == plain.tags
    assert hostile.tags.count("script") == 2
    assert hostile.text["script"] == plain.text["script"]
    assert only(data_of(hostile))["tokens"] == HOSTILE
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]


def test_the_data_cannot_close_its_element(hostile_graph):
    html = render_page(hostile_graph)
    data = html.split('type="application/json" id="view">')[1].split("</script>")[0]
    assert not set(data) & set("<>&\u2028\u2029")
    assert data.isascii()


def test_the_page_asks_for_nothing(hostile_graph):
    html = render_page(hostile_graph)
    outside_data = html.replace(html.split('id="view">')[1].split("</script>")[0], "")
    page = Page(html)
    assert not [name for name, _ in page.attributes if name in ("src", "href", "srcset", "action", "style")]
    links = set(re.findall(r"https?://[^\"'\s]+", outside_data))
    assert links == {"http://www.w3.org/2000/svg"}  # the name of a namespace, never fetched
    for word in ("fetch(", "XMLHttpRequest", "import(", "@import", "url(", "innerHTML", "eval(", "document.write"):
        assert word not in outside_data


def test_the_policy_allows_exactly_this_script_and_style(result):
    page = Page(render_page(build_graph(result)))
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.text[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_view_has_the_graphs_numbers(result):
    graph = build_graph(result, LABELS)
    view = only(page_view(graph))
    assert view["rows"] == ["Input", *(f"Layer {i}" for i in range(6)), "Output"]
    assert len(view["nodes"]) == 70 and len(view["links"]) == len(graph["links"])
    source, target, weight = view["links"][0]
    assert view["nodes"][source]["id"] == graph["links"][0]["source"]
    assert view["nodes"][target]["id"] == graph["links"][0]["target"]
    assert weight == pytest.approx(graph["links"][0]["weight"], rel=1e-4)
    answers = {node["name"]: node["prob"] for node in view["nodes"] if node["kind"] == "logit"}
    assert answers == {" Austin": 0.93, " Houston": 0.02, " Albany": 0.01}
    assert view["view"]["clicked"] == "7_50_9"
    facts = {name: value for name, value, _ in view["facts"]}
    assert facts["nodes"] == "70 of 253"
    assert facts["completeness gap"] == "3.2e-07"
    assert facts["replacement score"] == "0.71" and facts["share not from errors"] == "0.88"
    assert facts["node threshold"] == "0.8" and facts["edge threshold"] == "0.98"
    assert facts["model"] == "sample" and facts["dictionary"] == "sample/layer_{layer}" and "UTC" in facts["date"]


def test_rows_go_from_input_to_output(result):
    rows = {node["id"].split("_")[0]: node["row"] for node in only(page_view(build_graph(result)))["nodes"]}
    assert rows["E"] == 0 and rows["0"] == 1 and rows["4"] == 5 and rows["7"] == 7


def test_names_come_from_the_labels(result):
    names = {node["id"]: node for node in only(page_view(build_graph(sample_result(), LABELS)))["nodes"]}
    assert names["2_7_7"]["name"] == "Dallas (city)" and names["2_7_7"]["named"]
    assert names["2_8_8"]["name"] == "latent 2/8" and not names["2_8_8"]["named"]
    assert names["3_-1_4"]["name"] == "MLP error 3"


def test_a_graph_of_150_latents_stays_small(tmp_path):
    made = prune_sample(sample_result(per_cell=8), n_nodes=200, edges_per_row=30)
    path = write_page(build_graph(made), tmp_path / "index.html")
    assert path.stat().st_size < 400_000


def test_braces_in_the_data_are_not_filled_in(result):
    result.prompt = "{{script}} {{style}} \\1 \\g<0>"
    page = Page(render_page(build_graph(result)))
    assert only(data_of(page))["prompt"] == result.prompt
    assert page.text["title"] == result.prompt
