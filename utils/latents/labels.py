"""Names of latents for people."""

import json
import os
import re

# How a label begins that names no concept, only the tokens that a latent fires on.
FIRES_ON = "on "


def labels(name: str | os.PathLike[str], kind: str = "transcoders") -> dict[tuple[int, int], str]:
    """Short descriptions of latents by `(layer, latent)`: the bundled model's, or those of a folder like it; else `{}`.

    Read from `labels.json`, `{"<layer>": {"<latent>": "label"}}`. A label that begins with `FIRES_ON` lists the tokens on which
    the latent fires; any other names a concept it stands for, with a question mark where it often fires for others too.

    Args:
        kind: "transcoders", or "clt" for the latents of the cross-layer transcoder (`clt/labels.json`).

    Raises:
        ValueError: unknown name, or a file that is not of this form.
    """
    from utils.models.errors import restore_advice  # it imports torch, which a look at a label should not cost
    from utils.models.registry import local_folder

    folder = local_folder(name)
    if folder is None:
        return {}
    path = folder / ("clt/labels.json" if kind == "clt" else "labels.json")
    if not path.is_file():
        return {}
    try:
        by_layer = json.loads(path.read_text(encoding="utf-8"))
        return {(int(la), int(f)): str(text) for la, latents in by_layer.items() for f, text in latents.items()}
    except (ValueError, AttributeError):
        raise ValueError(
            f'{path} is not of the form {{"<layer>": {{"<latent>": "label"}}}}: {restore_advice(path.parent)}.'
        ) from None


def latent_word(dictionary_name: str) -> str:
    """What a latent of this dictionary is called: "neuron" where a model's own neurons were traced."""
    return "neuron" if dictionary_name == "neurons" else "latent"


def names_only_tokens(label: str) -> bool:
    """Whether a label only lists the tokens that a latent fires on."""
    return re.match(FIRES_ON + "['\"]", label) is not None
