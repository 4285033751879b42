"""What is looked at in a model's folder before the libraries are asked: they would say that it is damaged, which cannot help."""

from __future__ import annotations

import json
from pathlib import Path

from utils.models.errors import restore_advice

LFS_POINTER = b"version https://git-lfs"


def require_files(folder: Path, patterns: tuple[str, ...]) -> None:
    """Look before asking the libraries: given a folder that is not there, they would go and ask the hub.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file was not downloaded, only its pointer for Git LFS.
    """
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{folder / pattern} is missing: {restore_advice(folder)}.")
        for path in found:
            refuse_pointer(path)


def refuse_pointer(path: Path) -> None:
    """Refuse what Git puts in the place of a large file until it is asked for it.

    Raises:
        ValueError: it is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{path} is only Git LFS's pointer to the file: run `git lfs pull` in its repository.")


def check_architecture(folder: Path) -> None:
    """Refuse a model that the libraries here have no code for.

    Raises:
        ValueError: it brings code of its own, or its architecture is unknown to transformers or to TransformerLens.
    """
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, classes = config.get("model_type"), config.get("architectures") or []
    except (ValueError, AttributeError):
        return  # damaged: the libraries say where
    if "auto_map" in config:
        raise ValueError(
            f"The model in {folder} brings code of its own (auto_map in config.json), which the course does not run: "
            "choose a model whose architecture is part of transformers."
        )
    if kind not in CONFIG_MAPPING_NAMES:
        raise ValueError(
            f"The model in {folder} has the architecture {kind!r}, which transformers {__version__} does not know: "
            "update transformers, or choose another model."
        )
    is_language_model = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not is_language_model or (classes and not set(classes) & set(SUPPORTED_ARCHITECTURES)):
        raise ValueError(
            f"The model in {folder} is a {classes[0] if classes else kind}, no language model that TransformerLens has a bridge "
            "for: choose one such as Llama, Qwen3 or Gemma 3."
        )
