"""What is known of latents: logits, firings, examples, files in Anthropic's form, GemmaScope's own files."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.course.dashboard_samples import sample_graph, sample_latents
from tests.course.samples import prune_sample, sample_result
from tests.tiny import ARCHITECTURES, PROMPT
from utils.dashboard import GraphFormatError, latents_of, read_latents, write_for_circuit_tracer, write_latents
from utils.dashboard.read_graph import graph_view
from utils.latents import examples
from utils.latents.examples import (
    Firings,
    describe_firings,
    describe_latents,
    describe_published,
    kept_latents,
    logit_effects,
    record_firings,
)
from utils.latents.files import cantor, compact_latent, compact_latents

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
    steps = []
    found = record_firings(model, transcoders, SENTENCES, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]
    return model, transcoders, found


def test_every_firing_is_noted_once(recorded):
    model, transcoders, found = recorded
    total = 0
    for row, sentence in enumerate(SENTENCES):
        assert found.text(row) == model.to_tokens(sentence)[0].tolist()
        _, cache = model.run_with_cache(sentence)
        for layer, transcoder in transcoders.items():
            acts = transcoder.encode(cache[transcoder.cfg.metadata.hook_name])[0].detach()
            total += int((acts > 0).sum())
            latent = int(acts.sum(0).argmax())
            number = int(found.first[layer]) + latent
            part = slice(int(found.start[number]), int(found.start[number + 1]))
            here = found.row[part] == row
            got = dict(zip(found.position[part][here].tolist(), found.activation[part][here].tolist()))
            wanted = {p: a for p, a in enumerate(acts[:, latent].tolist()) if a > 0}
            assert got == pytest.approx(wanted, rel=1e-4)
            falling = found.activation[part].tolist()
            assert falling == sorted(falling, reverse=True)
    assert total == len(found.row) > 100


def test_a_latents_description_agrees_with_its_firings(recorded):
    model, transcoders, found = recorded
    counts = found.start.diff()
    number = int(counts.argmax())
    described = found.describe((number // 41, number % 41), model.tokenizer.decode)
    n_tokens = int((found.tokens >= 0).sum())
    assert described["activation_frequency"] == pytest.approx(int(counts[number]) / n_tokens)
    part = found.activation[int(found.start[number]) : int(found.start[number + 1])]
    assert described["act_max"] == part[0] and described["act_min"] == part[-1]
    assert sum(described["histogram"]) == len(part)
    assert (
        described["quantile_values"] == sorted(described["quantile_values"])
        and len(described["quantile_values"]) == 100
    )
    assert f"{n_tokens} tokens" in described["source"]
    top = described["examples_quantiles"][0]
    assert top["quantile_name"] == "Strongest"
    peaks = [example["tokens_acts_list"][example["train_token_ind"]] for example in top["examples"]]
    assert peaks[0] == part[0] and peaks == sorted(peaks, reverse=True)
    texts = {"".join(example["tokens"]) for group in described["examples_quantiles"] for example in group["examples"]}
    assert len(texts) == sum(len(group["examples"]) for group in described["examples_quantiles"])


def test_examples_come_from_their_quarter_and_no_beginning_comes_twice():
    n = 400
    firings = Firings(torch.arange(n), torch.full((n,), 2), torch.linspace(8, 1, n))
    texts = {row: [row % 100, 7, 7, row] for row in range(n)}  # four rows share each beginning
    described = describe_firings(firings, texts.__getitem__, lambda ids: f"<{ids[0]}>")
    groups = {group["quantile_name"]: group["examples"] for group in described["examples_quantiles"]}
    assert list(groups) == ["Strongest", "Upper quarter", "Second quarter", "Third quarter", "Lowest quarter"]
    assert [len(rows) for rows in groups.values()] == [8, 4, 4, 4, 4]
    acts = {name: [max(row["tokens_acts_list"]) for row in rows] for name, rows in groups.items()}
    for name, low, high in (("Upper quarter", 6.25, 8), ("Second quarter", 4.5, 6.25), ("Lowest quarter", 1, 2.75)):
        assert all(low - 0.01 <= act <= high + 0.01 for act in acts[name]), name
    beginnings = ["".join(row["tokens"][:3]) for rows in groups.values() for row in rows]
    assert len(set(beginnings)) == len(beginnings)


def test_a_latent_that_never_fires_is_described():
    none = Firings(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    described = describe_firings(none, lambda row: [], str)
    assert described["examples_quantiles"] == [] and described["histogram"] == []
    compact_latent(described | {"activation_frequency": 0.0}, {})


def test_kept_latents_are_those_that_pruning_kept():
    result = prune_sample(sample_result(), 40, 8)
    nodes = [result.graph.nodes[i] for i in result.kept_indices.tolist()]
    assert kept_latents(result) == {(n.layer, n.feature) for n in nodes if n.activation > 0}


def test_models_without_a_corpus_have_logits_only(tiny):
    model, transcoders = tiny("qwen3")
    described = describe_latents("some/folder", model, transcoders, {(0, 3), (2, 40)})
    assert set(described) == {(0, 3), (2, 40)}
    assert all(len(d["top_logits"]) == 10 and d["examples_quantiles"] == [] for d in described.values())
    assert "activation_frequency" not in described[0, 3]
    with pytest.raises(ValueError, match="'auto', 'download' or 'none', not 'all'"):
        describe_latents("atlas", model, transcoders, set(), examples="all")


# ---------------------------------------------------------------- the cache


@pytest.fixture
def few_sentences(monkeypatch, tmp_path):
    """The bundled model's corpus, cut to a few sentences, and a cache of its own."""
    monkeypatch.setattr(examples, "CACHE_FOLDER", tmp_path / "cache")
    monkeypatch.setattr(examples, "corpus_sentences", lambda: ["The capital of Texas is Austin.", "36 + 59 = 95."])
    return tmp_path / "cache"


