"""One door to every model of the course: a TransformerBridge and its transcoders, ready to be traced.

    from utils.models import load
    model, transcoders = load("atlas")  # bundled, no network
    model, transcoders = load("gemma-3-270m-it")  # Hugging Face hub, HF_TOKEN from .env
    saes = load_saes("atlas")  # sparse autoencoders on the residual stream, for chapter 1
    clt = load_clt("atlas")  # a cross-layer transcoder, for chapter 5

Whatever the model, what `load` gives has the same form and conventions (`d` = d_model, `F` = latents a layer):

- `transcoders[l].cfg.metadata.hook_name` is `blocks.l.mlp.hook_in` (`x`, **after** ln2) and `.hook_name_out` is
  `blocks.l.hook_mlp_out` (`y`, what the MLP adds to the residual stream). On models with a norm after the MLP, such as
  Gemma 3, the bridge makes `hook_mlp_out` another name of `ln2_post.hook_out`, so that one name is right for all.
- `W_enc` is (d, F), `W_dec` (F, d), and `W_skip`, where there is one, (d_out, d_in): the skip adds `x @ W_skip.T`.
  GemmaScope's files hold it the other way round, as (d_in, d_out); SAELens turns it while loading.
- `encode(x)` gives the activations, `decode(a)` is `a @ W_dec + b_dec` **without** the skip, calling it adds the skip.
- `cfg.metadata.dictionary` names the dictionary, for results that must say which one was used.
- Nothing is folded into the weights, everything is in eval mode, no parameter requires a gradient.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from tqdm import tqdm

if TYPE_CHECKING:  # importing these takes seconds, which a mistyped name or `--help` should not cost
    from sae_lens import SAE
    from sae_lens.saes.transcoder import Transcoder
    from transformer_lens.model_bridge import TransformerBridge

    from utils.cross_layer import CrossLayerWeights

ROOT = Path(__file__).resolve().parent.parent
ATLAS_FOLDER = ROOT / "utils" / "atlas" / "weights"

# A model whose weights and dictionaries take more than this in float32 is loaded in bfloat16.
FLOAT32_LIMIT_GB = 10
# A layer is at most 1.3 GB while it is read, so four at a time stay modest; more are no faster from one disk.
LOADING_THREADS = 4
# How a label begins that names no concept, only the tokens that a latent fires on.
FIRES_ON = "on "
# Base classes of what builtins, requests and httpx raise when an answer does not come.
TIMEOUTS = ("Timeout", "TimeoutError", "TimeoutException")


class LoadedModel(NamedTuple):
    """A model and its per-layer transcoders, `{layer: transcoder}`, on one device and in one dtype."""

    model: TransformerBridge
    transcoders: dict[int, Transcoder]


@dataclass(frozen=True)
class ModelSpec:
    """What the course knows about a model before it is loaded. Sizes in GB (1e9 bytes), parameters in billions."""

    name: str
    hub_id: str | None  # None: bundled, read from ATLAS_FOLDER
    release: str | None  # SAELens' name for the set of dictionaries
    sae_id: str | None  # one dictionary of the release, with {layer}
    needs_token: bool
    download_gb: float  # model and the dictionaries used here
    model_params: float
    dictionary_params: float
    licence: str
    residual_release: str | None = (
        None  # SAELens' name for SAEs on the residual stream after every layer, if there are any
    )
    residual_id: str | None = None  # one of them, with {layer}

    @property
    def params(self) -> float:
        """Parameters of model and dictionaries together, in billions."""
        return self.model_params + self.dictionary_params

    @property
    def default_dtype(self) -> torch.dtype:
        """float32 where it stays below FLOAT32_LIMIT_GB, else bfloat16.

        The rule depends on the model alone, so that one prompt gives one graph on every machine. float32 is worth its
        memory: edges are small differences of large numbers and bfloat16 keeps 3 digits.
        """
        return torch.float32 if self.params * 4 <= FLOAT32_LIMIT_GB else torch.bfloat16

    def memory_gb(self, dtype: torch.dtype | None = None) -> float:
        """Memory the weights take in `dtype` (default: `default_dtype`), without what a prompt needs."""
        return self.params * (dtype or self.default_dtype).itemsize


def _gemma(size: str, download_gb: float, model_params: float, dictionary_params: float) -> ModelSpec:
    """A Gemma 3 instruction-tuned model with GemmaScope 2's narrow, sparse transcoders with a skip, on every layer."""
    return ModelSpec(
        name=f"gemma-3-{size}-it",
        hub_id=f"google/gemma-3-{size}-it",
        # "-all" has every layer; the release without it only four, at more widths
        release=f"gemma-scope-2-{size}-it-transcoders-all",
        sae_id="layer_{layer}_width_16k_l0_small_affine",
        needs_token=True,
        download_gb=download_gb,
        model_params=model_params,
        dictionary_params=dictionary_params,
        licence="Gemma Terms of Use (transcoders: CC BY 4.0)",
        residual_release=f"gemma-scope-2-{size}-it-res-all",
        residual_id="layer_{layer}_width_16k_l0_small",
    )


