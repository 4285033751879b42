"""The functions that load: `load`, `load_model`, `load_saes`, `load_clt`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from utils.models import registry
from utils.models.folder import folder_clt, folder_saes, load_folder, load_folder_model
from utils.models.hub import hub_clt, hub_saes, load_hub, load_hub_model, require_hub
from utils.models.layers import LoadedModel
from utils.models.packaged import packaged_folder
from utils.models.placement import device_name, dtype_name, parse_dtype
from utils.models.registry import ModelSpec, resolve

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge

    from utils.engine.cross_layer import CrossLayerWeights


def load(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    offload: bool = False,
) -> LoadedModel:
    """Load a model and its transcoders.

    Args:
        name: a name of `MODELS`, or a folder laid out like the bundled one: `model/` in Hugging Face form and
            `transcoders/layer_{l}/` in SAELens form, one for every layer.
        device: "cpu", "cuda", "mps"… Default: the GPU if there is one, else the CPU. MPS only when asked for: PyTorch
            has known correctness bugs there.
        dtype: of the model and the transcoders. Default: float32, except for models that take more than 10 GB in it
            (`ModelSpec.default_dtype`), which get bfloat16. float16 is never the default: Gemma overflows in it.
        offload: leave the dictionaries' encoders and decoders on disk. Of the decoders, only the rows of active latents are read,
            and the encoders some columns at a time. A prompt takes longer, and the dictionaries hardly any memory.

    Returns:
        `(model, transcoders)`, see the module's docstring for what holds for them.

    Raises:
        ValueError: unknown name, device or dtype, or a local file that cannot be read.
        FileNotFoundError: a local folder, or a part of it, is missing.
        PermissionError: a token is missing or not accepted, or the licence is not yet accepted.
        ConnectionError: the hub cannot be reached.
        MemoryError: the weights do not fit on the device.
        OSError: the disk is full, or the hub has no such file.
    """
    source = resolve(name)
    device = device_name(device)
    if isinstance(source, Path):
        return load_folder(source, source.name, device, parse_dtype(dtype) or torch.float32, offload)
    if source.hub_id is None:
        return load_folder(
            registry.ATLAS_FOLDER, source.name, device, parse_dtype(dtype) or source.default_dtype, offload
        )
    return load_hub(source, device, parse_dtype(dtype) or source.default_dtype, offload)


def require(name: str | os.PathLike[str]) -> None:
    """Say in a second what would keep a model of the hub from being loaded. The libraries that load take longer to import.

    Raises:
        ValueError, FileNotFoundError: unknown name.
        PermissionError: a token is missing or not accepted, or the licence is not yet accepted.
        ConnectionError: the hub cannot be reached.
    """
    source = resolve(name)
    if isinstance(source, ModelSpec) and source.hub_id is not None and packaged_folder(source) is None:
        require_hub(source)


def load_model(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> TransformerBridge:
    """Load a model alone, without dictionaries: enough for graphs of its own neurons.

    Args:
        name: a name of `MODELS`, a folder with `model/`, or a folder in Hugging Face form (`config.json`, weights, tokenizer).
        device, dtype: as in `load`.

    Raises:
        ValueError, FileNotFoundError, PermissionError, ConnectionError, MemoryError, OSError: as in `load`.
    """
    source = resolve(name)
    device = device_name(device)
    if isinstance(source, ModelSpec) and source.hub_id is not None:
        return load_hub_model(source, device, parse_dtype(dtype) or source.default_dtype)
    folder = source if isinstance(source, Path) else registry.ATLAS_FOLDER
    return load_folder_model(folder, source.name, device, parse_dtype(dtype) or torch.float32)


def load_saes(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    layers: Iterable[int] | None = None,
) -> dict[int, SAE]:
    """Load sparse autoencoders on the residual stream after every layer, `{layer: sae}`.

    `saes[l].cfg.metadata.hook_name` is `blocks.l.hook_out`, `W_enc` is (d, F), `W_dec` (F, d); `encode(r)` gives the
    activations and `decode(a)` is `a @ W_dec + b_dec`. Nothing requires a gradient.

    Args:
        name: a name of `MODELS`, or a folder with `saes/layer_{l}/` in SAELens form.
        device, dtype: as in `load`.
        layers: which ones; default: all there are.

    Raises:
        ValueError: unknown name, device or dtype, a layer without an SAE, a model without SAEs, or a damaged file.
        FileNotFoundError, PermissionError, ConnectionError, MemoryError, OSError: as in `load`.
    """
    source = resolve(name)
    device = device_name(device)
    if isinstance(source, ModelSpec) and source.hub_id is not None:
        available, load_layer = hub_saes(source, device, dtype_name(parse_dtype(dtype) or source.default_dtype))
    else:
        folder = source if isinstance(source, Path) else registry.ATLAS_FOLDER
        available, load_layer = folder_saes(folder, device, parse_dtype(dtype) or torch.float32)  # stored in float16

    chosen = available if layers is None else sorted(set(layers))
    if missing := sorted(set(chosen) - set(available)):
        raise ValueError(f"There is no SAE for layer {missing[0]}: choose from {available[0]} to {available[-1]}.")
    saes = {}
    for layer in tqdm(chosen, desc="SAEs", unit="layer", delay=0.5, disable=None):
        sae = load_layer(layer)
        sae.cfg.metadata.hook_name = f"blocks.{layer}.hook_out"  # GemmaScope's name for it is hook_resid_post
        saes[layer] = sae.eval().requires_grad_(False)
    return saes


def load_clt(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> CrossLayerWeights:
    """Load a cross-layer transcoder: `W_enc` (layer, d, F), for each layer l `W_dec[l]` (layers from l on, F, d), and so on.

    Args:
        name: a name of `MODELS`, or a folder with `clt/`: as `utils.engine.cross_layer` writes it, or in the form of circuit-tracer or
            GemmaScope 2, beside `model/`.
        device, dtype: as in `load`. Decoders are large: GemmaScope 2's for Gemma 3 1B take 9 GB in bfloat16.

    Raises:
        ValueError: unknown name, device or dtype, a model without a cross-layer transcoder, or a damaged file.
        FileNotFoundError: the folder has none.
        PermissionError, ConnectionError, MemoryError, OSError: as in `load`.
    """
    source = resolve(name)
    if isinstance(source, ModelSpec) and source.hub_id is not None:
        return hub_clt(source, device_name(device), parse_dtype(dtype))
    folder = source if isinstance(source, Path) else registry.ATLAS_FOLDER
    return folder_clt(folder, device_name(device), parse_dtype(dtype) or torch.float32)  # it is stored in float16
