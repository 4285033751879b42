"""What a cross-layer transcoder is trained for: to reconstruct, with few latents, none of them dead.

(Ameisen et al. 2025, "Circuit Tracing", section 2.1 and appendix "Cross-Layer Transcoder training".)
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def reconstruction_loss(
    reconstruction: Float[Tensor, "layer token d_model"], outputs: Float[Tensor, "layer token d_model"]
) -> Float[Tensor, ""]:
    """The sum over layers of the mean squared error (the mean over tokens and dimensions)."""
    ### BEGIN SOLUTION
    return (reconstruction - outputs).pow(2).mean((1, 2)).sum()
    ### END SOLUTION


def sparsity_loss(
    acts: Float[Tensor, "layer token latent"], decoder_norms: Float[Tensor, "layer latent"], scale: float
) -> Float[Tensor, ""]:
    """The sum over all latents of `tanh(scale * decoder norm * activation)`, on average over tokens.

    A latent that is clearly active costs nearly 1, whatever its activation: what is counted is, nearly, the active latents.

    Args:
        acts: activations, after the JumpReLU.
        decoder_norms: from `CrossLayerTranscoder.decoder_norms`.
        scale: how soon the tanh is near 1.
    """
    ### BEGIN SOLUTION
    return torch.tanh(scale * decoder_norms[:, None] * acts).sum((0, 2)).mean()
    ### END SOLUTION


def dead_latent_loss(
    pre: Float[Tensor, "layer token latent"],
    threshold: Float[Tensor, "layer latent"],
    decoder_norms: Float[Tensor, "layer latent"],
    dead: Bool[Tensor, "layer latent"],
) -> Float[Tensor, ""]:
    """How far the pre-activations of the dead latents are below their thresholds, times the decoder norm: summed over the dead
    latents, on average over tokens. Latents that live, and pre-activations above the threshold, cost nothing.
    """
    ### BEGIN SOLUTION
    below = (threshold[:, None] - pre).relu() * decoder_norms[:, None]
    return (below * dead[:, None]).sum((0, 2)).mean()
    ### END SOLUTION
