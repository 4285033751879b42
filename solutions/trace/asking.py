"""What the command line asks for: which tokens are traced, and what is said about them."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.trace.summary import percent, quoted
from utils.engine.arguments import evaluating, tokenize_prompt
from utils.engine.targets import Target, contrast, direction, likelier_form, token_id, token_target
from utils.engine.token_text import token_text
from utils.models.errors import first_line

N_TOP_TOKENS = 5


@dataclass
class Question:
    """What is traced.

    Attributes:
        targets: what was asked for; None for the likeliest tokens.
        top_tokens: the model's likeliest next tokens with their probabilities, whatever is traced.
        notes: sentences about the choice, for the summary.
    """

    targets: list[Target] | None
    top_tokens: list[tuple[str, float]]
    notes: list[str] = field(default_factory=list)


@torch.no_grad()
def ask(model: TransformerBridge, arguments: Namespace, prompt: str) -> Question:
    """The question that ``--target``, ``--contrast``, ``--weights`` and ``--position`` ask of a prompt.

    Raises:
        ValueError: a text is not one token, or the prompt or the position is wrong.
    """
    with evaluating(model):
        tokens = tokenize_prompt(model, prompt, arguments.position)
        logits = model(tokens)[:, -1:].float()
    probs = logits[0, -1].softmax(-1)
    top = probs.topk(min(N_TOP_TOKENS, probs.numel()))
    likeliest = [(token_text(model.tokenizer, i), p) for i, p in zip(top.indices.tolist(), top.values.tolist())]
    question = Question(None, likeliest, _notes_about(model, tokens, prompt))
    if arguments.direction is not None:
        question.targets = [direction(model, _vector(arguments.direction), arguments.direction.stem)]
        question.notes.append(f"Traced: the direction {quoted(arguments.direction.stem)}")
    if not arguments.target and not arguments.contrast:
        return question

    chosen = [_chosen(model, text, logits, probs, question.notes) for text in arguments.target or ()]
    chosen = chosen or [int(top.indices[0])]
    weights = arguments.weights or [1.0] * len(chosen)
    others = [_chosen(model, text, logits, probs, question.notes) for text in arguments.contrast or ()]
    if others:
        question.targets = [contrast(model, i, others, weight) for i, weight in zip(chosen, weights)]
    else:
        question.targets = [token_target(model, i, weight) for i, weight in zip(chosen, weights)]
    traced = ", ".join(quoted(target.name) for target in question.targets)
    question.notes.append(f"Traced: {traced}" + _chances(model, [*chosen, *others], probs))
    return question


def _notes_about(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], prompt: str) -> list[str]:
    """What may surprise about the prompt's tokens."""
    bos, notes = model.tokenizer.bos_token, []
    if bos is None or tokens[0, 0].item() != model.tokenizer.bos_token_id:
        first = quoted(token_text(model.tokenizer, int(tokens[0, 0])))
        notes.append(f"No beginning-of-sequence token stands in front: position 0 is a token of the prompt, {first}.")
    elif prompt.startswith(bos) and tokens[0, 1:].tolist() == model.tokenizer.encode(prompt, add_special_tokens=False):
        notes.append(
            f"This model reads the {bos} at the beginning as plain text: leave it out, it is put in front anyway."
        )
    if prompt[-1:] == " ":
        notes.append("The prompt ends with a space. Most tokens begin with one: leave it out.")
    return notes


def _vector(path: Path) -> Tensor:
    """The numbers in a .npy file."""
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False)).float()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as numbers in numpy's form ({first_line(error)}).") from None


def _chosen(
    model: TransformerBridge, text: str, logits: Float[Tensor, "1 1 d_vocab"], probs: Tensor, notes: list[str]
) -> int:
    """The token that a text on the command line, or `#` and its id, stands for. Where two forms are tokens, a note says which was taken."""
    if re.fullmatch(r"#\d+", text):
        return token_id(model, int(text[1:]))
    taken, left = likelier_form(model, text, logits)
    if left is not None:
        first, second = (
            f"{quoted(token_text(model.tokenizer, i))} ({percent(float(probs[i]))})" for i in (taken, left)
        )
        notes.append(f"{first} was taken; {second} is another token.")
    return taken


def _chances(model: TransformerBridge, ids: list[int], probs: Float[Tensor, " d_vocab"]) -> str:
    """`` (' Austin' 99.9 %, ' Raleigh' <0.1 %)``."""
    told = [f"{quoted(token_text(model.tokenizer, i))} {percent(float(probs[i]))}" for i in ids]
    return f" ({', '.join(told[:8])}{', …' if len(told) > 8 else ''})"
