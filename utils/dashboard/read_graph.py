"""Graph files of every known origin, read into the one form that the page draws.

Three families are known, and a few habits of each:

* ours: the strict form of :mod:`utils.dashboard.graph_json`.
* circuit-tracer: layers are strings; up to 0.5.0 the error of layer L at position p is called ``0_L_p``, which is also the id of
  latent L of layer 0 there. A view saved by its page holds strings (comma lists, JSON in a string) and nulls.
* Neuronpedia's back ends: layers may be integers, ``feature`` null, ids ``3_cro_17_4``, ``3_lor_17_4`` and ``3_error_mlp_4``,
  and there are kinds of nodes of their own (attention latents, biases).

Whatever is not of one of these forms is refused with one sentence that says what is wrong and where. A saved view that
names nodes which are not there is no damage: these names are left out.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils.dashboard.graph_json import FEATURE_TYPES
from utils.dashboard.read_attention import read_attention
from utils.engine.json_input import GraphFormatError, is_drawable, is_number, need, read_json, short, shown
from utils.latents.files import uncantor
from utils.latents.labels import names_only_tokens

# More than a browser can lay out in reasonable time, and far more than a person can read.
MAX_TOKENS, MAX_LAYERS, MAX_NODES, MAX_LINKS = 2_000, 500, 20_000, 300_000
LATENT_WORDS = ("latent", "neuron")
MAX_EXACT = 2**53  # beyond it a browser rounds integers

KINDS = {word: kind for kind, word in FEATURE_TYPES.items()} | {"lorsa": "latent", "lorsa error": "mlp_error"}
NAMES = {"lorsa": "attention latent", "lorsa error": "attention error", "mlp reconstruction error": "MLP error"}
PLAIN_ID = re.compile(r"[0-9E][A-Za-z0-9_.-]{0,79}")  # what every known writer makes; never a word of JavaScript
LATENT_ID = re.compile(r"(\d{1,4})_(?:[a-z]+_)?(\d{1,12})_(\d{1,6})")
LOGIT_LABEL = re.compile(r'^(?:Output|Logit) "(.*)" \(p=([0-9.]+)\)$', re.DOTALL)
AUTOMATIC_LABEL = re.compile(r"F\d+")  # what a Neuronpedia back end writes where it knows no label


def read_graph(path: str | Path) -> dict[str, Any]:
    """The graph in a JSON file, checked to be one that :func:`graph_view` can read; otherwise as it is.

    Raises:
        GraphFormatError: it is not; the sentence names the file.
    """
    path = Path(path)
    graph = read_json(path)
    try:
        graph_view(graph)
    except GraphFormatError as error:
        raise GraphFormatError(f"{path.name}: {error}") from None
    return graph


def graph_view(graph: Any) -> dict[str, Any]:
    """What the page draws: tokens, nodes and links by index, the saved view, and sentences about what was guessed.

    Raises:
        GraphFormatError: the graph is damaged, or is not one.
    """
    need(isinstance(graph, Mapping), "This is not a graph: the file must hold a JSON object.")
    for key, kind, word in (("metadata", Mapping, "object"), ("nodes", list, "list"), ("links", list, "list")):
        need(key in graph, f"This is not a graph: it has no {key!r}.")
        need(isinstance(graph[key], kind), f"This is not a graph: {key!r} must be a {word}.")
    meta = graph["metadata"]
    tokens = _tokens(meta)
    need(len(graph["nodes"]) <= MAX_NODES, f"The graph has {len(graph['nodes']):,} nodes: prune it to {MAX_NODES:,}.")
    need(len(graph["links"]) <= MAX_LINKS, f"The graph has {len(graph['links']):,} links: prune it to {MAX_LINKS:,}.")
    word = _latent_word(meta)
    nodes = [_node(raw, place, tokens, meta.get("schema_version"), word) for place, raw in enumerate(graph["nodes"])]
    n_layers = _layer_count(meta, nodes)
    for node in nodes:
        node["row"] = {"embedding": 0, "logit": n_layers + 1}.get(node["kind"], node["layer"] + 1)
    places, warnings = _places(graph["nodes"], nodes)
    links, ambiguous = _links(graph["links"], nodes, places)
    if ambiguous:
        warnings.append(
            f"{ambiguous} links name an id that a latent and an error share; they were given to the latent."
        )
    _add_shares(graph["nodes"], nodes)
    _add_links_outside(meta, nodes)
    _rename(nodes)
    return {
        "slug": _words(meta.get("slug"), "metadata.slug"),
        "prompt": _words(meta.get("prompt"), "metadata.prompt") or "".join(tokens),
        "tokens": tokens,
        "word": word,
        "rows": ["Input", *(f"Layer {i}" for i in range(n_layers)), "Output"],
        "nodes": nodes,
        "links": links,
        "paths": _paths(meta.get("paths"), places, links),
        "ablations": _ablations(meta.get("ablations"), places),
        "attention": read_attention(meta.get("attention"), places, links, len(tokens)),
        "facts": facts(meta, len(nodes), len(links), word),
        "view": _saved_view(graph.get("qParams"), nodes, places),
        "warnings": warnings,
    }


# ---------------------------------------------------------------- values of the right type


def _words(value: Any, where: str) -> str:
    need(value is None or isinstance(value, str), f"{where} must be text.")
    return value or ""


def _number(value: Any, where: str) -> float | None:
    """A finite number or nothing."""
    if value is None:
        return None
    need(is_number(value), f"{where} must be a number.")
    need(is_drawable(value), f"{where} is {shown(value)}, which is not a number that can be drawn.")
    return float(value)


def _share(value: Any, where: str) -> float | None:
    number = _number(value, where)
    need(number is None or 0 <= number <= 1 + 1e-6, f"{where} is {shown(value)}, which is not between 0 and 1.")
    return None if number is None else min(number, 1.0)


def _whole(value: Any, where: str) -> int:
    need(
        is_number(value) and math.isfinite(_clamped(value)) and value == int(value), f"{where} must be a whole number."
    )
    return int(value)


def _clamped(value: float) -> float:
    """``value``, or an infinity where an integer is too large for a float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _tokens(meta: Mapping[str, Any]) -> list[str]:
    tokens = meta.get("prompt_tokens")
    is_list = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
    need(is_list and tokens, "metadata.prompt_tokens must be a list of at least one text.")
    need(len(tokens) <= MAX_TOKENS, f"The prompt has {len(tokens):,} tokens; a page draws at most {MAX_TOKENS:,}.")
    return list(tokens)