# Dictionary parameters: layers × (2 d F + d² for the skip). Qwen's are wide: 28 layers of 163,840 latents.
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("atlas", None, None, None, False, 0.0, 0.0019, 0.0025, "MIT"),
        ModelSpec(
            name="qwen3-0.6b",
            hub_id="Qwen/Qwen3-0.6B",
            release="mwhanna-qwen3-0.6b-transcoders-lowl0",
            sae_id="layer_{layer}",
            needs_token=False,
            download_gb=20.3,
            model_params=0.6,
            dictionary_params=9.40,
            licence="Apache 2.0 (transcoders: MIT)",
        ),
        _gemma("270m", download_gb=2.1, model_params=0.27, dictionary_params=0.386),
        _gemma("1b", download_gb=6.1, model_params=1.0, dictionary_params=1.02),
    )
}


def load(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> LoadedModel:
    """Load a model and its transcoders.

    Args:
        name: a name of `MODELS`, or a folder laid out like the bundled one: `model/` in Hugging Face form and
            `transcoders/layer_{l}/` in SAELens form, one for every layer.
        device: "cpu", "cuda", "mps"… Default: the GPU if there is one, else the CPU. MPS only when asked for: PyTorch
            has known correctness bugs there.
        dtype: of the model and the transcoders. Default: float32, except for models that take more than 10 GB in it
            (`ModelSpec.default_dtype`), which get bfloat16. float16 is never the default: Gemma overflows in it.

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
    source = _resolve(name)
    device = _device(device)
    if isinstance(source, Path):
        return _load_folder(source, source.name, device, _dtype(dtype) or torch.float32)
    if source.hub_id is None:
        return _load_folder(ATLAS_FOLDER, source.name, device, _dtype(dtype) or source.default_dtype)
    return _load_hub(source, device, _dtype(dtype) or source.default_dtype)


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
    from sae_lens import SAE

    source = _resolve(name)
    device = _device(device)
    if isinstance(source, ModelSpec) and source.hub_id is not None:
        dtype = _dtype_name(_dtype(dtype) or source.default_dtype)
        available, load_layer = _hub_saes(source, device, dtype)
    else:
        folder = (source if isinstance(source, Path) else ATLAS_FOLDER) / "saes"
        dtype = _dtype_name(_dtype(dtype) or torch.float32)  # they are stored in float16
        _require_files(folder, ("layer_*/cfg.json", "layer_*/sae_weights.safetensors"))
        available = sorted(int(path.parent.name.removeprefix("layer_")) for path in folder.glob("layer_*/cfg.json"))

        def load_layer(layer: int) -> SAE:
            path = folder / f"layer_{layer}"
            with _local_errors(path):
                return SAE.load_from_disk(path, device=device, dtype=dtype)

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
        name: a name of `MODELS`, or a folder with `clt/` as `utils.cross_layer` writes it.
        device, dtype: as in `load`.

    Raises:
        ValueError: unknown name, device or dtype, a model without a cross-layer transcoder, or a damaged file.
        FileNotFoundError: the folder has none.
    """
    from utils.cross_layer import CONFIG_FILE, WEIGHTS_FILE, CrossLayerWeights

    source = _resolve(name)
    if isinstance(source, ModelSpec) and source.hub_id is not None:
        raise ValueError(
            f"There is no cross-layer transcoder of {source.name} here: use 'atlas', which is bundled, or train one (chapter 5)."
        )
    folder = (source if isinstance(source, Path) else ATLAS_FOLDER) / "clt"
    device, dtype = _device(device), _dtype(dtype) or torch.float32  # it is stored in float16
    _require_files(folder, (CONFIG_FILE, WEIGHTS_FILE))
    with _local_errors(folder):
        return CrossLayerWeights.read(folder, device, dtype)


def _hub_saes(spec: ModelSpec, device: str, dtype: str) -> tuple[list[int], Callable[[int], SAE]]:
    """The layers that have an SAE on the hub, and the function that loads one."""
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    if spec.residual_release is None:
        others = ", ".join(repr(other.name) for other in MODELS.values() if other.residual_release)
        raise ValueError(
            f"There are no SAEs on the residual stream of {spec.name}: use 'atlas', which is bundled, or one of {others}."
        )
    _require_token(spec)
    release = get_pretrained_saes_directory()[spec.residual_release]
    pattern = re.compile(re.escape(spec.residual_id).replace(re.escape("{layer}"), r"(\d+)"))
    available = sorted(int(found[1]) for sae_id in release.saes_map if (found := pattern.fullmatch(sae_id)))

    def load_layer(layer: int) -> SAE:
        with _hub_errors(spec, release.repo_id):
            return SAE.from_pretrained(
                spec.residual_release, spec.residual_id.format(layer=layer), device=device, dtype=dtype
            )

    return available, load_layer


def dictionary_name(name: str | os.PathLike[str], kind: str = "transcoders") -> str:
    """A readable name of the dictionaries `load(name)` uses, e.g. `mwhanna-qwen3-0.6b-transcoders-lowl0/layer_{layer}`.

    Args:
        kind: "transcoders", or "clt" for what `load_clt(name)` gives.

    Raises:
        ValueError: unknown name.
    """
    source = _resolve(name)
    if kind == "clt":
        return f"{source.name}/clt"
    if isinstance(source, ModelSpec) and source.release is not None:
        return f"{source.release}/{source.sae_id}"
    return f"{source.name}/transcoders/layer_{{layer}}"


def labels(name: str | os.PathLike[str], kind: str = "transcoders") -> dict[tuple[int, int], str]:
    """Short descriptions of latents by `(layer, latent)`: the bundled model's, or those of a folder like it; else `{}`.

    Read from `labels.json`, `{"<layer>": {"<latent>": "label"}}`. A label that begins with `FIRES_ON` lists the tokens on which
    the latent fires; any other names a concept it stands for, with a question mark where it often fires for others too.

    Args:
        kind: "transcoders", or "clt" for the latents of the cross-layer transcoder (`clt/labels.json`).

    Raises:
        ValueError: unknown name, or a file that is not of this form.
    """
    source = _resolve(name)
    if isinstance(source, ModelSpec) and source.hub_id is not None:
        return {}
    folder = source if isinstance(source, Path) else ATLAS_FOLDER
    path = folder / ("clt/labels.json" if kind == "clt" else "labels.json")
    if not path.is_file():
        return {}
    try:
        by_layer = json.loads(path.read_text(encoding="utf-8"))
        return {(int(la), int(f)): str(text) for la, latents in by_layer.items() for f, text in latents.items()}
    except (ValueError, AttributeError):
        raise ValueError(
            f'{path} is not of the form {{"<layer>": {{"<latent>": "label"}}}}: {_restore_advice(path.parent)}.'
        ) from None


# ---------------------------------------------------------------------------------------------------------------------
# What was asked for
# ---------------------------------------------------------------------------------------------------------------------


def _resolve(name: str | os.PathLike[str]) -> ModelSpec | Path:
    """The registered model called `name` (or known by this hub id), else the folder `name`."""
    text = os.fspath(name)
    for spec in MODELS.values():
        if text.lower() in (spec.name, (spec.hub_id or spec.name).lower()):
            return spec
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        return folder.resolve()
    if isinstance(name, os.PathLike) or text.startswith((".", "~", os.sep)):
        raise FileNotFoundError(f"There is no folder {text}: give a folder that holds model/ and transcoders/.")
    close = difflib.get_close_matches(text.lower(), MODELS, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ValueError(f"Unknown model {text!r}: {hint}Choose one of {', '.join(MODELS)}, or give a folder.")


def _device(device: str | torch.device | None) -> str:
    """The device's name, after a check that this machine has it."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"Unknown device {device!r}: use 'cpu', 'cuda' or 'mps'.") from None
    missing = (kind == "cuda" and not torch.cuda.is_available()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise ValueError(f"This machine has no {kind} device that PyTorch can use: leave device out, or pass 'cpu'.")
    return str(device)


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """`dtype` as a torch.dtype; a string may be written with or without "torch."."""
    if dtype is None:
        return None
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    raise ValueError(f"Unknown dtype {dtype!r}: use float32, float64 or bfloat16.")


# ---------------------------------------------------------------------------------------------------------------------
# From a folder: the bundled model
# ---------------------------------------------------------------------------------------------------------------------


def _load_folder(folder: Path, name: str, device: str, dtype: torch.dtype) -> LoadedModel:
    """Load `folder/model` and `folder/transcoders/layer_{l}`, never touching the network."""
    _require_files(folder / "model", ("config.json", "tokenizer.json", "*.safetensors"))
    with _local_errors(folder / "model"), _no_progress_bars():
        _require_all_weights(folder / "model")
        model = _boot(str(folder / "model"), device, dtype)
    model.cfg.model_name = name  # instead of a path of this machine: the name goes into saved results

    def load_layer(layer: int) -> Transcoder:
        from sae_lens.saes.transcoder import Transcoder

        path = folder / "transcoders" / f"layer_{layer}"
        _require_files(path, ("cfg.json", "sae_weights.safetensors"))
        with _local_errors(path):
            return Transcoder.load_from_disk(path, device=device, dtype=_dtype_name(dtype))

    transcoders = _load_layers(load_layer, model, f"{name}/transcoders/layer_{{layer}}")
    for layer, transcoder in transcoders.items():
        _require_width(folder / "transcoders" / f"layer_{layer}", transcoder, model.cfg.d_model)
    return LoadedModel(model, transcoders)


def _require_files(folder: Path, patterns: tuple[str, ...]) -> None:
    """Look before asking the libraries: given a folder that is not there, they would go and ask the hub."""
    for pattern in patterns:
        if not any(folder.glob(pattern)):
            raise FileNotFoundError(f"{folder / pattern} is missing: {_restore_advice(folder)}.")


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


def _restore_advice(folder: Path) -> str:
    if folder.is_relative_to(ATLAS_FOLDER):
        return "restore the bundled model with `git checkout -- utils/atlas/weights`, or clone the repository again"
    return "write the model with save_pretrained and every transcoder with save_model into it again"


@contextmanager
def _local_errors(folder: Path) -> Iterator[None]:
    """Turn what the libraries say about an unreadable folder into one sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, SafetensorError) as error:
        if (problem := _memory_error(error)) is not None:
            raise problem from None
        raise ValueError(f"{folder} is damaged ({_first_line(error)}): {_restore_advice(folder)}.") from None


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


# ---------------------------------------------------------------------------------------------------------------------
# From the Hugging Face hub
# ---------------------------------------------------------------------------------------------------------------------


def _load_hub(spec: ModelSpec, device: str, dtype: torch.dtype) -> LoadedModel:
    """Download (or take from the cache) a model and its dictionaries, by SAELens' own loaders."""
    _require_token(spec)
    _require_memory(spec, device, dtype)
    with _hub_errors(spec, spec.hub_id):
        model = _boot(spec.hub_id, device, dtype)

    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    from sae_lens.saes.transcoder import Transcoder

    repo_id = get_pretrained_saes_directory()[spec.release].repo_id  # parsed and cached before the threads need it

    def load_layer(layer: int) -> Transcoder:
        with _hub_errors(spec, repo_id):
            sae_id = spec.sae_id.format(layer=layer)
            return Transcoder.from_pretrained(spec.release, sae_id, device=device, dtype=_dtype_name(dtype))

    return LoadedModel(model, _load_layers(load_layer, model, dictionary_name(spec.name)))


def _require_token(spec: ModelSpec) -> None:
    """Make the token of `.env` known to every library, and say so early when there is none.

    A token set in the environment, `hf auth login` and Colab's secrets count as well; the first wins over `.env`.
    """
    from dotenv import load_dotenv
    from huggingface_hub import get_token

    load_dotenv(ROOT / ".env")
    if spec.needs_token and not get_token():
        raise PermissionError(
            f"{spec.name} needs a Hugging Face token: accept the licence at https://huggingface.co/{spec.hub_id},"
            " create a token at https://huggingface.co/settings/tokens, copy .env.example to .env and write it there as"
            " HF_TOKEN=… (or use load('atlas'), which needs none)."
        )


def _require_memory(spec: ModelSpec, device: str, dtype: torch.dtype) -> None:
    """Refuse before a long download what cannot fit on the GPU.

    Not on a CPU: there SAELens maps the dictionaries' files into memory where `dtype` is the files' own, and the system
    may drop and read again what does not fit.
    """
    if torch.device(device).type != "cuda":
        return
    free = torch.cuda.mem_get_info(device)[0] / 1e9
    if free < spec.memory_gb(dtype):
        fitting = ", ".join(repr(other.name) for other in MODELS.values() if other.memory_gb() < free)
        raise MemoryError(
            f"{spec.name} takes {spec.memory_gb(dtype):.1f} GB in {_dtype_name(dtype)} and {device} has {free:.1f} GB"
            f" free: use a smaller model ({fitting} would fit), close what else is on the GPU, or pass device='cpu' (slow)."
        )


@contextmanager
def _hub_errors(spec: ModelSpec, repo_id: str) -> Iterator[None]:
    """Turn what four libraries say about the hub into one sentence. What is not understood is left as it is."""
    try:
        yield
    except Exception as error:
        problem = _memory_error(error, spec) or _hub_problem(error, spec, repo_id)
        if problem is None:
            raise
        raise problem from None


def _hub_problem(error: Exception, spec: ModelSpec, repo_id: str) -> Exception | None:
    """The sentence for `error`, or None.

    transformers wraps the hub's exceptions in an OSError, and SAELens asks for file headers through requests, so the
    whole chain of causes is looked at, and the HTTP status as well as the type. Types are compared by name, base classes
    included, so that httpx and requests need not be imported.
    """
    chain = list(_causes(error))
    kinds = {base.__name__ for e in chain for base in type(e).__mro__}
    status = {getattr(getattr(e, "response", None), "status_code", None) for e in chain} - {None}
    if "GatedRepoError" in kinds or 403 in status:
        return PermissionError(
            f"Your Hugging Face account may not read {repo_id} yet: open https://huggingface.co/{repo_id}, accept its"
            " licence with the account of your HF_TOKEN, check that the token may read gated repositories, and load again."
        )
    if 401 in status:
        return PermissionError(
            f"Hugging Face does not accept the token for {repo_id}: create a new one at"
            " https://huggingface.co/settings/tokens and write it to .env as HF_TOKEN=…"
        )
    if any(code == 429 or code >= 500 for code in status):  # transformers would call this "couldn't connect"
        return ConnectionError(
            f"Hugging Face does not serve {repo_id} just now (HTTP {max(status)}): wait some minutes and load again;"
            " what is already downloaded is kept."
        )
    if {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", *TIMEOUTS} & kinds:
        return ConnectionError(
            f"Hugging Face cannot be reached for {repo_id}: check the network (and that HF_HUB_OFFLINE is not set), or"
            " use load('atlas'), which is bundled and needs none."
        )
    if 404 in status:
        return OSError(
            f"{repo_id} has no such file on the hub any more ({_first_line(error)}): update sae-lens, or report it to"
            " the course's authors."
        )
    if any(getattr(e, "errno", None) == errno.ENOSPC for e in chain):
        return OSError(
            errno.ENOSPC,
            f"The disk is full: {spec.name} needs about {spec.download_gb:.0f} GB in the Hugging Face cache; free some"
            " space or set HF_HOME to a larger disk",
        )
    return None


def _memory_error(error: BaseException, spec: ModelSpec | None = None) -> MemoryError | None:
    """A MemoryError with a sentence if `error` is one in any of the forms PyTorch gives it, else None."""
    text = str(error)
    signs = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not any(s in text for s in signs):
        return None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    size = f" ({_dtype_name(spec.default_dtype)}: {spec.memory_gb():.1f} GB)" if spec else ""
    half = "" if spec and spec.default_dtype.itemsize == 2 else " pass dtype='bfloat16',"
    return MemoryError(
        f"Out of memory: {spec.name if spec else 'the model'}{size} does not fit; close other programs or restart the"
        f" kernel,{half} or use a smaller model such as 'gemma-3-270m-it' or the bundled 'atlas'."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


# ---------------------------------------------------------------------------------------------------------------------
# Common to both
# ---------------------------------------------------------------------------------------------------------------------


def _boot(path: str, device: str, dtype: torch.dtype) -> TransformerBridge:
    """A bridge around the untouched Hugging Face model: `boot_transformers` folds and centres nothing by itself (only
    `enable_compatibility_mode()` would), and uses eager attention, without which there are no patterns to freeze."""
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(path, device=device, dtype=dtype)
    model.eval()
    model.requires_grad_(False)
    return model


def _load_layers(
    load_layer: Callable[[int], Transcoder], model: TransformerBridge, dictionary: str
) -> dict[int, Transcoder]:
    """Load one transcoder for each of the model's layers, some at a time: most of it is waiting for disk and network.

    The first failure cancels the layers not yet begun.
    """
    transcoders = {}
    n_layers = model.cfg.n_layers
    pool = ThreadPoolExecutor(LOADING_THREADS)
    with warnings.catch_warnings():
        # SAELens' advice to load the model without processing: the bridge has none
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs")
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


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
