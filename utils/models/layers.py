"""What models from a folder and from the hub have in common: a bridge, and one dictionary a layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, NamedTuple

import torch
from tqdm import tqdm

if TYPE_CHECKING:  # importing these takes seconds, which a mistyped name or `--help` should not cost
    from sae_lens.saes.transcoder import Transcoder
    from transformer_lens.model_bridge import TransformerBridge

    from utils.engine.stored import Place

# A layer is at most 1.3 GB while it is read, so four at a time stay modest; more are no faster from one disk.
LOADING_THREADS = 4
# SAELens' advice to load the model without processing: the bridge has none
NOT_ABOUT_THE_BRIDGE = r"\s*This SAE has non-empty model_from_pretrained_kwargs"


class LoadedModel(NamedTuple):
    """A model and its per-layer transcoders, `{layer: transcoder}`, on one device and in one dtype."""

    model: TransformerBridge
    transcoders: dict[int, Transcoder]


def boot(path: str, device: str, dtype: torch.dtype) -> TransformerBridge:
    """A bridge around the untouched Hugging Face model: `boot_transformers` folds and centres nothing by itself (only
    `enable_compatibility_mode()` would), and uses eager attention, without which there are no patterns to freeze."""
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(path, device=device, dtype=dtype)
    model.eval()
    model.requires_grad_(False)
    return model


def load_layers(
    load_layer: Callable[[int], Transcoder], model: TransformerBridge, dictionary: str
) -> dict[int, Transcoder]:
    """Load one transcoder for each of the model's layers, some at a time: most of it is waiting for disk and network.

    The first failure cancels the layers not yet begun.
    """
    transcoders = {}
    n_layers = model.cfg.n_layers
    pool = ThreadPoolExecutor(LOADING_THREADS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NOT_ABOUT_THE_BRIDGE)
        try:
            layer_of = {pool.submit(load_layer, layer): layer for layer in range(n_layers)}
            # delay: for the bundled model, which loads at once, no bar is drawn
            for future in tqdm(
                as_completed(layer_of), total=n_layers, desc="transcoders", unit="layer", delay=0.5, disable=None
            ):
                layer = layer_of[future]
                transcoders[layer] = _prepare(future.result(), layer, dictionary.format(layer=layer), model)
        finally:
            pool.shutdown(cancel_futures=True)
    return dict(sorted(transcoders.items()))


def _prepare(transcoder: Transcoder, layer: int, dictionary: str, model: TransformerBridge) -> Transcoder:
    """Freeze a transcoder and write the right hooks into its metadata.

    SAELens calls the input of GemmaScope's `hook_mlp_in`. On the bridge (as on HookedTransformer) that is the residual
    stream *before* ln2, while these transcoders were trained on ln2's output, scale and weight included.
    """
    metadata = transcoder.cfg.metadata
    metadata.hook_name = f"blocks.{layer}.mlp.hook_in"
    metadata.hook_name_out = f"blocks.{layer}.hook_mlp_out"
    metadata.dictionary = dictionary
    metadata.model_name = metadata.model_name or model.cfg.model_name
    transcoder.eval()
    return transcoder.requires_grad_(False)


def load_stored(
    load_as: Callable[[str, torch.dtype], Transcoder], places: dict[str, Place], device: str, dtype: torch.dtype
) -> Transcoder:
    """Load one transcoder whose large matrices stay on disk.

    Args:
        load_as: loads it onto a device and in a dtype.
        places: where these matrices are.
        device, dtype: in which form it is to be used.
    """
    from utils.engine.stored import leave_on_disk

    as_stored = next(iter(places.values())).open().dtype
    return leave_on_disk(load_as("cpu", as_stored), places, dtype, device)