def _latent_word(meta: Mapping[str, Any]) -> str:
    """What the file calls its latents; a neuron is one too."""
    settings = meta.get("generation_settings")
    stated = settings.get("latent_word") if isinstance(settings, Mapping) else None
    return stated if stated in LATENT_WORDS else LATENT_WORDS[0]


def _node(raw: Any, place: int, tokens: list[str], schema_version: Any, word: str) -> dict[str, Any]:
    """One node to draw. ``named`` says whether a person gave it a name worth writing into the picture."""
    need(isinstance(raw, Mapping), f"Node number {place} must be an object.")
    missing = [key for key in ("node_id", "feature_type", "layer", "ctx_idx") if key not in raw]
    need(not missing, f"Node number {place} has no {', '.join(missing)}.")
    need(isinstance(raw["node_id"], str), f"Node number {place} has a node_id that is not text.")
    name = f"node {shown(raw['node_id'])}"
    at_start = f"N{name[1:]}"
    need(isinstance(raw["feature_type"], str), f"The feature_type of {name} must be text.")
    kind = KINDS.get(raw["feature_type"], "other")
    pos = _whole(raw["ctx_idx"], f"ctx_idx of {name}")
    need(0 <= pos < len(tokens), f"{at_start} is at position {shown(pos)} of {len(tokens)} tokens.")
    layer = _layer(raw["layer"], kind, name)
    node = {
        "id": raw["node_id"],
        "kind": kind,
        "what": NAMES.get(raw["feature_type"], "" if kind != "other" else raw["feature_type"]),
        "layer": layer,
        "pos": pos,
        "named": False,
        "total": short(_number(raw.get("input_total"), f"input_total of {name}") or 0.0),
    }
    label = _words(raw.get("clerp"), f"clerp of {name}")
    prob = _share(raw.get("token_prob"), f"token_prob of {name}")
    activation = _number(raw.get("activation"), f"activation of {name}")
    if kind == "latent":
        index = _latent_index(raw, layer, schema_version)
        index = "?" if index is None else index
        family = node["what"] or word
        named = bool(label.strip()) and not AUTOMATIC_LABEL.fullmatch(label)
        node |= {"where": f"{family} {layer}/{index}", "act": None if activation is None else short(activation)}
        node |= {"name": label if named else node["where"], "named": named, "key": f"{layer}/{index}"}
        if names_only_tokens(label):
            node["quiet"] = True
        if node["what"]:
            node["key"] = f"{family} {node['key']}"
    elif kind == "mlp_error":
        node |= {"name": f"{node['what']} {layer}", "key": f"{node['what']} {layer}"}
    elif kind == "embedding":
        token = _words(raw.get("token", tokens[pos]), f"token of {name}")
        node |= {"name": token, "key": f"E {token}"}
    elif kind == "logit":
        token, stated = _logit_label(label)
        token = _words(raw.get("token", token), f"token of {name}")
        node |= {"name": token, "key": f"L {token}", "prob": short(prob or stated)}
    else:
        node |= {"name": label or f"{raw['feature_type']} {layer}", "key": f"{raw['feature_type']} {layer} {label}"}
    return node


