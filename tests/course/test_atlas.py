"""The bundled model: its corpus keeps what is held out apart, its training script runs, its weights do what the card says."""

import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from utils.atlas import evaluate, interchange, necessity, train
from utils.atlas.card import name_all
from utils.atlas.corpus import FAMILIES, IN_WORDS, all_sentences
from utils.atlas.dictionaries import (
    NOTHING,
    UNKNOWN,
    DictionaryConfig,
    Names,
    SkipTranscoder,
    TrainingSet,
    amounts,
    excess_loss,
    no_names,
    refit_writes,
    ridge,
    sharpen,
    train_names,
    train_transcoder,
    whitening,
)
from utils.atlas.language_model import (
    MIXTURE,
    ModelConfig,
    build_model,
    encode_rows,
    learning_rate_at,
    sparsity_at,
)
from utils.atlas.naming import NAMED, names_for
from utils.atlas.tokenizer import EOS_ID
from utils.atlas.train import ATLAS, FULL, MINIATURE, collect_for_dictionaries, training_rows
from utils.atlas.world import HELD_OUT_SHARE, in_interchange_training, load_world
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


def test_a_fifth_of_the_cities_and_words_is_held_out_of_interchange_training(world):
    for place in world.places:
        held_out = sum(not in_interchange_training(city) for city in place.cities)
        assert HELD_OUT_SHARE <= held_out / len(place.cities) <= 0.34
    assert len(world.held_out_words) == round(HELD_OUT_SHARE * 3 * len(world.opposites))
    assert not in_interchange_training("Dallas") and not in_interchange_training("Oakland")
    with pytest.raises(ValueError, match="Atlantis"):
        in_interchange_training("Atlantis")


@pytest.fixture(scope="module")
def partners(sentences, world, tokenizer):
    return interchange.Partners(sentences, world, tokenizer, FULL.model.sequence_length)


@pytest.mark.parametrize("fact", [step.fact for step in interchange.STEPS])
def test_an_interchange_never_teaches_what_is_held_out(partners, world, fact):
    drawn = partners.draw(500, fact, random.Random(0))
    for row, partner, answer in zip(drawn.own.tolist(), drawn.other.tolist(), drawn.answers.tolist(), strict=True):
        own, other = partners.sentences[row], partners.sentences[partner]
        assert not own.held_out and not other.held_out
        for sentence in (own, other):
            assert sentence.concepts.get("city") not in world.held_out_cities
            assert (sentence.concepts.get("concept"), sentence.concepts.get("language")) not in world.held_out_words
        if fact == "language":
            assert own.concepts["concept"] == other.concepts["concept"]
            assert answer == partners.first_token[other.answer.strip()]
        else:
            city, place, relation = interchange.fact_after(own, other, fact)
            assert (city, relation) not in world.held_out_two_hop
            facts = next(p.relations for p in world.places if p.name == place)
            assert answer == partners.first_token[facts[relation]]


def test_a_question_with_a_partners_fact_in_it_is_this_one(sentences):
    def about(city, relation):
        return next(
            s
            for s in sentences
            if s.family == "two-hop" and (s.concepts["city"], s.concepts["relation"]) == (city, relation)
        )

    own, other = about("Dallas", "capital"), about("Oakland", "flower")
    assert interchange.fact_after(own, other, "state") == ("Oakland", "California", "capital")
    assert interchange.fact_after(own, other, "relation") == ("Dallas", "Texas", "flower")
    assert interchange.fact_after(own, other, "answer") == ("Oakland", "California", "flower")