def test_the_bundled_models_latents_are_read_once_and_kept(atlas, few_sentences, monkeypatch):
    model, transcoders = atlas
    wanted = {(layer, latent) for layer in range(2) for latent in range(5)}
    first = describe_latents("atlas", model, transcoders, wanted, progress=lambda done, total: None)
    (kept,) = few_sentences.iterdir()
    runs = []
    monkeypatch.setattr(examples, "record_firings", lambda *rest: runs.append(rest))
    assert describe_latents("atlas", model, transcoders, wanted) == first and not runs
    for data in first.values():
        assert all(isinstance(data[key], kind) for key, kind in REQUIRED.items())
    monkeypatch.undo()


def test_a_damaged_or_old_cache_is_made_again(atlas, few_sentences, monkeypatch):
    model, transcoders = atlas
    found = examples.corpus_firings(model, transcoders, lambda done, total: None)
    (kept,) = few_sentences.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    again = examples.corpus_firings(model, transcoders, lambda done, total: None)
    assert torch.equal(again.activation, found.activation)
    monkeypatch.setattr(examples, "bundle_key", lambda kind: "another")
    examples.corpus_firings(model, transcoders, lambda done, total: None)
    assert [path.name for path in few_sentences.iterdir()] == ["latents-another.safetensors"]


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(atlas, few_sentences, tmp_path):
    few_sentences.write_text("a file where the folder should be")
    model, transcoders = atlas
    assert len(examples.corpus_firings(model, transcoders, lambda done, total: None).row) > 0


def test_the_corpus_has_every_family_and_nothing_held_out():
    from utils.atlas.corpus import all_sentences
    from utils.atlas.world import load_world

    sentences = examples.corpus_sentences()
    lengths = [len(text) for text in sentences]
    assert lengths == sorted(lengths, reverse=True) and len(set(sentences)) == len(sentences)
    every = all_sentences(load_world(), drawn=examples.SENTENCES_PER_FAMILY)
    texts = set(sentences)
    held_out = {s.text for s in every if s.held_out} - {s.text for s in every if not s.held_out}
    assert not texts & held_out
    assert {s.family for s in every} == {s.family for s in every if s.text in texts}


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
