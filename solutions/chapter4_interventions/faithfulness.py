"""Is what a graph ranks first needed for the answer, is it enough, and do two latents stand in for each other?

All is measured on the real model: nothing is held, and a silenced latent is at zero whatever it would have become.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions.ablation import Question, contrast_of
from solutions.chapter4_interventions.interventions import Edit, intervene, run_base
from utils.engine.cross_layer import refuse_cross_layer
from utils.engine.graph import NodeInfo
from utils.engine.hooks import Transcoder, hooked, mlp_out_hook, reading_hook


def necessity_curve(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    question: Question,
    ranked: Sequence[NodeInfo],
    sizes: Sequence[int],
) -> Float[Tensor, " n_sizes"]:
    """The contrast that is left without the first k of some latents, for every k.

    Args:
        model, transcoders: the model and its transcoders.
        question: one prompt, and what is measured on it.
        ranked: latents of its graph, those to be silenced first at the front.
        sizes: how many of them are silenced together, in any order; 0 is the unchanged model.

    Returns:
        (n_sizes,) the contrast with nothing else held.
    """
    ### BEGIN SOLUTION
    base = run_base(model, transcoders, question.tokens.repeat(len(sizes), 1))
    gone = [
        Edit(node.layer, node.ctx_idx, node.feature, 0.0, row=row)
        for row, size in enumerate(sizes)
        for node in ranked[:size]
    ]
    left = intervene(model, transcoders, base, gone, freeze_attention=False)
    return contrast_of(left.logits, question)
    ### END SOLUTION


@torch.no_grad()
def sufficiency_curve(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    question: Question,
    ranked: Sequence[NodeInfo],
    sizes: Sequence[int],
    start_posn: int = 1,
) -> Float[Tensor, " n_sizes"]:
    """The contrast that is left with only the first k of some latents, for every k.

    All other latents of the dictionary are silenced at every position from `start_posn` on, those too that begin to fire only
    because others are gone. Those that are kept answer to what is left. Linear parts and errors stay, and answer too.

    Args:
        model, transcoders, question: see `necessity_curve`.
        ranked: latents of the prompt's graph, those to be kept first at the front.
        sizes: how many of them are kept, in any order; at 0 no latent writes.
        start_posn: earlier positions are left alone, like those that a graph hides.

    Returns:
        (n_sizes,) the contrast with nothing else held.

    Raises:
        TypeError, ValueError: the transcoders are a cross-layer transcoder, or its layers.
    """
    refuse_cross_layer(transcoders)
    ### BEGIN SOLUTION
    tokens = question.tokens.repeat(len(sizes), 1)
    inputs: dict[int, Tensor] = {}

    def hooks_of(layer: int) -> list:
        def read(x: Tensor, hook: HookPoint) -> None:
            inputs[layer] = x

        def write(y: Tensor, hook: HookPoint) -> Tensor:
            live = transcoders[layer].encode(inputs[layer]).to(y)
            may_write = torch.zeros_like(live, dtype=torch.bool)
            may_write[:, :start_posn] = True
            for row, size in enumerate(sizes):
                for node in ranked[:size]:
                    if node.layer == layer:
                        may_write[row, node.ctx_idx, node.feature] = True
            W_dec = transcoders[layer].W_dec.detach().to(y)
            return y - live.masked_fill(may_write, 0) @ W_dec

        return [(reading_hook(layer), read), (mlp_out_hook(layer), write)]

    ours = sum(map(hooks_of, transcoders), [])
    with hooked(model, ours):
        return contrast_of(model(tokens), question)
    ### END SOLUTION


class Areas(NamedTuple):
    """A curve of faithfulness in two numbers (Mueller et al. 2025, MIB, "integrated" CPR and CMD).

    Attributes:
        performance_ratio: CPR, the area under the curve. 1: as good as the whole model at every size.
        model_distance: CMD, the area between the curve and 1. 0: like the whole model at every size.
    """

    performance_ratio: float
    model_distance: float


def area_under_curve(sizes: Sequence[int], curve: Float[Tensor, " n_sizes"], full: float, empty: float) -> Areas:
    """Two areas of a curve of contrasts, in the units of a public benchmark of circuits.

    A contrast becomes a *faithfulness*: 0 where it is `empty`, 1 where it is `full`, on a straight line. Sizes become shares of
    the way from the first size to the last one. Between two sizes the area is a trapezoid: width times the mean of both heights.

    Args:
        sizes: rising, unevenly spaced as a rule.
        curve: the contrast at each size.
        full, empty: the contrast of the whole model, and that without any latents.

    Raises:
        ValueError: fewer than two sizes, sizes that do not rise, or `full` equal to `empty`.
    """
    ### BEGIN SOLUTION
    widths = torch.tensor(sizes, dtype=torch.float64).diff()
    if len(sizes) < 2 or bool((widths <= 0).any()):
        raise ValueError(f"An area needs two sizes or more, each larger than the one before, not {list(sizes)}.")
    if full == empty:
        raise ValueError("The whole model is no better than the empty one: there is nothing to be faithful to.")
    faithfulness = (curve.double().cpu() - empty) / (full - empty)
    widths = widths / widths.sum()

    def area(heights: Tensor) -> float:
        return float((widths * (heights[:-1] + heights[1:]) / 2).sum())

    return Areas(area(faithfulness), area((1 - faithfulness).abs()))
    ### END SOLUTION


def superadditivity(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    question: Question,
    pairs: Sequence[tuple[NodeInfo, NodeInfo]],
    **frozen,
) -> Float[Tensor, " n_pairs"]:
    """What silencing two latents together does to the contrast beyond what silencing each of them alone does.

    Args:
        model, transcoders: the model and its transcoders.
        question: one prompt, and what is measured on it.
        pairs: two different latents of its graph each.
        frozen: arguments of `intervene` that say what is frozen and held.

    Returns:
        (n_pairs,) the change of the contrast when both are silenced, less the sum of the two changes when one of them is. Clearly
        negative: each makes up for the loss of the other. 0: they act apart. Positive: without the one, the other matters less.
    """
    ### BEGIN SOLUTION
    base = run_base(model, transcoders, question.tokens.repeat(3 * len(pairs), 1))
    gone = [
        Edit(node.layer, node.ctx_idx, node.feature, 0.0, row=3 * number + part)
        for number, (first, second) in enumerate(pairs)
        for part, nodes in enumerate(((first,), (second,), (first, second)))
        for node in nodes
    ]
    left = intervene(model, transcoders, base, gone, **frozen)
    change = contrast_of(left.logits, question) - contrast_of(base.logits, question)
    alone, also_alone, together = change.view(-1, 3).T
    return together - alone - also_alone
    ### END SOLUTION
