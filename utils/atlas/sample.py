"""Samples of the bundled model's corpus. Their facts are known, so that a claim about a latent can be counted."""

import random
from collections.abc import Mapping
from functools import cache

import torch
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.corpus import Sentence, all_sentences
from utils.atlas.world import load_world
from utils.latents.scan import Corpus

SAMPLE_TEXTS = 250
# In what proportions sentences of each family are drawn.
SHARES = {
    "two-hop": 34,
    "one-hop": 8,
    "location": 8,
    "opposite": 12,
    "opposite abroad": 12,
    "translation": 12,
    "indirect object": 4,
    "induction": 4,
    "addition": 6,
}


@cache
def _families(seed: int) -> dict[str, list[Sentence]]:
    families: dict[str, list[Sentence]] = {name: [] for name in SHARES}
    for sentence in all_sentences(load_world(), drawn=2000):
        if sentence.family in families and not sentence.held_out:
            families[sentence.family].append(sentence)
    for group in families.values():
        random.Random(seed).shuffle(group)
    return families


def read_corpus(
    model: TransformerBridge, count: int = 2000, seed: int = 0, shares: Mapping[str, int] = SHARES
) -> Corpus:
    """`count` sentences of several families, in an order that depends on `seed` only, as tokens of `model`."""
    rng, families = random.Random(seed), _families(seed)
    names = rng.choices(list(shares), list(shares.values()), k=count)
    sentences = [rng.choice(families[name]) for name in names]
    tokenizer = model.tokenizer
    texts = tokenizer([s.text for s in sentences])["input_ids"]
    prompts = tokenizer([s.prompt for s in sentences])["input_ids"]
    tokens = torch.zeros(count, max(map(len, texts)), dtype=torch.long)
    used, counted = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (text, prompt) in enumerate(zip(texts, prompts)):
        tokens[row, : len(text)] = torch.tensor(text)
        used[row, : len(text)] = True
        counted[row, len(prompt) - 1 : len(text) - 1] = True
    if tokenizer.bos_token_id is not None:
        used &= tokens != tokenizer.bos_token_id
    device = next(model.parameters()).device
    return Corpus(sentences, tokens.to(device), used.to(device), counted.to(device))


def sample_texts(count: int = SAMPLE_TEXTS) -> list[str]:
    """Sentences of the bundled model's corpus, evenly spread over it, always the same."""
    sentences = all_sentences(load_world())
    return [sentence.text for sentence in sentences[:: max(1, len(sentences) // count)]][:count]
