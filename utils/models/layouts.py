"""Dictionaries in the forms in which others publish them, read into the course's own.

Per-layer transcoders:

- circuit-tracer's sets: `layer_{l}.safetensors` (`W_enc` (F, d), `W_dec` (F, d), biases, perhaps `activation_function.threshold` and
  `W_skip` (d_out, d_in)), or whatever files `config.yaml` lists under `transcoders`;
- Gemma Scope: `layer_{l}/…/params.npz` (`W_enc` (d, F), `threshold`), trained on what ln2 divides, before its weight;
- GemmaScope 2: `layer_{l}_…/params.safetensors` (small letters, `affine_skip_connection` (d_in, d_out)).

Cross-layer transcoders:

- circuit-tracer: `W_enc_{l}.safetensors` (`W_enc_{l}` (F, d), `b_enc_{l}`, `b_dec_{l}`, perhaps `threshold_{l}` and `W_skip_{l}`
  (d_in, d_out)) and `W_dec_{l}.safetensors` (`W_dec_{l}` (F, n_layers - l, d));
- GemmaScope 2: `params_layer_{l}.safetensors` (`w_enc` (d, F), `w_dec` (F, n_layers, d), perhaps `affine_skip_connection`
  (d_in, d_out)).

A `get` in this file is a function from a file's name to its path, or to None where there is no such file: in a folder, or on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils.models.form import refuse_pointer
from utils.models.placement import dtype_name

if TYPE_CHECKING:
    from sae_lens.saes.transcoder import Transcoder

    from utils.engine.cross_layer import CrossLayerWeights

Get = Callable[[str], Path | None]

CONFIG = "config.yaml"
AFTER_LN2 = ("mlp.hook_in", "hook_mlp_in", "ln2.hook_out")  # names of the place where the course's latents read
BEFORE_WEIGHT = "ln2.hook_normalized"


def files_of(folder: Path) -> Get:
    """The files of a folder, by name."""

    def get(name: str) -> Path | None:
        path = folder / name
        if not path.is_file():
            return None
        refuse_pointer(path)
        return path

    return get


def read_config(get: Get) -> dict[str, Any]:
    """What `config.yaml` says; empty where there is none.

    Raises:
        ValueError: it is damaged.
    """
    import yaml

    path = get(CONFIG)
    if path is None:
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({str(error).splitlines()[0]}).") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged (it is no list of settings).")
    return config


def reads_before_weight(config: Mapping[str, Any]) -> bool:
    """Whether the latents read what ln2 has divided, but not yet multiplied by its weight.

    Raises:
        ValueError: they read somewhere else, which the course's graphs do not cover.
    """
    hook = config.get("feature_input_hook", AFTER_LN2[0])
    if hook not in (*AFTER_LN2, BEFORE_WEIGHT):
        raise ValueError(
            f"These latents read at {hook}; the course's graphs need latents that read the MLP's input, after ln2 ({AFTER_LN2[0]})."
        )
    return hook == BEFORE_WEIGHT


# ---------------------------------------------------------------- per-layer transcoders


def layer_files(get: Get, config: Mapping[str, Any], n_layers: int) -> dict[int, Path]:
    """Layer -> file of a circuit-tracer set.

    Raises:
        FileNotFoundError: a layer has none.
    """
    listed = config.get("transcoders")
    names = listed if isinstance(listed, list) else [f"layer_{layer}.safetensors" for layer in range(n_layers)]
    return _complete({layer: get(str(name)) for layer, name in enumerate(names[:n_layers])}, n_layers)


def _complete(found: Mapping[int, Path | None], n_layers: int) -> dict[int, Path]:
    for layer in range(n_layers):
        if found.get(layer) is None:
            raise FileNotFoundError(
                f"There is no transcoder for layer {layer} of {n_layers}: the set is of another model, or incomplete."
            )
    return dict(found)


def folder_files(folder: Path, n_layers: int) -> dict[int, Path]:
    """Layer -> file, in a folder of any of the forms above.

    Raises:
        FileNotFoundError: a layer has none.
        ValueError: a layer has several.
    """
    files = sorted([*folder.glob("layer_*/**/params.npz"), *folder.glob("layer_*/**/params.safetensors")])
    if not files:
        return layer_files(files_of(folder), read_config(files_of(folder)), n_layers)
    found: dict[int, Path] = {}
    for path in files:
        layer = int(re.match(r"layer_(\d+)", path.relative_to(folder).parts[0])[1])
        if layer in found:
            raise ValueError(
                f"{folder} has two transcoders for layer {layer}: leave one ({path.relative_to(folder)} is the second)."
            )
        refuse_pointer(path)
        found[layer] = path
    return _complete(found, n_layers)


def read_transcoder(path: Path, device: str, dtype: torch.dtype, ln2_weight: Tensor | None = None) -> Transcoder:
    """One layer's transcoder from a file of any of the forms above.

    Args:
        ln2_weight: given where the latents read before ln2's weight: the encoder is divided by it.

    Raises:
        ValueError: the file has another form.
    """
    from sae_lens.saes import transcoder as kinds

    tensors = _in_our_form(_read(path), path)
    if ln2_weight is not None:
        weight = ln2_weight.detach().cpu().to(tensors["W_enc"])
        tensors["W_enc"] = tensors["W_enc"] / weight[:, None]
        if "W_skip" in tensors:
            tensors["W_skip"] = tensors["W_skip"] / weight
    name = ("JumpReLU" if "threshold" in tensors else "") + ("Skip" if "W_skip" in tensors else "") + "Transcoder"
    d_in, width = tensors["W_enc"].shape
    config = getattr(kinds, f"{name}Config")(
        d_in=d_in, d_out=tensors["W_dec"].shape[1], d_sae=width, apply_b_dec_to_input=False, dtype=dtype_name(dtype)
    )
    transcoder = getattr(kinds, name)(config)
    transcoder.load_state_dict({key: value.to(dtype) for key, value in tensors.items()}, assign=True)
    return transcoder.to(device)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    from safetensors.torch import load_file

    return load_file(path)


def _in_our_form(stored: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Names and orientation as SAELens has them."""
    if "w_enc" in stored:
        found = {"W_enc": stored["w_enc"], "W_dec": stored["w_dec"]}
        if "affine_skip_connection" in stored:
            found["W_skip"] = stored["affine_skip_connection"].T
    elif "W_enc" in stored:
        found = {"W_enc": stored["W_enc"] if path.suffix == ".npz" else stored["W_enc"].T, "W_dec": stored["W_dec"]}
        if "W_skip" in stored:
            found["W_skip"] = stored["W_skip"]
    else:
        raise ValueError(f"it holds no encoder, but {', '.join(sorted(stored)[:4])}")
    for name in ("threshold", "activation_function.threshold"):
        if name in stored:
            found["threshold"] = stored[name].flatten()
    found |= {name: stored[name] for name in ("b_enc", "b_dec")}
    width, d_out = found["W_dec"].shape
    if found["W_enc"].shape[1] != width or found["b_enc"].shape != (width,) or found["b_dec"].shape != (d_out,):
        raise ValueError("the sizes of its encoder, decoder and biases do not fit each other")
    return {name: tensor.contiguous() for name, tensor in found.items()}


