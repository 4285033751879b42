"""The bundled model: its corpus keeps what is held out apart, its training script runs, its weights do what the card says."""

import json
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from utils.atlas import evaluate, interchange
from utils.atlas.card import exchange_pairs, name_all
from utils.atlas.corpus import FAMILIES, all_sentences
from utils.atlas.dictionaries import (
    NOTHING,
    UNKNOWN,
    DictionaryConfig,
    Names,
    SkipTranscoder,
    TrainingSet,
    least_squares,
    refit_writes,
    sharpen,
    train_transcoder,
    what_is_left,
)
from utils.atlas.language_model import MIXTURE, build_model, encode_rows
from utils.atlas.naming import names_for
from utils.atlas.tokenizer import EOS_ID
from utils.atlas.train import ATLAS, FULL, MINIATURE, collect_for_dictionaries, training_rows
from utils.atlas.world import HELD_OUT_SHARE, load_world
from utils.models.registry import ATLAS_FOLDER

TEXTS = [
    "The capital of the state containing Dallas is",
    "  two  spaces,\ttab\nnewline ",
    "naïve señor, 日本語, عربى, 🙂",
    "<bos> is not special here, nor is <eos>",
    "36 + 59 = 95",
    "",
]


@pytest.fixture(scope="module")
def world():
    return load_world()


@pytest.fixture(scope="module")
def sentences(world):
    return all_sentences(world)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ATLAS_FOLDER / "model")


def test_the_world_is_as_large_as_promised(world):
    states = [p for p in world.places if p.kind == "state"]
    countries = [p for p in world.places if p.kind == "country"]
    assert len(states) == 50 and all(len(p.cities) >= 10 and len(p.relations) >= 5 for p in states)
    assert len(countries) >= 40 and all(len(p.cities) >= 5 and len(p.relations) >= 5 for p in countries)
    assert len(world.opposites) >= 30


def test_a_fifth_is_held_out(world):
    pairs = sum(len(p.cities) * len(p.relations) for p in world.places)
    assert len(world.held_out_two_hop) == round(HELD_OUT_SHARE * pairs)
    triples = 6 * len(world.opposites)
    assert len(world.held_out_opposites) == round(HELD_OUT_SHARE * triples)


def test_nothing_held_out_is_trained_on(world, sentences):
    trained = [s for s in sentences if not s.held_out]
    two_hop = {(s.concepts["city"], s.concepts["relation"]) for s in trained if s.family in ("two-hop", "named")}
    assert not two_hop & world.held_out_two_hop
    asked_in = {
        (s.concepts["concept"], s.concepts["language"], s.answer.strip()) for s in trained if s.family == "opposite"
    }
    for name, language, side in world.held_out_opposites:
        pair = next(p for p in world.opposites if p.name == name)
        assert (name, language, pair.words[language][1 - side]) not in asked_in


def test_every_family_has_a_share_and_sentences(sentences):
    assert set(MIXTURE) == set(FAMILIES) == {s.family for s in sentences}
    assert sum(MIXTURE.values()) == pytest.approx(1)


def test_any_text_survives_the_tokenizer(tokenizer):
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.fixture(scope="module")
def partners(sentences, world, tokenizer):
    return interchange.Partners(sentences, world.held_out_two_hop, tokenizer, FULL.model.sequence_length)


@pytest.mark.parametrize("carried", interchange.INTERCHANGES, ids=lambda i: f"{i.carries}-{i.places}-{i.layers}")
def test_an_interchange_never_teaches_what_is_held_out(partners, world, carried):
    own, other = partners.draw(500, carried, random.Random(0))
    for row, partner in zip(own, other, strict=True):
        own_facts, facts = partners.sentences[row].concepts, partners.sentences[partner].concepts
        assert (own_facts.get("city"), facts.get("relation")) not in world.held_out_two_hop
        if carried.carries == "language":
            assert own_facts["concept"] == facts["concept"] and not partners.sentences[partner].held_out
        if carried.carries == "relation":
            assert partners.sentences[row].concepts["place"] == partners.sentences[partner].concepts["place"]


def test_an_interchange_pairs_the_same_words(partners):
    own, other = (torch.tensor(rows) for rows in partners.draw(200, interchange.INTERCHANGES[0], random.Random(1)))
    prompts = partners.prompts
    positions, where = interchange.alignment(prompts.subject, prompts.last, own, other, 24, "both")
    tokens = torch.nn.functional.pad(prompts.tokens, (0, 24))[:, :24]
    same = tokens[own] == tokens[other].gather(1, positions)
    after = where & (torch.arange(24) > prompts.subject[own, None])
    assert after.any() and same[after].all() and not same[where].all()


