"""An attribution graph as JSON that Neuronpedia and circuit-tracer's viewers also accept.

The form is Neuronpedia's (schema_version 1), written strictly, so that the known weak spots of the readers are never met:

* ids are unique. An error node is ``layer_-1_position``, which no latent can be; circuit-tracer 0.5's ``0_layer_position``
  is also the id of a latent of layer 0. The second key, ``jsNodeId``, is unique per node too.
* ``feature`` of a latent is ``cantor(layer, latent)``; ``layer`` is a string; every required field is there.
* a logit's label holds ``(p=…)`` exactly once and no straight double quote, because the readers cut it there.
* ``influence`` is the running share of all influence (small = important), null for logits.
* ``own_influence`` (the part of the answers' weight that flows through a node) and ``input_total`` (the sum of a node's
  inputs' absolute values before pruning) are additions of ours, which other readers ignore.
* ``latent_word`` in the settings ("latent" or "neuron"), ``paths``, ``ablations`` and ``attention`` in the metadata are additions too.
* ``qParams`` has arrays, never comma-separated strings or nulls; weights are finite.

``scan`` names the model for whoever reads the file: Neuronpedia wants a model id without a slash, circuit-tracer a place
to look for latents.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.engine.json_input import need
from utils.latents.files import cantor, uncantor
from utils.latents.labels import latent_word

if TYPE_CHECKING:
    from utils.engine.graph import AttributionResult, NodeInfo

Labels = Mapping[tuple[int, int], str]

GENERATOR = {"name": "attribution-graphs course", "version": "1"}
FEATURE_TYPES = {
    "embedding": "embedding",
    "latent": "cross layer transcoder",  # the readers' word for any transcoder latent
    "mlp_error": "mlp reconstruction error",
    "logit": "logit",
}
REQUIRED_NODE_KEYS = ("node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp")
ERROR_FEATURE = -1
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def slugify(text: str, limit: int = 60) -> str:
    """A file and graph name for ``text``: letters, digits, ``_.-`` only, and different texts stay different.

    Where more than single spaces had to go (punctuation, other scripts, length), eight hexadecimal digits of the text's
    hash are added.
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:limit].strip("-")
    if plain and plain.replace("-", " ") == text:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else f"prompt-{digest}"


def build_graph(
    result: AttributionResult,
    labels: Labels | None = None,
    *,
    slug: str | None = None,
    scan: str | None = None,
    paths: Sequence[tuple] = (),
    created: datetime | None = None,
    dictionary_key: str = "",
) -> dict[str, Any]:
    """The pruned graph of ``result`` as a JSON-ready dictionary, checked by :func:`check_graph`.

    Args:
        result: what ``attribute`` returned. Nodes and edges are those that pruning kept; scores are of the full graph.
        labels: names of latents, ``{(layer, latent): name}``.
        slug: the graph's name; made of model and prompt when not given. Letters, digits and ``_.-`` only.
        scan: the model's id for the file's reader; when not given, the course's name of the model, which is Neuronpedia's
            too, or, of an unknown model, its name without slashes.
        paths: paths worth showing, each beginning with indices into ``result.graph.nodes`` (kept nodes, joined by kept
            edges) and its strength between 0 and 1. Other viewers pin their nodes into a subgraph.
        created: the time written into the file; now when not given.
        dictionary_key: says which state of a dictionary that may change the latents are of (``latents.examples.dictionary_key``).

    Raises:
        GraphFormatError: a weight, influence or probability is not finite, a position lies outside the prompt, two
            nodes are the same, or a path leaves the pruned graph.
    """
    nodes = result.graph.nodes
    kept = [int(i) for i in result.kept_indices]
    own, running = own_and_running_influence(result)
    totals = result.adjacency_matrix.abs().sum(1).tolist()
    extras = [
        {"own_influence": None if nodes[i].node_type.value == "logit" else own[i], "input_total": totals[i]}
        for i in kept
    ]
    rows = [_node(nodes[i], result, running[i], labels or {}) | extra for i, extra in zip(kept, extras)]
    chains = _paths(paths, {i: row["node_id"] for i, row in zip(kept, rows)})
    metadata = _metadata(result, slug, scan, created or datetime.now(timezone.utc), len(kept))
    if dictionary_key:
        metadata["generation_settings"]["dictionary_key"] = dictionary_key
    graph = {
        "metadata": metadata | ({"paths": chains} if chains else {}),
        "qParams": _view(rows, [name for chain in chains for name in chain["nodes"]]),
        "nodes": rows,
        "links": _links(result, [row["node_id"] for row in rows]),
    }
    check_graph(graph)
    return graph


