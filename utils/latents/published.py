"""What latents fire on, from GemmaScope's own files: an `examples.safetensors` beside every dictionary on the hub."""

from collections.abc import Callable
from functools import cache
from typing import Any

from safetensors import safe_open

from utils.latents.firings import Firings, Pair
from utils.latents.summary import summarize
from utils.models import ModelSpec
from utils.models.hub import one_of

WINDOW = 16  # tokens to either side of where a latent fires: the texts are long


def is_published(spec: ModelSpec) -> bool:
    """Whether there are such files for a model's dictionaries."""
    return spec.release is not None and spec.release.startswith("gemma-scope-2")


def add_published(
    found: dict[Pair, dict[str, Any]], spec: ModelSpec, download: bool, decode: Callable[[list[int]], str]
) -> None:
    """Add what GemmaScope publishes about latents, for the layers whose file is on the disk or may be fetched."""
    for layer in sorted({layer for layer, _ in found}):
        path = _published_file(spec, layer, download)
        if path is not None:
            with safe_open(path, framework="pt") as file:
                for pair in found:
                    if pair[0] == layer:
                        found[pair] |= describe_published(file, pair[1], decode)


def _published_file(spec: ModelSpec, layer: int, download: bool) -> str | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    release = get_pretrained_saes_directory()[spec.release]
    sae_id = one_of(release.saes_map, spec.sae_id.format(layer=layer), spec.release)
    name = f"{release.saes_map[sae_id]}/examples.safetensors"
    if download:
        return hf_hub_download(release.repo_id, name)
    path = try_to_load_from_cache(release.repo_id, name)
    return path if isinstance(path, str) else None


def describe_published(file: Any, latent: int, decode: Callable[[list[int]], str]) -> dict[str, Any]:
    """What an open `examples.safetensors` says of one latent. Only its own rows are read.

    The file holds `activations`, `seq_ids` and `positions` (latent, 1000) of the strongest firings, the texts as `tokens` (text,
    position), and `feature_frequencies` (latent,). Of other positions nothing is known, so they stay uncoloured.
    """
    acts = file.get_slice("activations")[latent].float()
    rows = file.get_slice("seq_ids")[latent].long()
    positions = file.get_slice("positions")[latent].long()
    texts = file.get_slice("tokens")
    n_texts, length = texts.get_shape()
    used = (acts > 0) & (rows >= 0) & (rows < n_texts) & (positions >= 0) & (positions < length)
    order = acts[used].argsort(descending=True, stable=True)
    firings = Firings(*(column[used][order].numpy() for column in (rows, positions, acts)))
    text = cache(lambda row: texts[row].tolist())
    summary = summarize(firings, lambda row, position: tuple(text(int(row))[: position + 1]))
    often = float(file.get_slice("feature_frequencies")[latent : latent + 1])
    return summary.describe(text, decode, WINDOW) | {
        "activation_frequency": often if 0 <= often <= 1 else None,
        "source": f"From GemmaScope's own file: the {len(order):,} strongest activations; weaker ones are not in the histogram.",
    }
