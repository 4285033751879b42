"""Swaps: take one concept out of a prompt and put another one in.

If the latents of "Texas" are what the model knows about Dallas, then with those of "California" in their place it has to
answer Sacramento. A swap by luck teaches nothing: latents are chosen by data, and the rate over many pairs counts.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from solutions.chapter4_interventions.interventions import Edit
from solutions.chapter4_interventions.supernodes import Member


class Span(NamedTuple):
    """Where a name stands in a prompt: its first and last token, and how many tokens the prompt has."""

    start: int
    end: int
    n_tokens: int


def align_positions(own: Span, other: Span) -> Int[Tensor, " n_other_tokens"]:
    """For every position of another prompt the one of our prompt that plays the same part.

    The two prompts differ in a name, which may have different numbers of tokens. Words before the name correspond by their
    distance to its first token, words after the name and tokens of the name by their distance to its last token: that is
    where the model has read the whole name.

    Returns:
        (n_other_tokens,) positions in our prompt; -1 where none corresponds (a name's first tokens, if ours is shorter).
    """
    ### BEGIN SOLUTION
    position = torch.arange(other.n_tokens)
    before = own.start + position - other.start
    from_end = own.end + position - other.end
    in_name = (position >= other.start) & (position <= other.end)
    aligned = torch.where(position < other.start, before, from_end)
    missing = (aligned < 0) | (aligned >= own.n_tokens) | (in_name & (aligned < own.start))
    return torch.where(missing, -1, aligned)
    ### END SOLUTION


def swap_edits(
    off: Sequence[Member],
    on: Sequence[Member],
    positions: Mapping[str, int],
    row: int = 0,
    strength: float = 1.0,
) -> list[Edit]:
    """The edits that take one supernode out of a prompt and put another one in.

    Args:
        off: members that are set to 0.
        on: members that are set to `strength` times their value. A latent that is in both is put in, not taken out.
        positions: place -> position in this prompt. Two places may be the same position.
        row: which prompt of the batch.
        strength: multiple of the members' values.

    Returns:
        One edit for every (layer, position, latent), all of kind "set". If two members of `on` fall on the same one, the
        larger value counts.
    """
    ### BEGIN SOLUTION
    values = {(member.layer, positions[member.place], member.latent): 0.0 for member in off}
    put_in: dict[tuple[int, int, int], float] = {}
    for member in on:
        place = (member.layer, positions[member.place], member.latent)
        put_in[place] = max(member.value, put_in.get(place, member.value))
    values |= {place: strength * value for place, value in put_in.items()}
    return [Edit(*place, value, row=row) for place, value in values.items()]
    ### END SOLUTION


def swap_rate(
    logits: Float[Tensor, "batch seq d_vocab"], last: Int[Tensor, " batch"], answers: Int[Tensor, " batch"]
) -> float:
    """The share of prompts whose most probable next token is the wanted one.

    Args:
        logits: of prompts that are filled up on the right to a common length.
        last: position of each prompt's own last token.
        answers: the wanted token of each prompt.
    """
    ### BEGIN SOLUTION
    rows = torch.arange(len(last), device=logits.device)
    said = logits[rows, last].argmax(dim=-1)
    return float((said == answers).float().mean())
    ### END SOLUTION


def overlap(
    active_a: Bool[Tensor, "n_a n_latents"], active_b: Bool[Tensor, "n_b n_latents"]
) -> Float[Tensor, "n_a n_b"]:
    """How many active latents every two prompts share: of those active on either, the share active on both.

    Returns:
        (n_a, n_b), between 0 and 1 (Jaccard's index); 0 where no latent is active on either.
    """
    ### BEGIN SOLUTION
    a, b = active_a.float(), active_b.float()
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1) - both
    return both / either.clamp_min(1)
    ### END SOLUTION
