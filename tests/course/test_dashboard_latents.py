"""What is known of latents: logits, firings, examples, files in Anthropic's form, GemmaScope's own files."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.course.dashboard_samples import sample_graph, sample_latents
from tests.course.samples import prune_sample, sample_result
from tests.tiny import ARCHITECTURES, PROMPT
from utils.dashboard import GraphFormatError, latents_of, read_latents, write_for_circuit_tracer, write_latents
from utils.dashboard.read_graph import graph_view
from utils.latents.examples import describe_latents, kept_latents
from utils.latents.files import cantor, compact_latent, compact_latents
from utils.latents.firings import Firings, record_firings
from utils.latents.logits import logit_effects
from utils.latents.published import describe_published
from utils.latents.summary import summarize

# what circuit-tracer's model of a latent's file asks for
REQUIRED = {
    "transcoder_id": str,
    "index": int,
    "examples_quantiles": list,
    "top_logits": list,
    "bottom_logits": list,
    "act_min": float,
    "act_max": float,
    "quantile_values": list,
    "histogram": list,
    "activation_frequency": float,
}
SENTENCES = [
    PROMPT,
    "Paris is in France",
    "the opposite of big is small",
    "the city of Paris",
    "Dallas is in the state",
]


# ---------------------------------------------------------------- raised and lowered tokens


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logit_values_are_the_effect_on_the_models_own_logits(tiny, architecture):
    """Written into the last residual stream with the final norm's scale frozen, a vector changes the logits by these values."""
    model, transcoders = tiny(architecture)
    vectors = transcoders[2].W_dec[:4].detach()
    found = {}

    def freeze(scale, hook):
        return found.setdefault("scale", scale.detach().clone())

    def logits(delta=None):
        def write(residual, hook):
            return residual if delta is None else residual + delta

        hooks = [("ln_final.hook_scale", freeze), (f"blocks.{model.cfg.n_layers - 1}.hook_out", write)]
        return model.run_with_hooks(PROMPT, fwd_hooks=hooks)[0, -1].detach()

    before = logits()
    for vector, described in zip(vectors, logit_effects(model, vectors), strict=True):
        change = (logits(vector) - before) * found["scale"][0, -1]
        change = change - change.mean()
        top = change.topk(5)
        values = described["top_logit_values"][:5]
        assert values == pytest.approx(top.values.tolist(), rel=1e-3, abs=1e-4)
        lowest = change.topk(5, largest=False).values.tolist()
        assert described["bottom_logit_values"][:5] == pytest.approx(lowest, rel=1e-3, abs=1e-4)
        assert described["top_logits"][0] == model.tokenizer.decode([top.indices[0].item()])


# ---------------------------------------------------------------- firings


@pytest.fixture(scope="module")
def recorded(tiny):
    model, transcoders = tiny("gemma3")
    return model, transcoders, record_firings(model, transcoders, SENTENCES)


def text_of(found, row):
    return [i for i in found.tokens[row].tolist() if i >= 0]


def test_every_firing_is_noted_once(recorded):
    model, transcoders, found = recorded
    total, first = 0, 0
    for layer, transcoder in transcoders.items():
        for row, sentence in enumerate(SENTENCES):
            assert text_of(found, row) == model.to_tokens(sentence)[0].tolist()
            _, cache = model.run_with_cache(sentence)
            acts = transcoder.encode(cache[transcoder.cfg.metadata.hook_name])[0].detach()
            total += int((acts > 0).sum())
            latent = int(acts.sum(0).argmax())
            firings = found.latent(first + latent)
            here = firings.row == row
            got = dict(zip(firings.position[here].tolist(), firings.activation[here].tolist()))
            wanted = {p: a for p, a in enumerate(acts[:, latent].tolist()) if a > 0}
            assert got == pytest.approx(wanted, rel=1e-4)
            falling = firings.activation.tolist()
            assert falling == sorted(falling, reverse=True)
        first += found.widths[layer]
    assert total == len(found.row) > 100


def test_equal_beginnings_have_one_number(recorded):
    _, _, found = recorded
    seen = {}
    for row in range(len(SENTENCES)):
        ids = text_of(found, row)
        for position in range(len(ids)):
            assert (
                seen.setdefault(tuple(ids[: position + 1]), found.beginnings[row, position])
                == (found.beginnings[row, position])
            )
    assert len(set(seen.values())) == len(seen) < sum(len(text_of(found, row)) for row in range(len(SENTENCES)))


