"""Supernodes: latents that fire on the same thing, treated as one.

Which latents belong together is decided by data, not by hand: on many prompts of which it is known what they are about, a
latent belongs to "Texas" if it fires on most prompts about Texas and on few others.

(The boxes with which a graph's page opens are found from one graph alone: `utils.dashboard.page_boxes`. The chapter tests both.)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class Member(NamedTuple):
    """A latent of a supernode.

    Attributes:
        layer, latent: which latent.
        place: where it fires, by a name that means a position in every prompt: "subject" or "last".
        value: its mean activation on the prompts about the concept on which it fires.
    """

    layer: int
    place: str
    latent: int
    value: float


def firing_rates(
    active: Bool[Tensor, "n_prompts n_latents"], about: Bool[Tensor, "n_prompts n_concepts"]
) -> tuple[Float[Tensor, "n_concepts n_latents"], Float[Tensor, "n_concepts n_latents"]]:
    """How well "the latent is active" tells that a prompt is about a concept.

    Args:
        active: whether each latent is active on each prompt.
        about: which prompts are about which concept.

    Returns:
        recall: of the prompts about the concept, the share on which the latent is active; precision: of the prompts on which
        the latent is active, the share that is about the concept. 0 where there is no prompt to count.
    """
    ### BEGIN SOLUTION
    active, about = active.float(), about.float()
    both = about.T @ active
    recall = both / about.sum(0)[:, None].clamp_min(1)
    precision = both / active.sum(0).clamp_min(1)
    return recall, precision
    ### END SOLUTION


def build_supernodes(
    acts: Mapping[tuple[int, str], Float[Tensor, "n_prompts n_latents"]],
    about: Bool[Tensor, "n_prompts n_concepts"],
    names: Sequence[str],
    min_recall: float = 0.5,
    min_precision: float = 0.5,
) -> dict[str, list[Member]]:
    """For every concept the latents that fire on most of its prompts and on few others.

    Args:
        acts: (layer, place) -> activations of that layer's latents at that place of every prompt.
        about: which prompts are about which concept.
        names: the names of the concepts, in the order of the columns of `about`.
        min_recall, min_precision: a latent belongs if it reaches both, see `firing_rates`.

    Returns:
        Name -> its members, in the order of `acts` and then of the latents. A member's value is the mean of its activation
        over the prompts about the concept on which it is active. A concept without members has an empty list.
    """
    ### BEGIN SOLUTION
    supernodes: dict[str, list[Member]] = {name: [] for name in names}
    for (layer, place), here in acts.items():
        active = here > 0
        recall, precision = firing_rates(active, about)
        both = (about.float().T @ active.float()).clamp_min(1)
        means = about.to(here).T @ here / both
        belongs = (recall >= min_recall) & (precision >= min_precision)
        for concept, latent in belongs.nonzero().tolist():
            supernodes[names[concept]].append(Member(layer, place, latent, float(means[concept, latent])))
    return supernodes
    ### END SOLUTION


def supernode_fraction(
    members: Sequence[Member],
    positions: Mapping[str, int],
    before: Mapping[int, Float[Tensor, "batch seq d_latents"]],
    after: Mapping[int, Float[Tensor, "batch seq d_latents"]],
    row: int = 0,
) -> float:
    """Activation of a supernode after an intervention, as a fraction of before.

    Args:
        members: the supernode.
        positions: place -> position in this prompt.
        before, after: layer -> activations, of `BaseRun.acts` and `Outcome.acts`.
        row: which prompt of the batch.

    Returns:
        Sum of the members' activations after, divided by their sum before; nan if they were all silent before.
    """
    ### BEGIN SOLUTION
    places = [(member.layer, positions[member.place], member.latent) for member in members]
    was = sum(float(before[layer][row, position, latent]) for layer, position, latent in places)
    is_now = sum(float(after[layer][row, position, latent]) for layer, position, latent in places)
    return is_now / was if was else float("nan")
    ### END SOLUTION
