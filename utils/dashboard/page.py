"""One self-contained HTML page from a graph JSON: no network, no third-party script, data never read as markup.

Python turns the graph into a small *view* (what to draw, by index); ``page.js`` lays it out and draws it. The page's
Content-Security-Policy names the SHA-256 of its one script and one style sheet and forbids everything else, so nothing
that stands in a label or a token can run, and nothing can be requested.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from utils.dashboard.graph_json import FEATURE_TYPES, check_graph, uncantor

HERE = Path(__file__).parent
KINDS = {word: kind for kind, word in FEATURE_TYPES.items()}
MAX_TITLE = 80


def render_page(graph: Mapping[str, Any]) -> str:
    """The HTML page of ``graph`` (a dictionary in the form of :func:`utils.dashboard.build_graph`).

    Raises:
        GraphFormatError: the graph is damaged (see :func:`utils.dashboard.check_graph`).
    """
    check_graph(graph)
    view = page_view(graph)
    script, style = _asset("page.js"), _asset("page.css")
    return _fill(
        _asset("page.html"),
        {
            "csp": _policy(script, style),
            "title": html.escape(_shorten(view["prompt"], MAX_TITLE)),
            "style": style,
            "data": _script_safe(view),
            "script": script,
        },
    )


def write_page(graph: Mapping[str, Any], path: str | Path) -> Path:
    """Write the page of ``graph`` to ``path``."""
    path = Path(path)
    path.write_text(render_page(graph), encoding="utf-8", errors="replace")
    return path


def page_view(graph: Mapping[str, Any]) -> dict[str, Any]:
    """What the page draws: rows, tokens, nodes and links by index, the numbers in words."""
    place = {node["node_id"]: i for i, node in enumerate(graph["nodes"])}
    meta = graph["metadata"]
    n_layers = _layer_count(graph)
    nodes = [_view_node(node, n_layers) for node in graph["nodes"]]
    return {
        "prompt": meta["prompt"],
        "tokens": meta["prompt_tokens"],
        "rows": ["Input", *(f"Layer {i}" for i in range(n_layers)), "Output"],
        "nodes": nodes,
        "links": [[place[k["source"]], place[k["target"]], _short(k["weight"])] for k in graph["links"]],
        "paths": _paths(graph, place),
        "answers": _answers(nodes),
        "facts": page_facts(meta),
        "selected": place.get(graph["qParams"].get("clickedId") or "", -1),
    }


def _layer_count(graph: Mapping[str, Any]) -> int:
    """Layers of the model: from the settings, or the highest that occurs."""
    inner = [int(n["layer"]) for n in graph["nodes"] if KINDS.get(n["feature_type"]) in ("latent", "mlp_error")]
    stated = graph["metadata"].get("generation_settings", {}).get("n_layers", 0)
    return max([stated, *(layer + 1 for layer in inner)])


def _view_node(node: Mapping[str, Any], n_layers: int) -> dict[str, Any]:
    """One node to draw. ``named`` says whether a person gave it a name worth writing into the picture."""
    kind = KINDS[node["feature_type"]]
    view = {
        "id": node["node_id"],
        "kind": kind,
        "row": _row(kind, node["layer"], n_layers),
        "pos": node["ctx_idx"],
        "named": False,
        "influence": _short(node.get("own_influence") or 0.0),
        "inputs": _short(node.get("input_total") or 0.0),
    }
    if kind == "latent":
        layer, latent = uncantor(node["feature"])
        view |= {"where": f"latent {layer}/{latent}", "activation": _short(node.get("activation") or 0.0)}
        view |= {"name": node["clerp"] or view["where"], "named": bool(node["clerp"])}
    elif kind == "mlp_error":
        view["name"] = f"MLP error {node['layer']}"
    else:
        view["name"] = node.get("token", node["clerp"])
    if kind == "logit":
        view["prob"] = _short(node.get("token_prob") or 0.0)
    return view


def _row(kind: str, layer: str | int, n_layers: int) -> int:
    """Row of the picture, from the bottom: the input, the layers, the output."""
    ends = {"embedding": 0, "logit": n_layers + 1}
    return ends[kind] if kind in ends else int(layer) + 1


def _answers(nodes: list[dict[str, Any]]) -> list[list[Any]]:
    """``[token, probability]`` of every logit node, likeliest first."""
    logits = [node for node in nodes if node["kind"] == "logit"]
    return [[node["name"], node["prob"]] for node in sorted(logits, key=lambda node: -node["prob"])]


def _paths(graph: Mapping[str, Any], place: Mapping[str, int]) -> list[dict[str, Any]]:
    """The file's paths by index, with the sign of every step."""
    signs = {(k["source"], k["target"]): math.copysign(1, k["weight"]) for k in graph["links"]}
    return [
        {
            "nodes": [place[name] for name in path["nodes"]],
            "signs": [signs[step] for step in zip(path["nodes"], path["nodes"][1:])],
            "strength": _short(path["strength"]),
        }
        for path in graph["metadata"].get("paths", [])
    ]


def page_facts(meta: Mapping[str, Any]) -> list[list[str]]:
    """``[name, value, explanation]`` of every number about the whole graph. What the file does not say is left out."""
    counts, scores = meta.get("counts", {}), meta.get("scores", {})
    pruning, settings = meta.get("pruning_settings", {}), meta.get("generation_settings", {})
    facts = [
        ["nodes", _of(counts, "nodes"), "Nodes kept by pruning, of all nodes"],
        ["edges", _of(counts, "edges"), "Edges kept by pruning, of all edges"],
        ["completeness gap", _number(scores.get("completeness_gap"), ".1e"), _GAP],
        ["replacement score", _number(scores.get("replacement"), ".2f"), _REPLACEMENT],
        ["completeness score", _number(scores.get("completeness"), ".2f"), _COMPLETENESS],
        ["node threshold", _number(pruning.get("node_threshold"), "g"), "Share of all influence that kept nodes carry"],
        ["edge threshold", _number(pruning.get("edge_threshold"), "g"), "Share of edge scores that kept edges carry"],
        ["model", settings.get("model") or meta.get("scan", ""), "The language model"],
        ["dictionary", settings.get("dictionary", ""), "The transcoders whose latents are the nodes"],
        ["date", _date(meta.get("info", {}).get("create_time_ms")), "When the graph was made"],
    ]
    return [fact for fact in facts if fact[1]]


_GAP = "Largest relative difference between a node's value and the sum of its inputs, before pruning: 0 is exact"
_REPLACEMENT = "Share of influence that goes from tokens to answers through latents only, before pruning: 1 is best"
_COMPLETENESS = "Share of nodes' inputs that are not error nodes, weighted by influence, before pruning: 1 is best"


def _of(counts: Mapping[str, int], name: str) -> str:
    if name not in counts:
        return ""
    total = counts.get(f"{name}_before_pruning")
    return f"{counts[name]:,} of {total:,}" if total else f"{counts[name]:,}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else format(value, form)


def _date(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _short(value: float) -> float:
    """Five significant digits: enough for the eye, half the bytes."""
    return float(f"{value:.5g}")


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _script_safe(view: Mapping[str, Any]) -> str:
    """JSON that cannot end or open an element: ASCII only, and no ``<``, ``>`` or ``&``."""
    text = json.dumps(view, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy that allows this script and this style sheet, and no request at all."""
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _fill(template: str, parts: Mapping[str, str]) -> str:
    """Put ``parts`` in place of ``{{name}}`` in one pass, so that what is put in is never searched again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
