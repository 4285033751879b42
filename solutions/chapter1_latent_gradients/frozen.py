"""The same question with attention patterns and norm scales frozen: the Jacobian as a matrix product, head by head."""

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter1_latent_gradients.latents import to_sparse
from solutions.chapter1_latent_gradients.runs import (
    FrozenAttention,
    LatentGradients,
    SparseLatents,
    activations_at,
    frozen_attention,
    layer_of,
    place_of,
)
from utils.engine.hooks import hooked


def through_attention(
    frozen: FrozenAttention, vectors: Float[Tensor, "*batch seq d_model"]
) -> Float[Tensor, "*batch seq d_model"]:
    """What a frozen attention block adds to the residual stream, as a linear function of it.

    Step by step: multiply with `read`; for every head, take the mixture of positions that `pattern` says and apply `OV`; add up the
    heads; multiply with `write`.

    Args:
        frozen: the block, from `frozen_attention`.
        vectors: residual streams (or changes of it), one or a batch of them.
    """
    ### BEGIN SOLUTION
    heads = torch.einsum("hqk,...kd,hde->...qe", frozen.pattern, vectors * frozen.read, frozen.OV)
    return heads * frozen.write
    ### END SOLUTION


@torch.no_grad()
def direct_gradients(
    tokens: Int[Tensor, "1 seq"], sae_from: SAE, sae_to: SAE, model: TransformerBridge
) -> LatentGradients:
    """The Jacobian of `latent_to_latent_gradients` with patterns, scales and MLPs frozen, written down without autograd.

    With everything frozen, what a latent writes (its row of `W_dec`) stays in the residual stream, and every attention block on the way
    adds what it makes of it. The later latent reads the sum with its column of `W_enc`.

    Args:
        tokens: the prompt.
        sae_from, sae_to: SAEs of an earlier and a later layer.
        model: the model.

    Returns:
        The Jacobian (n_to, n_from), and the active latents that its columns and rows stand for; both from the unchanged model.
    """
    acts_from, acts_to = (
        to_sparse(sae.encode(activations_at(model, tokens, place_of(sae)))) for sae in (sae_from, sae_to)
    )
    ### BEGIN SOLUTION
    position_from, latent_from = acts_from.indices.unbind(-1)
    position_to, latent_to = acts_to.indices.unbind(-1)
    vectors = sae_from.W_dec.new_zeros(len(latent_from), tokens.shape[1], sae_from.cfg.d_in)
    vectors[torch.arange(len(latent_from)), position_from] = sae_from.W_dec[latent_from]
    for layer in range(layer_of(sae_from) + 1, layer_of(sae_to) + 1):
        vectors = vectors + through_attention(frozen_attention(model, tokens, layer), vectors)
    jacobian = torch.einsum("std,dt->ts", vectors[:, position_to], sae_to.W_enc[:, latent_to])
    return LatentGradients(jacobian, acts_from, acts_to)
    ### END SOLUTION


@torch.no_grad()
def effects_by_head(
    acts_from: SparseLatents,
    acts_to: SparseLatents,
    sae_from: SAE,
    sae_to: SAE,
    frozen: FrozenAttention,
) -> Float[Tensor, "head n_to n_from"]:
    """How much of every later latent each head brings from every earlier one, along the direct path through one block.

    What the earlier latent writes is its activation times its row of `W_dec`. Head `h` carries that from the latent's position to the
    later latent's position, where the later latent reads it with its column of `W_enc`.

    Args:
        acts_from, acts_to: active latents (position, latent) before and behind the block.
        sae_from, sae_to: their SAEs.
        frozen: the attention block between them, from `frozen_attention`.

    Returns:
        (head, n_to, n_from), in units of the later latent's activation. The path that stays at one position, past all heads, is not
        in it.
    """
    ### BEGIN SOLUTION
    position_from, latent_from = acts_from.indices.unbind(-1)
    position_to, latent_to = acts_to.indices.unbind(-1)
    writes = acts_from.values[:, None] * sae_from.W_dec[latent_from] * frozen.read[position_from]
    reads = sae_to.W_enc[:, latent_to].T * frozen.write[position_to]
    weights = frozen.pattern[:, position_to][:, :, position_from]
    return weights * torch.einsum("sd,hde,te->hts", writes, frozen.OV, reads)
    ### END SOLUTION


@torch.no_grad()
def ablate_head(
    model: TransformerBridge, tokens: Int[Tensor, "1 seq"], layer: int, head: int
) -> Float[Tensor, "seq d_vocab"]:
    """The logits of the real model when one head adds nothing to the residual stream, at any position.

    Everything behind the head is computed anew; the model is left as it was.
    `blocks.{layer}.attn.hook_z` has what every head hands over to `W_O`, as (batch, seq, head, d_head).
    """

    ### BEGIN SOLUTION
    def silence(z, hook):
        z = z.clone()
        z[:, :, head] = 0.0
        return z

    with hooked(model, [(f"blocks.{layer}.attn.hook_z", silence)]):
        return model(tokens)[0]
    ### END SOLUTION