def _paths(paths: Sequence[tuple], ids: Mapping[int, str]) -> list[dict[str, Any]]:
    for chain, *_ in paths:
        lost = [i for i in chain if i not in ids]
        need(not lost, f"A path names node number {lost[:1]}, which pruning dropped.")
    return [{"nodes": [ids[int(i)] for i in chain], "strength": float(strength)} for chain, strength, *_ in paths]


def own_and_running_influence(result: AttributionResult) -> tuple[list[float], list[float]]:
    """Every node's own influence, and the running share of all influence in order of influence (each 0 to 1).

    A node's own influence is the part of the answers' weight that flows through it. Logits are the end of every path, not
    a step on one: they get 0 and do not count towards the running share.
    """
    nodes = result.graph.nodes
    own = [0.0 if n.node_type.value == "logit" else v for n, v in zip(nodes, result.influence.tolist())]
    total = math.fsum(own) or 1.0
    running = [0.0] * len(own)
    so_far = 0.0
    for i in sorted(range(len(own)), key=lambda i: (-own[i], i)):
        so_far += own[i] / total
        running[i] = min(so_far, 1.0)
    return own, running


def _metadata(
    result: AttributionResult, slug: str | None, scan: str | None, created: datetime, n_kept: int
) -> dict[str, Any]:
    """Names, settings and scores; keys beyond the published schema are the page's own."""
    nodes = result.graph.nodes
    model = str(result.model_name)
    known = _on_neuronpedia(model, str(result.dictionary_name))
    details = {"feature_details": {"neuronpedia_source_set": known["set"]}} if "set" in known else {}
    return details | {
        "slug": slug or f"{slugify(model)}-{slugify(result.prompt)}",
        "scan": scan or known.get("scan") or slugify(model),
        "transcoder_list": [],
        "prompt_tokens": [str(token) for token in result.str_tokens],
        "prompt": result.prompt,
        "node_threshold": float(result.node_threshold),
        "schema_version": 1,
        "info": {
            "description": f"Attribution graph of {model} with {result.dictionary_name}",
            "generator": dict(GENERATOR),
            "create_time_ms": int(created.timestamp() * 1000),
        },
        "generation_settings": {
            "model": model,
            "dictionary": str(result.dictionary_name),
            "latent_word": latent_word(result.dictionary_name),
            "n_layers": int(result.graph.n_layers),
            "max_n_logits": sum(n.node_type.value == "logit" for n in nodes),
            "max_feature_nodes": sum(n.node_type.value == "latent" for n in nodes),
        },
        "pruning_settings": {
            "node_threshold": float(result.node_threshold),
            "edge_threshold": float(result.edge_threshold),
        },
        "scores": {name: float(value) for name, value in (result.scores or {}).items()},
        "counts": {
            "nodes": n_kept,
            "edges": int((result.pruned_matrix != 0).sum()),
            "nodes_before_pruning": len(nodes),
            "edges_before_pruning": int((result.adjacency_matrix != 0).sum()),
        },
    }


def _on_neuronpedia(model: str, dictionary: str) -> dict[str, str]:
    """Neuronpedia's id of a model that the course knows, as `scan`, and of its set of dictionaries, as `set`, where it shows them."""
    from utils.models.registry import MODELS, dictionary_name  # only now: it imports torch

    for spec in MODELS.values():
        if model.lower() in (spec.name, (spec.hub_id or spec.name).lower()):
            is_shown = spec.source_set and dictionary == dictionary_name(spec.name)
            return {"scan": spec.name} | ({"set": spec.source_set} if is_shown else {})
    return {}


