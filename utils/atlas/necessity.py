"""Is each step of a question needed where training put it, and by one latent? Interventions on the real model, all live.

A step (`utils.atlas.interchange.STEPS`) is what one MLP writes at one position. Two things are done to it. The whole write is
replaced by 0, by the mean over the questions, or by another question's. Or one latent's part of it is: the latent's activation is set
to 0, or another latent is given the activation that it has on another question. Everything downstream is recomputed. Contrast
is the logit of the own answer's first token minus the mean of the alternatives' logits.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from sae_lens.saes.transcoder import Transcoder
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from utils.atlas.corpus import TWO_HOP, Sentence
from utils.atlas.evaluate import Prompts, encode_prompts, name_latents
from utils.atlas.interchange import Step, fact_after, may_be_exchanged
from utils.atlas.naming import values_of
from utils.atlas.world import LANGUAGES, World, load_world
from utils.engine.cross_layer import CrossLayerWeights
from utils.engine.hooks import Hook, mlp_out_hook, reading_hook

# Step -> the kind of latents that stand for its fact, see `naming.CONCEPTS`.
KINDS = {"state": "state or country", "relation": "relation", "answer": "answer", "language": "language"}


@dataclass
class Asked:
    """Questions about one step, and for each a partner with another fact."""

    prompts: Prompts
    partners: Prompts
    answers: Int[Tensor, " row"]  # first token of the right answer
    theirs: Int[Tensor, " row"]  # of the answer with the partner's fact in it
    alternatives: Int[Tensor, "row alternative"]  # of the answers that the contrast is taken against
    held_out: Bool[Tensor, " row"]  # interchange training never used the partner (about cities: nor the question)

    def __len__(self) -> int:
        return len(self.answers)


def ask(step: Step, sentences: list[Sentence], world: World, tokenizer: PreTrainedTokenizerFast, seed: int) -> Asked:
    """Questions that try one step: one for every city of a state, or for every concept, language and direction."""
    rng = random.Random(seed)
    pairs = word_pairs(sentences, rng) if step.fact == "language" else city_pairs(step, sentences, world, rng)
    own, other = ([pair[side] for pair in pairs] for side in (0, 1))

    def first(answer: str) -> int:
        return tokenizer(f" {answer.strip()}", add_special_tokens=False)["input_ids"][0]

    facts = {p.name: p.relations for p in world.places}
    words = {o.name: o.words for o in world.opposites}

    def alternatives(s: Sentence) -> list[str]:
        c = s.concepts
        if step.fact == "language":
            side = words[c["concept"]][c["language"]].index(c["answer"])
            return [words[c["concept"]][language][side] for language in LANGUAGES if language != c["language"]]
        if step.fact == "relation":
            return [answer for relation, answer in facts[c["place"]].items() if relation != c["relation"]]
        capitals = [p.relations["capital"] for p in world.places if p.kind == "state"]
        return [capital for capital in capitals if capital != c["answer"]]

    def theirs(a: Sentence, b: Sentence) -> str:
        if step.fact == "language":
            return b.answer
        _, place, relation = fact_after(a, b, step.fact)
        return facts[place][relation]

    return Asked(
        encode_prompts(own, tokenizer),
        encode_prompts(other, tokenizer),
        torch.tensor([first(s.answer) for s in own]),
        torch.tensor([first(theirs(*pair)) for pair in pairs]),
        torch.tensor([[first(answer) for answer in alternatives(s)] for s in own]),
        torch.tensor([not may_be_exchanged(s, world) for s in other]),
    )


def city_pairs(
    step: Step, sentences: list[Sentence], world: World, rng: random.Random
) -> list[tuple[Sentence, Sentence]]:
    """For every city of a state a question, and one about a city of another state; both held out of interchanges, or neither.

    "The capital of the state containing X is", except where the relation is what is tried.
    """
    states = {p.name for p in world.places if p.kind == "state"}
    by_city = defaultdict(list)
    for s in sentences:
        if s.family == "two-hop" and s.concepts["place"] in states:
            form = TWO_HOP[0].format(relation="capital", kind="state", subject=s.subject)
            if step.fact == "relation" or s.prompt == form:
                by_city[s.concepts["city"]].append(s)
    groups = defaultdict(list)
    for city, asked in by_city.items():
        groups[city in world.held_out_cities].append(asked)
    pairs = []
    for group in groups.values():
        for asked in group:
            own = rng.choice(asked)
            other = own
            while other.concepts["place"] == own.concepts["place"] or (
                step.fact == "relation" and other.concepts["relation"] == own.concepts["relation"]
            ):
                other = rng.choice(rng.choice(group))
            pairs.append((own, other))
    return pairs


def word_pairs(sentences: list[Sentence], rng: random.Random) -> list[tuple[Sentence, Sentence]]:
    """For every concept, language of the answer and direction a question, and one about the same word in another language."""
    by_word, by_answer = defaultdict(list), defaultdict(list)
    for s in sentences:
        if s.family in ("opposite", "opposite abroad") and not s.held_out:
            by_word[s.subject].append(s)
            by_answer[s.answer].append(s)
    pairs = []
    for asked in by_answer.values():
        own = rng.choice(asked)
        others = [s for s in by_word[own.subject] if s.concepts["language"] != own.concepts["language"]]
        pairs.append((own, rng.choice(others)))
    return pairs


@dataclass
class Latents:
    """One layer's latents of either kind of dictionary: how they read, and what they write into which layers."""

    layer: int
    encode: Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row latent"]]
    writes: dict[int, Float[Tensor, "latent d_model"]]

    @classmethod
    def of(cls, dictionary: Mapping[int, Transcoder] | CrossLayerWeights, layer: int) -> "Latents":
        if isinstance(dictionary, CrossLayerWeights):
            rows = {layer + k: rows for k, rows in enumerate(dictionary.W_dec[layer])}
            return cls(layer, lambda x: dictionary.encode(layer, x), rows)
        return cls(layer, dictionary[layer].encode, {layer: dictionary[layer].W_dec})

    def lengths(self, acts: Float[Tensor, "row latent"]) -> Float[Tensor, " row"]:
        """Length of what is written, into all layers taken together."""
        return torch.stack([(acts @ rows).pow(2).sum(1) for rows in self.writes.values()]).sum(0).sqrt()

    def hooks(self, position: Int[Tensor, " row"], new: Callable[[Tensor], Tensor]) -> list[Hook]:
        """Hooks that give these latents the activations `new(live activations)` at one position a row.

        What they then write more or less is added to what the real MLPs write, so the error stays as it is.
        """
        change: list[Float[Tensor, "row latent"]] = []

        def read(x: Tensor, hook) -> None:
            acts = self.encode(x[torch.arange(len(x)), position])
            change[:] = [new(acts) - acts]

        def write(rows: Float[Tensor, "latent d_model"]) -> Callable:
            def add(y: Tensor, hook) -> Tensor:
                y = y.clone()
                y[torch.arange(len(y)), position] += change[0] @ rows
                return y

            return add

        return [(reading_hook(self.layer), read)] + [(mlp_out_hook(m), write(rows)) for m, rows in self.writes.items()]


