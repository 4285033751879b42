"""Given to the student: sparse latents, runs of the model that start or stop in the middle, and what can be frozen in them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import Hook, hooked, mlp_out_hook

LOGITS_HOOK = "unembed.hook_out"


class SparseLatents(NamedTuple):
    """The active latents of a prompt, without the zeros.

    Attributes:
        values: activations of the active latents, in the order of `indices`.
        indices: one row an active latent: where it stands in the dense tensor, e.g. (position, latent).
        shape: shape of the dense tensor.
    """

    values: Float[Tensor, " n_active"]
    indices: Int[Tensor, "n_active n_dims"]
    shape: tuple[int, ...]


class LatentGradients(NamedTuple):
    """A Jacobian, and which latents its columns and rows stand for.

    Attributes:
        jacobian: [target, source], the slope of every later latent in every earlier one.
        acts_from: the sources, one a column.
        acts_to: the targets, one a row.
    """

    jacobian: Float[Tensor, "n_to n_from"]
    acts_from: SparseLatents
    acts_to: SparseLatents


def place_of(sae: SAE) -> str:
    """The hook at which `sae` reads the residual stream: `blocks.{layer}.hook_out`."""
    return sae.cfg.metadata.hook_name


def layer_of(sae: SAE) -> int:
    """The layer after which `sae` reads the residual stream."""
    return int(place_of(sae).split(".")[1])


@torch.no_grad()
def activations_at(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], place: str) -> Float[Tensor, "seq width"]:
    """What one run of the model on a prompt has at the hook `place`."""
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name == place)
    return cache[place][0]


def resume(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    put_at: str,
    vectors: Float[Tensor, "*batch seq d_model"],
    read_at: str,
    fwd_hooks: Sequence[Hook] = (),
) -> Float[Tensor, "*batch seq width"]:
    """Run the model with `vectors` in the place of what it has at the hook `put_at`, and return what arrives at `read_at`.

    The result is a differentiable function of `vectors`.

    Args:
        vectors: for one prompt (seq, d_model), or for several copies of it (batch, seq, d_model).
        read_at: a hook behind `put_at`.
        fwd_hooks: further hooks for this run; section 5 uses them to hold parts of the model fixed.
    """
    batch = vectors if vectors.ndim == 3 else vectors[None]
    found: dict[str, Tensor] = {}

    def put(value: Tensor, hook: HookPoint) -> Tensor:
        return batch

    def read(value: Tensor, hook: HookPoint) -> None:
        found["value"] = value

    with hooked(model, [*fwd_hooks, (put_at, put), (read_at, read)]):
        model(tokens.expand(len(batch), -1))
    return found["value"] if vectors.ndim == 3 else found["value"][0]


@torch.no_grad()
def frozen_hooks(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], mlps: bool = False) -> list[Hook]:
    """Hooks that hold the model at its values on `tokens`: attention patterns and norm scales, and with `mlps` what every MLP writes."""
    mlp_outputs = {mlp_out_hook(layer) for layer in range(model.cfg.n_layers)} if mlps else set()

    def is_held(name: str) -> bool:
        return name in mlp_outputs or name.endswith(("hook_scale", "hook_pattern"))

    _, cache = model.run_with_cache(tokens, names_filter=is_held)

    def hold(frozen: Tensor) -> Callable[..., Tensor]:
        def put(value: Tensor, hook: HookPoint) -> Tensor:
            return frozen.repeat(value.shape[0] // frozen.shape[0], *[1] * (frozen.ndim - 1))

        return put

    by_point = {model.hook_dict[name].name: (name, value) for name, value in cache.items()}  # a hook can have two names
    return [(name, hold(value)) for name, value in by_point.values()]


class FrozenAttention(NamedTuple):
    """One attention block on one prompt, with its patterns and its norms' scales held: a linear map, in four parts.

    Attributes:
        read: what the norm before the block multiplies the residual stream with: its weight, divided by its scale.
        OV: for every head, the matrix from what it reads to what it writes, for row vectors: W_V @ W_O.
        pattern: for every head, how much each query position takes from each key position.
        write: what a norm behind the block multiplies with; ones where the model has none.
    """

    read: Float[Tensor, "seq d_model"]
    OV: Float[Tensor, "head d_model d_model"]
    pattern: Float[Tensor, "head query key"]
    write: Float[Tensor, "seq d_model"]


@torch.no_grad()
def frozen_attention(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], layer: int) -> FrozenAttention:
    """The attention block of `layer` on `tokens`, for models with RMS norms and no biases (Gemma, Qwen)."""
    block, prefix = model.blocks[layer], f"blocks.{layer}"
    wanted = {f"{prefix}.{name}" for name in ("attn.hook_pattern", "ln1.hook_scale", "ln1_post.hook_scale")}
    _, cache = model.run_with_cache(tokens, names_filter=wanted.__contains__)

    def factor(norm: str) -> Tensor:
        weight = getattr(block, norm).weight
        # Gemma's norms multiply with 1 + weight
        return (weight + 1 if model.cfg.rmsnorm_uses_offset else weight) / cache[f"{prefix}.{norm}.hook_scale"][0]

    read, pattern = factor("ln1"), cache[f"{prefix}.attn.hook_pattern"][0]
    W_V, W_O = block.attn.W_V, block.attn.W_O
    W_V = W_V.repeat_interleave(len(W_O) // len(W_V), dim=0)  # several heads may share their values
    write = factor("ln1_post") if f"{prefix}.ln1_post.hook_scale" in cache else torch.ones_like(read)
    return FrozenAttention(read, W_V @ W_O, pattern, write)