def test_without_a_fact_every_answer_is_asked_for_in_equal_shares(partners, world):
    texas = next(p for p in world.places if p.name == "Texas")
    own = next(s for s in partners.sentences if s.prompt == "The capital of the state containing Houston is")
    tokens = partners.first_token
    spread = partners.any_answer(own, "relation")
    assert spread.sum() == pytest.approx(1.0)
    assert set(spread.nonzero().flatten().tolist()) == {tokens[answer] for answer in texas.relations.values()}
    capitals = [p.relations["capital"] for p in world.places if p.kind == "state"]
    assert set(partners.any_answer(own, "state").nonzero().flatten().tolist()) == {tokens[c] for c in capitals}
    answers = {tokens[a] for p in world.places if p.kind == "state" for a in p.relations.values()}
    assert set(partners.any_answer(own, "answer").nonzero().flatten().tolist()) == answers
    own = next(s for s in partners.sentences if s.family == "translation")
    words = next(o for o in world.opposites if o.name == own.concepts["concept"]).words
    side = words[own.concepts["language"]].index(own.concepts["answer"])
    among = {tokens[pair[side]] for pair in words.values() if pair[side] in tokens}
    assert set(partners.any_answer(own, "language").nonzero().flatten().tolist()) <= among


def test_the_learning_rate_rises_and_falls_twice_and_the_penalty_stays_high():
    config = ModelConfig(steps=1000, taught_steps=400)
    rates = [learning_rate_at(step, config) for step in range(1400)]
    assert max(rates[:1000]) == pytest.approx(config.learning_rate, rel=0.03) and rates[999] < 1e-5
    assert max(rates[1000:]) == pytest.approx(config.taught_rate, rel=0.2) and rates[1399] < 1e-5 and rates[1000] < 1e-5
    assert sparsity_at(0, config) == 0 and sparsity_at(500, config) == pytest.approx(config.sparsity)
    assert sparsity_at(1000, config) == sparsity_at(1399, config) == config.final_sparsity


def small_prompts(partners, rows: int) -> torch.Tensor:
    return partners.prompts.tokens[:rows] % MINIATURE.model.vocab_size


def test_an_exchange_writes_what_it_is_given_where_it_says_and_nowhere_else(partners):
    model = build_model(MINIATURE.model)
    exchange = interchange.MlpExchange(model)
    model(input_ids=small_prompts(partners, 6))
    own = torch.stack(exchange.take())
    assert exchange.take() == []
    exchange.replacement = torch.ones(6, 1, own.shape[-1])
    exchange.where = [torch.zeros(*own.shape[1:3], 1, dtype=torch.bool) for _ in own]
    exchange.where[1][2, 3] = True
    seen = []
    model.model.layers[1].mlp.register_forward_hook(lambda mlp, args, output: seen.append(output))
    model(input_ids=small_prompts(partners, 6))
    assert (seen[0] == 1).all(-1).sum() == 1 and (seen[0][2, 3] == 1).all()


def test_the_loss_of_a_step_puts_in_the_partners_write_and_a_share_of_the_mean(partners):
    step, width, count = interchange.Step("answer", 1, "last"), 24, 4
    drawn = partners.draw(count, step.fact, random.Random(3))
    put_in = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Module()
            self.model.layers = torch.nn.ModuleList(torch.nn.Module() for _ in range(2))
            for layer in self.model.layers:
                layer.mlp = torch.nn.Identity()

        def forward(self, input_ids, use_cache):
            written = [layer.mlp(input_ids[..., None].float()) for layer in self.model.layers]
            put_in.append(torch.stack(written))
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, partners.vocabulary))

    model = Model()
    exchange, share = interchange.MlpExchange(model), torch.tensor([[0.0], [0.25], [0.5], [1.0]])
    loss = interchange.step_loss(model, exchange, partners, step, drawn, width, share)
    assert loss.item() == pytest.approx(math.log(partners.vocabulary), rel=1e-3)
    tokens = torch.nn.functional.pad(partners.prompts.tokens, (0, width))[:, :width]
    last = partners.prompts.last
    theirs = tokens[drawn.other, last[drawn.other]].float()
    expected = tokens[torch.cat([drawn.own, drawn.own])].float()
    wanted = torch.cat([theirs, share[:, 0] * theirs.mean()])
    assert torch.equal(put_in[1][0, ..., 0], expected)
    expected[torch.arange(2 * count), last[torch.cat([drawn.own, drawn.own])]] = wanted
    torch.testing.assert_close(put_in[1][1, ..., 0], expected, rtol=1e-2, atol=1e-2)
    assert exchange.replacement is None


