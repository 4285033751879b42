"""What a latent reads and writes, from weights alone: tokens, earlier latents, attention heads, logits."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import Transcoder
from utils.engine.mlp import is_centred, mlp_output, norm_weight


@torch.no_grad()
def token_embeddings(model: TransformerBridge) -> Float[Tensor, "d_vocab d_model"]:
    """Every token's vector as it enters the residual stream; Gemma multiplies the rows of `W_E` by a constant first."""
    return model.embed(torch.arange(len(model.W_E), device=model.W_E.device)[None])[0]


@torch.no_grad()
def deembedding(
    model: TransformerBridge,
    transcoder: Transcoder,
    layer: int,
    latents: list[int],
    embedding: Float[Tensor, "d_vocab d_model"],
) -> Float[Tensor, "d_vocab latent"]:
    """How much each token's vector excites latents of a layer, if the residual stream held nothing else.

    Args:
        transcoder: of this layer; it reads the output of the layer's ln2, `model.blocks[layer].ln2`.
        latents: which ones.
        embedding: one vector a token: `token_embeddings(model)`, or the extended embedding.

    Returns:
        Pre-activations, `b_enc` included: a latent fires where this is above its threshold.
    """
    ### BEGIN SOLUTION
    x = model.blocks[layer].ln2(embedding[None])[0]
    return x @ transcoder.W_enc[:, latents] + transcoder.b_enc[latents]
    ### END SOLUTION


@torch.no_grad()
def extended_embedding(
    model: TransformerBridge, embedding: Float[Tensor, "d_vocab d_model"]
) -> Float[Tensor, "d_vocab d_model"]:
    """Every token's vector after the first layer's MLP has seen it: the embedding and what that MLP adds to it.

    The first layer's attention is left out: each token is alone. `model.blocks[0].ln2` is the norm before the MLP, and
    `mlp_output(model, 0, x)` is what the MLP adds to the residual stream when it reads `x`.
    """
    ### BEGIN SOLUTION
    x = model.blocks[0].ln2(embedding[None])[0]
    return embedding + mlp_output(model, 0, x)
    ### END SOLUTION


def pull_through_norm(
    vectors: Float[Tensor, "n d_model"], weight: Float[Tensor, " d_model"], scale: float, centred: bool = False
) -> Float[Tensor, "n d_model"]:
    """Turn vectors that read the output of a norm into vectors that read its input, with the norm's scale held.

    A norm computes `weight * r / scale` (plus a bias, which does not depend on `r`). If `centred`, as in a LayerNorm, the mean
    of `r` over its dimensions is taken away from `r` first.

    Returns:
        For every `v` of `vectors` the `g` such that `r @ g` is what `v` reads after the norm, whatever `r` (bias left out).
    """
    ### BEGIN SOLUTION
    pulled = vectors * weight / scale
    return pulled - pulled.mean(-1, keepdim=True) if centred else pulled
    ### END SOLUTION


@torch.no_grad()
def latent_pullback(
    model: TransformerBridge, transcoders: dict[int, Transcoder], layer: int, latent: int, scale: float
) -> dict[int, Float[Tensor, " d_latents"]]:
    """What one unit of every earlier latent adds to a latent's pre-activation, straight through the residual stream.

    Args:
        layer, latent: the latent that reads.
        scale: what its ln2 divides by; the same for all sources, so that layers can be compared.
            `norm_weight(norm, d_model)` and `is_centred(norm)` say the rest about a norm.

    Returns:
        earlier layer -> one number for each of its latents, active or not.
    """
    ### BEGIN SOLUTION
    ln2 = model.blocks[layer].ln2
    reading = transcoders[layer].W_enc[:, latent][None]
    pulled = pull_through_norm(reading, norm_weight(ln2, model.cfg.d_model), scale, is_centred(ln2))[0]
    return {source: transcoders[source].W_dec @ pulled for source in sorted(transcoders) if source < layer}
    ### END SOLUTION


@torch.no_grad()
def head_pullback(
    model: TransformerBridge,
    layer: int,
    head: int,
    vectors: Float[Tensor, "n d_model"],
    scale: float,
    post_scale: float | None = None,
) -> Float[Tensor, "n d_model"]:
    """Turn vectors that read the residual stream after a head into vectors that read it before, where the head looks.

    A head moves `W_V` and `W_O` of what ln1 gives, times the attention that it pays. Attention is left out here: the result is
    for an attention of 1.

    Args:
        head: its number; `W_O[head]` is (d_head, d_model). `attn.W_V` is (n_kv, d_model, d_head): where it has fewer
            matrices than there are heads, neighbouring heads share one.
        vectors: what reads the residual stream after the attention.
        scale: what the layer's ln1 divides by.
        post_scale: what the norm after the attention, `ln1_post`, divides by. Only models with `ln1_post` have that norm
            (`hasattr(block, "ln1_post")`); for others ignore this argument.

    Returns:
        For every `v` of `vectors` the `g` such that `r @ g` is what `v` reads of the head's output (biases left out) when
        the head looks at a position that holds `r`.
    """
    ### BEGIN SOLUTION
    block, d_model = model.blocks[layer], model.cfg.d_model
    if hasattr(block, "ln1_post"):
        vectors = pull_through_norm(
            vectors, norm_weight(block.ln1_post, d_model), post_scale, is_centred(block.ln1_post)
        )
    shared_by = model.cfg.n_heads // len(block.attn.W_V)
    W_V, W_O = block.attn.W_V[head // shared_by], block.attn.W_O[head]
    vectors = vectors @ W_O.T @ W_V.T
    return pull_through_norm(vectors, norm_weight(block.ln1, d_model), scale, is_centred(block.ln1))
    ### END SOLUTION


@torch.no_grad()
def logit_lens(
    model: TransformerBridge, transcoder: Transcoder, latents: list[int], scale: float
) -> Float[Tensor, "latent d_vocab"]:
    """What one unit of each latent adds to the logits, straight through the residual stream.

    Args:
        latents: which ones.
        scale: what ln_final divides by.

    Returns:
        One row a latent, with mean zero: what raises all logits alike changes no probability.
    """
    ### BEGIN SOLUTION
    norm = model.ln_final
    reading = pull_through_norm(model.W_U.T, norm_weight(norm, model.cfg.d_model), scale, is_centred(norm))
    logits = transcoder.W_dec[latents] @ reading.T
    return logits - logits.mean(-1, keepdim=True)
    ### END SOLUTION
