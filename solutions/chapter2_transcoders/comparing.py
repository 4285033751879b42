"""An MLP explained by latents: how well, compared with a sparse autoencoder, and split into its parts."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from utils.engine.hooks import Transcoder


class DictionaryScore(NamedTuple):
    """How well a dictionary explains, and with how many latents."""

    unexplained: float
    active: float


class MlpParts(NamedTuple):
    """What an MLP writes, in four parts that add up to it; each is (token, d_model)."""

    latents: Float[Tensor, "token d_model"]
    skip: Float[Tensor, "token d_model"]
    bias: Float[Tensor, "token d_model"]
    error: Float[Tensor, "token d_model"]


def unexplained_variance(
    target: Float[Tensor, "token d_model"], reconstruction: Float[Tensor, "token d_model"]
) -> float:
    """The share of the variance of `target` that `reconstruction` does not explain.

    The squared errors, summed over tokens and dimensions, divided by the squared distances of `target` from its mean over the
    tokens, summed in the same way. 0: all is explained. 1: no better than always saying the mean. It may be above 1.
    """
    ### BEGIN SOLUTION
    error = (target - reconstruction).pow(2).sum()
    total = (target - target.mean(0)).pow(2).sum()
    return (error / total).item()
    ### END SOLUTION


@torch.no_grad()
def compare_dictionaries(
    x: Float[Tensor, "token d_model"], y: Float[Tensor, "token d_model"], sae: SAE, transcoder: Transcoder
) -> dict[str, DictionaryScore]:
    """Explain what an MLP writes in two ways, and say how well each does.

    Args:
        x: what the MLP reads (after ln2).
        y: what it adds to the residual stream.
        sae: rebuilds `y` from `y`: `sae.encode`, `sae.decode`.
        transcoder: rebuilds `y` from `x`. Calling it, `transcoder(x)`, adds the skip; `decode` does not.

    Returns:
        Under "SAE" and "transcoder": the unexplained variance of `y`, and how many latents are active on a token, on average.
    """
    ### BEGIN SOLUTION
    sae_acts, transcoder_acts = sae.encode(y), transcoder.encode(x)

    def score(reconstruction: Tensor, acts: Tensor) -> DictionaryScore:
        active = (acts > 0).float().sum(-1).mean().item()
        return DictionaryScore(unexplained_variance(y, reconstruction), active)

    return {
        "SAE": score(sae.decode(sae_acts), sae_acts),
        "transcoder": score(transcoder(x), transcoder_acts),
    }
    ### END SOLUTION


def input_gradients(
    read: Callable[[Float[Tensor, "token d_model"]], Float[Tensor, " token"]], x: Float[Tensor, "token d_model"]
) -> Float[Tensor, "token d_model"]:
    """What each token's reading depends on: the gradient of `read(x)[t]` with respect to `x[t]`.

    Args:
        read: gives one number a token, and computes it from that token's row of `x` alone. It may pass through an MLP.
        x: where the gradient is taken. It is left as it is: nothing is recorded on it.

    Returns:
        One gradient a token, detached. Right in cells where gradients are switched off, too.
    """
    ### BEGIN SOLUTION
    with torch.enable_grad():
        live = x.detach().clone().requires_grad_()
        # a token's reading depends on no other row, so the gradient of the sum has every token's own gradient in its row
        (gradients,) = torch.autograd.grad(read(live).sum(), live)
    return gradients
    ### END SOLUTION


@torch.no_grad()
def split_mlp_output(
    transcoder: Transcoder, x: Float[Tensor, "token d_model"], y: Float[Tensor, "token d_model"]
) -> MlpParts:
    """Split what an MLP writes into latents, skip, bias and error: `y = a @ W_dec + x @ W_skip.T + b_dec + error`.

    Args:
        transcoder: `a = transcoder.encode(x)`. Some transcoders have no `W_skip`; their skip is zero.
        x: what the MLP reads (after ln2).
        y: what it adds to the residual stream.

    Returns:
        Four tensors of the shape of `y` that add up to `y`.
    """
    ### BEGIN SOLUTION
    latents = transcoder.encode(x) @ transcoder.W_dec
    W_skip = getattr(transcoder, "W_skip", None)
    skip = torch.zeros_like(y) if W_skip is None else x @ W_skip.T
    bias = transcoder.b_dec.expand_as(y)
    return MlpParts(latents, skip, bias, error=y - latents - skip - bias)
    ### END SOLUTION
