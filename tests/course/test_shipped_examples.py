"""What the bundled model's latents fire on is a file: it is fresh, small, and says what a scan of the corpus says."""

import json
import shutil

import numpy as np
import pytest

from solutions.trace.__main__ import main as trace
from tests.course.test_dashboard_command import data_of
from tests.course.test_dashboard_latents import REQUIRED, SENTENCES
from utils.atlas.corpus import all_sentences
from utils.atlas.examples import SENTENCES_PER_FAMILY, corpus_key, corpus_sentences, make_examples
from utils.atlas.world import load_world
from utils.dashboard.__main__ import main as dashboard
from utils.latents import shipped
from utils.latents.examples import describe_latents, why_left_out
from utils.latents.firings import record_firings
from utils.latents.shipped import ShippedExamples, examples_file, weights_key, write_examples
from utils.latents.summary import summarize
from utils.models import load, load_clt
from utils.models.registry import ATLAS_FOLDER

KINDS = ("transcoders", "clt")
DALLAS = "The capital of the state containing Dallas is"
needs_atlas = pytest.mark.skipif(
    not (ATLAS_FOLDER / "model" / "config.json").is_file(), reason="the bundled model is not here: utils/atlas/weights"
)


# ---------------------------------------------------------------- the bundled files


@needs_atlas
@pytest.mark.parametrize("kind", KINDS)
def test_the_bundled_file_is_of_these_weights_and_this_corpus(kind):
    """If it fails: `python -m utils.atlas.examples` makes the files again."""
    found = ShippedExamples.read(examples_file(ATLAS_FOLDER, kind))
    assert (found.weights, found.corpus) == (weights_key(ATLAS_FOLDER, kind), corpus_key())


@needs_atlas
def test_the_bundled_files_are_small():
    assert sum(examples_file(ATLAS_FOLDER, kind).stat().st_size for kind in KINDS) <= 3_000_000


@needs_atlas
@pytest.mark.parametrize("kind", KINDS)
def test_a_description_needs_the_file_and_no_corpus(atlas, kind, monkeypatch):
    """Every part of a latent's description is there although nothing can be scanned."""
    model, transcoders = atlas
    if kind == "clt":
        transcoders = load_clt("atlas").transcoders()
    monkeypatch.setattr(model, "forward", None)
    wanted = {(layer, latent) for layer in transcoders for latent in range(0, transcoders[layer].cfg.d_sae, 100)}
    described = describe_latents("atlas", model, transcoders, wanted, kind=kind)
    assert set(described) == wanted
    for data in described.values():
        assert all(isinstance(data[key], form) for key, form in REQUIRED.items())
    full = [data for data in described.values() if len(data["examples_quantiles"]) == 5]
    assert len(full) > len(wanted) / 2
    assert all(len(data["examples_quantiles"][0]["examples"]) <= 8 for data in full)


@needs_atlas
def test_the_bundled_file_says_what_a_scan_of_the_corpus_says(atlas):
    """For a sample of the first layer's latents, up to the hundredths in which activations are kept."""
    model, transcoders = atlas
    first = {0: transcoders[0]}
    firings = record_firings(model, first, corpus_sentences())
    found = ShippedExamples.read(examples_file(ATLAS_FOLDER))
    rows = {tuple(model.tokenizer(text)["input_ids"]): row for row, text in enumerate(corpus_sentences())}
    for latent in range(0, first[0].cfg.d_sae, 97):
        fires = firings.latent(latent)
        scanned = summarize(fires, lambda *place: firings.beginnings[place])
        agree(found.summary((0, latent)), scanned, lambda row, fires=fires: by_row(fires, rows[tuple(found.text(row))]))


def by_row(fires, row):
    """The activations of one sentence, by position."""
    here = fires.row == row
    return dict(zip(fires.position[here].tolist(), fires.activation[here].tolist(), strict=True))


def agree(kept, scanned, of_row):
    """A summary from a file is one of a scan, up to what is rounded.

    Sentences that begin alike fire alike up to rounding, which differs between machines: of such sentences each may be the
    example. So an example is compared with what its own sentence gives, and its strength with that of the scan's example.
    `of_row`: the scan's activations of a text of the file.
    """
    assert kept.count == scanned.count
    assert (kept.low, kept.high) == pytest.approx((scanned.low, scanned.high), rel=3e-4)
    step = 0.0053 * kept.high  # half a hundredth, and what the four digits of `high` leave
    assert kept.cuts == pytest.approx(scanned.cuts, abs=step)
    assert len(kept.bars) == len(scanned.bars)
    for bar, truth in zip(kept.bars, scanned.bars, strict=True):
        assert bar == pytest.approx(truth, rel=0.15, abs=1 + 0.002 * scanned.count) and (bar > 0) == (truth > 0)
    for group, truth in zip(kept.groups, scanned.groups, strict=True):
        assert len(group) == len(truth)
        for example, other in zip(group, truth, strict=True):
            found = dict(zip(example.positions, example.activations, strict=True))
            # the weakest is never rounded to nothing
            assert found == pytest.approx(of_row(example.row), abs=max(step, 0.01 * kept.high))
            there = dict(zip(other.positions, other.activations, strict=True))[other.centre]
            assert found[example.centre] == pytest.approx(there, abs=2 * step)


