"""A latent known by its number only: sentences to study it on, and others to test what one believes it stands for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.corpus import Sentence
from utils.atlas.sample import read_corpus
from utils.engine.hooks import Transcoder, reading_hook
from utils.latents.scan import Scan

# Mostly places, so that each occurs often enough to be counted.
CASE_SHARES = {"two-hop": 60, "one-hop": 12, "location": 12, "opposite abroad": 8, "translation": 8}
CASE_SENTENCES = 1000

Fact = tuple[str, str]


@dataclass(frozen=True)
class Observation:
    """One sentence as a case shows it: its tokens, the latent's activation on each, and what the sentence is about."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    facts: frozenset[Fact]

    @property
    def fires(self) -> bool:
        return max(self.activations) > 0


@dataclass(frozen=True)
class Case:
    """A latent to be explained.

    Attributes:
        layer, latent: its number, and nothing else about it.
        study: sentences to look at.
        test: other sentences, on which a hypothesis is graded.
    """

    layer: int
    latent: int
    study: tuple[Observation, ...]
    test: tuple[Observation, ...] = field(repr=False)


def facts_of(sentence: Sentence, tokens: Sequence[str]) -> frozenset[Fact]:
    """What a sentence is about, as (kind, value) pairs: its concepts, its family, and every token as ("token", text)."""
    named = {(kind, str(value)) for kind, value in sentence.concepts.items()}
    return frozenset(named | {("family", sentence.family)} | {("token", token) for token in tokens})


def open_case(scan: Scan, layer: int, latent: int) -> Case:
    """The case of any latent. Half of the scanned sentences are for study, the others for the test."""
    acts, used = scan.activations(layer, latent).cpu(), scan.corpus.used.cpu()
    observations = []
    for row, sentence in enumerate(scan.corpus.sentences):
        positions = used[row].nonzero().flatten().tolist()
        tokens = tuple(scan.text(row, p) for p in positions)
        activations = tuple(round(acts[row, p].item(), 4) for p in positions)
        observations.append(Observation(tokens, activations, facts_of(sentence, tokens)))
    half = len(observations) // 2
    return Case(layer, latent, tuple(observations[:half]), tuple(observations[half:]))


def blind_case(model: TransformerBridge, transcoders: dict[int, Transcoder], number: int = 0) -> Case:
    """A case worth studying, chosen by a rule that works for any weights; `number` gives further ones.

    Wanted is a latent of the upper half of the layers that stands for a place (or, where no latent does, for something else
    that sentences can be about). Each latent is measured by how well "the sentence is about X" says where it fires (F1 of the
    best X), and of the good ones the busiest is taken. Which X that is stays here.
    """
    layers = range(len(transcoders) // 2, len(transcoders))
    corpus = read_corpus(model, CASE_SENTENCES, seed=1, shares=CASE_SHARES)
    scan = Scan(model, transcoders, corpus, names={reading_hook(layer) for layer in layers})
    facts = [facts_of(sentence, ()) - {("family", sentence.family)} for sentence in scan.corpus.sentences]
    counts = Counter(fact for row in facts for fact in row if fact[0] not in ("answer", "city"))
    wanted = sorted(fact for fact, count in counts.items() if count >= 8)
    about = torch.tensor([[fact in row for fact in wanted] for row in facts]).float()
    half, found = len(facts) // 2, []
    for layer in layers:
        fires = scan.fires(layer).float().cpu()
        # what holds in one half only is no rule
        both = [_f1(fires[part], about[part]) for part in (slice(None, half), slice(half, None))]
        best, which = torch.minimum(*both).max(1)
        for latent, (f1, index, count) in enumerate(zip(best.tolist(), which.tolist(), fires.sum(0).tolist())):
            found.append((wanted[index][0] != "place", -min(round(f1, 1), 0.9), -count, layer, latent))
    *_, layer, latent = sorted(found)[number]
    return open_case(scan, layer, latent)


def best_place_f1(scan: Scan, layer: int, transcoder: Transcoder, at_least: int = 8) -> dict[str, float]:
    """How well the best single latent of a transcoder says that a sentence is about a place (F1), for every place.

    Only places that `at_least` so many of the scanned sentences are about. The best latent is chosen on the same sentences.
    """
    places = [sentence.concepts.get("place") for sentence in scan.corpus.sentences]
    wanted = sorted(place for place, count in Counter(places).items() if place and count >= at_least)
    about = torch.tensor([[place == other for other in wanted] for place in places]).float()
    best = _f1(scan.fires(layer, transcoder).float().cpu(), about).max(0).values
    return dict(zip(wanted, best.tolist(), strict=True))


def _f1(fires: Float[Tensor, "row latent"], about: Float[Tensor, "row fact"]) -> Float[Tensor, "latent fact"]:
    """F1 of "the sentence is about this" as a prediction of "the latent fires in it"."""
    return 2 * (fires.T @ about) / (fires.sum(0)[:, None] + about.sum(0)).clamp_min(1)
