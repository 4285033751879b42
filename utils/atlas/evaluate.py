"""What the model card reports: answers, dictionaries, and latents that can be named. (What steps need: `necessity`.)"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from sae_lens import JumpReLUSkipTranscoder
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from utils.atlas.corpus import Sentence
from utils.atlas.dictionaries import Activations, ridge
from utils.atlas.tokenizer import BOS_ID
from utils.latents.labelling import NamedLatent

POSITIONS = ("subject", "last")
SAME_F1 = 0.01


@dataclass
class Prompts:
    """Prompts as token rows padded on the right, with the position where each subject ends and the last one."""

    sentences: list[Sentence]
    tokens: Int[Tensor, "prompt position"]
    subject: Int[Tensor, " prompt"]
    last: Int[Tensor, " prompt"]


def encode_prompts(sentences: list[Sentence], tokenizer: PreTrainedTokenizerFast) -> Prompts:
    """Token rows for the prompts (without answers)."""
    encoded = tokenizer([s.prompt for s in sentences])
    last = torch.tensor([len(row) - 1 for row in encoded["input_ids"]])
    tokens = torch.zeros(len(sentences), int(last.max()) + 1, dtype=torch.long)
    subject = torch.zeros(len(sentences), dtype=torch.long)
    for i, (sentence, row) in enumerate(zip(sentences, encoded["input_ids"], strict=True)):
        tokens[i, : len(row)] = torch.tensor(row)
        end = sentence.prompt.rfind(sentence.subject) + len(sentence.subject) - 1
        subject[i] = encoded.char_to_token(i, end)
    return Prompts(sentences, tokens, subject, last)


@torch.no_grad()
def answers_right(model, tokenizer: PreTrainedTokenizerFast, sentences: list[Sentence]) -> Bool[Tensor, " sentence"]:
    """Whether greedy decoding gives the whole answer and then its tail (the answer ends where it should)."""
    prompts = tokenizer([s.prompt for s in sentences])["input_ids"]
    texts = tokenizer([s.text for s in sentences])["input_ids"]
    tokens = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    asked = torch.zeros_like(tokens, dtype=torch.bool)
    for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        tokens[i, : len(text)] = torch.tensor(text)
        asked[i, len(prompt) : len(text)] = True
    right = []
    for rows, mask in zip(tokens.split(256), asked.split(256), strict=True):
        logits = model(rows)
        predicted = getattr(logits, "logits", logits).argmax(-1)
        right.append(((predicted[:, :-1] == rows[:, 1:]) | ~mask[:, 1:]).all(1))
    return torch.cat(right)


def accuracy_by_family(model, tokenizer, sentences: list[Sentence], at_most: int = 1000, seed: int = 0) -> dict:
    """Share of whole answers right, for each family, trained and held out."""
    groups = defaultdict(list)
    for sentence in sentences:
        groups[sentence.family + (" (held out)" if sentence.held_out else "")].append(sentence)
    rng = random.Random(seed)
    return {
        name: answers_right(model, tokenizer, rng.sample(group, min(at_most, len(group)))).float().mean().item()
        for name, group in groups.items()
    }


@torch.no_grad()
def latents_of(
    model: TransformerBridge, transcoders: dict[int, JumpReLUSkipTranscoder], prompts: Prompts
) -> dict[tuple[int, str], Float[Tensor, "prompt latent"]]:
    """Activations of every layer's latents at the end of the subject and at the last position."""
    found = defaultdict(list)
    names = {t.cfg.metadata.hook_name for t in transcoders.values()}
    pieces = zip(prompts.tokens.split(512), prompts.subject.split(512), prompts.last.split(512), strict=True)
    for tokens, subject, last in pieces:
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name in names)
        row = torch.arange(len(tokens))
        for layer, transcoder in transcoders.items():
            x = cache[transcoder.cfg.metadata.hook_name]
            for place, position in zip(POSITIONS, (subject, last), strict=True):
                found[layer, place].append(transcoder.encode(x[row, position]))
    return {key: torch.cat(parts) for key, parts in found.items()}


def f1_scores(
    active: Float[Tensor, "prompt latent"], labels: Float[Tensor, "prompt value"]
) -> Float[Tensor, "value latent"]:
    """F1 of "the latent is active" as a test for "the prompt has this value"."""
    active = (active > 0).float()
    return 2 * (labels.T @ active) / (labels.sum(0)[:, None] + active.sum(0)).clamp_min(1)


def name_latents(
    kind: str,
    choose: dict[tuple[int, str], Tensor],
    choose_values: list[str | None],
    test: dict[tuple[int, str], Tensor],
    test_values: list[str | None],
) -> dict[tuple[int, str], list[tuple[float, NamedLatent]]]:
    """At every place, for every value, the latent of best F1 on the first prompts: that F1, and the latent with its F1 on the second.

    Of latents that tell a value equally well, up to `SAME_F1`, the first is taken: latents that were named in training come first.
    """
    values = sorted({v for v in choose_values if v} & {v for v in test_values if v})
    choose_labels, test_labels = one_hot(choose_values, values), one_hot(test_values, values)
    named = {}
    for place in choose:
        scores = f1_scores(choose[place], choose_labels)
        best = scores.amax(1)
        latents = (scores >= best[:, None] - SAME_F1).float().argmax(1)
        tested = f1_scores(test[place], test_labels).gather(1, latents[:, None])[:, 0]
        rows = zip(best.tolist(), values, latents.tolist(), tested.tolist(), strict=True)
        named[place] = [(score, NamedLatent(kind, value, *place, latent, f1)) for score, value, latent, f1 in rows]
    return named