class Trial:
    """One step's questions and partners, read once on the unchanged model."""

    @torch.no_grad()
    def __init__(self, model: TransformerBridge, step: Step, asked: Asked):
        self.model, self.step, self.asked = model, step, asked
        self.rows = torch.arange(len(asked))
        sides = asked.prompts, asked.partners
        self.position, self.their_position = (s.subject if step.place == "subject" else s.last for s in sides)
        _, self.cache = model.run_with_cache(asked.prompts.tokens)
        _, self.their_cache = model.run_with_cache(asked.partners.tokens)

    @torch.no_grad()
    def logits(self, hooks: list[Hook]) -> Float[Tensor, "row vocabulary"]:
        """At the last position of every question."""
        logits = self.model.run_with_hooks(self.asked.prompts.tokens, fwd_hooks=hooks)
        return logits[self.rows, self.asked.prompts.last]

    def right(self, hooks: list[Hook]) -> dict[str, float]:
        """Share of the questions answered right, mean contrast, and mean probability of the right answer.

        The share counts the most probable token, by however little: an answer at 4 % can still be right. The probability
        tells how much is left of it.
        """
        logits = self.logits(hooks)
        answers = self.asked.answers[:, None]
        contrast = logits.gather(1, answers)[:, 0] - logits.gather(1, self.asked.alternatives).mean(1)
        return {
            "right": (logits.argmax(1) == self.asked.answers).float().mean().item(),
            "contrast": contrast.mean().item(),
            "probability": logits.softmax(1).gather(1, answers).mean().item(),
        }

    def swapped(self, hooks: list[Hook]) -> dict[str, float]:
        """Share of the questions answered as with the partner's fact, apart for what interchange training used and did not."""
        found = self.logits(hooks).argmax(1) == self.asked.theirs
        differ = self.asked.theirs != self.asked.answers
        held_out = self.asked.held_out
        return {
            "trained": found[differ & ~held_out].float().mean().item(),
            "held_out": found[differ & held_out].float().mean().item(),
        }

    def mlp_hooks(self, layer: int, new: Float[Tensor, "*row d_model"]) -> list[Hook]:
        """Let the MLP of a layer write `new` at the step's place."""

        def write(y: Tensor, hook) -> Tensor:
            y = y.clone()
            y[self.rows, self.position] = new
            return y

        return [(mlp_out_hook(layer), write)]

    def mlp(self, layer: int) -> dict:
        """What the whole MLP of a layer does at the step's place: at 0, with the mean write, and with the partner's."""
        name = mlp_out_hook(layer)
        own, theirs = self.cache[name][self.rows, self.position], self.their_cache[name][self.rows, self.their_position]
        return {
            "zero": self.right(self.mlp_hooks(layer, torch.zeros_like(own[0]))),
            "mean": self.right(self.mlp_hooks(layer, own.mean(0))),
            "swap": self.swapped(self.mlp_hooks(layer, theirs)),
        }

    def random_hooks(self, latents: Latents, acts: Float[Tensor, "row latent"]) -> list[Hook]:
        """Add a vector of random direction at the step's place, as long as what these activations write into each layer."""
        generator = torch.Generator().manual_seed(0)

        def add(vectors: Float[Tensor, "row d_model"]) -> Callable:
            def write(y: Tensor, hook) -> Tensor:
                y = y.clone()
                y[self.rows, self.position] += vectors
                return y

            return write

        hooks = []
        for layer, rows in latents.writes.items():
            drawn = torch.randn(len(acts), rows.shape[1], generator=generator)
            length = (acts @ rows).norm(dim=1, keepdim=True)
            hooks.append((mlp_out_hook(layer), add(drawn / drawn.norm(dim=1, keepdim=True) * length)))
        return hooks

    def latents(self, latents: Latents, chosen: Mapping[str, int]) -> dict:
        """What one latent a question does there: at 0, against two controls, and with the partner's in its place.

        Both controls take away a vector as long as what the latent writes: one along the place's other latents (`matched`),
        one in a random direction.

        Args:
            chosen: the latent of every value of the step's fact; a value without one is left as it is.
        """
        own, theirs = (
            torch.tensor([chosen.get(v, -1) for v in values_of(KINDS[self.step.fact], side.sentences)])
            for side in (self.asked.prompts, self.asked.partners)
        )
        read = self.their_cache[reading_hook(latents.layer)][self.rows, self.their_position]
        their_acts = only(latents.encode(read), theirs)
        own_acts = only(latents.encode(self.cache[reading_hook(latents.layer)][self.rows, self.position]), own)

        def zero(acts: Tensor) -> Tensor:
            return acts - only(acts, own)

        def swap(acts: Tensor) -> Tensor:
            left = zero(acts)
            return left - only(left, theirs) + their_acts

        def control(acts: Tensor) -> Tensor:
            return acts - matched(latents, acts, own)

        return {
            "zeroed": self.right(latents.hooks(self.position, zero)),
            "controls": self.right(latents.hooks(self.position, control)),
            "random": self.right(self.random_hooks(latents, own_acts)),
            "swap": self.swapped(latents.hooks(self.position, swap)),
        }


