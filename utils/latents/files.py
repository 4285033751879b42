"""What is known of a latent, in Anthropic's form: one JSON object a latent, which circuit-tracer's local page reads too.

    {"index": …, "examples_quantiles": [{"quantile_name": …, "examples": [{"tokens": […], "tokens_acts_list": […],
     "train_token_ind": …, "is_repeated_datapoint": …}]}], "top_logits": […], "bottom_logits": […], "act_min": …,
     "act_max": …, "histogram": […], "quantile_values": […], "activation_frequency": …, "transcoder_id": …}

``index`` is the Cantor number of (layer, latent), the name of the latent's file. ``top_logit_values``,
``bottom_logit_values``, ``layer``, ``latent`` and ``source`` (a sentence about where the numbers are from) are additions of
ours, which other readers ignore. Everything but ``index`` and ``examples_quantiles`` may be missing.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.engine.json_input import GraphFormatError, is_drawable, need, read_json, short, shown

Latents = Mapping[tuple[int, int], Mapping[str, Any]]

LEVELS = 100  # activations of an example are rounded to so many parts of the latent's largest
MAX_BARS, MAX_EXAMPLES, MAX_TOKENS, MAX_LOGITS = 200, 40, 200, 20


def cantor(layer: int, latent: int) -> int:
    """One number for a pair of non-negative numbers: ``(l + i)(l + i + 1) / 2 + i``."""
    total = layer + latent
    return total * (total + 1) // 2 + latent


def uncantor(number: int) -> tuple[int, int]:
    """The pair ``(layer, latent)`` that :func:`cantor` made ``number`` of."""
    total = (math.isqrt(8 * number + 1) - 1) // 2
    latent = number - total * (total + 1) // 2
    return total - latent, latent


def latents_of(graph: Mapping[str, Any]) -> set[tuple[int, int]]:
    """``(layer, latent)`` of every latent in a graph of :func:`utils.dashboard.build_graph`."""
    word = "cross layer transcoder"
    return {uncantor(node["feature"]) for node in graph["nodes"] if node["feature_type"] == word}


def write_latents(latents: Latents, folder: str | Path) -> Path:
    """Write one ``<Cantor number>.json`` a latent into ``folder``, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for (layer, latent), data in latents.items():
        content = dict(data) | {"index": cantor(layer, latent)}
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        (folder / f"{cantor(layer, latent)}.json").write_text(text, encoding="utf-8")
    return folder


def read_latents(folder: str | Path, wanted: set[tuple[int, int]] | None = None) -> dict[tuple[int, int], dict]:
    """Read what :func:`write_latents`, or any tool that writes this form, wrote. ``wanted``: only these, where they are.

    Raises:
        GraphFormatError: ``folder`` is not a folder, or a file in it is damaged; the sentence names it.
    """
    folder = Path(folder)
    need(folder.is_dir(), f"{folder} is not a folder of latents.")
    if wanted is None:
        numbers = sorted(int(path.stem) for path in folder.glob("*.json") if re.fullmatch(r"\d{1,18}", path.stem))
    else:
        numbers = sorted(cantor(*pair) for pair in wanted)
    found = {}
    for number in numbers:
        path = folder / f"{number}.json"
        if path.is_file():
            data = read_json(path)
            try:
                compact_latent(data, {})
            except GraphFormatError as error:
                raise GraphFormatError(f"{path.name}: {error}") from None
            found[uncantor(number)] = data
    return found


def write_for_circuit_tracer(graph: Mapping[str, Any], latents: Latents, folder: str | Path) -> Path:
    """Write a data folder for circuit-tracer's local page: ``circuit-tracer start-server --graph_file_dir FOLDER``.

    It holds the graph with a ``scan`` that leads to the latents beside it, the latents, and the list of graphs. A folder that is
    there already is only added to if it is such a folder; its other graphs stay.

    Raises:
        GraphFormatError: the folder holds something else.
    """
    folder = Path(folder).absolute()
    index = folder / "graph-metadata.json"
    listed = _listed_graphs(folder, index)
    slug = graph["metadata"]["slug"]
    # its page shows nodes up to the threshold; the last that pruning keeps reaches beyond
    reached = max((node["influence"] or 0.0 for node in graph["nodes"]), default=0.0)
    threshold = max(graph["metadata"].get("node_threshold") or 0.0, min(1.0, math.ceil(100 * reached) / 100))
    changes = {"scan": f"./data/latents-{slug}", "node_threshold": threshold}
    local = dict(graph) | {"metadata": dict(graph["metadata"]) | changes}
    listed = [meta for meta in listed if meta.get("slug") != slug] + [local["metadata"]]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".graph-", dir=folder.parent) as temporary:
        new = Path(temporary)
        write_latents(latents, new / f"latents-{slug}")
        for name, content in ((f"{slug}.json", local), (index.name, {"graphs": listed})):
            (new / name).write_text(json.dumps(content, allow_nan=False, indent=1), encoding="utf-8")
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder / f"latents-{slug}", ignore_errors=True)
        for path in sorted(new.iterdir(), key=lambda path: path == new / index.name):  # the list last
            path.replace(folder / path.name)
    return folder


