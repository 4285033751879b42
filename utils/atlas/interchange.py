"""Interchange and necessity training: each step of a question is taken by one MLP at one position, and nowhere else.

Left alone, so small a model spreads "Texas" over attention, embeddings and all MLPs, and exchanging latents changes nothing.
Here two questions are read, and what one MLP writes at one position of one is put into the other. The loss asks for the
answer that then ought to come: the place is made *sufficient* (interchange intervention training, Geiger et al. 2022,
"Inducing causal structure for interpretable neural networks"). Then a share of the mean over the questions is put there, which
does not tell one fact from another, and every partner's answer is asked for in equal shares: the fact may not be known from
anywhere else. The place is made *necessary*. (To ask for one random partner's answer has the same minimum, but its noise drowned
what ordinary sentences teach: after 4,200 updates opposites were told from translations in half of the questions only.)
"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from utils.atlas.corpus import IN_WORDS, Sentence
from utils.atlas.evaluate import encode_prompts
from utils.atlas.world import World


@dataclass(frozen=True)
class Step:
    """One step on the way to an answer: which fact the MLP of one layer writes at one position."""

    fact: str  # what a question and its partner differ in, and what is carried over
    layer: int
    place: str  # "subject" (the end of its name) or "last"


STEPS = (
    Step("state", 3, "subject"),  # the state or country of a city
    Step("relation", 1, "last"),  # capital, flower, currency, ...
    Step("answer", 4, "last"),  # to a question about a city
    Step("language", 3, "last"),  # of the answer, in questions about words
)


@dataclass
class Drawn:
    """Questions, a partner for each, and what ought to be said when facts are put into the questions."""

    own: Int[Tensor, " row"]
    other: Int[Tensor, " row"]
    answers: Int[Tensor, " row"]  # first token of the answer with the partner's fact
    any: Float[Tensor, "row vocabulary"]  # of the answers with any fact, in equal shares


def may_be_exchanged(sentence: Sentence, world: World) -> bool:
    """Whether interchange training may use questions with this city, or this concept and language of the answer."""
    concepts = sentence.concepts
    words = concepts.get("concept"), concepts.get("language")
    return concepts.get("city") not in world.held_out_cities and words not in world.held_out_words


def fact_after(own: Sentence, other: Sentence, fact: str) -> tuple[str, str, str]:
    """City, place and relation that a question about a city asks for when a partner's fact is put into it."""
    about, asking = {"state": (other, own), "relation": (own, other), "answer": (other, other)}[fact]
    return about.concepts["city"], about.concepts["place"], asking.concepts["relation"]


class Partners:
    """Questions of at most `length` tokens that may be exchanged, with partners for each."""

    def __init__(
        self,
        sentences: list[Sentence],
        world: World,
        tokenizer: PreTrainedTokenizerFast,
        length: int,
    ):
        families = ("two-hop", *IN_WORDS)
        asked = [s for s in sentences if s.family in families and not s.held_out and may_be_exchanged(s, world)]
        lengths = map(len, tokenizer([s.prompt for s in asked])["input_ids"])
        self.sentences = [s for s, n in zip(asked, lengths, strict=True) if n <= length]
        self.held_out = world.held_out_two_hop
        self.prompts = encode_prompts(self.sentences, tokenizer)
        self.places = {"subject": self.prompts.subject, "last": self.prompts.last}
        self.first_token: dict[str, int] = {}
        self.kinds = {p.name: p.kind for p in world.places}
        self.facts = {(p.name, relation): value for p in world.places for relation, value in p.relations.items()}
        for answer in sorted({f" {value}" for value in self.facts.values()} | {s.answer for s in self.sentences}):
            self.first_token[answer.strip()] = tokenizer(answer, add_special_tokens=False)["input_ids"][0]
        self.groups: dict[tuple, list[int]] = defaultdict(list)
        for row, sentence in enumerate(self.sentences):
            self.groups[self._in_common(sentence)].append(row)
        self.vocabulary = len(tokenizer)
        self.spread: dict[tuple, Float[Tensor, " vocabulary"]] = {}
        self.rows = {False: [], True: []}
        for row, sentence in enumerate(self.sentences):
            self.rows[sentence.family in IN_WORDS].append(row)

    def _in_common(self, sentence: Sentence) -> tuple:
        """What a question and its partner have in common: states or countries, or the same word, turned round or not."""
        if sentence.family in IN_WORDS:
            return sentence.subject, sentence.family == "translation"
        return (self.kinds[sentence.concepts["place"]],)

    def answer(self, own: Sentence, other: Sentence, fact: str) -> str | None:
        """The answer to a question with a partner's fact in it; None where that is a held-out question."""
        if fact == "language":
            return other.answer.strip()
        city, place, relation = fact_after(own, other, fact)
        return None if (city, relation) in self.held_out else self.facts[place, relation]

    def any_answer(self, own: Sentence, fact: str) -> Float[Tensor, " vocabulary"]:
        """Equal shares for the first tokens of all answers to a question, whatever its fact."""
        group = self._in_common(own)
        kind, place, relation = group[0], own.concepts.get("place"), own.concepts.get("relation")
        key = {"state": (kind, relation), "relation": (place,), "answer": (kind,), "language": group}[fact]
        if (fact, key) not in self.spread:
            if fact == "language":
                answers = {self.sentences[row].answer.strip() for row in self.groups[group]}
            else:
                answers = [
                    answer
                    for (name, asked), answer in self.facts.items()
                    if self.kinds[name] == kind
                    and (fact != "state" or asked == relation)
                    and (fact != "relation" or name == place)
                ]
            tokens = torch.tensor([self.first_token[answer] for answer in answers])
            self.spread[fact, key] = torch.bincount(tokens, minlength=self.vocabulary) / len(tokens)
        return self.spread[fact, key]

    def draw(self, count: int, fact: str, rng: random.Random) -> Drawn:
        """`count` questions with partners. None of the answers that then ought to come is held out."""
        own, other, answers = [], [], []
        while len(own) < count:
            row = rng.choice(self.rows[fact == "language"])
            partner = rng.choice(self.groups[self._in_common(self.sentences[row])])
            answer = self.answer(self.sentences[row], self.sentences[partner], fact)
            if answer is not None:
                own.append(row)
                other.append(partner)
                answers.append(self.first_token[answer])
        spread = torch.stack([self.any_answer(self.sentences[row], fact) for row in own])
        return Drawn(torch.tensor(own), torch.tensor(other), torch.tensor(answers), spread)


