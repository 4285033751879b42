"""Models and dictionaries from a folder of this machine. Nothing here touches the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from utils.models.errors import local_errors
from utils.models.form import check_architecture, require_files
from utils.models.layers import LoadedModel, boot, load_layers, load_stored
from utils.models.layouts import (
    files_of,
    folder_files,
    is_published_clt,
    read_clt,
    read_config,
    read_transcoder,
    reads_before_weight,
)
from utils.models.placement import dtype_name

if TYPE_CHECKING:
    from sae_lens import SAE
    from sae_lens.saes.transcoder import Transcoder
    from transformer_lens.model_bridge import TransformerBridge

    from utils.engine.cross_layer import CrossLayerWeights
    from utils.engine.stored import Place

WEIGHTS_FILE = "sae_weights.safetensors"


def load_folder(folder: Path, name: str, device: str, dtype: torch.dtype, offload: bool = False) -> LoadedModel:
    """Load `folder/model` and `folder/transcoders/layer_{l}`, never touching the network."""
    model = load_folder_model(folder, name, device, dtype)

    root = folder / "transcoders"
    if root.is_dir() and not any(root.glob("layer_*/cfg.json")) and any(root.iterdir()):
        load_layer = published_loader(root, model, device, dtype, offload)
        return LoadedModel(model, load_layers(load_layer, model, f"{name}/transcoders/layer_{{layer}}"))

    def load_layer(layer: int) -> Transcoder:
        from sae_lens.saes.transcoder import Transcoder

        path = folder / "transcoders" / f"layer_{layer}"
        require_files(path, ("cfg.json", WEIGHTS_FILE))

        def load_as(device: str, dtype: torch.dtype) -> Transcoder:
            return Transcoder.load_from_disk(path, device=device, dtype=dtype_name(dtype))

        with local_errors(path):
            return load_stored(load_as, stored_places(path), device, dtype) if offload else load_as(device, dtype)

    transcoders = load_layers(load_layer, model, f"{name}/transcoders/layer_{{layer}}")
    for layer, transcoder in transcoders.items():
        _require_width(folder / "transcoders" / f"layer_{layer}", transcoder, model.cfg.d_model)
    return LoadedModel(model, transcoders)


def published_loader(
    root: Path, model: TransformerBridge, device: str, dtype: torch.dtype, offload: bool
) -> Callable[[int], Transcoder]:
    """The function that loads a layer's transcoder from a folder in the form of circuit-tracer, Gemma Scope or GemmaScope 2."""
    if offload:
        raise ValueError(
            f"Only transcoders in SAELens' form can stay on disk, and {root} has another: leave offload out."
        )
    files = folder_files(root, model.cfg.n_layers)
    config = read_config(files_of(root))
    before_weight = reads_before_weight(config)

    def load_layer(layer: int) -> Transcoder:
        path = files[layer]
        is_npz = path.suffix == ".npz" and "feature_input_hook" not in config
        weight = ln2_weight(model, layer) if before_weight or is_npz else None
        with local_errors(path):
            transcoder = read_transcoder(path, device, dtype, weight)
        _require_width(path, transcoder, model.cfg.d_model)
        return transcoder

    return load_layer


def ln2_weight(model: TransformerBridge, layer: int) -> torch.Tensor:
    """What the norm in front of the MLP multiplies by."""
    from utils.engine.mlp import norm_weight

    return norm_weight(model.blocks[layer].ln2, model.cfg.d_model)


def stored_places(path: Path) -> dict[str, Place]:
    """Where SAELens puts a transcoder's large matrices."""
    from utils.engine.stored import Place

    return {name: Place(path / WEIGHTS_FILE, name) for name in ("W_enc", "W_dec")}


def load_folder_model(folder: Path, name: str, device: str, dtype: torch.dtype) -> TransformerBridge:
    """Load `folder/model`, or `folder` itself if it is in Hugging Face form, without any dictionary."""
    if not (folder / "model").is_dir() and (folder / "config.json").is_file():
        inner = folder
    else:
        inner = folder / "model"
    require_files(inner, ("config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors"))
    check_architecture(inner)
    with local_errors(inner), _no_progress_bars():
        _require_all_weights(inner)
        model = boot(str(inner), device, dtype)
    model.cfg.model_name = name  # instead of a path of this machine: the name goes into saved results
    return model


def _require_all_weights(folder: Path) -> None:
    """Refuse a checkpoint with absent weights: transformers would only warn and fill them with random numbers."""
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM

    stored: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            stored.update(file.keys())
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):  # names only, no memory
        expected = {key for key, _ in AutoModelForCausalLM.from_config(config).named_parameters()}
    if missing := sorted(expected - stored):
        raise ValueError(f"{len(missing)} weights are absent, the first is {missing[0]}")


def _require_width(path: Path, transcoder: Transcoder, d_model: int) -> None:
    if (transcoder.cfg.d_in, transcoder.cfg.d_out) != (d_model, d_model):
        raise ValueError(
            f"The transcoder in {path} maps {transcoder.cfg.d_in} to {transcoder.cfg.d_out} dimensions but the model"
            f" has {d_model}: it belongs to another model."
        )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Hide transformers' bar over weights: for a model read in milliseconds it is only noise."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def folder_saes(folder: Path, device: str, dtype: torch.dtype) -> tuple[list[int], Callable[[int], SAE]]:
    """The layers that have an SAE in `folder/saes`, and the function that loads one."""
    from sae_lens import SAE

    folder = folder / "saes"
    require_files(folder, ("layer_*/cfg.json", "layer_*/sae_weights.safetensors"))
    available = sorted(int(path.parent.name.removeprefix("layer_")) for path in folder.glob("layer_*/cfg.json"))

    def load_layer(layer: int) -> SAE:
        path = folder / f"layer_{layer}"
        with local_errors(path):
            return SAE.load_from_disk(path, device=device, dtype=dtype_name(dtype))

    return available, load_layer


def folder_clt(folder: Path, device: str, dtype: torch.dtype) -> CrossLayerWeights:
    """The cross-layer transcoder in `folder/clt`."""
    from utils.engine.cross_layer import CONFIG_FILE, WEIGHTS_FILE, CrossLayerWeights

    outer, folder = folder, folder / "clt"
    if is_published_clt(files_of(folder)):
        with clt_errors(folder):
            return read_clt(files_of(folder), n_layers_of(outer / "model"), device, dtype)
    require_files(folder, (CONFIG_FILE, WEIGHTS_FILE))
    with local_errors(folder):
        return CrossLayerWeights.read(folder, device, dtype)


def n_layers_of(path: str | Path) -> int:
    """How many layers a model in Hugging Face form has, without its weights."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path)
    return config.get_text_config().num_hidden_layers


@contextmanager
def clt_errors(folder: Path) -> Iterator[None]:
    """As `local_errors`, but what is said about the form of a cross-layer transcoder is passed on as it is."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{folder}: {error}") from None
