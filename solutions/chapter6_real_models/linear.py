"""MLPs made linear at one prompt, neuron by neuron.

A neuron writes its activation times its row of `W_out`. In a gated MLP the activation is `a = phi(g) * u`, with the gate
`g = x @ W_gate + b_gate` and `u = x @ W_in + b_in`. Write `phi(g) = s(g) * g` and freeze `s` at this prompt's value. The product
of two live factors is then linearised by the half rule, which gives each factor half of it:

    a_lin = s0 / 2 * (u0 * g + g0 * u)

It is linear in `x` and equal to `a` at the prompt. An MLP without a gate has `a = phi(p)` and `a_lin = (phi(p0) / p0) * p`.
(Arora et al. 2026, arXiv 2601.22594; relevance patching.)
"""

from collections.abc import Container
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.graph import at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK, Hook
from utils.engine.mlp import norm_weight


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
    """All places that `NeuronHooks` needs in its cache."""
    there, names = set(model.hook_dict), set()  # the bridge makes its dict of hooks anew each time, which takes long
    for layer in range(model.cfg.n_layers):
        names |= {acts_hook(layer), *inner_hooks(there, layer), post_norm_hook(layer)} & there
    return names


def check_neurons(model: TransformerBridge) -> None:
    """Refuse a model whose MLPs are not of the two forms above.

    Raises:
        TypeError: the model is no TransformerBridge.
        ValueError: an MLP has other parts, such as experts.
    """
    if not isinstance(model, TransformerBridge):
        raise TypeError(f"The model must be a TransformerBridge, as `load` gives it, not a {type(model).__name__}.")
    there = set(model.hook_dict)
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


class NeuronHooks:
    """Make every MLP linear at one prompt, in the place of chapter 3's `TranscoderReplacementHooks`.

    Neurons that are nodes write constants: no gradient passes them. All others stay in the linear map, so that an edge
    is the effect along all paths that pass no other node, and nothing is left for error nodes.

    Args:
        model: the model.
        cache: of the frozen model, with `neuron_hook_names(model)`.

    Attributes:
        slopes: layer -> for `in` (and `gate`), (seq, d_mlp), what one unit of it adds to `a_lin`.
        acts: layer -> (seq, d_mlp), the activations.
        nodes: layer -> (seq, d_mlp), True for neurons that are nodes; a layer without any is not in it.
    """

    def __init__(self, model: TransformerBridge, cache: ActivationCache):
        self.model = model
        self.nodes: dict[int, Bool[Tensor, "seq d_mlp"]] = {}
        self.acts, self.slopes, self._post_scale, self._inner = {}, {}, {}, {}
        for layer in range(model.cfg.n_layers):
            acts = at_least_float32(cache[acts_hook(layer)][0])
            self._inner[layer] = inner_hooks(cache, layer)
            parts = [at_least_float32(cache[name][0]) for name in self._inner[layer]]
            self.acts[layer] = acts
            self.slopes[layer] = slopes(acts, *parts)
            scale = post_norm_hook(layer)
            self._post_scale[layer] = at_least_float32(cache[scale][0]) if scale in cache else None

    def reads(
        self, layer: int, positions: Int[Tensor, " n"], neurons: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """The vectors along which neurons read the MLP's input on this prompt, and their constants."""
        weights, found = neuron_weights(self.model, layer), self.slopes[layer]
        slope = found[0][positions, neurons]
        vectors = slope[:, None] * weights.W_in.T[neurons].to(slope)
        constants = slope * weights.b_in[neurons].to(slope)
        if weights.W_gate is not None:
            slope = found[1][positions, neurons]
            vectors = vectors + slope[:, None] * weights.W_gate.T[neurons].to(slope)
            constants = constants + slope * weights.b_gate[neurons].to(slope)
        return vectors, constants

    def writes(
        self, layer: int, positions: Int[Tensor, " n"], neurons: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d_model"]:
        """What neurons write into the residual stream: activation times row of `W_out`, through the norm behind the MLP."""
        acts = self.acts[layer][positions, neurons]
        vectors = acts[:, None] * neuron_weights(self.model, layer).W_out[neurons].to(acts)
        scale = self._post_scale[layer]
        if scale is None:
            return vectors
        weight = norm_weight(self.model.blocks[layer].ln2_post, vectors.shape[1]).to(vectors)
        return vectors * weight / scale[positions]

    @property
    def fwd_hooks(self) -> list[Hook]:
        """Activations as they are in the forward pass, `a_lin` of what is not a node in the backward pass."""
        return self._hooks(lambda linear, kept: linear + (kept - linear).detach())

    @property
    def silent_hooks(self) -> list[Hook]:
        """A run in which no node writes: zero embeddings, `a_lin` of all neurons that are not nodes, 0 for those that are."""

        def no_embedding(embedding: Tensor, hook: HookPoint) -> Tensor:
            return torch.zeros_like(embedding)

        return [(EMBEDDING_HOOK, no_embedding), *self._hooks(lambda linear, kept: linear)]

    def _hooks(self, combine) -> list[Hook]:
        """For every layer: note what the activations are made of, then replace them by `combine(a_lin, activations)`."""
        hooks: list[Hook] = []
        for layer in range(self.model.cfg.n_layers):
            names, live = self._inner[layer], {}

            def note(value: Tensor, hook: HookPoint, names=names, live=live) -> None:
                live[hook.name] = value

            def replace(value: Tensor, hook: HookPoint, layer=layer, names=names, live=live) -> Tensor:
                parts = [live.pop(name) for name in names]
                n_tokens = value.shape[1]  # fewer than the prompt has where a run is cut short
                found = [slope[:n_tokens] for slope in self.slopes[layer]]
                linear = sum(slope.to(part) * part for slope, part in zip(found, parts, strict=True))
                if layer in self.nodes:
                    linear = linear.masked_fill(self.nodes[layer][:n_tokens], 0)
                return combine(linear, value)

            hooks += [*((name, note) for name in names), (acts_hook(layer), replace)]
        return hooks


def slopes(
    acts: Float[Tensor, "seq d_mlp"], inner: Float[Tensor, "seq d_mlp"], gate: Float[Tensor, "seq d_mlp"] | None = None
) -> tuple[Float[Tensor, "seq d_mlp"], ...]:
    """What one unit of `inner` (and of `gate`) adds to `a_lin`, so that `a_lin` equals `acts` at this prompt.

    Half of `acts / inner` and half of `acts / gate`; without a gate, `acts / inner`. Where `inner` is exactly 0, `acts / inner`
    is `phi(gate)`, which cannot be told from `acts`: then the neuron writes nothing, and all of `a_lin` is given to the gate, which
    keeps the identity. Likewise where `gate` is 0.
    """
    half = 1.0 if gate is None else 0.5

    def share(part: Tensor) -> Tensor:
        return half * torch.where(part == 0, 0, acts / torch.where(part == 0, 1, part))

    return (share(inner),) if gate is None else (share(inner), share(gate))