def _layer(value: Any, kind: str, name: str) -> int:
    """The layer's number. Ends of the graph have none: -1 for the input; an answer's is found later."""
    if kind in ("embedding", "logit"):
        return -1
    if value == "E":  # biases and the like may stand at the input
        return -1
    digits = isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value)
    layer = int(value) if digits else value
    need(is_number(layer), f"The layer of {name} is {shown(value)}, which is not a layer's number.")
    layer = _whole(layer, f"The layer of {name}")
    need(0 <= layer < MAX_LAYERS, f"N{name[1:]} is on layer {shown(layer)}; a page draws at most {MAX_LAYERS}.")
    return layer


def _latent_index(raw: Mapping[str, Any], layer: int, schema_version: Any) -> int | None:
    """A latent's number in its dictionary, from whichever of the places that files keep it in agrees with its layer."""
    feature = raw.get("feature")
    is_index = isinstance(feature, int) and not isinstance(feature, bool) and 0 <= feature < 10**18
    if is_index and schema_version == 1:
        paired = uncantor(feature)
        if paired[0] == layer:
            return paired[1]
    in_name = LATENT_ID.fullmatch(raw["node_id"])
    if in_name and int(in_name[1]) == layer:
        return int(in_name[2])
    return feature if is_index and feature < MAX_EXACT else None


def _logit_label(label: str) -> tuple[str, float]:
    """Token and probability of a label like ``Output "tok" (p=0.123)``; any other label is the token."""
    parts = LOGIT_LABEL.match(label)
    if not parts:
        return label, 0.0
    try:
        return parts[1], min(float(parts[2]), 1.0)
    except ValueError:
        return parts[1], 0.0


def _layer_count(meta: Mapping[str, Any], nodes: list[dict[str, Any]]) -> int:
    """Layers of the model: from the settings, or the highest that occurs."""
    settings = meta.get("generation_settings")
    stated = settings.get("n_layers") if isinstance(settings, Mapping) else None
    stated = stated if isinstance(stated, int) and 0 <= stated <= MAX_LAYERS else 0
    return max([int(stated), *(node["layer"] + 1 for node in nodes)], default=0)


