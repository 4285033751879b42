"""What one MLP, one norm and one transcoder's thresholds do, asked of the model itself, whatever its architecture."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import Transcoder


@torch.no_grad()
def mlp_output(
    model: TransformerBridge, layer: int, x: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """What the MLP of `layer` adds to the residual stream when it reads `x` (after ln2); the norm behind it included."""
    return _mlp(model, layer, x)


def mlp_function(model: TransformerBridge, layer: int):
    """The same as a function of `x` alone, through which a gradient can pass."""
    return lambda x: _mlp(model, layer, x)


def _mlp(model: TransformerBridge, layer: int, x: Tensor) -> Tensor:
    block = model.blocks[layer]
    y = block.mlp(x[None] if x.ndim == 2 else x)
    if hasattr(block, "ln2_post"):
        y = block.ln2_post(y)
    return y[0] if x.ndim == 2 else y


@torch.no_grad()
def norm_weight(norm: torch.nn.Module, d_model: int) -> Float[Tensor, " d_model"]:
    """What a norm multiplies by after it has divided by the scale.

    Models keep it in different forms (Gemma stores the weight minus 1), so it is measured: a large vector of +1 and -1 has
    mean 0 and a scale that is known.
    """
    parameter = next(norm.parameters())
    signs = torch.ones(1, 1, d_model, dtype=parameter.dtype, device=parameter.device)
    signs[..., 1::2] = -1
    weight = (norm(1e4 * signs) - norm(torch.zeros_like(signs))) * signs
    return weight[0, 0]


def is_centred(norm: torch.nn.Module) -> bool:
    """Whether a norm takes the mean away first: LayerNorm does, RMSNorm does not."""
    inner = getattr(norm, "original_component", norm)
    return "layernorm" in type(inner).__name__.lower() and "rms" not in type(inner).__name__.lower()


def thresholds(transcoder: Transcoder) -> Float[Tensor, " latent"]:
    """The pre-activation above which each latent is active; 0 for a transcoder with a plain ReLU."""
    found = getattr(transcoder, "threshold", None)
    return torch.zeros_like(transcoder.b_enc) if found is None else found.detach()