def test_ridge_finds_a_linear_map_part_by_part_and_holds_it_but_not_the_bias_small():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(500, 7) + 3, torch.randn(7, 5), torch.randn(5)
    y = x @ weight + bias
    found, found_bias = ridge([(x[:150], y[:150]), (x[150:], y[150:])], 1e-9)
    torch.testing.assert_close(found, weight, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found_bias, bias, atol=1e-2, rtol=1e-2)
    found, found_bias = ridge([(x, y)], 1e6)
    assert found.abs().max() < 1e-3
    torch.testing.assert_close(found_bias, y.mean(0), atol=1e-2, rtol=1e-2)
    halved, _ = ridge([(x[:, :1], y)], 1.0)
    exact, _ = ridge([(x[:, :1], y)], 0.0)
    torch.testing.assert_close(halved, exact / 2, atol=1e-3, rtol=1e-3)


TOY = DictionaryConfig(width=23, first=6, active=2, steps=60, sharpen_steps=20, batch_size=128, naming_steps=400)


def toy_set(count: int) -> TrainingSet:
    """Random inputs through a small MLP; where one of the first `count` inputs is large, it writes much, and a latent is to fire."""
    torch.manual_seed(0)
    x = torch.randn(600, 7) * 3
    y = torch.relu(x @ torch.randn(7, 11)) @ torch.randn(11, 5)
    y = y + 40 * torch.relu(x[:, :count] - 3) @ torch.randn(count, 5)
    wanted = torch.full((600,), NOTHING)
    for name in range(count):
        wanted[x[:, name] > 4] = name
    wanted[(x[:, :count] > 4).sum(1) > 1] = UNKNOWN
    return TrainingSet(x, y, Names(count, wanted))


def test_an_exported_transcoder_is_the_trained_one():
    data = toy_set(2)
    x = data.x
    trained, named = train_transcoder(data, TOY, 0, "")
    exported = trained.export(2, torch.ones(23, dtype=torch.bool), named)
    scaled = x / trained.x_scale
    acts = trained.select(trained.pre_activations(scaled), fixed=True)
    expected = (acts @ trained.W_dec + trained.b_dec + scaled @ trained.W_skip.T) * trained.y_scale
    torch.testing.assert_close(exported(x), expected + named.encode(x) @ named.W_dec, atol=1e-4, rtol=1e-4)
    both = torch.cat([named.encode(x), acts * trained.y_scale], dim=1)
    torch.testing.assert_close(exported.encode(x), both, atol=1e-4, rtol=1e-4)
    assert exported.cfg.metadata.hook_name == "blocks.2.mlp.hook_in"
    kept = trained.frequent(x)
    torch.testing.assert_close(trained.export(2, kept, named).encode(x)[:, 2:], exported.encode(x)[:, 2:][:, kept])
    assert torch.equal(kept, (exported.encode(x)[:, 2:] > 0).sum(0) >= trained.config.rare)


def untrained(data: TrainingSet, config: DictionaryConfig) -> SkipTranscoder:
    return SkipTranscoder(data, config, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("crowded", "raised"), [(0, True), (100, False)])
def test_thresholds_are_raised_without_room_only_while_too_many_latents_fire(crowded, raised):
    data = toy_set(0)
    transcoder = untrained(data, replace(TOY, crowded=crowded, unexplained=0.0))
    sharpen(transcoder, data, data.variance, "")
    assert (transcoder.raised > 0).any() == raised


def test_a_refit_explains_more_and_leaves_alone_which_latents_fire():
    data = toy_set(0)
    transcoder = untrained(data, replace(TOY, steps=20))
    transcoder.raise_thresholds(data.x / transcoder.x_scale, 0.4)
    scaled = data.x / transcoder.x_scale
    before, fired = transcoder.squared_error(data), transcoder.select(transcoder.pre_activations(scaled), True)
    refit_writes(transcoder, data)
    after = transcoder.select(transcoder.pre_activations(scaled), True)
    assert torch.equal(after > 0, fired > 0) and transcoder.squared_error(data) < 0.8 * before
    torch.testing.assert_close(transcoder.W_dec.norm(dim=1), torch.ones(23), atol=1e-4, rtol=1e-4)


