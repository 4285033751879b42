"""Chapter 1: gradients between latents.

Sparse autoencoders (SAEs) say which latents are active after every layer. This chapter asks why: which earlier latents is a later one there
for? It goes from derivatives of the whole model to a frozen one, whose derivatives can be written down as matrix products.

    runs     given: runs of the model that start in the middle, and what can be frozen in them
    latents  latents -> later latents, tokens -> latents
    logits   latents -> logits, and real ablations
    frozen   direct effects through frozen attention, head by head
"""

from solutions.chapter1_latent_gradients.frozen import (
    ablate_head,
    direct_gradients,
    effects_by_head,
    through_attention,
)
from solutions.chapter1_latent_gradients.latents import (
    latent_to_latent_gradients,
    latents_to_later_latents,
    to_dense,
    to_sparse,
    token_to_latent_gradients,
)
from solutions.chapter1_latent_gradients.logits import (
    LogitGradients,
    ablation_effects,
    latent_to_logit_gradients,
)
from solutions.chapter1_latent_gradients.runs import (
    LOGITS_HOOK,
    FrozenAttention,
    LatentGradients,
    SparseLatents,
    activations_at,
    frozen_attention,
    frozen_hooks,
    layer_of,
    place_of,
    resume,
)

__all__ = [
    "LOGITS_HOOK",
    "FrozenAttention",
    "LatentGradients",
    "LogitGradients",
    "SparseLatents",
    "ablate_head",
    "ablation_effects",
    "activations_at",
    "direct_gradients",
    "effects_by_head",
    "frozen_attention",
    "frozen_hooks",
    "latent_to_latent_gradients",
    "latent_to_logit_gradients",
    "latents_to_later_latents",
    "layer_of",
    "place_of",
    "resume",
    "through_attention",
    "to_dense",
    "to_sparse",
    "token_to_latent_gradients",
]