def test_a_latents_description_agrees_with_its_firings(recorded):
    model, _, found = recorded
    firings = found.latent(int(np.diff(found.start).argmax()))
    acts = firings.activation
    summary = summarize(firings, lambda *place: found.beginnings[place])
    described = summary.describe(partial(text_of, found), model.tokenizer.decode)
    assert summary.count == len(acts)
    assert described["act_max"] == acts[0] and described["act_min"] == acts[-1]
    assert described["histogram"] == pytest.approx(torch.histc(torch.tensor(acts), 30).tolist(), abs=1)
    assert sum(described["histogram"]) == len(acts)
    cuts = described["quantile_values"]
    assert cuts == sorted(cuts) and len(cuts) == 20 and (cuts[0], cuts[-1]) == (acts[-1], acts[0])
    top = described["examples_quantiles"][0]
    assert top["quantile_name"] == "Strongest"
    peaks = [example["tokens_acts_list"][example["train_token_ind"]] for example in top["examples"]]
    assert peaks[0] == acts[0] and peaks == sorted(peaks, reverse=True)
    texts = {"".join(example["tokens"]) for group in described["examples_quantiles"] for example in group["examples"]}
    assert len(texts) == sum(len(group["examples"]) for group in described["examples_quantiles"])


def test_examples_come_from_their_quarter_and_no_beginning_comes_twice():
    n = 400
    firings = Firings(np.arange(n), np.full(n, 2), np.linspace(8, 1, n))
    texts = {row: [row % 100, 7, 7, row] for row in range(n)}  # four rows share each beginning
    summary = summarize(firings, lambda row, position: tuple(texts[row][: position + 1]))
    described = summary.describe(texts.__getitem__, lambda ids: f"<{ids[0]}>")
    groups = {group["quantile_name"]: group["examples"] for group in described["examples_quantiles"]}
    assert list(groups) == ["Strongest", "Upper quarter", "Second quarter", "Third quarter", "Lowest quarter"]
    assert [len(rows) for rows in groups.values()] == [8, 4, 4, 4, 4]
    acts = {name: [max(row["tokens_acts_list"]) for row in rows] for name, rows in groups.items()}
    for name, low, high in (("Upper quarter", 6.25, 8), ("Second quarter", 4.5, 6.25), ("Lowest quarter", 1, 2.75)):
        assert all(low - 0.01 <= act <= high + 0.01 for act in acts[name]), name
    beginnings = ["".join(row["tokens"][:3]) for rows in groups.values() for row in rows]
    assert len(set(beginnings)) == len(beginnings)


def test_a_latent_that_never_fires_is_described():
    none = Firings(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    described = summarize(none, lambda *place: place).describe(lambda row: [], str)
    assert described["examples_quantiles"] == [] and described["histogram"] == []
    compact_latent(described | {"activation_frequency": 0.0}, {})


def test_kept_latents_are_those_that_pruning_kept():
    result = prune_sample(sample_result(), 40, 8)
    nodes = [result.graph.nodes[i] for i in result.kept_indices.tolist()]
    assert kept_latents(result) == {(n.layer, n.feature) for n in nodes if n.activation > 0}


def test_models_without_a_file_of_examples_have_logits_only(tiny, tmp_path):
    model, transcoders = tiny("qwen3")
    described = describe_latents(tmp_path, model, transcoders, {(0, 3), (2, 40)})
    assert set(described) == {(0, 3), (2, 40)}
    assert all(len(d["top_logits"]) == 10 and d["examples_quantiles"] == [] for d in described.values())
    assert "activation_frequency" not in described[0, 3]
    with pytest.raises(ValueError, match="'auto', 'download', 'neuronpedia' or 'none', not 'all'"):
        describe_latents("atlas", model, transcoders, set(), examples="all")


# ---------------------------------------------------------------- GemmaScope's files


@pytest.fixture
def published(tmp_path):
    """A small `examples.safetensors`: 6 texts of 80 tokens, 3 latents, 5 firings each."""
    tokens = torch.arange(6 * 80).reshape(6, 80).int()
    activations = torch.tensor([[9.0, 7.0, 5.0, 3.0, 0.0], [0.0] * 5, [1.0, 2.0, 4.0, 8.0, 16.0]])
    seq_ids = torch.tensor([[2, 2, 4, 0, -1], [-1] * 5, [0, 1, 2, 3, 4]]).int()
    positions = torch.tensor([[40, 42, 3, 79, 0], [0] * 5, [1, 2, 3, 4, 5]]).int()
    content = {
        "tokens": tokens,
        "activations": activations,
        "seq_ids": seq_ids,
        "positions": positions,
        "feature_frequencies": torch.tensor([0.01, 0.0, 0.5]),
    }
    save_file(content, tmp_path / "examples.safetensors")
    with safe_open(tmp_path / "examples.safetensors", framework="pt") as file:
        yield file


def test_gemmascopes_own_examples_are_read(published):
    described = describe_published(published, 0, lambda ids: f" {ids[0]}")
    assert described["activation_frequency"] == pytest.approx(0.01) and described["act_max"] == 9
    (first, *others) = [e for group in described["examples_quantiles"] for e in group["examples"]]
    assert len(others) == 2  # the second firing stands in the first one's text
    assert first["tokens"] == [f" {160 + k}" for k in range(24, 57)] and first["train_token_ind"] == 16
    assert {k: act for k, act in enumerate(first["tokens_acts_list"]) if act} == {16: 9.0, 18: 7.0}
    assert "4 strongest activations" in described["source"]
    last = describe_published(published, 2, lambda ids: "x")
    assert last["act_max"] == 16 and sum(last["histogram"]) == 5


def test_a_latent_without_published_firings_is_described(published):
    described = describe_published(published, 1, lambda ids: "x")
    assert described["examples_quantiles"] == [] and described["activation_frequency"] == 0


def test_published_files_are_not_downloaded_unasked(monkeypatch, tiny):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: asked.append(names))
    model, transcoders = tiny("gemma3")
    described = describe_latents("gemma-3-270m-it", model, transcoders, {(0, 1)})
    assert described[0, 1]["examples_quantiles"] == [] and not asked


