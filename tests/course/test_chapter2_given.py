"""What students are given: norms as they are measured, MLPs as functions, the corpus, the scan, the blind case."""

import copy
from collections import Counter

import pytest
import torch

from tests.chapter2.shared import random_tokens
from tests.tiny import ARCHITECTURES
from utils.atlas.case import CASE_SHARES, best_place_f1
from utils.atlas.quick_sae import quick_sae
from utils.atlas.sample import read_corpus
from utils.engine.hooks import mlp_out_hook, reading_hook
from utils.engine.mlp import is_centred, mlp_function, mlp_output, norm_weight
from utils.latents.scan import Scan


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_weight_of_a_norm_is_measured_right(tiny, architecture):
    model, _ = tiny(architecture)
    norm = model.blocks[1].ln2
    stored = norm.original_component.weight + (architecture == "gemma3")
    torch.testing.assert_close(norm_weight(norm, model.cfg.d_model), stored.detach(), rtol=1e-5, atol=1e-5)
    assert is_centred(norm) == (architecture == "gpt2")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_mlp_as_a_function_gives_what_it_adds_to_the_stream(tiny, architecture):
    model, _ = tiny(architecture)
    _, cache = model.run_with_cache(random_tokens(model, 3))
    x, y = cache[reading_hook(2)], cache[mlp_out_hook(2)]
    torch.testing.assert_close(mlp_output(model, 2, x), y.detach(), rtol=1e-5, atol=1e-5)
    flat = mlp_function(model, 2)(x.flatten(0, 1)).detach()
    torch.testing.assert_close(flat, y.detach().flatten(0, 1), rtol=1e-5, atol=1e-5)


def test_a_scan_agrees_with_the_transcoder(atlas):
    model, transcoders = atlas
    corpus = read_corpus(model, 20)
    scan = Scan(model, transcoders, corpus, batch_size=7)
    acts = transcoders[2].encode(scan.cached(reading_hook(2))) * corpus.used[..., None]
    latent = int(acts.sum((0, 1)).argmax())
    torch.testing.assert_close(scan.activations(2, latent), acts[..., latent], rtol=1e-4, atol=1e-4)
    assert torch.equal(scan.fires(2), (acts > 0).any(1))
    assert len(scan.reads(2)) == len(scan.writes(2)) == int(corpus.used.sum())


def test_places_have_latents_where_they_were_reserved(atlas):
    model, transcoders = atlas
    scan = Scan(model, transcoders, read_corpus(model, 300, shares=CASE_SHARES), names={reading_hook(3)})
    found = best_place_f1(scan, 3, transcoders[3], at_least=4)
    counts = Counter(sentence.concepts.get("place") for sentence in scan.corpus.sentences)
    assert set(found) == {place for place, count in counts.items() if place and count >= 4} and len(found) > 5
    assert sum(found.values()) / len(found) > 0.8
    # one place by hand: F1 of the latent that is best for it
    place, fires = min(found), scan.fires(3)
    about = torch.tensor([sentence.concepts.get("place") == place for sentence in scan.corpus.sentences])
    both = (fires & about[:, None]).sum(0)
    by_hand = 2 * both / (fires.sum(0) + about.sum())
    assert found[place] == pytest.approx(by_hand.max().item())
    # a transcoder whose latents never fire knows no place
    silent = copy.deepcopy(transcoders[3])
    silent.threshold.data.fill_(1e9)
    assert set(best_place_f1(scan, 3, silent, at_least=4).values()) == {0.0}


def test_what_is_counted_is_the_answer(atlas):
    model, _ = atlas
    corpus = read_corpus(model, 9)
    for row, sentence in enumerate(corpus.sentences):
        predicted = corpus.tokens[row, 1:][corpus.counted[row, :-1]]
        assert model.tokenizer.decode(predicted).strip() == (sentence.answer + sentence.tail).strip()


def test_a_quick_sae_rebuilds_what_it_has_learned():
    torch.manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(20, 12), dim=1)
    y = (torch.rand(4000, 20) < 0.08).float() * torch.rand(4000, 20) @ atoms + 3
    sae = quick_sae(y, width=48, active=2.0, steps=150)
    acts = sae.encode(y)
    left = (y - sae.decode(acts)).pow(2).sum() / (y - y.mean(0)).pow(2).sum()
    assert left < 0.5 and 0.5 < (acts > 0).float().sum(1).mean() < 4