class MlpExchange:
    """Records what every MLP writes, or puts something else in the place of it."""

    def __init__(self, model: PreTrainedModel):
        self.written: list[Float[Tensor, "row position d_model"]] = []
        self.replacement: Float[Tensor, "row 1 d_model"] | None = None  # None: record
        self.where: list[Bool[Tensor, "row position 1"]] = []  # one a layer
        for layer, block in enumerate(model.model.layers):
            block.mlp.register_forward_hook(self._hook(layer))

    def _hook(self, layer: int) -> Callable:
        def exchange(mlp, args, output: Tensor) -> Tensor:
            if self.replacement is not None:
                return torch.where(self.where[layer], self.replacement.to(output), output)
            self.written.append(output)
            return output

        return exchange

    def take(self) -> list[Float[Tensor, "row position d_model"]]:
        """What the MLPs of all layers wrote in the last forward pass."""
        written, self.written = self.written, []
        return written


def step_loss(
    runner: Callable,
    exchange: MlpExchange,
    partners: Partners,
    step: Step,
    drawn: Drawn,
    width: int,
    share: Float[Tensor, "row 1"],
) -> Float[Tensor, ""]:
    """Cross-entropy of what ought to be said: with the partners' writes in a step's place, and with a share of their mean.

    Args:
        runner: the model that `exchange` hooks, possibly compiled.
        width: number of positions that every prompt is padded to.
        share: how much of the mean each row is given; at 0 the MLP writes nothing.
    """
    tokens, position = partners.prompts.tokens, partners.places[step.place]
    tokens = torch.nn.functional.pad(tokens, (0, max(0, width - tokens.shape[1])))[:, :width]
    exchange.take()
    with torch.autocast("cpu", torch.bfloat16):
        runner(input_ids=tokens[drawn.other], use_cache=False)
        written = exchange.take()
        theirs = written[step.layer][torch.arange(len(drawn.other)), position[drawn.other]]
        nobodys = share.to(theirs) * theirs.detach().mean(0)
        own = torch.cat([drawn.own, drawn.own])
        where = (torch.arange(width) == position[own, None])[..., None]
        nowhere = torch.zeros_like(where)
        exchange.where = [where if layer == step.layer else nowhere for layer in range(len(written))]
        exchange.replacement = torch.cat([theirs, nobodys])[:, None]
        logits = runner(input_ids=tokens[own], use_cache=False).logits
    exchange.replacement = None
    said = logits[torch.arange(len(own)), partners.prompts.last[own]].float()
    theirs, nobodys = said.split(len(drawn.own))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(theirs, drawn.answers) + cross_entropy(nobodys, drawn.any)) / 2