def _places(raw: list[Mapping[str, Any]], nodes: list[dict[str, Any]]) -> tuple[dict[str, list[int]], list[str]]:
    """The nodes of every id: one each, or a latent and an error in files of circuit-tracer up to 0.5.0."""
    places: dict[str, list[int]] = {}
    for i, node in enumerate(raw):
        places.setdefault(node["node_id"], []).append(i)
    shared = {name: found for name, found in places.items() if len(found) > 1}
    for name, found in shared.items():
        kinds = sorted(nodes[i]["kind"] for i in found)
        need(kinds == ["latent", "mlp_error"], f"Two nodes have the id {shown(name)}.")
        found.sort(key=lambda i: nodes[i]["kind"])  # the latent first
    word = "id is" if len(shared) == 1 else "ids are"
    return places, [f"{len(shared)} {word} shared by a latent and an error."] if shared else []


def _rename(nodes: list[dict[str, Any]]) -> None:
    """Give a page-made id to every node whose own is repeated or not plain, so that ids can stand in an address."""
    counts = Counter(node["id"] for node in nodes)
    for i, node in enumerate(nodes):
        if counts[node["id"]] > 1 or not PLAIN_ID.fullmatch(node["id"]):
            fresh = f"n{i}"
            while fresh in counts:
                fresh += "_"
            node["id"] = fresh


# ---------------------------------------------------------------- links


def _links(raw: list[Any], nodes: list[dict[str, Any]], places: Mapping[str, list[int]]) -> tuple[list, int]:
    """``[source, target, weight]`` by index, and how many named an id that two nodes share and could be of either."""
    for k, link in enumerate(raw):
        need(isinstance(link, Mapping), f"Link number {k} must be an object.")
        for end in ("source", "target"):
            name = link.get(end)
            need(isinstance(name, str), f"Link number {k} has no {end}.")
            need(name in places, f"Link number {k} names the {end} {shown(name)}, which is not a node of the graph.")
    pairs = Counter((link["source"], link["target"]) for link in raw)
    links: list[list[Any]] = []
    taken: set[tuple[int, int]] = set()
    ambiguous = 0
    for k, link in enumerate(raw):
        ends = places[link["source"]], places[link["target"]]
        need(link.get("weight") is not None, f"Link number {k} has no weight.")
        names = f"{shown(link['source'])} to {shown(link['target'])}"
        weight = link["weight"]
        need(is_number(weight), f"The weight of the link from {names} must be a number.")
        need(is_drawable(weight), f"The link from {names} weighs {shown(weight)}.")
        target = ends[1][0]  # of a latent and an error only the latent has inputs
        free = [i for i in ends[0] if (i, target) not in taken and i != target]
        below = [i for i in free if nodes[i]["row"] < nodes[target]["row"]]
        need(free, f"Two links go from {names}." if ends[0] != [target] else f"A link goes from {names}, to itself.")
        source = (below or free)[0]
        # where both have a link to this target, the latent's comes first
        ambiguous += len(below) > 1 and pairs[link["source"], link["target"]] == 1
        taken.add((source, target))
        links.append([source, target, short(float(weight))])
    links.sort(key=lambda link: -abs(link[2]))
    return links, ambiguous


# ---------------------------------------------------------------- influence


def _add_shares(raw: list[Mapping[str, Any]], nodes: list[dict[str, Any]]) -> None:
    """Give every node ``cum``, the running share of all influence down to it, ``share``, its own part of that, and ``own``.

    Files hold the running share. Ours also hold every node's own influence, and the two together give all that there is.
    Otherwise a node's part is the step from the node before, which is too large where nodes between were dropped.
    """
    for source, node in zip(raw, nodes):
        name = f"node {shown(source['node_id'])}"
        cum = _share(source.get("influence"), f"influence of {name}")
        own = _share(source.get("own_influence"), f"own_influence of {name}")
        node["cum"] = None if node["kind"] == "logit" else cum
        node["own"] = None if node["kind"] == "logit" or own is None else short(own)
        node["share"] = 0.0
    inner = sorted((node for node in nodes if node["cum"] is not None), key=lambda node: node["cum"])
    top = max(inner, key=lambda node: node["own"] or 0.0, default=None)
    total = top["own"] / top["cum"] if top and top["own"] and top["cum"] else 0.0
    before = 0.0
    for node in inner:
        exact = total > 0 and node["own"] is not None
        node["share"] = short(min(1.0, node["own"] / total if exact else node["cum"] - before))
        before = node["cum"]
    for node in inner:
        node["cum"] = short(node["cum"])


