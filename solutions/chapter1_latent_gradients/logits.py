"""From latents to the next token: gradients of logits, and the effect of really taking a latent away."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter1_latent_gradients.latents import to_dense, to_sparse
from solutions.chapter1_latent_gradients.runs import LOGITS_HOOK, SparseLatents, activations_at, place_of, resume
from utils.engine.hooks import Hook


class LogitGradients(NamedTuple):
    """Slopes of logits in latents.

    Attributes:
        jacobian: one row an output token, one column an active latent.
        token_ids: the output tokens, the most probable first.
        logits: their logits at the last position, minus the mean over the vocabulary.
        acts_from: the active latents.
    """

    jacobian: Float[Tensor, "n_tokens n_from"]
    token_ids: Int[Tensor, " n_tokens"]
    logits: Float[Tensor, " n_tokens"]
    acts_from: SparseLatents


def latent_to_logit_gradients(
    tokens: Int[Tensor, "1 seq"],
    sae: SAE,
    model: TransformerBridge,
    k: int = 5,
    with_error: bool = True,
    fwd_hooks: Sequence[Hook] = (),
) -> LogitGradients:
    """The slope of the `k` highest logits at the last position in every active latent.

    The logits are demeaned: what raises all of them alike changes no probability, so the mean over the whole vocabulary is
    subtracted before the gradient is taken.

    Args:
        tokens: the prompt.
        sae: an SAE of any layer.
        model: the model.
        k: how many output tokens, chosen by the logits of the same run.
        with_error: as in `latent_to_latent_gradients`.
        fwd_hooks: further hooks for the run of the model.

    Returns:
        The Jacobian (k, n_from), the tokens, their demeaned logits, and the active latents.
    """
    ### BEGIN SOLUTION
    place = place_of(sae)
    residual = activations_at(model, tokens, place)
    acts = sae.encode(residual)
    error = residual - sae.decode(acts) if with_error else 0.0
    acts_from = to_sparse(acts)

    def top_logits(values: Float[Tensor, " n_from"]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        decoded = sae.decode(to_dense(values, acts_from.indices, acts_from.shape)) + error
        logits = resume(model, tokens, place, decoded, LOGITS_HOOK, fwd_hooks)[-1]
        logits = logits - logits.mean()
        token_ids = logits.topk(k).indices
        return logits[token_ids], (token_ids, logits[token_ids])

    jacobian, (token_ids, logits) = torch.func.jacrev(top_logits, has_aux=True)(acts_from.values)
    return LogitGradients(jacobian, token_ids, logits, acts_from)
    ### END SOLUTION


@torch.no_grad()
def ablation_effects(
    tokens: Int[Tensor, "1 seq"],
    sae: SAE,
    model: TransformerBridge,
    token_ids: Int[Tensor, " n_tokens"],
    step: float = 1.0,
    fwd_hooks: Sequence[Hook] = (),
) -> Float[Tensor, "n_tokens n_from"]:
    """What really happens to the demeaned logits when a share of one latent is taken away, for each active latent in turn.

    The residual stream at the SAE's place is the model's own, minus `step` times what the latent writes there (its activation times
    its row of `W_dec`), at the latent's position; everything behind it is computed anew. With `step=1` the latent is gone.

    Args:
        tokens: the prompt.
        sae: an SAE of any layer.
        model: the model.
        token_ids: the output tokens.
        step: the share of the latent's activation to take away.
        fwd_hooks: further hooks for the runs of the model.

    Returns:
        (n_tokens, n_from): demeaned logit after the change minus demeaned logit before, at the last position. The columns are the
        active latents in the order of `to_sparse`.
    """
    ### BEGIN SOLUTION
    place = place_of(sae)
    residual = activations_at(model, tokens, place)
    values, indices, _ = to_sparse(sae.encode(residual))
    positions, latents = indices.unbind(-1)
    changed = residual.repeat(len(values) + 1, 1, 1)  # the last one stays as it is
    changed[torch.arange(len(values)), positions] -= step * values[:, None] * sae.W_dec[latents]
    logits = resume(model, tokens, place, changed, LOGITS_HOOK, fwd_hooks)[:, -1]
    demeaned = (logits - logits.mean(-1, keepdim=True))[:, token_ids]
    return (demeaned[:-1] - demeaned[-1]).T
    ### END SOLUTION
