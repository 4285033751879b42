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
    signs = torch.ones(d_model)
    signs[1::2] = -1
    weight = _without_bias(norm, signs)
    return weight * signs.to(weight)


@torch.no_grad()
def is_centred(norm: torch.nn.Module) -> bool:
    """Whether a norm takes the mean away first: LayerNorm does, RMSNorm does not.

    It is measured, as the weight is: of a vector of ones LayerNorm leaves nothing.
    """
    d_model = next(norm.parameters()).shape[-1]
    return bool(_without_bias(norm, torch.ones(d_model)).norm() < 0.01 * norm_weight(norm, d_model).norm())


def _without_bias(norm: torch.nn.Module, x: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """What a norm makes of a large vector in the direction of `x`, its bias taken away."""
    parameter = next(norm.parameters())
    x = 1e4 * x.to(parameter)[None, None]
    return (norm(x) - norm(torch.zeros_like(x)))[0, 0]


def thresholds(transcoder: Transcoder) -> Float[Tensor, " latent"]:
    """The pre-activation above which each latent is active; 0 for a transcoder with a plain ReLU."""
    found = getattr(transcoder, "threshold", None)
    return torch.zeros_like(transcoder.b_enc) if found is None else found.detach()