def only(acts: Float[Tensor, "row latent"], latent: Int[Tensor, " row"]) -> Float[Tensor, "row latent"]:
    """One latent's activation in every row (-1: none), the others at 0."""
    kept, rows = torch.zeros_like(acts), (latent >= 0).nonzero()[:, 0]
    kept[rows, latent[rows]] = acts[rows, latent[rows]]
    return kept


def matched(
    latents: Latents, acts: Float[Tensor, "row latent"], own: Int[Tensor, " row"]
) -> Float[Tensor, "row latent"]:
    """All other active latents of the place, scaled until they write a vector as long as the own one's.

    Where no other is active, one that is active on no question.
    """
    one = only(acts, own)
    others = acts - one
    alone = ((others > 0).sum(1) == 0).nonzero()[:, 0]
    idle = ((acts > 0).sum(0) == 0).nonzero()[:, 0]
    if len(alone) and len(idle):
        drawn = torch.randint(len(idle), alone.shape, generator=torch.Generator().manual_seed(0))
        others[alone, idle[drawn]] = 1.0
    return others * (latents.lengths(one) / latents.lengths(others).clamp_min(1e-6))[:, None]


def carriers(
    step: Step, layer: int, choose: tuple[dict, list[Sentence]], test: tuple[dict, list[Sentence]]
) -> dict[str, int]:
    """For every value of a step's fact the latent of a layer that tells it best, at the step's position.

    Args:
        choose: activations at all places (`evaluate.latents_of`) on prompts to choose latents by, and the prompts.
        test: likewise, on others; a value is looked for when both have it.
    """
    kind, place = KINDS[step.fact], (layer, step.place)
    acts = [{place: found[place]} for found, _ in (choose, test)]
    found = name_latents(kind, acts[0], values_of(kind, choose[1]), acts[1], values_of(kind, test[1]))
    return {latent.value: latent.latent for _, latent in found[place]}