# ---------------------------------------------------------------- cross-layer transcoders


def is_published_clt(get: Get) -> bool:
    """Whether there is a cross-layer transcoder in circuit-tracer's or GemmaScope 2's form."""
    return any(get(name) is not None for name in ("params_layer_0.safetensors", "W_enc_0.safetensors"))


def read_clt(get: Get, n_layers: int, device: str, dtype: torch.dtype) -> CrossLayerWeights:
    """A cross-layer transcoder in circuit-tracer's or GemmaScope 2's form, layer by layer, so that no more than its own size is needed.

    Raises:
        ValueError: its latents read somewhere else than after ln2.
        FileNotFoundError: a layer is missing.
    """
    from utils.engine.cross_layer import CrossLayerWeights

    if reads_before_weight(read_config(get)):
        raise ValueError(f"The latents of this cross-layer transcoder read at {BEFORE_WEIGHT}, which is not supported.")
    is_gemma = get("params_layer_0.safetensors") is not None
    layers = [_clt_layer(get, layer, n_layers, is_gemma, device, dtype) for layer in range(n_layers)]
    stacked = {
        name: torch.stack([layer[name] for layer in layers]) for name in ("W_enc", "b_enc", "threshold", "b_dec")
    }
    skips = [layer["W_skip"] for layer in layers if "W_skip" in layer]
    if skips and len(skips) < n_layers:
        raise ValueError(
            f"{len(skips)} of {n_layers} layers of the cross-layer transcoder have a skip: all or none must."
        )
    W_skip = torch.stack(skips) if skips else None
    return CrossLayerWeights(**stacked, W_dec=[layer["W_dec"] for layer in layers], W_skip=W_skip)


def _clt_layer(
    get: Get, layer: int, n_layers: int, is_gemma: bool, device: str, dtype: torch.dtype
) -> dict[str, Tensor]:
    from safetensors import safe_open

    names = [f"params_layer_{layer}"] if is_gemma else [f"W_enc_{layer}", f"W_dec_{layer}"]
    found: dict[str, Tensor] = {}
    for name in names:
        path = get(f"{name}.safetensors")
        if path is None:
            raise FileNotFoundError(
                f"{name}.safetensors is missing: the cross-layer transcoder needs a file for each of the {n_layers} layers."
            )
        with safe_open(path, framework="pt", device=device) as file:
            for key in file.keys():
                plain = key if is_gemma else key.removesuffix(f"_{layer}")
                # GemmaScope 2 stores decoders into earlier layers too; they are zero, and are not read
                whole = file.get_slice(key)[:, layer:] if plain == "w_dec" else file.get_tensor(key)
                found[plain] = whole.to(dtype)
    if is_gemma:
        W_enc, W_dec, W_skip = found["w_enc"], found["w_dec"], found.get("affine_skip_connection")
    else:
        W_enc, W_dec, W_skip = found["W_enc"].T, found["W_dec"], found.get("W_skip")
    if W_dec.shape[1] != n_layers - layer:
        raise ValueError(
            f"The decoders of layer {layer} write into {W_dec.shape[1]} layers, but the model has {n_layers - layer} from there on."
        )
    # both forms hold a skip as (d_in, d_out)
    return ({} if W_skip is None else {"W_skip": W_skip.T.contiguous()}) | {
        "W_enc": W_enc.contiguous(),
        "W_dec": W_dec.transpose(0, 1).contiguous(),
        "b_enc": found["b_enc"],
        "b_dec": found["b_dec"],
        "threshold": found.get("threshold", torch.zeros_like(found["b_enc"])).flatten(),
    }
