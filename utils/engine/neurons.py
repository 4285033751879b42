"""The neurons of a model's MLPs: where they are hooked, and their weights."""

from collections.abc import Container
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge


def acts_hook(layer: int) -> str:
    """The activations of the neurons of `layer`: the input of `W_out`."""
    return f"blocks.{layer}.mlp.out.hook_in"


def inner_hooks(names: Container[str], layer: int) -> list[str]:
    """What the activations are made of: the output of `W_in`, and that of `W_gate` if it is among the names of hooks."""
    parts = ["in", "gate"] if f"blocks.{layer}.mlp.gate.hook_out" in names else ["in"]
    return [f"blocks.{layer}.mlp.{part}.hook_out" for part in parts]


def post_norm_hook(layer: int) -> str:
    """The scale of the norm behind the MLP, where there is one (Gemma)."""
    return f"blocks.{layer}.ln2_post.hook_scale"


def neuron_hook_names(model: TransformerBridge) -> set[str]:
    """All places where values of neurons, of what they are made of, and of the norm behind them can be noted."""
    parts = ("mlp.out.hook_in", "mlp.in.hook_out", "mlp.gate.hook_out", "ln2_post.hook_scale")
    names = {f"blocks.{layer}.{part}" for layer in range(model.cfg.n_layers) for part in parts}
    # not `model.hook_dict`: the bridge makes that dict anew each time, with all names
    return {name for name in names if model.get_hook_point(name) is not None}


def check_neurons(model: TransformerBridge) -> None:
    """Refuse a model whose MLPs are not of the two forms above.

    Raises:
        TypeError: the model is no TransformerBridge.
        ValueError: an MLP has other parts, such as experts.
    """
    if not isinstance(model, TransformerBridge):
        raise TypeError(f"The model must be a TransformerBridge, as `load` gives it, not a {type(model).__name__}.")
    there = neuron_hook_names(model)
    for layer in range(model.cfg.n_layers):
        missing = [name for name in (acts_hook(layer), *inner_hooks(there, layer)) if name not in there]
        if missing:
            raise ValueError(
                f"The MLP of layer {layer} has no neurons that can be traced: there is no {missing[0]} "
                "(a mixture of experts, or a form that is not known here)."
            )


class NeuronWeights(NamedTuple):
    """One MLP's weights by neuron; the gate's are None where there is none."""

    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    b_gate: Float[Tensor, " d_mlp"] | None
    W_out: Float[Tensor, "d_mlp d_model"]

    @property
    def W_dec(self) -> Float[Tensor, "d_mlp d_model"]:
        """`W_out` by the name it has in a transcoder."""
        return self.W_out


def neuron_weights(model: TransformerBridge, layer: int) -> NeuronWeights:
    """The weights of the MLP of `layer`, without gradient, as the model stores them."""
    mlp = model.blocks[layer].mlp
    W_in, W_out = mlp.W_in.detach(), mlp.W_out.detach()
    b_in = getattr(mlp, "b_in", None)
    b_in = W_in.new_zeros(W_in.shape[1]) if b_in is None else b_in.detach()
    W_gate = getattr(mlp, "W_gate", None)
    if W_gate is None:
        return NeuronWeights(W_in, b_in, None, None, W_out)
    b_gate = getattr(mlp, "b_gate", None)
    b_gate = torch.zeros_like(b_in) if b_gate is None else b_gate.detach()
    return NeuronWeights(W_in, b_in, W_gate.detach(), b_gate, W_out)