# ---------------------------------------------------------------- Neuronpedia

NAME_THERE = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def _add_links_outside(meta: Mapping[str, Any], nodes: list[dict[str, Any]]) -> None:
    """Give every latent that Neuronpedia shows the address of its page there: model, layer and source set, number."""
    details = meta.get("feature_details")
    details = details if isinstance(details, Mapping) else {}
    names = meta.get("scan"), details.get("neuronpedia_source_set")
    if not all(isinstance(name, str) and NAME_THERE.fullmatch(name) for name in names):
        return
    for node in nodes:
        number = re.fullmatch(r"\d+/(\d+)", node["key"]) if node["kind"] == "latent" else None
        if number:
            node["link"] = f"https://www.neuronpedia.org/{names[0]}/{node['layer']}-{names[1]}/{number[1]}"


# ---------------------------------------------------------------- the saved view


def _listed(value: Any, parse: Callable[[str], Any]) -> list[Any]:
    """A parameter that may be a list, a text that stands for one, or nothing."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _saved_view(params: Any, nodes: list[dict[str, Any]], places: Mapping[str, list[int]]) -> dict[str, Any]:
    """The view that a file was saved with: selected and pinned nodes, groups, labels and threshold, by the page's ids."""
    params = params if isinstance(params, Mapping) else {}

    def ids(names: list[Any]) -> list[str]:
        known = [places[name][0] for name in names if isinstance(name, str) and name in places]
        return list(dict.fromkeys(nodes[i]["id"] for i in known))

    groups, grouped = [], set()
    for row in _listed(params.get("supernodes"), json.loads):
        if isinstance(row, list) and row and isinstance(row[0], str):
            members = [name for name in ids(row[1:]) if name not in grouped]
            grouped |= set(members)
            if members:
                groups.append([row[0], *members])
    pins = ids(_listed(params.get("pinnedIds"), lambda text: text.split(",")))
    pins += [name for _, *members in groups for name in members if name not in pins]
    clicked = ids([params.get("clickedId")])
    return {
        "clicked": clicked[0] if clicked else "",
        "pins": pins,
        "groups": groups,
        "labels": _saved_labels(_listed(params.get("clerps"), json.loads), nodes, places),
        "prune": _threshold(params.get("pruningThreshold")),
    }


def _saved_labels(rows: list[Any], nodes: list[dict[str, Any]], places: Mapping[str, list[int]]) -> dict[str, str]:
    """``{key: label}``. Files name a latent by its paired number, by ``layer_latent`` or by ``layer_latent_position``."""
    labels = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[1], str)):
            continue
        name = str(row[0])
        pair = re.search(r"(\d{1,4})_(\d{1,12})(?:_\d{1,6})?$", name)
        if name in places:
            labels[nodes[places[name][0]]["key"]] = row[1]
        elif pair:
            labels[f"{int(pair[1])}/{int(pair[2])}"] = row[1]
        elif re.fullmatch(r"\d{1,18}", name):
            layer, latent = uncantor(int(name))
            labels[f"{layer}/{latent}"] = row[1]
    known = {node["key"] for node in nodes if node["kind"] == "latent"}
    return {key: label for key, label in labels.items() if key in known}


