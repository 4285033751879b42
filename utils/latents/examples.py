"""What latents stand for: the tokens they raise and lower, how strongly and how often they fire, and on what.

    from utils.latents.examples import describe_latents, kept_latents
    latents = describe_latents("atlas", model, transcoders, kept_latents(result))

Each latent is described in the form of `utils.latents.files`. Raised and lowered tokens come from the model's own weights
(`logits`). What a latent fires on comes from a file: the bundled model, or a folder like it, has one beside its labels
(`shipped`); GemmaScope has one beside every dictionary on the hub (`published`; about 800 MB a layer, so it is only taken from the
disk unless a download is asked for). For other models nothing is known, and the description says so by leaving it out.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from utils.engine.graph import AttributionResult, NodeType
from utils.engine.hooks import Transcoder
from utils.latents.files import cantor
from utils.latents.firings import Pair
from utils.latents.logits import logit_effects
from utils.latents.neuronpedia import add_from_neuronpedia, is_on_neuronpedia
from utils.latents.published import add_published, is_published
from utils.latents.shipped import ShippedExamples, examples_file, problem_with, weights_key
from utils.models import load, load_clt
from utils.models.registry import local_folder, resolve

BUNDLED = "atlas"


def kept_latents(result: AttributionResult) -> set[Pair]:
    """(layer, latent) of every latent that pruning kept."""
    return {(node.layer, node.feature) for node in result.kept_nodes if node.node_type is NodeType.LATENT}


def describe_latents(
    name: str | os.PathLike[str],
    model: TransformerBridge,
    transcoders: Mapping[int, Transcoder],
    wanted: Iterable[Pair],
    *,
    kind: str = "transcoders",
    examples: str = "auto",
) -> dict[Pair, dict[str, Any]]:
    """Everything that is known of some latents, in Anthropic's form (see `utils.latents.files`).

    Args:
        name: what `load` was given for `model` and `transcoders`.
        wanted: (layer, latent) of each.
        kind: "clt" if `transcoders` are the layers of a cross-layer transcoder (`CrossLayerWeights.transcoders`).
        examples: "auto" takes what can be had without a download, "download" fetches GemmaScope's files as well, "neuronpedia" asks
            that site about each latent, once (then each has a `label`, too), "none" leaves out what latents fire on.

    Returns:
        A description for each of `wanted` that `transcoders` have.

    Raises:
        ValueError: another word for `examples`, a dictionary that Neuronpedia does not show, or a damaged file of examples.
        OSError: a download failed.
    """
    check_examples(name, kind, examples)
    there = {layer: transcoder.W_dec.shape[0] for layer, transcoder in transcoders.items()}
    wanted = sorted((layer, latent) for layer, latent in set(wanted) if 0 <= latent < there.get(layer, 0))
    found = {pair: {"index": cantor(*pair), "layer": pair[0], "latent": pair[1]} for pair in wanted}
    for layer in sorted({layer for layer, _ in wanted}):
        latents = [latent for other, latent in wanted if other == layer]
        for latent, logits in zip(latents, logit_effects(model, transcoders[layer].W_dec[latents]), strict=True):
            found[layer, latent] |= logits | {
                "examples_quantiles": [],
                "transcoder_id": f"{model.cfg.model_name}-{layer}",
            }
    if examples != "none" and wanted:
        folder = local_folder(name)
        if examples == "neuronpedia":
            add_from_neuronpedia(found, resolve(name))
        elif folder is not None:
            _add_shipped(found, folder, kind, model)
        elif kind == "transcoders" and is_published(resolve(name)):
            add_published(found, resolve(name), examples == "download", model.tokenizer.decode)
    return found


def check_examples(name: str | os.PathLike[str], kind: str, examples: str) -> None:
    """Refuse what `describe_latents` cannot do.

    Raises:
        ValueError: another word for `examples`, or a dictionary that Neuronpedia does not show.
    """
    if examples not in ("auto", "download", "neuronpedia", "none"):
        raise ValueError(f"examples must be 'auto', 'download', 'neuronpedia' or 'none', not {examples!r}.")
    if examples == "neuronpedia":
        is_shown = local_folder(name) is None and kind == "transcoders" and is_on_neuronpedia(resolve(name))
        if not is_shown:
            raise ValueError(f"Neuronpedia shows no {kind} of {Path(name).name}: choose other --examples.")


def _add_shipped(found: dict[Pair, dict[str, Any]], folder: Path, kind: str, model: TransformerBridge) -> None:
    """Add what the folder's own file says about latents, or why it says nothing."""
    path = examples_file(folder, kind)
    if problem := problem_with(folder, kind):
        for description in found.values():
            description["source"] = problem
    elif path.is_file():
        shipped = ShippedExamples.read(path)
        for pair, description in found.items():
            description |= shipped.describe(pair, model.tokenizer.decode)


def why_left_out(name: str | os.PathLike[str], kind: str = "transcoders") -> str:
    """One sentence if a model has a file that says what its latents fire on, but one of other weights; else ""."""
    folder = local_folder(name)
    return problem_with(folder, kind) if folder is not None else ""


def dictionary_key(name: str | os.PathLike[str], kind: str = "transcoders") -> str:
    """Which state of the bundled model's dictionary latents are of; "" for other models, which `bundled_latents` cannot describe."""
    bundled = local_folder(BUNDLED)
    return weights_key(bundled, kind) if local_folder(name) == bundled else ""


def bundled_latents(wanted: Iterable[Pair], kind: str = "transcoders") -> dict[Pair, dict[str, Any]]:
    """`describe_latents` of the bundled model, which is loaded for it."""
    model, transcoders = load(BUNDLED)
    if kind == "clt":
        transcoders = load_clt(BUNDLED).transcoders(BUNDLED)
    return describe_latents(BUNDLED, model, transcoders, wanted, kind=kind)
