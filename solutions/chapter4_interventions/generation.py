"""Generate text while latents are edited."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions.interventions import (
    Edit,
    LayerEdits,
    check_edits,
    intervene,
    resolve_edits,
    run_base,
)
from utils.engine.hooks import Transcoder


def as_edits(resolved: dict[int, LayerEdits]) -> list[Edit]:
    """What `resolve_edits` gives as edits of kind "set"."""
    return [
        Edit(layer, position, latent, value, row=row)
        for layer, edits in resolved.items()
        for row, position, latent, value in zip(*(part.tolist() for part in edits))
    ]


def extend_edits(edits: Sequence[Edit], prompt_len: int, seq_len: int) -> list[Edit]:
    """The edits of a prompt for a text that has grown: those at its last position go on at every new one.

    Args:
        edits: edits of the prompt.
        prompt_len: number of tokens of the prompt.
        seq_len: number of tokens of the text by now, at least `prompt_len`.

    Returns:
        A new list: all edits where they were, followed by copies of those at position `prompt_len - 1`: all of them at the first new
        position, then all at the next.
    """
    ### BEGIN SOLUTION
    at_the_end = [edit for edit in edits if edit.position == prompt_len - 1]
    new = [edit._replace(position=position) for position in range(prompt_len, seq_len) for edit in at_the_end]
    return [*edits, *new]
    ### END SOLUTION


def generate(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    tokens: Int[Tensor, "batch seq"],
    edits: Sequence[Edit],
    n_new: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Int[Tensor, "batch seq_and_new"]:
    """Continue prompts of one length while latents are edited, with everything live (`freeze_attention=False`).

    Args:
        model, transcoders: the model and its transcoders.
        tokens: the prompts.
        edits: edits of the prompts; multiples and sums refer to the unchanged prompts, at new positions too. Extended by
            `extend_edits`.
        n_new: number of tokens to add.
        temperature: 0 takes the most probable token; above 0, one is drawn from `softmax(logits / temperature)`.
        seed: decides the draws (`torch.multinomial`, once a token for all rows, with a generator of this seed made here: the
            one that all of PyTorch shares is left alone).

    Returns:
        The prompts, each followed by its new tokens.
    """
    edits = check_edits(edits, transcoders, tokens)
    ### BEGIN SOLUTION
    text, prompt_len = tokens, tokens.shape[1]
    fixed = as_edits(resolve_edits(edits, run_base(model, transcoders, tokens).acts))
    generator = torch.Generator(tokens.device).manual_seed(seed)
    for _ in range(n_new):
        base = run_base(model, transcoders, text)
        here = extend_edits(fixed, prompt_len, text.shape[1])
        logits = intervene(model, transcoders, base, here, freeze_attention=False).logits[:, -1]
        if temperature == 0:
            new = logits.argmax(dim=-1, keepdim=True)
        else:
            new = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)
        text = torch.cat([text, new], dim=1)
    return text
    ### END SOLUTION