def test_a_named_latent_fires_where_it_is_told_to_and_nowhere_else():
    data = toy_set(3)
    trained, named = train_transcoder(data, TOY, 0, "")
    fires = trained.export(0, torch.ones(23, dtype=torch.bool), named).encode(data.x)[:, :3] > 0
    for name in range(3):
        told, wanted = data.names.wanted != UNKNOWN, data.names.wanted == name
        fired = fires[:, name] & told
        assert 2 * (fired & wanted).sum() / (fired.sum() + wanted.sum()) >= 0.7


def test_named_latents_write_no_more_than_there_is_where_their_names_are_unknown():
    data = toy_set(3)
    named = train_names(data, TOY, torch.Generator().manual_seed(0), "")
    unknown = data.names.wanted == UNKNOWN
    left = named.left_over(data).y[unknown]
    assert left.pow(2).sum() < (data.y[unknown] - data.y.mean(0)).pow(2).sum()
    excess = torch.tensor([[0.5, 2.0], [3.0, -1.0]])
    assert excess_loss(excess, torch.tensor([[1.0, 1.0], [1.0, 0.0]])) == (1 + 4) / 2
    assert torch.equal(amounts(torch.tensor([[4.0, -3.0]]), 2 * torch.eye(2)), torch.tensor([[2.0, 0.0]]))


def test_whitened_inputs_vary_as_much_in_every_direction():
    torch.manual_seed(0)
    x = torch.randn(4000, 5) @ torch.randn(5, 5) + 3
    mean, whiten = whitening(x)
    torch.testing.assert_close(torch.cov(((x - mean) @ whiten).T), torch.eye(5), atol=1e-3, rtol=0)
    constant = torch.cat([x, torch.ones(4000, 1)], dim=1)  # an input that never varies
    mean, whiten = whitening(constant)
    assert ((constant - mean) @ whiten).abs().amax(0).min() < 1e-2


def test_a_named_latent_carries_how_much_the_mlp_writes_about_its_name_and_the_others_what_is_left():
    """The MLP writes as much along one direction as the first input is above 0, where that is large."""
    torch.manual_seed(0)
    x, some = torch.randn(4000, 7), torch.rand(4000) < 0.1
    x[some, 0] = 6 + 4 * torch.rand(int(some.sum()))
    direction = torch.nn.functional.normalize(torch.randn(5), dim=0)
    y = torch.where(some, x[:, 0], 0.0)[:, None] * direction
    data = TrainingSet(x, y, Names(1, torch.where(some, 0, NOTHING)))
    config = replace(TOY, naming_steps=1000, batch_size=512)
    named = train_names(data, config, torch.Generator().manual_seed(0), "")
    acts = named.encode(x)[:, 0]
    assert torch.equal(acts > 0, some)
    wanted = (y - y.mean(0)) @ direction
    assert ((acts - wanted)[some].abs() / wanted[some]).mean() < 0.1
    left = named.left_over(data)
    assert torch.equal(left.x, x) and left.variance < 0.1 * data.variance
    assert no_names(data).left_over(data).variance == pytest.approx(data.variance)


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
    """The whole script at a toy size, with no folder named: where it says that it put the work and the model."""
    before = git_status()
    environment = os.environ | {"TMPDIR": str(tmp_path_factory.mktemp("miniature"))}
    command = [sys.executable, "-m", "utils.atlas.train", "--miniature"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)
    assert git_status() == before
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith(("work: ", "out: ")))
    return SimpleNamespace(work=Path(said["work"]), out=Path(said["out"]))


def git_status() -> str:
    """What git sees changed in this folder; empty where there is no git."""
    done = subprocess.run(["git", "status", "--porcelain"], cwd=ATLAS, capture_output=True, text=True)
    return done.stdout


