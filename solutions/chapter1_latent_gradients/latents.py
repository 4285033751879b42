"""From the latents of one layer to those of a later layer: the function through the model, and its Jacobian."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter1_latent_gradients.runs import (
    LatentGradients,
    SparseLatents,
    activations_at,
    place_of,
    resume,
)
from utils.engine.hooks import EMBEDDING_HOOK, Hook


def to_sparse(dense: Float[Tensor, "*shape"]) -> SparseLatents:
    """Keep what is not zero, and where it stands.

    Args:
        dense: activations, of any number of dimensions, e.g. (seq, d_latents).

    Returns:
        The non-zero values in reading order (row by row), one row of indices for each, and the shape as a tuple of ints. For a
        dense tensor without any active latent: values of shape (0,) and indices of shape (0, n_dims).
    """
    ### BEGIN SOLUTION
    indices = dense.nonzero()
    return SparseLatents(dense[indices.unbind(-1)], indices, tuple(dense.shape))
    ### END SOLUTION


def to_dense(
    values: Float[Tensor, " n_active"], indices: Int[Tensor, "n_active n_dims"], shape: tuple[int, ...]
) -> Float[Tensor, "*shape"]:
    """The dense tensor of `shape` that has `values` at `indices` and zeros elsewhere.

    It is a differentiable function of `values`, has their dtype and device, and leaves them as they are.
    """
    ### BEGIN SOLUTION
    return values.new_zeros(shape).index_put(indices.unbind(-1), values)
    ### END SOLUTION


def latents_to_later_latents(
    values: Float[Tensor, " n_active"],
    indices: Int[Tensor, "n_active 2"],
    shape: tuple[int, int],
    sae_from: SAE,
    sae_to: SAE,
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    error: Float[Tensor, "seq d_model"] | None = None,
    fwd_hooks: Sequence[Hook] = (),
) -> tuple[Float[Tensor, " n_later"], Float[Tensor, "seq d_latents"]]:
    """The later latents of a prompt as a function of its earlier ones.

    The earlier latents are decoded into the residual stream (with `error` added, if it is given), the model runs on from there,
    and the residual stream at the later place is encoded.

    Args:
        values, indices, shape: the earlier latents, as `to_sparse` gives them.
        sae_from, sae_to: SAEs of an earlier and a later layer.
        model, tokens: the model and the prompt.
        error: what `sae_from` leaves out of the residual stream; None runs the model on the reconstruction alone.
        fwd_hooks: further hooks for the run of the model, handed on to `resume`.

    Returns:
        The activations of the later latents that are active, in the order of `to_sparse`; and all later activations, dense.
        Both depend on `values` differentiably.
    """
    ### BEGIN SOLUTION
    residual = sae_from.decode(to_dense(values, indices, shape))
    if error is not None:
        residual = residual + error
    later = resume(model, tokens, place_of(sae_from), residual, place_of(sae_to), fwd_hooks)
    acts = sae_to.encode(later)
    return to_sparse(acts).values, acts
    ### END SOLUTION


def latent_to_latent_gradients(
    tokens: Int[Tensor, "1 seq"],
    sae_from: SAE,
    sae_to: SAE,
    model: TransformerBridge,
    with_error: bool = True,
    fwd_hooks: Sequence[Hook] = (),
) -> LatentGradients:
    """The slope of every active later latent in every active earlier one, on one prompt.

    Args:
        tokens: the prompt.
        sae_from, sae_to: SAEs of an earlier and a later layer.
        model: the model.
        with_error: add what `sae_from` leaves out, so that the Jacobian is taken where the model really is; otherwise the model
            runs on the reconstruction, and the later latents are those that are active then.
        fwd_hooks: further hooks for the run of the model; section 5 uses them to hold parts of it fixed.

    Returns:
        The Jacobian (n_to, n_from), and the active latents that its columns and rows stand for.
    """
    ### BEGIN SOLUTION
    place = place_of(sae_from)
    residual = activations_at(model, tokens, place)
    acts = sae_from.encode(residual)
    error = residual - sae_from.decode(acts) if with_error else None
    acts_from = to_sparse(acts)
    jacobian, acts_to = torch.func.jacrev(latents_to_later_latents, has_aux=True)(
        *acts_from, sae_from, sae_to, model, tokens, error, fwd_hooks
    )
    return LatentGradients(jacobian, acts_from, to_sparse(acts_to))
    ### END SOLUTION


def token_to_latent_gradients(
    tokens: Int[Tensor, "1 seq"], sae: SAE, model: TransformerBridge, fwd_hooks: Sequence[Hook] = ()
) -> tuple[Float[Tensor, "n_active seq"], SparseLatents]:
    """How much every active latent grows when the embedding of one token is made longer.

    Every embedding (at `EMBEDDING_HOOK`) is multiplied by a scale of its own; the gradients are taken at scales of 1. An entry of 2
    means: with 1 % more of this token's embedding, the latent's activation rises by 0.02.

    Args:
        tokens: the prompt.
        sae: an SAE of any layer.
        model: the model.
        fwd_hooks: further hooks for the run of the model.

    Returns:
        The gradients (active latents, positions), and the active latents that the rows stand for.
    """
    ### BEGIN SOLUTION
    embedding = activations_at(model, tokens, EMBEDDING_HOOK)

    def latents(scales: Float[Tensor, " seq"]) -> tuple[Tensor, Tensor]:
        residual = resume(model, tokens, EMBEDDING_HOOK, scales[:, None] * embedding, place_of(sae), fwd_hooks)
        acts = sae.encode(residual)
        return to_sparse(acts).values, acts

    gradients, acts = torch.func.jacrev(latents, has_aux=True)(embedding.new_ones(len(embedding)))
    return gradients, to_sparse(acts)
    ### END SOLUTION