def _threshold(value: Any) -> float | None:
    if not isinstance(value, str) and not is_number(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= 1 else None


def _paths(raw: Any, places: Mapping[str, list[int]], links: list[list[Any]]) -> list[dict[str, Any]]:
    """The file's paths by index, with the sign of every step; one that does not go along links is left out."""
    signs = {(source, target): 1 if weight >= 0 else -1 for source, target, weight in links}
    paths = []
    for path in raw if isinstance(raw, list) else []:
        names = path.get("nodes") if isinstance(path, Mapping) else None
        if not isinstance(names, list) or not all(isinstance(n, str) and n in places for n in names):
            continue
        steps = [places[name][0] for name in names]
        along = list(zip(steps, steps[1:]))
        strength = path.get("strength")
        fits = is_number(strength) and 0 <= strength <= 1 + 1e-6
        if fits and along and all(step in signs for step in along):
            paths.append({"nodes": steps, "signs": [signs[step] for step in along], "strength": short(strength)})
    return paths


def _ablations(raw: Any, places: Mapping[str, list[int]]) -> dict[str, Any] | None:
    """What was measured without some of the nodes, by index. What is not of our form is left out, as other tools do."""
    if not isinstance(raw, Mapping) or not is_drawable(raw.get("baseline")) or not isinstance(raw.get("boxes"), list):
        return None
    boxes = []
    for box in raw["boxes"]:
        names = box.get("nodes") if isinstance(box, Mapping) else None
        known = isinstance(names, list) and names and all(isinstance(n, str) and n in places for n in names)
        if known and is_drawable(box.get("removed")):
            control = short(box["control"]) if is_drawable(box.get("control")) else None
            members = sorted({places[name][0] for name in names})
            boxes.append({"members": members, "removed": short(box["removed"]), "control": control})
    target, draws = raw.get("target"), raw.get("draws")
    return {
        "target": target if isinstance(target, str) else "",
        "baseline": short(raw["baseline"]),
        "draws": int(draws) if is_drawable(draws) and draws >= 1 else None,
        "boxes": boxes,
    }


# ---------------------------------------------------------------- numbers about the whole graph


def facts(meta: Mapping[str, Any], n_nodes: int, n_links: int, word: str = "latent") -> list[list[str]]:
    """``[name, value, explanation]`` of every number about the whole graph. What the file does not say is left out."""

    def part(name: str) -> Mapping[str, Any]:
        return meta[name] if isinstance(meta.get(name), Mapping) else {}

    counts, scores, pruning = part("counts"), part("scores"), part("pruning_settings")
    settings = part("generation_settings")
    node_threshold = pruning.get("node_threshold", meta.get("node_threshold"))
    rows = [
        ["nodes", _of(counts, "nodes", n_nodes), "Nodes kept by pruning, of all nodes"],
        ["edges", _of(counts, "edges", n_links), "Edges kept by pruning, of all edges"],
        ["completeness gap", _formatted(scores.get("completeness_gap"), ".1e"), _GAP],
        ["replacement score", _formatted(scores.get("replacement"), ".2f"), _REPLACEMENT.format(word=word)],
        ["share not from errors", _formatted(scores.get("completeness"), ".2f"), _NOT_FROM_ERRORS],
        ["node threshold", _formatted(node_threshold, "g"), "Share of all influence that kept nodes carry"],
        [
            "edge threshold",
            _formatted(pruning.get("edge_threshold"), "g"),
            "Share of edge scores that kept edges carry",
        ],
        ["model", _text(settings.get("model")) or _text(meta.get("scan")), "The language model"],
        ["dictionary", _text(settings.get("dictionary")), f"What was traced: its {word}s are nodes"],
        ["date", _date(part("info").get("create_time_ms")), "When the graph was made"],
    ]
    return [row for row in rows if row[1]]


_GAP = "Largest relative difference between a node's value and the sum of its inputs, before pruning: 0 is exact"
_REPLACEMENT = "Share of influence that goes from tokens to answers through {word}s only, before pruning: 1 is best"
_NOT_FROM_ERRORS = (
    "Share of nodes' inputs that are not error nodes, weighted by influence, before pruning: 1 is best. The paper calls it "
    "completeness. Nodes without inputs count as explained"
)


def _of(counts: Mapping[str, Any], name: str, found: int) -> str:
    total = counts.get(f"{name}_before_pruning")
    return f"{found:,} of {total:,}" if isinstance(total, int) and found <= total < MAX_EXACT else f"{found:,}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _formatted(value: Any, form: str) -> str:
    return format(value, form) if is_drawable(value) else ""


def _date(milliseconds: Any) -> str:
    from datetime import datetime, timezone

    if not is_number(milliseconds):
        return ""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return ""
