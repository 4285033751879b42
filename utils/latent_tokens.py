"""Short names for latents: the tokens on which they fire most strongly, on a sample of sentences."""

import torch
from sae_lens import SAE
from transformer_lens.model_bridge import TransformerBridge

SENTENCES = 250
RARE = 3  # a token that occurs less often in the sample names a latent only if no other does


def sample_texts(count: int = SENTENCES) -> list[str]:
    """Sentences of the bundled model's corpus, evenly spread over it, always the same."""
    from utils.atlas.corpus import all_sentences
    from utils.atlas.world import load_world

    sentences = all_sentences(load_world())
    return [sentence.text for sentence in sentences[:: max(1, len(sentences) // count)]][:count]


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
