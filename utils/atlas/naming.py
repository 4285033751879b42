"""What a latent can stand for, and at which token of a sentence: used to train latents with names, and to look for them."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedTokenizerFast

from utils.atlas.corpus import IN_WORDS, Sentence
from utils.atlas.dictionaries import NOTHING, UNKNOWN, Names
from utils.atlas.evaluate import encode_prompts
from utils.atlas.language_model import Rows
from utils.atlas.tokenizer import EOS_ID, PAD_ID

# kind of concept -> families whose prompts have it, and where the sentence says its value
CONCEPTS = {
    "city": (("two-hop",), "city"),
    "state or country": (("two-hop", "one-hop"), "place"),
    "relation": (("two-hop", "one-hop"), "relation"),
    "answer": (("two-hop", "one-hop"), "answer"),
    "language": (IN_WORDS, "language"),
    "concept of an opposite": (IN_WORDS, "concept"),
    "digit": (("addition",), "digit"),
}
# Layer -> kinds whose values are given a latent of their own, and the position where it is to fire: the places of the steps that
# the language model was taught (`interchange.STEPS`), and in layer 0 what the steps begin with.
NAMED = {
    0: {"city": "subject", "concept of an opposite": "subject", "digit": "subject"},
    1: {"relation": "last"},
    3: {"state or country": "subject", "language": "last"},
    4: {"answer": "last"},
}
# Families in which a fact's answer is said elsewhere than after the prompt: latents of the last position are told nothing there.
ELSEWHERE = ("location", "named")


def values_of(kind: str, sentences: list[Sentence]) -> list[str | None]:
    """The value of a kind of concept for every sentence, None where it has none."""
    families, key = CONCEPTS[kind]
    return [s.concepts[key] if s.family in families else None for s in sentences]


def names_for(
    rows: Rows, tokenizer: PreTrainedTokenizerFast, named: Mapping[int, Mapping[str, str]]
) -> dict[int, Names]:
    """For each layer with named latents, which of them is to fire at every token that `dictionaries.collect` keeps."""
    prompts = encode_prompts(rows.sentences, tokenizer)
    positions = {"subject": prompts.subject, "last": prompts.last}
    used = (rows.tokens != PAD_ID) & (rows.tokens != EOS_ID)
    elsewhere = torch.tensor([s.family in ELSEWHERE for s in rows.sentences])
    found = {}
    for layer, kinds in named.items():
        wanted, count = torch.full_like(rows.tokens, NOTHING), 0
        for kind, position in kinds.items():
            if position == "subject":
                values = [s.concepts.get(CONCEPTS[kind][1]) for s in rows.sentences]
            else:
                values = values_of(kind, rows.sentences)
                wanted[elsewhere[:, None] & (wanted == NOTHING)] = UNKNOWN
            number = {value: count + i for i, value in enumerate(sorted({v for v in values if v}))}
            row = torch.tensor([i for i, value in enumerate(values) if value], dtype=torch.long)
            wanted[row, positions[position][row]] = torch.tensor([number[v] for v in values if v], dtype=torch.long)
            count += len(number)
        found[layer] = Names(count, wanted[used])
    return found