@needs_atlas
def test_the_page_of_a_trace_shows_examples(tmp_path, capsys):
    assert trace([DALLAS, "--out", str(tmp_path / "o")]) == 0
    latents = data_of((tmp_path / "o" / "index.html").read_text(encoding="utf-8"))["latents"]
    assert len(latents) > 10
    assert all(data["examples"] and data["bars"] and "own corpus" in data["source"] for data in latents.values())
    assert "left out" not in capsys.readouterr().out


@needs_atlas
def test_a_latent_that_the_dictionary_does_not_have_is_left_without_examples(tmp_path):
    """A graph of the bundled model may be edited by hand: its page is made, and the other latents have their examples."""
    assert trace([DALLAS, "--out", str(tmp_path / "o")]) == 0
    graph = json.loads((tmp_path / "o" / "graph.json").read_text(encoding="utf-8"))
    node = dict(next(node for node in graph["nodes"] if node["feature_type"] == "cross layer transcoder"))
    pair = 2 + 100_000
    node |= {"node_id": "2_100000_3", "jsNodeId": "2_100000-3", "layer": "2", "ctx_idx": 3}
    graph["nodes"].append(node | {"feature": pair * (pair + 1) // 2 + 100_000})
    (tmp_path / "odd.json").write_text(json.dumps(graph), encoding="utf-8")
    assert dashboard([str(tmp_path / "odd.json"), "-o", str(tmp_path / "odd.html")]) == 0
    shown = data_of((tmp_path / "odd.html").read_text(encoding="utf-8"))["latents"]
    assert "2/100000" not in shown and len(shown) > 10 and all(data["examples"] for data in shown.values())


def test_the_corpus_has_every_family_and_nothing_held_out():
    sentences = corpus_sentences()
    lengths = [len(text) for text in sentences]
    assert lengths == sorted(lengths, reverse=True) and len(set(sentences)) == len(sentences)
    every = all_sentences(load_world(), drawn=SENTENCES_PER_FAMILY)
    texts = set(sentences)
    held_out = {s.text for s in every if s.held_out} - {s.text for s in every if not s.held_out}
    assert not texts & held_out
    assert {s.family for s in every} == {s.family for s in every if s.text in texts}


# ---------------------------------------------------------------- the file's form


@pytest.fixture(scope="module")
def scanned(tiny):
    return record_firings(*tiny("gemma3"), SENTENCES)


@pytest.fixture
def file(scanned, tmp_path):
    write_examples(tmp_path / "examples.npz", scanned, "of weights", "of sentences")
    return tmp_path / "examples.npz"


def test_what_is_written_is_read_up_to_what_is_rounded(scanned, file):
    found = ShippedExamples.read(file)
    assert (found.weights, found.corpus) == ("of weights", "of sentences")
    texts = [[i for i in row if i >= 0] for row in scanned.tokens.tolist()]
    number = 0
    for layer, width in scanned.widths.items():
        for latent in range(width):
            fires, kept = scanned.latent(number), found.summary((layer, latent))
            summary = summarize(fires, lambda *place: scanned.beginnings[place])
            agree(kept, summary, lambda row, fires=fires: by_row(fires, texts.index(found.text(row))))
            examples = [[texts.index(found.text(example.row)) for example in group] for group in kept.groups]
            assert examples == [[example.row for example in group] for group in summary.groups]
            number += 1
    assert number == len(scanned.start) - 1 and list(file.parent.iterdir()) == [file]


def test_the_same_firings_give_the_same_bytes(scanned, file, tmp_path):
    write_examples(tmp_path / "again.npz", scanned, "of weights", "of sentences")
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()


def test_a_file_that_cannot_be_written_whole_leaves_the_earlier_one(scanned, file, monkeypatch):
    before = file.read_bytes()

    def full(target, **columns):
        target.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        write_examples(file, scanned, "other weights", "of sentences")
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def changed(file, **columns):
    with np.load(file) as old:
        np.savez_compressed(file, **{**old, **columns})


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: file.write_bytes(b"\0" * 1000 + file.read_bytes()[1000:]),
        lambda file: file.write_text("version https://git-lfs.github.com/spec/v1"),
        lambda file: np.savez(file, weights=np.array("of weights")),
        lambda file: changed(file, row=np.zeros(3, np.uint8)),
        lambda file: changed(file, level=np.array(1)),
        lambda file: changed(file, length=np.array([1], np.uint8)),
        lambda file: changed(file, width=np.array([1, 2, 3], np.uint8)),
        lambda file: changed(file, token=np.array([{}], dtype=object)),
    ],
    ids=["empty", "cut", "overwritten", "LFS", "columns", "rows", "scalar", "texts", "widths", "objects"],
)
def test_a_damaged_file_is_refused_in_one_sentence(file, damage):
    damage(file)
    with pytest.raises(ValueError, match=r"examples\.npz is damaged .*python -m utils\.atlas\.examples") as refusal:
        ShippedExamples.read(file)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