def _node(node: NodeInfo, result: AttributionResult, running: float, labels: Labels) -> dict[str, Any]:
    """One row of ``nodes``, as the published form has it."""
    kind = node.node_type.value
    identity = _IDENTITY[kind](node, int(result.graph.n_layers))
    is_logit = kind == "logit"
    row = identity | {
        "ctx_idx": int(node.ctx_idx),
        "feature_type": FEATURE_TYPES[kind],
        "clerp": _clerp(node, labels),
        "influence": None if is_logit else running,
        "activation": float(node.activation) if kind == "latent" else None,
        "token_prob": float(node.token_prob) if is_logit else 0.0,
        "is_target_logit": False,
        "isLogit": is_logit,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
    }
    if kind in ("embedding", "logit"):
        row["token"] = node.str_token
    return row


def _embedding_identity(node: NodeInfo, n_layers: int) -> dict[str, Any]:
    stem = f"E_{int(node.feature)}"
    position = int(node.ctx_idx)
    return {"node_id": f"{stem}_{position}", "feature": position, "layer": "E", "jsNodeId": f"{stem}-{position}"}


def _latent_identity(node: NodeInfo, n_layers: int) -> dict[str, Any]:
    layer, latent, position = int(node.layer), int(node.feature), int(node.ctx_idx)
    return {
        "node_id": f"{layer}_{latent}_{position}",
        "feature": cantor(layer, latent),
        "layer": str(layer),
        "jsNodeId": f"{layer}_{latent}-{position}",
    }


def _error_identity(node: NodeInfo, n_layers: int) -> dict[str, Any]:
    layer, position = int(node.layer), int(node.ctx_idx)
    return {
        "node_id": f"{layer}_{ERROR_FEATURE}_{position}",
        "feature": ERROR_FEATURE,
        "layer": str(layer),
        "jsNodeId": f"{layer}_{ERROR_FEATURE}-{position}",
    }


def _logit_identity(node: NodeInfo, n_layers: int) -> dict[str, Any]:
    vocab, position = int(node.feature), int(node.ctx_idx)
    return {
        "node_id": f"{n_layers + 1}_{vocab}_{position}",
        "feature": vocab,
        "layer": str(n_layers + 1),
        "jsNodeId": f"L_{vocab}-{position}",
    }


_IDENTITY = {
    "embedding": _embedding_identity,
    "latent": _latent_identity,
    "mlp_error": _error_identity,
    "logit": _logit_identity,
}


def _clerp(node: NodeInfo, labels: Labels) -> str:
    """The label other viewers show. A logit's must have exactly one ``(p=…)`` and no straight quote inside."""
    kind = node.node_type.value
    if kind == "latent":
        return str(labels.get((int(node.layer), int(node.feature)), node.label or ""))
    if kind == "mlp_error":
        return f"MLP error, layer {int(node.layer)}"
    if kind == "embedding":
        return f"Emb: {node.str_token}"
    token = node.str_token.replace('"', "”").replace("(p=", "( p=")
    return f'Output "{token}" (p={float(node.token_prob):.3f})'


def _links(result: AttributionResult, ids: list[str]) -> list[dict[str, Any]]:
    """Every kept edge, strongest first. Rows of ``pruned_matrix`` are targets, columns sources."""
    matrix = result.pruned_matrix
    targets, sources = matrix.nonzero(as_tuple=True)
    weights = matrix[targets, sources].tolist()
    links = [
        {"source": ids[source], "target": ids[target], "weight": weight}
        for target, source, weight in zip(targets.tolist(), sources.tolist(), weights)
    ]
    return sorted(links, key=lambda link: -abs(link["weight"]))


def _view(rows: list[dict[str, Any]], pinned: list[str]) -> dict[str, Any]:
    """The first view: the likeliest answer is selected, ``pinned`` nodes form the subgraph."""
    logits = [row for row in rows if row["isLogit"]]
    best = max(logits, key=lambda row: row["token_prob"], default=None)
    return {
        "pinnedIds": list(dict.fromkeys(pinned)),
        "supernodes": [],
        "linkType": "both",
        "clickedId": best["node_id"] if best else "",
        "sg_pos": "",
    }


