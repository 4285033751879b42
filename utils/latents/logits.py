"""The tokens that a latent raises and lowers, seen from the model's output."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.mlp import is_centred, norm_weight
from utils.engine.token_text import token_text

N_LOGITS = 10


@torch.no_grad()
def logit_effects(model: TransformerBridge, vectors: Float[Tensor, "latent d_model"]) -> list[dict[str, list]]:
    """The tokens that each vector, written into the last residual stream, raises and lowers most, with values.

    A value is the change of the logit against the mean of all logits for one unit of activation, with the final norm's weight but
    before its scale, which depends on the prompt.
    """
    vectors = vectors.detach().float()
    if is_centred(model.ln_final):
        vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    W_U = model.W_U.detach().float()
    effects = (vectors * norm_weight(model.ln_final, model.cfg.d_model).float()) @ (
        W_U - W_U.mean(dim=-1, keepdim=True)
    )
    k = min(N_LOGITS, effects.shape[1])
    described = []
    for row in effects:
        top, bottom = row.topk(k), row.topk(k, largest=False)
        described.append(
            {
                "top_logits": [token_text(model.tokenizer, i) for i in top.indices.tolist()],
                "top_logit_values": top.values.tolist(),
                "bottom_logits": [token_text(model.tokenizer, i) for i in bottom.indices.tolist()],
                "bottom_logit_values": bottom.values.tolist(),
            }
        )
    return described