def one_hot(found: list[str | None], values: list[str]) -> Float[Tensor, "prompt value"]:
    """1 where a prompt has a value."""
    index = {v: i for i, v in enumerate(values)}
    labels = torch.zeros(len(found), len(values))
    for row, value in enumerate(found):
        if value in index:
            labels[row, index[value]] = 1.0
    return labels


def name_groups(
    kind: str,
    choose: dict[tuple[int, str], Tensor],
    choose_values: list[str | None],
    test: dict[tuple[int, str], Tensor],
    test_values: list[str | None],
    at_most: int = 3,
) -> list[NamedLatent]:
    """Latents that stand for two or three values at once ("Texas / Kansas"), with their F1 as a test for one of them.

    A value belongs to a latent's group if the latent is active on 60 % of its prompts (of the first set of prompts).
    """
    values = sorted({v for v in choose_values if v} & {v for v in test_values if v})
    choose_labels, test_labels = one_hot(choose_values, values), one_hot(test_values, values)
    found = []
    for (layer, position), acts in choose.items():
        recall = choose_labels.T @ (acts > 0).float() / choose_labels.sum(0)[:, None]
        members = recall >= 0.6
        for latent in ((members.sum(0) >= 2) & (members.sum(0) <= at_most)).nonzero().flatten().tolist():
            group = members[:, latent].nonzero().flatten()
            group = group[recall[group, latent].argsort(descending=True)]
            union = test_labels[:, group].sum(1, keepdim=True)
            f1 = f1_scores(test[layer, position][:, [latent]], union).item()
            found.append(NamedLatent(kind, " / ".join(values[i] for i in group), layer, position, latent, f1))
    return found


@torch.no_grad()
def dictionary_quality(
    model: TransformerBridge, transcoders: dict[int, JumpReLUSkipTranscoder], activations: Activations
) -> list[dict[str, float]]:
    """Unexplained variance (BOS left out), active latents a token, share of dead latents, and what the skip alone leaves."""
    rows = []
    used = activations.tokens != BOS_ID
    for layer, transcoder in transcoders.items():
        x, y = activations.x[layer][used], activations.y[layer][used]
        squared = active = 0.0
        fired = torch.zeros(transcoder.cfg.d_sae, dtype=torch.bool)
        total = (y - y.mean(0)).pow(2).sum().item()
        for a, b in zip(x.split(8192), y.split(8192), strict=True):
            acts = transcoder.encode(a)
            skip = a @ transcoder.W_skip.T
            squared += (b - transcoder.decode(acts) - skip).pow(2).sum().item()
            active += (acts > 0).sum().item()
            fired |= (acts > 0).any(0)
        weight, bias = ridge([(x, y)], 1e-4)
        linear = (y - x @ weight - bias).pow(2).sum().item()
        rows.append(
            {
                "layer": layer,
                "latents": transcoder.cfg.d_sae,
                "unexplained": squared / total,
                "unexplained_linear": linear / total,
                "active": active / len(x),
                "dead": 1 - fired.float().mean().item(),
            }
        )
    return rows


def rewriting_hooks(
    transcoder: JumpReLUSkipTranscoder, rewrite: Callable[[Float[Tensor, "..."], Float[Tensor, "..."]], Tensor]
) -> list:
    """Hooks that put `rewrite(x, y)` in the place of what a transcoder's MLP writes; `x` is its live input."""
    found: list[Tensor] = []

    def read(x: Tensor, hook) -> None:
        found[:] = [x]

    def write(y: Tensor, hook) -> Tensor:
        return rewrite(found[0], y)

    return [(transcoder.cfg.metadata.hook_name, read), (transcoder.cfg.metadata.hook_name_out, write)]


def replacement_hooks(transcoder: JumpReLUSkipTranscoder) -> list:
    """Hooks that put a transcoder's output in the place of its MLP's, without an error term."""
    return rewriting_hooks(transcoder, lambda x, y: transcoder(x))


def answers_kept(model, tokenizer, transcoders, sentences: list[Sentence]) -> float:
    """Of the answers that the model gets right, the share it still gets right with every MLP replaced."""
    hooks = [hook for transcoder in transcoders.values() for hook in replacement_hooks(transcoder)]
    return answers_kept_under(model, tokenizer, hooks, sentences)


@torch.no_grad()
def answers_kept_under(model, tokenizer, hooks: list, sentences: list[Sentence]) -> float:
    """Of the answers that the model gets right, the share it still gets right when changed by hooks."""
    right = answers_right(model, tokenizer, sentences)
    with model.hooks(fwd_hooks=hooks):
        still = answers_right(model, tokenizer, sentences)
    return ((right & still).sum() / right.sum()).item()
