"""Ablation with controls: does it matter *which* latents are changed, or only how much?

Whatever is done to a model changes its answer a little. So every effect is put beside the effect of random latents of
matched activation on the same prompt.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions.interventions import Edit, intervene, run_base
from utils.engine.graph import NodeInfo
from utils.engine.hooks import Transcoder


class Question(NamedTuple):
    """A prompt, and what is measured on it: why this answer and not those?

    Attributes:
        tokens: (1, seq) the prompt.
        answer: token id of the answer.
        others: token ids of the answers that it is compared with.
    """

    tokens: Int[Tensor, "1 seq"]
    answer: int
    others: Sequence[int]


def contrast_of(logits: Float[Tensor, "batch seq d_vocab"], question: Question) -> Float[Tensor, " batch"]:
    """The answer's logit less the mean logit of the other answers, at the last position.

    A probability near 1 hides what weakens an answer; a bare logit also moves when all logits move together.
    """
    here = logits[:, -1]
    return here[:, question.answer] - here[:, list(question.others)].mean(dim=-1)


def matched_controls(
    sizes: Float[Tensor, " n"],
    chosen: Sequence[int],
    generator: torch.Generator,
    n_nearest: int = 3,
) -> list[int]:
    """For every chosen item a random other one of about the same size.

    Go through `chosen` in order. For each, take the `n_nearest` items whose size differs least from its own, among those
    that are neither chosen nor a control already (fewer, if fewer are left), and draw one of them with
    `torch.randint(..., generator=generator)`.

    Args:
        sizes: a size of every item, such as the activation of every latent of a graph.
        chosen: indices of the items that need a control.
        generator: decides the draws.
        n_nearest: how many items of similar size to draw from; 1 takes the nearest.

    Returns:
        One index for each of `chosen`, in its order, all different and none of them chosen.

    Raises:
        ValueError: there are not enough other items.
    """
    ### BEGIN SOLUTION
    free = torch.ones(len(sizes), dtype=torch.bool)
    free[list(chosen)] = False
    if int(free.sum()) < len(chosen):
        raise ValueError(f"{len(chosen)} controls are needed, but there are only {int(free.sum())} other items.")
    controls = []
    for i in chosen:
        distance = (sizes - sizes[i]).abs().masked_fill(~free, float("inf"))
        nearest = distance.argsort(stable=True)[: min(n_nearest, int(free.sum()))]
        drawn = int(nearest[torch.randint(len(nearest), (), generator=generator)])
        controls.append(drawn)
        free[drawn] = False
    return controls
    ### END SOLUTION


def dose_response(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    question: Question,
    nodes: Sequence[NodeInfo],
    doses: Sequence[float],
    **frozen,
) -> Float[Tensor, " n_doses"]:
    """How the contrast changes when several latents are multiplied together by each dose.

    A dose of 1 is the unchanged prompt, 0 an ablation, -2 the reverse at double strength. All doses can run as one batch, one
    row a dose.

    Args:
        model, transcoders: the model and its transcoders.
        question: one prompt, and what is measured on it.
        nodes: latents of its graph; all of them get the same dose.
        doses: multiples of their activations on this prompt.
        frozen: arguments of `intervene` that say what is frozen and held.

    Returns:
        (n_doses,) the contrast less that on the unchanged prompt.
    """
    ### BEGIN SOLUTION
    copies = question.tokens.repeat(len(doses), 1)
    base = run_base(model, transcoders, copies)
    dosed = [
        Edit(node.layer, node.ctx_idx, node.feature, dose, "scale", row)
        for row, dose in enumerate(doses)
        for node in nodes
    ]
    edited = intervene(model, transcoders, base, dosed, **frozen)
    return contrast_of(edited.logits, question) - contrast_of(base.logits, question)
    ### END SOLUTION


def ablate_each(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    question: Question,
    nodes: Sequence[NodeInfo],
    batch_size: int = 64,
    **frozen,
) -> Float[Tensor, " n_nodes"]:
    """How the contrast changes when each latent alone is set to 0.

    Args:
        model, transcoders, question, frozen: see `dose_response`.
        nodes: latents of the prompt's graph, ablated one by one.
        batch_size: how many of them may run together, one row each.

    Returns:
        (n_nodes,) the contrast less that on the unchanged prompt, in the order of `nodes`. Negative: the latent helped.
    """
    ### BEGIN SOLUTION
    effects = []
    for first in range(0, len(nodes), batch_size):
        part = nodes[first : first + batch_size]
        copies = question.tokens.repeat(len(part), 1)
        base = run_base(model, transcoders, copies)
        silenced = [Edit(node.layer, node.ctx_idx, node.feature, 0.0, row=row) for row, node in enumerate(part)]
        edited = intervene(model, transcoders, base, silenced, **frozen)
        effects.append(contrast_of(edited.logits, question) - contrast_of(base.logits, question))
    return torch.cat(effects)
    ### END SOLUTION


def rank_correlation(predicted: Float[Tensor, " n"], measured: Float[Tensor, " n"]) -> float:
    """Spearman's rank correlation: do the two put the items in the same order?

    The correlation of the ranks. Items of equal size share the mean of the ranks they take up together, so that it does not
    matter in which order they come.

    Returns:
        Between -1 (reversed) and 1 (same order); 0 if one of the two does not vary.
    """
    ### BEGIN SOLUTION
    centred = []
    for x in (predicted, measured):
        x = x.double()
        below, equal = (x[:, None] > x).sum(1), (x[:, None] == x).sum(1)
        ranks = below + (equal + 1) / 2
        centred.append(ranks - ranks.mean())
    a, b = centred
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else 0.0
    ### END SOLUTION
