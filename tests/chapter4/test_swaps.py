"""Swaps: aligned positions, edits, rates; latents that prompts share."""

import torch

from solutions.chapter4_interventions import Member, Span
from tests.chapter4.shared import expect_tensor_of_integers
from utils.grading import expect_close, expect_equal


def expect_aligned(align_positions, own: Span, other: Span, expected: list[int], case: str) -> None:
    """The aligned positions, in words that show the two spans."""
    what = f"{case}: ours has its name at {own.start} to {own.end} of {own.n_tokens} tokens, the other at "
    what += f"{other.start} to {other.end} of {other.n_tokens}"
    found = align_positions(own, other)
    expect_tensor_of_integers(found, "The positions")
    expect_equal(found.tolist(), expected, what)


def test_a_longer_name_aligns_at_its_end(align_positions):
    """What comes after a longer name aligns by its distance to the name's end; the name's first tokens have no partner."""
    own, other = Span(3, 3, 6), Span(3, 5, 8)
    expect_aligned(align_positions, own, own, [0, 1, 2, 3, 4, 5], "Two names of one length")
    expect_aligned(align_positions, own, other, [0, 1, 2, -1, -1, 3, 4, 5], "Our name is shorter")
    expect_aligned(align_positions, other, own, [0, 1, 2, 5, 6, 7], "Our name is longer")


def test_prompts_that_begin_and_end_elsewhere(align_positions):
    """Words before the name align by their distance to its first token, and what has no partner is -1."""
    own, other = Span(1, 2, 4), Span(4, 5, 9)
    expect_aligned(align_positions, own, other, [-1, -1, -1, 0, 1, 2, 3, -1, -1], "Our prompt is shorter on both sides")
    expect_aligned(align_positions, other, own, [3, 4, 5, 6], "Our prompt is longer on both sides")


PLACES = {"subject": 3, "last": 8}


def as_dict(edits) -> dict:
    return {(edit.layer, edit.position, edit.latent): edit.value for edit in edits}


def test_one_goes_out_and_another_comes_in(swap_edits):
    """Members of the one are set to 0, those of the other to their value."""
    off = [Member(1, "subject", 4, 2.0), Member(3, "last", 5, 1.0)]
    on = [Member(1, "subject", 6, 3.0), Member(3, "last", 7, 0.5)]
    edits = swap_edits(off, on, PLACES, row=2)
    expect_equal(
        as_dict(edits), {(1, 3, 4): 0.0, (3, 8, 5): 0.0, (1, 3, 6): 3.0, (3, 8, 7): 0.5}, "The new activations"
    )
    expect_equal({edit.kind for edit in edits}, {"set"}, "The kinds of the edits")
    expect_equal({edit.row for edit in edits}, {2}, "The rows of the edits")


def test_strength_multiplies_what_comes_in(swap_edits):
    """The strength multiplies what is put in, and nothing else."""
    edits = swap_edits([Member(1, "subject", 4, 2.0)], [Member(1, "last", 6, 3.0)], PLACES, strength=2.0)
    expect_equal(as_dict(edits), {(1, 3, 4): 0.0, (1, 8, 6): 6.0}, "The new activations at strength 2")
    edits = swap_edits([Member(1, "subject", 4, 2.0)], [Member(1, "last", 6, 3.0)], PLACES, strength=0.0)
    expect_equal(as_dict(edits), {(1, 3, 4): 0.0, (1, 8, 6): 0.0}, "The new activations at strength 0")


def test_a_negative_strength_turns_round(swap_edits):
    """A negative strength is allowed; of two members on one place the one with the larger value counts as before."""
    on = [Member(1, "subject", 6, 3.0), Member(1, "last", 6, 2.0)]
    edits = swap_edits([], on, {"subject": 5, "last": 5}, strength=-2.0)
    expect_equal(as_dict(edits), {(1, 5, 6): -6.0}, "The new activations at strength -2")


def test_a_shared_latent_is_put_in(swap_edits):
    """A latent that belongs to both is put in, by one edit."""
    shared = Member(1, "subject", 4, 2.0)
    edits = swap_edits([shared, Member(1, "last", 4, 2.0)], [shared._replace(value=5.0)], PLACES)
    expect_equal(len(edits), 2, "The number of edits")
    expect_equal(as_dict(edits), {(1, 3, 4): 5.0, (1, 8, 4): 0.0}, "The new activations")


def test_two_places_at_one_position(swap_edits):
    """Where two places are one position there is still one edit a latent, the larger one."""
    on = [Member(1, "subject", 6, 3.0), Member(1, "last", 6, 2.0)]
    edits = swap_edits([Member(1, "last", 4, 2.0), Member(1, "subject", 4, 1.0)], on, {"subject": 5, "last": 5})
    expect_equal(len(edits), 2, "The number of edits")
    expect_equal(as_dict(edits), {(1, 5, 4): 0.0, (1, 5, 6): 3.0}, "The new activations")


def test_the_rate_reads_each_prompts_own_last_token(swap_rate):
    """The rate is read at each prompt's own last token."""
    logits = torch.zeros(6, 7, 8)
    last, answers = torch.tensor([3, 5, 4, 2, 5, 4]), torch.tensor([1, 2, 3, 4, 5, 6])
    # what each prompt says at its last token: right, right, wrong, right, wrong though the answer is second, wrong
    for row, said in enumerate([1, 2, 7, 4, 6, 1]):
        logits[row, last[row], said] = 2.0
    logits[4, 5, 5] = 1.0
    # elsewhere: noise that a wrong position would read
    logits[0, 6, 7] = logits[2, 6, 3] = logits[3, 6, 7] = logits[0, 0, 7] = logits[5, 6, 6] = 3.0
    expect_close(swap_rate(logits, last, answers), 0.5, "The rate of six prompts")


def test_the_rate_is_a_share(swap_rate):
    """None right gives 0, all right gives 1."""
    logits = torch.full((3, 2, 5), -1.0)
    logits[:, 1, 4] = 0.5
    last = torch.tensor([1, 1, 1])
    expect_close(swap_rate(logits, last, torch.tensor([4, 4, 4])), 1.0, "The rate when all are right")
    expect_close(swap_rate(logits, last, torch.tensor([0, 1, 2])), 0.0, "The rate when none is right", atol=1e-9)


def test_overlap_of_every_two_prompts(overlap):
    """Of the latents active on either of two prompts, the share active on both."""
    a = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0]]).bool()
    b = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 1, 0]]).bool()
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [0.25, 0.0, 1 / 3]])
    expect_close(overlap(a, b), expected, "The overlap")


def test_overlap_of_silent_prompts(overlap):
    """Where no latent is active on either, the overlap is 0."""
    silent = torch.zeros(2, 5).bool()
    expect_close(overlap(silent, silent[:1]), torch.zeros(2, 1), "The overlap of silent prompts", atol=1e-9)