# ---------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path):
    """A user's own folder: the bundled model in a copy, without what its latents fire on."""
    if not (ATLAS_FOLDER / "model" / "config.json").is_file():
        pytest.skip("the bundled model is not here: utils/atlas/weights")
    return shutil.copytree(ATLAS_FOLDER, tmp_path / "own", ignore=shutil.ignore_patterns("saes", "examples.npz"))


def test_a_users_folder_has_its_own_file(folder, monkeypatch):
    """Without a file nothing is known; the maintainers' command makes one; other weights do not fit it."""
    model, transcoders = load(folder)
    ask = {(1, 0), (1, 5)}
    assert "source" not in describe_latents(folder, model, transcoders, ask)[1, 5] and why_left_out(folder) == ""

    monkeypatch.setattr("utils.atlas.examples.corpus_sentences", lambda: [DALLAS, "36 + 59 = 95."])
    assert make_examples(folder) == [folder / "examples.npz", folder / "clt" / "examples.npz"]
    described = describe_latents(folder, model, transcoders, ask)
    assert all("From 2 sentences" in data["source"] for data in described.values()) and why_left_out(folder) == ""

    cfg = folder / "transcoders" / "layer_0" / "cfg.json"
    cfg.write_bytes(cfg.read_bytes().replace(b"\n", b"\r\n"))  # as git writes it on Windows
    assert why_left_out(folder) == ""

    shutil.copy(folder / "transcoders/layer_0/sae_weights.safetensors", folder / "transcoders/layer_1")
    described = describe_latents(folder, model, transcoders, ask)
    (sentence,) = {data["source"] for data in described.values()}
    assert all(data["examples_quantiles"] == [] and len(data["top_logits"]) == 10 for data in described.values())
    assert sentence == why_left_out(folder) and sentence.count(". ") == 0
    assert f"`python -m utils.atlas.examples --folder {folder}` makes it again" in sentence
    assert why_left_out(folder, "clt") == ""


def test_a_trace_says_why_examples_are_left_out(folder, tmp_path, monkeypatch, capsys):
    """One line at the end, no scan; `--examples none` asks for nothing and is told nothing."""
    monkeypatch.setattr("utils.models.registry.ATLAS_FOLDER", folder)
    assert trace([DALLAS, "--out", str(tmp_path / "o")]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("What latents fire on is left out: ") and "examples.npz is missing" in last
    assert last.endswith("`python -m utils.atlas.examples` makes it.")
    assert trace([DALLAS, "--examples", "none", "--out", str(tmp_path / "o")]) == 0
    assert "left out" not in capsys.readouterr().out


def test_a_damaged_file_ends_a_trace_in_one_sentence(folder, tmp_path, capsys):
    (folder / "examples.npz").write_bytes(b"PK")
    assert trace([DALLAS, "--model", str(folder), "--out", str(tmp_path / "o")]) == 2
    out, err = capsys.readouterr()
    *before, sentence = err.splitlines()
    assert out == "" and "examples.npz is damaged" in sentence
    assert all(line.startswith("The graph has") for line in before)  # what it takes is said before the work
    assert not (tmp_path / "o").exists()


def test_the_room_of_latents_does_not_know_the_bundled_model():
    """`utils.latents` imports nothing of `utils.atlas`, not even inside a function."""
    for path in (ATLAS_FOLDER.parents[1] / "latents").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from utils.atlas" not in text and "import utils.atlas" not in text, path.name
    assert shipped.MAKE == "python -m utils.atlas.examples"