def test_the_training_script_runs_through(miniature):
    card = (miniature.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# Model card") and "## Is each step needed?" in card
    assert (miniature.out / "weights" / "labels.json").exists()
    metrics = json.loads((miniature.out / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["dictionaries"]) == 2
    taught = [step.fact for step in MINIATURE.model.taught]
    assert [row["step"] for row in metrics["steps"]] == [row["step"] for row in metrics["clt"]["steps"]] == taught
    AutoModelForCausalLM.from_pretrained(miniature.out / "weights" / "model")


def test_what_the_script_builds_can_be_loaded(miniature):
    from utils.models import load

    model, transcoders = load(miniature.out / "weights")
    assert set(transcoders) == {0, 1}
    assert model.to_tokens("Texas")[0, 0] == model.tokenizer.bos_token_id


def test_a_work_folder_of_another_recipe_is_refused(miniature):
    command = [sys.executable, "-m", "utils.atlas.train", "--work", miniature.work, "--out", miniature.out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "another recipe" in done.stderr


@pytest.mark.parametrize(
    ("answers", "need", "refused"), [(0.99, 0.2, False), (0.95, 0.2, True), (0.99, 0.3, True), (1.0, 0.1, False)]
)
def test_a_better_model_is_not_replaced(tmp_path, answers, need, refused):
    def metrics(answers, need):
        steps = [{"step": "state", "latent": {"zeroed": {"right": need}}}]
        return {"accuracy": {"two-hop (held out)": answers}, "steps": steps}

    train.keep_better(tmp_path, metrics(0.0, 1.0))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics(0.99, 0.2)))
    if refused:
        with pytest.raises(ValueError, match="better model.*--force"):
            train.keep_better(tmp_path, metrics(answers, need))
    else:
        train.keep_better(tmp_path, metrics(answers, need))


def test_any_model_with_measured_steps_replaces_one_without(tmp_path):
    old = {"accuracy": {"two-hop (held out)": 1.0}}
    (tmp_path / "metrics.json").write_text(json.dumps(old))
    steps = [{"step": "state", "latent": {"zeroed": {"right": 0.5}}}]
    train.keep_better(tmp_path, {"accuracy": {"two-hop (held out)": 1.0}, "steps": steps})


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
        most = 0.06 if row["layer"] == 4 else 0.05  # layer 4 says 393 named answers: see the model card
        assert row["unexplained"] <= most and row["active"] <= 10, row


def test_answers_are_kept_without_the_mlps(atlas, sentences):
    model, transcoders = atlas
    asked = random.Random(1).sample([s for s in sentences if s.family == "two-hop"], 300)
    assert evaluate.answers_kept(model, model.tokenizer, transcoders, asked) >= 0.95


@pytest.fixture(scope="module")
def asked(sentences, world, tokenizer):
    return {step.fact: necessity.ask(step, sentences, world, tokenizer, 0) for step in interchange.STEPS}


def test_questions_about_a_step_have_partners_with_another_fact(asked, world):
    for fact, found in asked.items():
        pairs = list(zip(found.prompts.sentences, found.partners.sentences, strict=True))
        assert len(pairs) == len(found) == (6 * len(world.opposites) if fact == "language" else 500)
        assert 0.15 < found.held_out.float().mean() < 0.35
        for own, other in pairs:
            if fact == "language":
                assert own.subject == other.subject and own.concepts["language"] != other.concepts["language"]
            else:
                assert own.concepts["place"] != other.concepts["place"]
                assert (own.subject in world.held_out_cities) == (other.subject in world.held_out_cities)
        assert not (found.answers[:, None] == found.alternatives).all(1).any()
    assert asked["state"].alternatives.shape == (500, 49) and asked["relation"].alternatives.shape == (500, 5)


@pytest.fixture(scope="module")
def toy_latents():
    """Two layers' worth of writes, as a cross-layer latent has; latents read one input each."""
    torch.manual_seed(0)
    writes = {2: torch.randn(4, 5), 3: torch.randn(4, 5)}
    return necessity.Latents(2, lambda x: torch.relu(x[:, :4]), writes)


def test_hooks_change_what_the_mlps_write_by_what_the_latents_write_more_or_less(toy_latents):
    x, y = torch.randn(3, 6, 5), torch.randn(3, 6, 5)
    position = torch.tensor([0, 4, 2])
    read, *write = [hook for _, hook in toy_latents.hooks(position, lambda acts: 2 * acts)]
    read(x, None)
    rows = torch.arange(3)
    for layer, hook in zip((2, 3), write, strict=True):
        expected = y.clone()
        expected[rows, position] += torch.relu(x[rows, position, :4]) @ toy_latents.writes[layer]
        torch.testing.assert_close(hook(y, None), expected)


def test_controls_write_as_much_as_the_one_latent_and_not_along_it(toy_latents):
    acts = torch.tensor([[2.0, 1.0, 0.5, 0.0], [3.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    own = torch.tensor([0, 0, -1])
    found = necessity.matched(toy_latents, acts, own)
    lengths = toy_latents.lengths(necessity.only(acts, own))
    torch.testing.assert_close(toy_latents.lengths(found), lengths)
    assert found[0, 0] == 0 and found[0, 1] == 2 * found[0, 2] > 0  # the others, in their proportion
    assert found[1].nonzero().flatten().tolist() == [3]  # alone: one that is active nowhere
    assert lengths[2] == 0 and (found[2] == 0).all()  # a value without a latent


def test_the_places_of_the_steps_are_named():
    for step in interchange.STEPS:
        assert NAMED[step.layer][necessity.KINDS[step.fact]] == step.place


@pytest.fixture(scope="module")
def steps(atlas, sentences):
    """The steps' measures, with latents chosen on questions that the model was trained on."""
    model, transcoders = atlas
    asked = [s for s in sentences if s.family in ("two-hop", *IN_WORDS)]
    choose = random.Random(3).sample([s for s in asked if not s.held_out], 4000)
    named = {step.layer: transcoders[step.layer] for step in interchange.STEPS}
    groups = [
        (evaluate.latents_of(model, named, evaluate.encode_prompts(group, model.tokenizer)), group)
        for group in (choose, [s for s in asked if s.held_out])
    ]
    found = necessity.measure_steps(model, transcoders, interchange.STEPS, sentences, groups)
    return {row["step"]: row for row in found}


@pytest.mark.parametrize("step", ["state", "answer", "relation", "language"])
def test_the_mlp_of_a_step_is_needed_at_its_place_and_enough(steps, step):
    row = steps[step]
    assert row["unchanged"]["right"] >= 0.98 and min(row["mlp"]["swap"].values()) >= 0.9
    assert row["mlp"]["zero"]["right"] <= 0.45  # of three languages one is right by chance
    assert max(row["mlp"][what]["contrast"] for what in ("zero", "mean")) <= 0.15 * row["unchanged"]["contrast"]


@pytest.mark.parametrize(
    ("step", "most", "swapped"), [("state", 0.25, 0.8), ("answer", 0.4, 0.5), ("language", 0.6, 0.9)]
)
def test_one_latent_carries_a_step(steps, step, most, swapped):
    """The relation is left out: a random vector as long as its latent writes spoils as much (model card)."""
    row = steps[step]
    left, others, random_direction = (row["latent"][what] for what in ("zeroed", "controls", "random"))
    assert left["right"] <= most and left["contrast"] <= 0.25 * row["unchanged"]["contrast"]
    assert min(others["contrast"], random_direction["contrast"]) >= 2 * left["contrast"]
    assert random_direction["right"] >= 0.9 and min(row["latent"]["swap"].values()) >= swapped


def test_latents_have_names_on_questions_that_nothing_was_trained_on(atlas, sentences):
    model, transcoders = atlas
    asked = [s for s in sentences if s.family == "two-hop"]
    choose = random.Random(3).sample([s for s in asked if not s.held_out], 4000)
    groups = choose, [s for s in asked if s.held_out]
    summary, _ = name_all(
        *[(evaluate.latents_of(model, transcoders, evaluate.encode_prompts(g, model.tokenizer)), g) for g in groups]
    )
    wanted = {"city": 0.9, "state or country": 0.9, "relation": 1.0, "answer": 0.85}
    assert {kind: summary[kind]["share"] for kind in wanted if summary[kind]["share"] < wanted[kind]} == {}
