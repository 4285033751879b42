"""The tokens on which latents fire most strongly."""

import torch
from sae_lens import SAE
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import Transcoder

RARE = 3  # a token that occurs less often in the sample names a latent only if no other does


@torch.no_grad()
def name_by_tokens(
    model: TransformerBridge, saes: dict[int, SAE], texts: list[str], n_tokens: int = 2
) -> dict[tuple[int, int], str]:
    """`(layer, latent) -> "' Texas', ' Dallas'"`: the tokens on which a latent's mean activation is highest, the first one first.

    A further token is named only if its mean is at least half of the first one's. Latents that never fire on `texts` are left out.
    The tokens say where a latent is active, which is a hint at what it stands for and no more.
    """
    encoded = model.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    tokens, used = encoded["input_ids"], encoded["attention_mask"].bool()
    used &= tokens != model.tokenizer.bos_token_id  # much fires there, in every sentence alike
    places = {sae.cfg.metadata.hook_name: layer for layer, sae in saes.items()}
    ids, inverse, counts = tokens[used].unique(return_inverse=True, return_counts=True)
    totals = {layer: torch.zeros(len(ids), sae.cfg.d_sae) for layer, sae in saes.items()}
    done = 0
    for rows, mask in zip(tokens.split(64), used.split(64), strict=True):
        device = next(model.parameters()).device
        _, cache = model.run_with_cache(rows.to(device), names_filter=places.__contains__)
        count = int(mask.sum())
        for place, layer in places.items():
            acts = saes[layer].encode(cache[place][mask.to(device)]).float().cpu()
            totals[layer].index_add_(0, inverse[done : done + count], acts)
        done += count
    names = {}
    for layer, total in totals.items():
        # of a rare token the mean says little
        means = total / counts[:, None] * torch.where(counts < RARE, 1e-3, 1.0)[:, None]
        means, rows = means.topk(min(n_tokens, len(ids)), dim=0)
        for latent in (means[0] > 0).nonzero().flatten().tolist():
            enough = means[:, latent] >= 0.5 * means[0, latent]
            shown = [repr(model.tokenizer.decode([token])) for token in ids[rows[enough, latent]].tolist()]
            names[layer, latent] = ", ".join(shown)
    return names


@torch.no_grad()
def top_tokens(transcoder: Transcoder, tokens: list[str], x: Tensor) -> dict[int, list[str]]:
    """For each latent that fires, the up to three tokens that carry most of its activation, the first one first."""
    vocabulary = sorted(set(tokens))
    index = {token: i for i, token in enumerate(vocabulary)}
    ids = torch.tensor([index[token] for token in tokens])
    total = torch.zeros(len(vocabulary), transcoder.cfg.d_sae)
    for part, rows in zip(x.split(8192), ids.split(8192), strict=True):
        total.index_add_(0, rows, transcoder.encode(part))
    found = {}
    values, top = total.topk(min(3, len(vocabulary)), dim=0)
    for latent in (values[0] > 0).nonzero().flatten().tolist():
        enough = values[:, latent] > 0.15 * total[:, latent].sum()
        enough[0] = True
        found[latent] = [vocabulary[i] for i in top[enough, latent].tolist()]
    return found