def measure_steps(
    model: TransformerBridge,
    dictionary: Mapping[int, Transcoder] | CrossLayerWeights,
    steps: Sequence[Step],
    sentences: list[Sentence],
    groups: tuple[tuple[dict, list[Sentence]], tuple[dict, list[Sentence]]],
    seed: int = 0,
) -> list[dict]:
    """For every step what the whole MLP and what one latent of a dictionary does at its place.

    A dictionary with named latents is tried in the step's layer. A cross-layer transcoder, which was given no names, is tried in
    all layers; the one is reported in which a latent at 0 lowers the contrast most.

    Args:
        groups: prompts to choose latents by and others, with activations: see `carriers`.
    """
    found = []
    for step in steps:
        asked = ask(step, sentences, load_world(), model.tokenizer, seed)
        trial = Trial(model, step, asked)
        row = {"step": step.fact, "layer": step.layer, "place": step.place}
        row |= {"questions": len(asked), "held_out": int(asked.held_out.sum()), "unchanged": trial.right([])}
        row |= {"mlp": trial.mlp(step.layer)}
        tried = {}
        for layer in range(model.cfg.n_layers) if isinstance(dictionary, CrossLayerWeights) else (step.layer,):
            chosen = carriers(step, layer, *groups)
            tried[layer] = trial.latents(Latents.of(dictionary, layer), chosen)
        best = min(tried, key=lambda layer: tried[layer]["zeroed"]["contrast"])
        found.append(row | {"latents_of_layer": best, "latent": tried[best]})
    return found
