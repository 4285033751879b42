"""An earlier trace pruned, weighed and drawn again without tracing, and a page's groups back in Python."""

import json
from pathlib import Path

import pytest
import torch

from solutions.chapter4_interventions import intervene, run_base
from solutions.trace import __main__ as command
from solutions.trace import again
from solutions.trace.saved import PINNED, saved_groups, silenced
from tests.course.dashboard_samples import chromium
from tests.tiny import PROMPT
from utils.engine.arguments import tokenize_prompt
from utils.engine.graph import AttributionResult, NodeType
from utils.models import load


@pytest.fixture
def trace(tiny_bundle, capsys):
    def call(*arguments):
        code = command.main([*map(str, arguments), "--model", str(tiny_bundle)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def earlier(trace, tmp_path) -> Path:
    """A trace of three tokens."""
    assert trace(PROMPT, "--target", "Paris", "France", "Austin", "--out", tmp_path / "earlier")[0] == 0
    return tmp_path / "earlier"


def equal(first: Path, second: Path) -> None:
    """Two results are the same graph, up to rounding and to the number of a target that is no token."""
    a, b = (AttributionResult.load(folder / "result") for folder in (first, second))
    for name in ("adjacency_matrix", "bias", "values", "influence", "pruned_matrix"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-5)
    assert torch.equal(a.kept_indices, b.kept_indices)
    assert [n.str_token for n in a.graph.nodes] == [n.str_token for n in b.graph.nodes]
    assert a.logit_weights.tolist() == pytest.approx(b.logit_weights.tolist())
    assert a.scores == pytest.approx(b.scores, rel=1e-3, abs=1e-5)
    assert (a.model_name, a.dictionary_name, a.prompt) == (b.model_name, b.dictionary_name, b.prompt)


@pytest.mark.parametrize(
    "options",
    [
        ["--target", "Paris", "--contrast", "France"],
        ["--target", "Paris", "Austin", "--contrast", "France", "--weights", "1", "3"],
        ["--target", "Austin"],
        ["--target", "Austin", "Paris", "--node-threshold", "0.5", "--no-keep-embeddings"],
    ],
    ids=["a contrast", "two contrasts with weights", "one of three", "other thresholds"],
)
def test_another_target_is_that_of_a_new_trace(trace, earlier, tmp_path, options, monkeypatch):
    assert trace(PROMPT, *options, "--out", tmp_path / "new")[0] == 0
    monkeypatch.setattr("solutions.chapter3_attribution_graphs.pipeline.trace_graph", None)  # nothing is traced
    code, out, _ = trace("--from", earlier, *options, "--out", tmp_path / "again")
    assert code == 0 and "nothing was traced" in out
    equal(tmp_path / "again", tmp_path / "new")


def test_drawn_again_it_is_the_same_and_lies_beside(trace, earlier):
    code, out, _ = trace("--from", earlier / "result")
    assert code == 0 and str(earlier.with_name("earlier-again")) in out
    equal(earlier.with_name("earlier-again"), earlier)
    pages = [(folder / "index.html").read_text() for folder in (earlier, earlier.with_name("earlier-again"))]
    assert abs(len(pages[0]) - len(pages[1])) < 100, "what is known of the latents is missing"


def test_without_the_model_a_graph_is_still_drawn(earlier, capsys):
    assert command.main(["--from", str(earlier), "--node-threshold", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "is not known here: give --model" in said
    assert len(AttributionResult.load(earlier.with_name("earlier-again") / "result").kept_indices) < len(
        AttributionResult.load(earlier / "result").kept_indices
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "small"], "choose among 'Paris', 'France', 'Austin'"),
        (["--target", "Paris", "--contrast", "Paris"], "with itself"),
        (["--target", "Paris", "--weights", "0"], "weigh nothing"),
        (["--top-k", "3"], "--top-k needs a new trace"),
        (["the prompt"], "only one of them"),
    ],
)
def test_what_only_a_new_trace_can_do_is_said(trace, earlier, options, words):
    code, _, err = trace("--from", earlier, *options)
    assert code == 2 and words in err and err.count("\n") == 1 and not earlier.with_name("earlier-again").exists()


def test_no_result_is_one_sentence(trace, tmp_path):
    code, _, err = trace("--from", tmp_path)
    assert code == 2 and "no saved result" in err and err.count("\n") == 1


# ---------------------------------------------------------------- a page's groups


def test_a_group_made_on_the_page_is_ablated_in_one_line(earlier, tiny_bundle, tmp_path):
    """Nodes are pinned and grouped on the page in a browser; the file that the page saves leads back to the model."""
    result = AttributionResult.load(earlier / "result")
    graph = json.loads((earlier / "graph.json").read_text())
    latents = [n["node_id"] for n in graph["nodes"] if n["feature_type"].startswith("cross")]
    others = [n["node_id"] for n in graph["nodes"] if n["feature_type"] == "embedding"]
    with chromium() as browser:
        page = browser.new_page()
        page.goto((earlier / "index.html").as_uri())
        state = [latents[:3], [*latents[:3], others[0], latents[4]]]
        page.evaluate(
            "([members, pins]) => change((s, side) => { side.pins = pins; side.groups = [{ id: 's1', name: 'Mine', members }]; })",
            state,
        )
        with page.expect_download() as download:
            page.evaluate("saveView()")
        download.value.save_as(tmp_path / "mine.view.json")
    groups = saved_groups(result, tmp_path / "mine.view.json")
    place = {node["node_id"]: i for i, node in zip(result.kept_indices.tolist(), graph["nodes"])}
    assert groups == {"Mine": [place[n] for n in latents[:3]], PINNED: [place[others[0]], place[latents[4]]]}

    model, transcoders = load(tiny_bundle)
    base = run_base(model, transcoders, tokenize_prompt(model, result.prompt))
    outcome = intervene(model, transcoders, base, silenced(result, groups["Mine"]), freeze_attention=False)
    for i in groups["Mine"]:
        node = result.graph.nodes[i]
        assert base.acts[node.layer][0, node.ctx_idx, node.feature] > 0
        assert outcome.acts[node.layer][0, node.ctx_idx, node.feature] == 0
    assert len(silenced(result, groups[PINNED])) == 1


def test_the_groups_of_a_graph_file_come_back(earlier):
    result = AttributionResult.load(earlier / "result")
    groups = saved_groups(result, earlier / "graph.json")
    view = json.loads((earlier / "graph.json").read_text())["qParams"]
    assert [len(members) for name, members in groups.items() if name != PINNED] == [
        len(g) - 1 for g in view["supernodes"]
    ]
    assert sum(map(len, groups.values())) == len({*view["pinnedIds"], *sum((g[1:] for g in view["supernodes"]), [])})


def test_a_file_that_does_not_fit_is_one_sentence(earlier, tmp_path):
    result = AttributionResult.load(earlier / "result")
    view = {"format": "attribution-graph-view", "version": 1, "graphs": ["another"], "view": {}}
    for content, words in ((view, "another graph: another"), ({}, "neither a saved view"), ([], "no saved view")):
        (tmp_path / "view.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words):
            saved_groups(result, tmp_path / "view.json")
    slug = json.loads((earlier / "graph.json").read_text())["metadata"]["slug"]
    side = {"pins": ["7_7_7"], "groups": []}
    (tmp_path / "view.json").write_text(json.dumps(view | {"graphs": [slug], "view": {"sides": [side]}}))
    with pytest.raises(ValueError, match="names the node"):
        saved_groups(result, tmp_path / "view.json")
    with pytest.raises(ValueError, match="only latents"):
        silenced(result, result.graph.indices(NodeType.EMBEDDING))
    assert again.NO_TOKEN > len(result.graph.nodes)