# ---------------------------------------------------------------- files


@pytest.fixture(scope="module")
def graph():
    return sample_graph()


def test_files_of_latents_come_back_as_they_went(graph, tmp_path):
    latents = sample_latents(graph)
    write_latents(latents, tmp_path)
    for pair in latents:
        content = json.loads((tmp_path / f"{cantor(*pair)}.json").read_text())
        assert all(isinstance(content[key], kind) for key, kind in REQUIRED.items())
        assert content["index"] == cantor(*pair)
    read = read_latents(tmp_path)
    assert compact_latents(read) == compact_latents(dict(sorted(latents.items(), key=lambda item: cantor(*item[0]))))
    assert set(read_latents(tmp_path, {(0, 0), (5, 999)})) <= {(0, 0)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"examples_quantiles": {}}, "'examples_quantiles' must be a list"),
        ({"examples_quantiles": [1]}, "a quantile must be an object"),
        ({"examples_quantiles": [{"quantile_name": 1, "examples": []}]}, "a quantile needs"),
        (
            {"examples_quantiles": [{"quantile_name": "a", "examples": [{"tokens": ["a"], "tokens_acts_list": []}]}]},
            "as many",
        ),
        (
            {"examples_quantiles": [{"quantile_name": "a", "examples": [{"tokens": [1], "tokens_acts_list": [1]}]}]},
            "as many",
        ),
        ({"histogram": [float("nan")]}, "'histogram' must hold finite numbers"),
        ({"act_max": "high"}, "'act_max' is 'high'"),
        ({"activation_frequency": 7}, "activation_frequency 7.0 is not between 0 and 1"),
        ({"top_logits": "text"}, "'top_logits' must be texts"),
        ({"source": 1}, "'source' must be text"),
    ],
)
def test_damaged_data_about_a_latent_are_refused_in_a_sentence(graph, tmp_path, change, sentence):
    latents = sample_latents(graph)
    pair = next(iter(latents))
    write_latents({pair: latents[pair]}, tmp_path)
    path = tmp_path / f"{cantor(*pair)}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(GraphFormatError, match=sentence) as refusal:
        read_latents(tmp_path)
    assert str(refusal.value).startswith(path.name)


def test_circuit_tracers_local_page_finds_graph_and_latents(graph, tmp_path):
    latents = sample_latents(graph)
    folder = write_for_circuit_tracer(graph, latents, tmp_path / "data")
    slug = graph["metadata"]["slug"]
    made = json.loads((folder / f"{slug}.json").read_text())
    listed = json.loads((folder / "graph-metadata.json").read_text())["graphs"]
    assert [meta["slug"] for meta in listed] == [slug]
    assert made["metadata"]["scan"] == f"./data/latents-{slug}" == listed[0]["scan"]
    influences = [node["influence"] for node in made["nodes"] if node["influence"]]
    assert max(influences) > graph["metadata"]["node_threshold"]  # its page would leave this node out
    assert max(influences) <= made["metadata"]["node_threshold"] <= 1
    place = folder / made["metadata"]["scan"].removeprefix("./data/")
    for node in made["nodes"]:
        if node["feature_type"] == "cross layer transcoder":
            assert json.loads((place / f"{node['feature']}.json").read_text())["index"] == node["feature"]
    assert graph["metadata"]["scan"] == "sample"  # the graph for upload is left as it was
    assert graph_view(made)["nodes"] == graph_view(graph)["nodes"]


def test_a_second_graph_joins_the_folder_and_other_folders_are_left_alone(graph, tmp_path):
    folder = write_for_circuit_tracer(graph, {}, tmp_path / "data")
    second = sample_graph(seed=1, prompt="another")
    write_for_circuit_tracer(second, {}, folder)
    write_for_circuit_tracer(second, {}, folder)
    listed = json.loads((folder / "graph-metadata.json").read_text())["graphs"]
    assert [meta["slug"] for meta in listed] == [graph["metadata"]["slug"], second["metadata"]["slug"]]
    assert len(list(folder.glob("*.json"))) == 3 and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(GraphFormatError, match="holds other files"):
        write_for_circuit_tracer(graph, {}, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_latents_of_a_graph(graph):
    assert latents_of(graph) == {
        tuple(map(int, n["node_id"].split("_")[:2]))
        for n in graph["nodes"]
        if n["feature_type"] == "cross layer transcoder"
    }
