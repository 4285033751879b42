"""Exchange: give some neurons of one prompt the activations that they have on another, and see which answer comes.

The prompts differ in a name of one token, so that all have one length and the name stands at one position. Only some
positions matter; a "place" is one of them, by its number in a list of positions.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import EMBEDDING_HOOK, hooked
from utils.engine.neurons import acts_hook


class PromptRuns(NamedTuple):
    """Prompts about different names, run unchanged.

    Attributes:
        acts: activations of all neurons at some positions.
        gradients: of each prompt's contrast (its own answer's logit less the mean logit of all answers) with respect to them.
        logits: at the last position.
    """

    acts: Float[Tensor, "prompt layer place d_mlp"]
    gradients: Float[Tensor, "prompt layer place d_mlp"]
    logits: Float[Tensor, "prompt d_vocab"]


def run_prompts(
    model: TransformerBridge,
    tokens: Int[Tensor, "prompt seq"],
    positions: Sequence[int],
    answers: Int[Tensor, " prompt"],
) -> PromptRuns:
    """Run prompts of one length, with one backward pass for all of them.

    Args:
        model: the model. None of its parameters needs a gradient.
        tokens: the prompts.
        positions: where the neurons are looked at.
        answers: each prompt's own answer.
    """
    places, live = list(positions), {}

    def start_here(embedding: Tensor, hook: HookPoint) -> Tensor:
        return embedding.detach().requires_grad_()

    def capture(value: Tensor, hook: HookPoint) -> None:
        live[hook.name] = value

    names = [acts_hook(layer) for layer in range(model.cfg.n_layers)]
    with torch.enable_grad(), hooked(model, [(EMBEDDING_HOOK, start_here), *((name, capture) for name in names)]):
        logits = model(tokens)[:, -1]
        contrasts = logits[torch.arange(len(tokens)), answers] - logits[:, answers.unique()].mean(dim=-1)
    gradients = torch.autograd.grad(contrasts.sum(), [live[name] for name in names])
    return PromptRuns(
        torch.stack([live[name].detach()[:, places] for name in names], dim=1),
        torch.stack([gradient[:, places] for gradient in gradients], dim=1),
        logits.detach(),
    )


def choose_by_change(own: PromptRuns, other: PromptRuns, k: int) -> Bool[Tensor, "pair layer place d_mlp"]:
    """For every pair of prompts the `k` neurons whose exchange should do most to bring the other answer.

    A neuron's score is the change of its activation, other less own, times what one unit of it is worth at both ends: the
    other prompt's gradient, of the other answer, less the own prompt's gradient, of the own answer. (Attribution patching,
    Nanda 2023, with a gradient at both ends.)

    Args:
        own, other: the two prompts of every pair, row by row.
        k: how many neurons for each pair. Those with a score of 0 or less are never chosen.
    """
    ### BEGIN SOLUTION
    scores = (other.acts - own.acts) * (other.gradients - own.gradients)
    flat = scores.flatten(1)
    best = flat.topk(k, dim=1)
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter(1, best.indices, best.values > 0)
    return chosen.view(scores.shape)
    ### END SOLUTION


def alike_in_change(
    sizes: Float[Tensor, "pair layer place d_mlp"], chosen: Bool[Tensor, "pair layer place d_mlp"]
) -> Bool[Tensor, "pair layer place d_mlp"]:
    """Controls: for every chosen neuron of a pair another one whose exchange changes as much.

    Go through the chosen neurons of a pair from the largest size to the smallest. Each takes the largest neuron that is not
    larger than itself, among those that are neither chosen nor taken; if there is none, as small a one as is left.

    Args:
        sizes: how much the exchange of each neuron changes, in each pair.
        chosen: the neurons that need a control.

    Returns:
        As many neurons in each pair as are chosen there, none of them chosen.

    Raises:
        ValueError: more than half of a pair's neurons are chosen.
    """
    controls = torch.zeros_like(chosen)
    for size, taken, control in zip(sizes.flatten(1), chosen.flatten(1), controls.flatten(1), strict=True):
        free = (~taken).nonzero().flatten()
        n = int(taken.sum())
        if len(free) < n:
            raise ValueError(f"Only {len(free)} other neurons are left, which is too few for {n} controls.")
        falling, order = size[free].sort(descending=True)
        first = torch.searchsorted(-falling, -size[taken].sort(descending=True).values)
        rank = torch.arange(n)
        own_place = (first - rank).cummax(0).values + rank  # no two at one place
        control[free[order[own_place.minimum(len(free) - n + rank)]]] = True
    return controls


@torch.no_grad()
def exchange_neurons(
    model: TransformerBridge,
    tokens: Int[Tensor, "pair seq"],
    positions: Sequence[int],
    chosen: Bool[Tensor, "pair layer place d_mlp"],
    values: Float[Tensor, "pair layer place d_mlp"],
) -> Float[Tensor, "pair d_vocab"]:
    """The logits at the last position when some neurons have other activations. Nothing else is held.

    Args:
        model: the model. Its hooks are as before when this returns or raises.
        tokens: each pair's own prompt.
        positions: where the places are.
        chosen: the neurons that are set, in each pair.
        values: their activations; only those under `chosen` count.
    """
    ### BEGIN SOLUTION
    places = list(positions)

    def put(acts: Tensor, hook: HookPoint, layer: int) -> Tensor:
        acts = acts.clone()
        acts[:, places] = torch.where(chosen[:, layer], values[:, layer].to(acts), acts[:, places])
        return acts

    edits = [(acts_hook(layer), partial(put, layer=layer)) for layer in range(chosen.shape[1])]
    with hooked(model, edits):
        return model(tokens)[:, -1]
    ### END SOLUTION
