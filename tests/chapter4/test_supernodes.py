"""Supernodes are built from data."""

import math

import torch

from solutions.chapter4_interventions import Member
from utils.grading import expect, expect_close, expect_equal

# seven prompts: four about the first concept, two about the second, one about neither
ABOUT = torch.tensor([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]).bool()
# latents: all of the first and only they; half of the first; everyone; second and one other; never; one of the first
ACTS = torch.tensor(
    [
        [2.0, 0.0, 1.0, 0.0, 0.0, 7.0],
        [4.0, 3.0, 1.0, 0.0, 0.0, 0.0],
        [1.0, 5.0, 1.0, 0.0, 0.0, 0.0],
        [3.0, 0.0, 1.0, 3.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 4.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 8.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    ]
)


def test_recall_and_precision(firing_rates):
    """Recall and precision of six latents for two concepts."""
    recall, precision = firing_rates(ACTS > 0, ABOUT)
    expected = torch.tensor([[1.0, 0.5, 1.0, 0.25, 0.0, 0.25], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    expect_close(recall, expected, "The recall")
    expected = torch.tensor([[1.0, 1.0, 4 / 7, 1 / 3, 0.0, 1.0], [0.0, 0.0, 2 / 7, 2 / 3, 0.0, 0.0]])
    expect_close(precision, expected, "The precision")


def test_rates_are_exact(firing_rates):
    """Rates are exact, so that they can be held against a threshold: one that always fires has a recall of 1."""
    recall, precision = firing_rates(ACTS > 0, ABOUT)
    expect_close(recall[0], torch.tensor([1.0, 0.5, 1.0, 0.25, 0.0, 0.25]), "The recall, to the last digit", 1e-7, 0.0)
    expected = torch.tensor([1.0, 1.0, 4 / 7, 1 / 3, 0.0, 1.0])
    expect_close(precision[0], expected, "The precision, to the last digit", 1e-7, 0.0)


def test_a_concept_without_prompts(firing_rates):
    """A concept that no prompt is about has rates of 0, not of nan."""
    recall, _ = firing_rates(ACTS > 0, torch.zeros(7, 3).bool())
    expect_close(recall, torch.zeros(3, 6), "The recall of concepts without prompts", atol=1e-9)


def test_both_thresholds_count(build_supernodes):
    """A latent belongs if it reaches both thresholds."""
    found = build_supernodes({(1, "last"): ACTS}, ABOUT, ["one", "two"], 0.5, 0.6)
    expect_equal(
        {name: [m.latent for m in ms] for name, ms in found.items()}, {"one": [0, 1], "two": [3]}, "The latents"
    )


def test_reaching_a_threshold_exactly_is_enough(build_supernodes):
    """A rate equal to the threshold is enough."""
    found = build_supernodes({(1, "last"): ACTS}, ABOUT, ["one", "two"], 0.5, 1.0)
    expect_equal(
        {name: [m.latent for m in ms] for name, ms in found.items()}, {"one": [0, 1], "two": []}, "The latents"
    )


def test_values_are_means_where_active(build_supernodes):
    """A member's value is its mean over the concept's prompts on which it fires."""
    found = build_supernodes({(1, "last"): ACTS}, ABOUT, ["one", "two"], 0.2, 0.3)
    values = {name: {m.latent: m.value for m in members} for name, members in found.items()}
    expect_equal(set(values["one"]), {0, 1, 2, 3, 5}, "The latents of the first concept")
    for latent, expected in {0: 2.5, 1: 4.0, 3: 3.0, 5: 7.0}.items():
        expect_close(values["one"][latent], expected, f"The value of latent {latent}")
    expect_close(values["two"][3], 6.0, "The value of latent 3 for the second concept")


def test_layers_and_places_are_kept_apart(build_supernodes):
    """Members say in which layer and at which place they fire, in the order of the activations."""
    acts = {(2, "subject"): ACTS, (0, "last"): ACTS[:, [1, 0]]}
    found = build_supernodes(acts, ABOUT, ["one", "two"], 0.5, 0.9)
    places = [(member.layer, member.place, member.latent) for member in found["one"]]
    expected = [(2, "subject", 0), (2, "subject", 1), (0, "last", 0), (0, "last", 1)]
    expect_equal(places, expected, "Layer, place and latent of the members")


MEMBERS = [Member(0, "subject", 1, 9.0), Member(2, "last", 3, 9.0), Member(2, "subject", 3, 9.0)]


def activations() -> tuple[dict, dict]:
    before = {layer: torch.zeros(2, 5, 7) for layer in (0, 1, 2)}
    after = {layer: torch.zeros(2, 5, 7) for layer in (0, 1, 2)}
    before[0][1, 2, 1], before[2][1, 4, 3], before[2][1, 2, 3] = 2.0, 6.0, 0.5
    after[0][1, 2, 1], after[2][1, 4, 3], after[2][1, 2, 3] = 0.0, 3.0, 0.4
    # other rows, positions and latents must not count
    before[0][0, 2, 1], before[2][0, 4, 3], before[2][0, 2, 3], before[0][1, 4, 1] = 1.0, 1.0, 2.0, 3.0
    after[2][0, 4, 3], after[0][1, 4, 1] = 5.0, 9.0
    return before, after


def test_the_fraction_of_a_supernode(supernode_fraction):
    """The fraction is the sum of activations after, divided by the sum before."""
    found = supernode_fraction(MEMBERS, {"subject": 2, "last": 4}, *activations(), row=1)
    expect_close(found, 3.4 / 8.5, "The fraction")


def test_every_row_has_its_own_fraction(supernode_fraction):
    """In a batch every row has its own fraction."""
    found = supernode_fraction(MEMBERS, {"subject": 2, "last": 4}, *activations(), row=0)
    expect_close(found, 1.25, "The fraction of row 0")


def test_a_silent_supernode_has_no_fraction(supernode_fraction):
    """A supernode that was silent before has no fraction: nan."""
    found = supernode_fraction(MEMBERS[:1], {"subject": 3, "last": 4}, *activations(), row=1)
    expect(math.isnan(found), "The fraction of a silent supernode must be nan.", got=found)