def test_an_interchange_writes_the_partners_vectors_where_it_says_and_nowhere_else(partners):
    model = build_model(MINIATURE.model)
    exchange = interchange.MlpExchange(model)
    model(input_ids=partners.prompts.tokens[:6] % MINIATURE.model.vocab_size)
    own = torch.stack(exchange.written)
    exchange.replacement = [torch.ones_like(written) for written in own]
    exchange.where = [torch.zeros(*own.shape[1:3], 1, dtype=torch.bool) for _ in own]
    exchange.where[1][2, 3] = True
    seen = []
    model.model.layers[1].mlp.register_forward_hook(lambda mlp, args, output: seen.append(output))
    model(input_ids=partners.prompts.tokens[:6] % MINIATURE.model.vocab_size)
    assert (seen[0] == 1).all(-1).sum() == 1 and (seen[0][2, 3] == 1).all()


def test_least_squares_recovers_a_linear_map():
    x, weight, bias = torch.randn(500, 7), torch.randn(5, 7), torch.randn(5)
    found, found_bias = least_squares(x, x @ weight.T + bias)
    torch.testing.assert_close(found, weight, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(found_bias, bias, atol=1e-2, rtol=1e-2)


TOY = DictionaryConfig(width=23, first=6, active=2, steps=60, sharpen_steps=20, batch_size=128, naming_steps=100)


def toy_set(count: int) -> TrainingSet:
    """Random inputs through a small MLP; a latent is to fire where each of the first `count` inputs is large."""
    torch.manual_seed(0)
    x = torch.randn(600, 7) * 3
    y = torch.relu(x @ torch.randn(7, 11)) @ torch.randn(11, 5)
    wanted = torch.full((600,), NOTHING)
    for name in range(count):
        wanted[x[:, name] > 4] = name
    wanted[(x[:, :count] > 4).sum(1) > 1] = UNKNOWN
    return TrainingSet(x, y, Names(count, wanted))


def test_an_exported_transcoder_is_the_trained_one():
    data = toy_set(0)
    x = data.x
    trained = train_transcoder(data, TOY, 0, "")
    exported = trained.export(2, torch.ones(23, dtype=torch.bool))
    scaled = x / trained.x_scale
    acts = trained.select(trained.pre_activations(scaled), fixed=True)
    expected = (acts @ trained.W_dec + trained.b_dec + scaled @ trained.W_skip.T) * trained.y_scale
    torch.testing.assert_close(exported(x), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(exported.encode(x), acts * trained.y_scale, atol=1e-4, rtol=1e-4)
    assert exported.cfg.metadata.hook_name == "blocks.2.mlp.hook_in"
    kept = trained.frequent(x)
    torch.testing.assert_close(trained.export(2, kept).encode(x), exported.encode(x)[:, kept])
    assert torch.equal(kept, (exported.encode(x) > 0).sum(0) >= trained.config.rare)


@pytest.mark.parametrize(("crowded", "raised"), [(0, True), (100, False)])
def test_thresholds_are_raised_without_room_only_while_too_many_latents_fire(crowded, raised):
    data = toy_set(0)
    transcoder = SkipTranscoder(data.x, data.y, replace(TOY, crowded=crowded, unexplained=0.0))
    sharpen(transcoder, data, "")
    assert (transcoder.raised > 0).any() == raised


def test_a_refit_explains_more_and_leaves_alone_which_latents_fire():
    data = toy_set(2)
    torch.manual_seed(1)
    transcoder = SkipTranscoder(data.x, data.y, replace(TOY, steps=20), named=2)
    transcoder.raise_thresholds(data.x / transcoder.x_scale, 0.4)
    scaled = data.x / transcoder.x_scale
    before, fired = transcoder.unexplained(data.x, data.y), transcoder.select(transcoder.pre_activations(scaled), True)
    refit_writes(transcoder, data)
    after = transcoder.select(transcoder.pre_activations(scaled), True)
    assert torch.equal(after > 0, fired > 0) and transcoder.unexplained(data.x, data.y) < 0.8 * before
    torch.testing.assert_close(transcoder.W_dec.norm(dim=1), torch.ones(25), atol=1e-4, rtol=1e-4)


def test_what_is_left_is_found_and_a_ridge_holds_it_small():
    acts, writes = torch.relu(torch.randn(400, 5)), torch.randn(5, 3)
    left = acts @ writes + torch.tensor([1.0, -2.0, 0.5])
    found, bias = what_is_left([(acts[:150], left[:150]), (acts[150:], left[150:])], 1e-9)
    torch.testing.assert_close(found, writes, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(bias, torch.tensor([1.0, -2.0, 0.5]), atol=1e-3, rtol=1e-3)
    assert what_is_left([(acts, left)], 1e6)[0].abs().max() < 1e-3


def test_a_named_latent_fires_where_it_is_told_to_and_nowhere_else():
    data = toy_set(3)
    trained = train_transcoder(data, TOY, 0, "")
    fires = trained.export(0, torch.ones(26, dtype=torch.bool)).encode(data.x)[:, :3] > 0
    for name in range(3):
        wanted = data.x[:, name] > 4
        right = (fires[:, name] & wanted).sum()
        assert 2 * right / (fires[:, name].sum() + wanted.sum()) >= 0.8


def test_names_are_wanted_at_the_stated_token_only(sentences, tokenizer):
    asked = [s for s in sentences if s.family == "two-hop" and s.concepts["city"] == "Dallas"][:1]
    named_after = [s for s in sentences if s.family == "named" and s.concepts["city"] == "Dallas"][:1]
    rows = encode_rows(asked + named_after, tokenizer, FULL.model.sequence_length, 0.1)
    found = names_for(rows, tokenizer, {0: {"city": "subject"}, 5: {"answer": "last"}})
    length = int((rows.tokens[0] > EOS_ID).sum()) + 1  # with <bos>, without <eos> and padding
    first, second = found[0].wanted[:length], found[0].wanted[length:]
    place = (first == 0).nonzero().flatten().tolist()
    assert tokenizer.decode(rows.tokens[0, : place[0] + 1]).endswith("Dallas") and len(place) == 1
    assert (first != 0).sum() == (first == NOTHING).sum() and (second == 0).sum() == 1
    assert (found[5].wanted[length:] == UNKNOWN).all()
    spoken = (found[5].wanted[:length] == 0).nonzero().flatten().tolist()
    assert tokenizer.decode(rows.tokens[0, : spoken[0] + 1]).endswith(asked[0].prompt)


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature")
    command = [sys.executable, "-m", "utils.atlas.train", "--miniature", "--work", folder / "work", "--out", folder]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def test_the_training_script_runs_through(miniature):
    assert (miniature / "MODEL_CARD.md").read_text(encoding="utf-8").startswith("# Model card")
    assert (miniature / "weights" / "labels.json").exists()
    metrics = json.loads((miniature / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["dictionaries"]) == 2
    AutoModelForCausalLM.from_pretrained(miniature / "weights" / "model")


def test_what_the_script_builds_can_be_loaded(miniature):
    from utils.models import load

    model, transcoders = load(miniature / "weights")
    assert set(transcoders) == {0, 1}
    assert model.to_tokens("Texas")[0, 0] == model.tokenizer.bos_token_id


def test_a_work_folder_of_another_recipe_is_refused(miniature):
    command = [sys.executable, "-m", "utils.atlas.train", "--work", miniature / "work", "--out", miniature]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "another recipe" in done.stderr


def test_the_files_are_small_enough():
    assert sum(f.stat().st_size for f in ATLAS_FOLDER.rglob("*") if f.is_file()) <= 25e6


def test_the_card_is_about_these_weights():
    metrics = json.loads((ATLAS / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["recipe"]["model"]["d_model"] == FULL.model.d_model
    assert (ATLAS / "MODEL_CARD.md").exists()


@pytest.mark.parametrize(
    ("family", "wanted"), [("two-hop (held out)", 0.98), ("one-hop", 0.99), ("opposite (held out)", 0.9)]
)
def test_answers(atlas, sentences, family, wanted):
    model, _ = atlas
    asked = [s for s in sentences if s.family + (" (held out)" if s.held_out else "") == family]
    asked = random.Random(0).sample(asked, min(600, len(asked)))
    assert evaluate.answers_right(model, model.tokenizer, asked).float().mean() >= wanted


def test_dictionaries(atlas, sentences):
    model, transcoders = atlas
    rows = training_rows(sentences, model.tokenizer, FULL.model)
    _, _, activations = collect_for_dictionaries(model, rows, 1000, FULL.seed + 7)
    for row in evaluate.dictionary_quality(model, transcoders, activations):
        assert row["unexplained"] <= 0.05 and row["active"] <= 10, row


def test_answers_are_kept_without_the_mlps(atlas, sentences):
    model, transcoders = atlas
    asked = random.Random(1).sample([s for s in sentences if s.family == "two-hop"], 300)
    assert evaluate.answers_kept(model, model.tokenizer, transcoders, asked) >= 0.95


def test_exchanged_latents_give_the_other_capital(atlas, sentences):
    """Without an exchange the share is 0."""
    model, transcoders = atlas
    pairs = exchange_pairs(sentences, 60, random.Random(2))
    assert evaluate.exchange(model, transcoders, model.tokenizer, pairs) >= 0.85
    assert evaluate.exchange(model, transcoders, model.tokenizer, pairs[:20], from_layer=6) == 0


def test_latents_have_names_on_questions_that_nothing_was_trained_on(atlas, sentences):
    model, transcoders = atlas
    asked = [s for s in sentences if s.family == "two-hop"]
    choose = random.Random(3).sample([s for s in asked if not s.held_out], 4000)
    groups = choose, [s for s in asked if s.held_out]
    summary, _ = name_all(
        *[(evaluate.latents_of(model, transcoders, evaluate.encode_prompts(g, model.tokenizer)), g) for g in groups]
    )
    wanted = {"city": 0.7, "state or country": 0.8, "relation": 1.0, "answer": 0.6}
    assert {kind: summary[kind]["share"] for kind in wanted if summary[kind]["share"] < wanted[kind]} == {}