def check_graph(graph: Mapping[str, Any]) -> None:
    """Check what a JSON schema cannot say.

    Raises:
        GraphFormatError: with one sentence, if ids repeat, a link or the saved view names a node that is not there, a
            position is outside the prompt, a number is not finite or out of range, or a label or name would break a
            reader.
    """
    for key in ("metadata", "qParams", "nodes", "links"):
        need(key in graph, f"The graph has no {key!r}.")
    for key in ("slug", "scan"):
        name = graph["metadata"].get(key)
        plain = isinstance(name, str) and PLAIN_NAME.fullmatch(name)
        need(plain or key == "scan" and name, f"{key} {name!r} must be letters, digits, '_', '.' and '-' only.")
    tokens = graph["metadata"].get("prompt_tokens") or []
    ids: set[str] = set()
    keys: set[str] = set()
    for place, node in enumerate(graph["nodes"]):
        _check_node(node, place, len(tokens))
        need(node["node_id"] not in ids, f"Two nodes have the id {node['node_id']!r}.")
        need(node["jsNodeId"] not in keys, f"Two nodes have the jsNodeId {node['jsNodeId']!r}.")
        ids.add(node["node_id"])
        keys.add(node["jsNodeId"])
    _check_cumulative(graph["nodes"])
    _check_links(graph["links"], ids)
    for name in graph["qParams"].get("pinnedIds", []):
        need(name in ids, f"The saved view pins {name!r}, which is not a node of the graph.")
    steps = {(link["source"], link["target"]) for link in graph["links"]}
    for path in graph["metadata"].get("paths", []):
        broken = [step for step in zip(path["nodes"], path["nodes"][1:]) if step not in steps]
        need(not broken, f"A path goes along {broken[:1]}, which is not a link of the graph.")


def _check_node(node: Mapping[str, Any], place: int, n_tokens: int) -> None:
    missing = [key for key in REQUIRED_NODE_KEYS if key not in node]
    need(not missing, f"Node number {place} has no {', '.join(missing)}.")
    name = node["node_id"]
    need(0 <= node["ctx_idx"] < n_tokens, f"Node {name!r} is at position {node['ctx_idx']} of {n_tokens} tokens.")
    for key in ("influence", "own_influence", "token_prob"):
        value = node.get(key)
        fits = value is None or (math.isfinite(value) and 0.0 <= value <= 1.0 + 1e-6)
        need(fits, f"Node {name!r} has {key} {value}, which is not between 0 and 1.")
    for key in ("activation", "input_total"):
        value = node.get(key)
        need(value is None or math.isfinite(value), f"Node {name!r} has the {key} {value}.")
    if node["feature_type"] == FEATURE_TYPES["latent"]:
        agrees = str(uncantor(node["feature"])[0]) == str(node["layer"])
        need(agrees, f"Node {name!r} is on layer {node['layer']}, but its feature number says otherwise.")
    if node["feature_type"] == "logit" and node["clerp"]:
        need(node["clerp"].count("(p=") == 1, f"The label of logit {name!r} must hold '(p=…)' exactly once.")


def _check_cumulative(nodes: Iterable[Mapping[str, Any]]) -> None:
    """``influence`` must be a running share: in its order no node has more influence of its own than the one before."""
    known = [node for node in nodes if node.get("own_influence") is not None and node.get("influence") is not None]
    known.sort(key=lambda node: (node["influence"], -node["own_influence"]))
    for before, node in zip(known, known[1:]):
        falls = node["own_influence"] <= before["own_influence"] + 1e-6
        need(falls, f"Node {node['node_id']!r} has influence {node['influence']}, which is not a running share.")


def _check_links(links: Iterable[Mapping[str, Any]], ids: set[str]) -> None:
    seen = set()
    for link in links:
        pair = link["source"], link["target"]
        for end in pair:
            need(end in ids, f"A link names {end!r}, which is not a node of the graph.")
        need(pair not in seen, f"Two links go from {pair[0]!r} to {pair[1]!r}.")
        need(math.isfinite(link["weight"]), f"The link from {pair[0]!r} to {pair[1]!r} weighs {link['weight']}.")
        seen.add(pair)


def write_graph(graph: Mapping[str, Any], path: str | Path) -> Path:
    """Write ``graph`` as strict JSON (no NaN, ASCII only, so that any reader decodes it)."""
    path = Path(path)
    path.write_text(json.dumps(graph, allow_nan=False, indent=1), encoding="utf-8")
    return path
