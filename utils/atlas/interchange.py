"""Interchange intervention training: what an MLP writes at a stated place has to carry a stated fact.

Left alone, so small a model spreads "Texas" over attention, embeddings and all MLPs, and exchanging latents changes nothing.
Here two questions are read, what some MLPs write at some positions of one is put into the other, and the loss asks for
the answer that then ought to come. (Geiger et al. 2022, "Inducing causal structure for interpretable neural networks".)
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


@dataclass(frozen=True)
class Interchange:
    """Which MLPs at which positions carry which fact."""

    layers: tuple[int, ...]
    places: str  # "subject", "last", or "both": from the end of the subject to the last position
    carries: str  # one of `CARRIED`


# What a question and its partner differ in: the city and its place, the relation, all of it, the language of the answer.
CARRIED = ("place", "relation", "answer", "language")
# City -> state or country in the lower layers at the city's end; relation, and then the answer, at the last position.
INTERCHANGES = (
    Interchange((1, 2, 3, 4, 5), "both", "place"),
    Interchange((0, 1), "subject", "place"),
    Interchange((2, 3), "subject", "place"),
    Interchange((1, 2, 3), "last", "relation"),
    Interchange((4, 5), "last", "answer"),
    Interchange((1, 2, 3), "last", "language"),
)


class Partners:
    """Questions to train on, of at most `length` tokens, with partners whose facts are put into them."""

    def __init__(
        self,
        sentences: list[Sentence],
        held_out: frozenset[tuple[str, str]],
        tokenizer: PreTrainedTokenizerFast,
        length: int,
    ):
        questions = [s for s in sentences if s.family in ("two-hop", *IN_WORDS) and not s.held_out]
        lengths = map(len, tokenizer([s.prompt for s in questions])["input_ids"])
        self.sentences = [s for s, n in zip(questions, lengths, strict=True) if n <= length]
        self.held_out = held_out
        self.prompts = encode_prompts(self.sentences, tokenizer)
        answers = tokenizer([s.answer for s in self.sentences], add_special_tokens=False)["input_ids"]
        self.answers = torch.tensor([answer[0] for answer in answers])
        self.rows = {carries: [] for carries in CARRIED}
        self.groups: dict[tuple, list[int]] = defaultdict(list)
        for row, sentence in enumerate(self.sentences):
            for carries in CARRIED:
                if (carries == "language") == (sentence.family in IN_WORDS):
                    self.rows[carries].append(row)
                    self.groups[in_common(sentence, carries)].append(row)

    def draw(self, count: int, interchange: Interchange, rng: random.Random) -> tuple[list[int], list[int]]:
        """`count` questions and a partner for each. None of the answers that then ought to come is held out."""
        own, other = [], []
        while len(own) < count:
            row = rng.choice(self.rows[interchange.carries])
            partner = rng.choice(self.groups[in_common(self.sentences[row], interchange.carries)])
            if (
                self.sentences[row].concepts.get("city"),
                self.sentences[partner].concepts.get("relation"),
            ) not in self.held_out:
                own.append(row)
                other.append(partner)
        return own, other


def in_common(sentence: Sentence, carries: str) -> tuple:
    """What a question and its partner have in common; all but what is carried over."""
    asked = sentence.prompt.replace(sentence.subject, "", 1)
    if carries == "place":
        return carries, asked
    if carries == "relation":
        return carries, asked.replace(sentence.concepts["relation"], "", 1), sentence.concepts["place"]
    if carries == "language":
        return carries, sentence.subject, sentence.family == "translation"
    return (carries,)


class MlpExchange:
    """Records what every MLP writes, or puts other rows' writes in the place of it."""

    def __init__(self, model: PreTrainedModel):
        self.written: list[Float[Tensor, "row position d_model"]] = []
        self.replacement: list[Float[Tensor, "row position d_model"]] = []  # one a layer; empty: record
        self.where: list[Bool[Tensor, "row position 1"]] = []
        for layer, block in enumerate(model.model.layers):
            block.mlp.register_forward_hook(self._hook(layer))

    def _hook(self, layer: int) -> Callable:
        def exchange(mlp, args, output: Tensor) -> Tensor:
            if self.replacement:
                return torch.where(self.where[layer], self.replacement[layer].to(output), output)
            self.written.append(output)
            return output

        return exchange


def interchange_loss(
    runner: Callable, exchange: MlpExchange, partners: Partners, interchange: Interchange, rows: tuple, width: int
) -> Float[Tensor, ""]:
    """Cross-entropy of the first token that ought to come after an interchange.

    Args:
        runner: the model that `exchange` hooks, possibly compiled.
        rows: questions and their partners, from `Partners.draw`.
        width: number of positions that every prompt is padded to.
    """
    own, other = (torch.tensor(side) for side in rows)
    prompts = partners.prompts
    tokens = torch.nn.functional.pad(prompts.tokens, (0, max(0, width - prompts.tokens.shape[1])))[:, :width]
    positions, where = alignment(prompts.subject, prompts.last, own, other, width, interchange.places)
    exchange.written.clear()
    with torch.autocast("cpu", torch.bfloat16):
        runner(input_ids=tokens[other], use_cache=False)
        nowhere = torch.zeros_like(where)
        exchange.where = [
            (where if layer in interchange.layers else nowhere)[..., None] for layer in range(len(exchange.written))
        ]
        exchange.replacement = [take_rows(written, positions) for written in exchange.written]
        logits = runner(input_ids=tokens[own], use_cache=False).logits
    exchange.written.clear()
    exchange.replacement = []
    return torch.nn.functional.cross_entropy(
        logits[torch.arange(len(own)), prompts.last[own]].float(), partners.answers[other]
    )


def alignment(
    subject: Int[Tensor, " prompt"],
    last: Int[Tensor, " prompt"],
    own: Int[Tensor, " row"],
    other: Int[Tensor, " row"],
    width: int,
    places: str,
) -> tuple[Int[Tensor, "row position"], Bool[Tensor, "row position"]]:
    """For every position of a question the partner's position it corresponds to, and where writes are exchanged."""
    positions = torch.arange(width)
    anchor = subject if places == "subject" else last
    partner = positions + (anchor[other] - anchor[own])[:, None]
    where = {
        "subject": positions == subject[own, None],
        "last": positions == last[own, None],
        "both": (positions >= subject[own, None]) & (positions <= last[own, None]),
    }[places]
    return partner.clamp(0, width - 1), where


def take_rows(
    written: Float[Tensor, "row position d_model"], positions: Int[Tensor, "row position"]
) -> Float[Tensor, "row position d_model"]:
    """Each row's vectors at its own list of positions."""
    return written.gather(1, positions[..., None].expand(-1, -1, written.shape[-1]))
