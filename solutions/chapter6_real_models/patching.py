"""A whole state of the residual stream put into another prompt: is a step missing, and would its result help?"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import hooked


def state_hook(layer: int) -> str:
    """The residual stream in front of `layer`."""
    return f"blocks.{layer}.hook_in"


@torch.no_grad()
def states_at(
    model: TransformerBridge, tokens: Int[Tensor, "prompt seq"], positions: Int[Tensor, " prompt"]
) -> Float[Tensor, "prompt layer d_model"]:
    """The residual stream in front of every layer, at one position of each prompt."""
    states: list[Tensor] = []
    rows = torch.arange(len(tokens))

    def keep(value: Tensor, hook: HookPoint) -> None:
        states.append(value[rows, positions])

    places = [state_hook(layer) for layer in range(model.cfg.n_layers)]
    with hooked(model, [(place, keep) for place in places]):
        model(tokens)
    return torch.stack(states, dim=1)


@torch.no_grad()
def patch_states(
    model: TransformerBridge,
    tokens: Int[Tensor, "prompt seq"],
    positions: Int[Tensor, " prompt"],
    layer: int,
    states: Float[Tensor, "prompt d_model"],
) -> Float[Tensor, "prompt d_vocab"]:
    """The logits at the last position when each prompt's residual stream is replaced at one place, in front of `layer`.

    All layers from `layer` on answer to it. Those before have run already, and what other positions read of them stays.
    (Activation patching; into another layer than the states come from: back-patching, Biran et al. 2024, arXiv 2406.12775.)

    Args:
        model: the model. Its hooks are as before when this returns or raises.
        tokens: prompts of one length.
        positions: the place in each prompt.
        layer: the layer in front of which the states are put.
        states: one for each prompt.
    """
    ### BEGIN SOLUTION
    rows = torch.arange(len(tokens))

    def put(value, hook):
        value = value.clone()
        value[rows, positions] = states.to(value)
        return value

    with hooked(model, [(state_hook(layer), put)]):
        return model(tokens)[:, -1]
    ### END SOLUTION
