"""MLPs made linear at one prompt, neuron by neuron.

A neuron writes its activation times its row of `W_out`. In a gated MLP the activation is `a = phi(g) * u`, with the gate
`g = x @ W_gate + b_gate` and `u = x @ W_in + b_in`. Write `phi(g) = s * g` and freeze `s` at this prompt's value. The product
of two live factors is then made linear by the half rule, which gives each factor half of it:

    a_lin = s / 2 * (u0 * g + g0 * u)

It is linear in `x` and equal to `a` at the prompt. An MLP without a gate has `a = phi(u)` and `a_lin = s * u`.
(Arora et al. 2026, arXiv 2601.22594; relevance patching.)
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers.activations import ACT2FN

from utils.engine.graph import at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK, Hook
from utils.engine.mlp import norm_weight
from utils.engine.neurons import NeuronWeights, acts_hook, inner_hooks, neuron_weights, post_norm_hook


def tangent(phi: Callable[[Tensor], Tensor], x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """The derivative of `phi` at every `x`."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(phi(x).sum(), x)[0]


def secant(phi: Callable[[Tensor], Tensor], x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """`phi(x) / x`, the slope of the line from the origin to the curve. At 0 that line is the tangent."""
    at_zero = tangent(phi, torch.zeros_like(x))
    return torch.where(x == 0, at_zero, phi(x) / torch.where(x == 0, 1, x))


def a_lin(slopes: tuple[Tensor, ...], parts: Sequence[Tensor]) -> Tensor:
    """What a rule makes of the activations: `slope_u * u + slope_g * g`. `parts` holds `u`, and `g` where there is a gate."""
    return sum(slope.to(part) * part for slope, part in zip(slopes, parts, strict=True))


def half_rule(
    phi: Callable[[Tensor], Tensor], inner: Float[Tensor, "seq d_mlp"], gate: Float[Tensor, "seq d_mlp"] | None = None
) -> tuple[Tensor, ...]:
    """The slopes of `a_lin`, so that it equals the activation at this prompt: `a_lin = slope_u * u + slope_g * g`.

    Half of `phi(g) * u` is given to each of its two factors. Also where a factor is exactly 0: `s` is then the derivative.

    Args:
        phi: the MLP's nonlinearity, such as SiLU.
        inner: `u`, what `phi(g)` is multiplied with; in an MLP without a gate, what `phi` is applied to.
        gate: `g`; None in an MLP without a gate.

    Returns:
        `(slope_u, slope_g)`, or `(slope_u,)` without a gate.

    Source: Arora et al. 2026, arXiv 2601.22594; relevance patching (RelP, 2025).
    """
    ### BEGIN SOLUTION
    if gate is None:
        return (secant(phi, inner),)
    s = secant(phi, gate)
    return s * gate / 2, s * inner / 2
    ### END SOLUTION


def frozen_gate(
    phi: Callable[[Tensor], Tensor], inner: Float[Tensor, "seq d_mlp"], gate: Float[Tensor, "seq d_mlp"] | None = None
) -> tuple[Tensor, ...]:
    """A rival of the half rule: the gate is a constant of this prompt, and `u` gets all."""
    return half_rule(phi, inner) if gate is None else (phi(gate), torch.zeros_like(gate))


def plain_gradient(
    phi: Callable[[Tensor], Tensor], inner: Float[Tensor, "seq d_mlp"], gate: Float[Tensor, "seq d_mlp"] | None = None
) -> tuple[Tensor, ...]:
    """Another rival: the derivatives. The line touches the curve at this prompt, but it does not come from the origin."""
    return (tangent(phi, inner),) if gate is None else (phi(gate), tangent(phi, gate) * inner)


def reading_vectors(
    weights: NeuronWeights, slopes: tuple[Tensor, ...], positions: Int[Tensor, " n"], neurons: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
    """Along which vectors neurons read the MLP's input on this prompt, and the constants they add.

    `a_lin` of neuron n at position p is `x[p] @ vector + constant`. The slopes differ from position to position, so a neuron reads
    along another vector at every token.

    Args:
        weights: of one MLP.
        slopes: of the same MLP, from `half_rule` or a rival.
        positions, neurons: which neurons, at which positions.
    """
    ### BEGIN SOLUTION
    slope = slopes[0][positions, neurons]
    vectors = slope[:, None] * weights.W_in.T[neurons].to(slope)
    constants = slope * weights.b_in[neurons].to(slope)
    if weights.W_gate is not None:
        slope = slopes[1][positions, neurons]
        vectors = vectors + slope[:, None] * weights.W_gate.T[neurons].to(slope)
        constants = constants + slope * weights.b_gate[neurons].to(slope)
    return vectors, constants
    ### END SOLUTION


class NeuronHooks:
    """Make every MLP linear at one prompt, in the place of chapter 3's `TranscoderReplacementHooks`.

    Neurons that are nodes write constants: no gradient passes them. All others stay in the linear map, so that an edge
    is the effect along all paths that pass no other node, and nothing is left for error nodes.

    Args:
        model: the model.
        cache: of the frozen model, with `neuron_hook_names(model)`.
        rule: how a neuron is made linear.

    Attributes:
        acts: layer -> (seq, d_mlp), the activations.
        slopes: layer -> what the rule gives.
        rest: layer -> (seq, d_mlp), the activations less `a_lin`: a constant. By the half rule, no more than rounding.
        nodes: layer -> (seq, d_mlp), True for neurons that are nodes; a layer without any is not in it.
    """

    def __init__(
        self, model: TransformerBridge, cache: ActivationCache, rule: Callable[..., tuple[Tensor, ...]] = half_rule
    ):
        self.model = model
        self.nodes: dict[int, Bool[Tensor, "seq d_mlp"]] = {}
        self.acts, self.slopes, self.rest, self._inner, self._post_scale = {}, {}, {}, {}, {}
        phi = ACT2FN[model.cfg.act_fn]
        for layer in range(model.cfg.n_layers):
            self._inner[layer] = inner_hooks(cache, layer)
            parts = [at_least_float32(cache[name][0]) for name in self._inner[layer]]
            self.acts[layer] = at_least_float32(cache[acts_hook(layer)][0])
            self.slopes[layer] = rule(phi, *parts)
            self.rest[layer] = self.acts[layer] - a_lin(self.slopes[layer], parts)
            scale = post_norm_hook(layer)
            self._post_scale[layer] = at_least_float32(cache[scale][0]) if scale in cache else None

    def reads(
        self, layer: int, positions: Int[Tensor, " n"], neurons: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """The vectors along which neurons read the MLP's input on this prompt, and all constants."""
        vectors, constants = reading_vectors(neuron_weights(self.model, layer), self.slopes[layer], positions, neurons)
        return vectors, constants + self.rest[layer][positions, neurons]

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
    def live_hooks(self) -> list[Hook]:
        """The linear model in the forward pass, too: `a_lin` of what is not a node, 0 for what is."""
        return self._hooks(lambda linear, kept: linear)

    @property
    def silent_hooks(self) -> list[Hook]:
        """A run in which no node writes: the linear model with zero embeddings."""

        def no_embedding(embedding: Tensor, hook: HookPoint) -> Tensor:
            return torch.zeros_like(embedding)

        return [(EMBEDDING_HOOK, no_embedding), *self.live_hooks]

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
                slopes = [slope[:n_tokens] for slope in self.slopes[layer]]
                linear = a_lin(slopes, parts) + self.rest[layer][:n_tokens].to(value)
                if layer in self.nodes:
                    linear = linear.masked_fill(self.nodes[layer][:n_tokens], 0)
                return combine(linear, value)

            hooks += [*((name, note) for name in names), (acts_hook(layer), replace)]
        return hooks