def _listed_graphs(folder: Path, index: Path) -> list[dict[str, Any]]:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    need(index.is_file(), f"{folder} holds other files: choose a new or empty folder.")
    listed = read_json(index)
    graphs = listed.get("graphs") if isinstance(listed, Mapping) else None
    is_list = isinstance(graphs, list) and all(isinstance(meta, Mapping) for meta in graphs)
    need(is_list, f"{index} is not a list of graphs: choose a new or empty folder.")
    return graphs


# ---------------------------------------------------------------- for the page


def compact_latents(latents: Latents) -> dict[str, Any]:
    """``{"words": […], "latents": {"layer/latent": {…}}}``: every token once, activations of examples in whole percents.

    Raises:
        GraphFormatError: a latent's data are damaged.
    """
    words: dict[str, int] = {}
    compact = {}
    for (layer, latent), data in latents.items():
        try:
            compact[f"{int(layer)}/{int(latent)}"] = compact_latent(data, words)
        except GraphFormatError as error:
            raise GraphFormatError(f"Latent {layer}/{latent}: {error}") from None
    return {"words": list(words), "latents": compact}


def compact_latent(data: Any, words: dict[str, int]) -> dict[str, Any]:
    """One latent for the page. ``words`` numbers the tokens and grows."""
    need(isinstance(data, Mapping), "a latent's data must be a JSON object.")
    quantiles = data.get("examples_quantiles", [])
    need(isinstance(quantiles, list), "'examples_quantiles' must be a list.")
    groups = [_quantile(quantile) for quantile in quantiles]
    acts = [act for _, rows in groups for _, row, _ in rows for act in row]
    peak = max([_number(data.get("act_max"), "act_max") or 0.0, *acts])
    frequency = _number(data.get("activation_frequency"), "activation_frequency")
    need(frequency is None or 0 <= frequency <= 1, f"activation_frequency {shown(frequency)} is not between 0 and 1.")
    source = data.get("source", "")
    need(isinstance(source, str), "'source' must be text.")
    return {
        "top": _logits(data, "top_logits", "top_logit_values"),
        "bottom": _logits(data, "bottom_logits", "bottom_logit_values"),
        "min": short(_number(data.get("act_min"), "act_min") or 0.0),
        "max": short(peak),
        "bars": [short(value) for value in _numbers(data.get("histogram", []), "histogram")[:MAX_BARS]],
        "cuts": [short(value) for value in _numbers(data.get("quantile_values", []), "quantile_values")[:MAX_BARS]],
        "often": None if frequency is None else short(frequency),
        "source": source,
        "examples": [
            {"name": name, "rows": [_compact_row(row, peak, words) for row in rows]} for name, rows in groups if rows
        ],
    }


# tokens, an activation each, and the place that the example is about
Example = tuple[list[str], list[float], int]


def _quantile(quantile: Any) -> tuple[str, list[Example]]:
    """Name and examples of one group, each cut to so many tokens as the page shows."""
    need(isinstance(quantile, Mapping), "a quantile must be an object.")
    name, examples = quantile.get("quantile_name"), quantile.get("examples")
    need(isinstance(name, str) and isinstance(examples, list), "a quantile needs 'quantile_name' and 'examples'.")
    rows = []
    for example in examples[:MAX_EXAMPLES]:
        need(isinstance(example, Mapping), "an example must be an object.")
        tokens, acts = example.get("tokens"), _numbers(example.get("tokens_acts_list"), "tokens_acts_list")
        is_list = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        need(is_list and len(tokens) == len(acts), "an example needs as many texts in 'tokens' as 'tokens_acts_list'.")
        centre = example.get("train_token_ind")
        if not isinstance(centre, int) or not 0 <= centre < len(tokens):
            centre = max(range(len(acts)), key=acts.__getitem__, default=0)
        start = max(0, min(centre - MAX_TOKENS // 2, len(tokens) - MAX_TOKENS))
        if tokens:
            rows.append((tokens[start : start + MAX_TOKENS], acts[start : start + MAX_TOKENS], centre - start))
    return name, rows


def _compact_row(example: Example, peak: float, words: dict[str, int]) -> list[Any]:
    """``[[word, …], [position, percent of the peak, position, percent, …], the place that the example is about]``."""
    tokens, acts, centre = example
    coloured = [[k, round(LEVELS * act / peak)] for k, act in enumerate(acts) if act > 0]
    return [[words.setdefault(token, len(words)) for token in tokens], sum(coloured, []), centre]


def _logits(data: Mapping[str, Any], names: str, values: str) -> list[list[Any]]:
    tokens = data.get(names, [])
    need(isinstance(tokens, list) and all(isinstance(token, str) for token in tokens), f"'{names}' must be texts.")
    numbers = _numbers(data.get(values, []), values)
    pairs = [[token, short(numbers[k]) if k < len(numbers) else None] for k, token in enumerate(tokens)]
    return pairs[:MAX_LOGITS]


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    fits = is_drawable(value)
    need(fits, f"'{where}' is {shown(value)}, which is not a finite number.")
    return float(value)


def _numbers(values: Any, where: str) -> list[float]:
    need(isinstance(values, list), f"'{where}' must be a list of numbers.")
    fits = all(map(is_drawable, values))
    need(fits, f"'{where}' must hold finite numbers only.")
    return [float(value) for value in values]
