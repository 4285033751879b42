"""What a reader made on a graph's page, back in Python: the groups and pins of a saved view, as nodes and as edits.

groups = saved_groups("out/dallas/result", "dallas.view.json")
outcome = intervene(model, transcoders, base, silenced(result, groups["say Austin"]))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solutions.chapter4_interventions import Edit
from utils.dashboard import build_graph
from utils.engine.graph import AttributionResult, NodeType
from utils.engine.json_input import GraphFormatError, need, read_json

VIEW_FORMAT = "attribution-graph-view"
PINNED = "pinned"


def saved_groups(result: AttributionResult, path: str | Path) -> dict[str, list[int]]:
    """The groups of a view that the page saved (File, Save), or with which a graph file opens.

    Args:
        result: whose page it is.
        path: the `.view.json`, or a `graph.json`.

    Returns:
        Name of each group -> its nodes, as indices into `result.graph.nodes`; "pinned": what is pinned and in no group. Of two
        groups of one name, the second is called "name (2)".

    Raises:
        GraphFormatError: the file is neither, is damaged, or is the view of another graph.
    """
    graph = build_graph(result)
    content = read_json(Path(path))
    need(isinstance(content, Mapping), f"{path} is no saved view.")
    groups, pins = _of_view(content, graph) if content.get("format") == VIEW_FORMAT else _of_graph(content, graph)
    place = {node["node_id"]: i for i, node in zip(result.kept_indices.tolist(), graph["nodes"])}
    unknown = [name for members in [pins, *(ids for _, ids in groups)] for name in members if name not in place]
    need(not unknown, f"{path} names the node {unknown[:1]}, which the pruned graph of this result does not have.")
    found: dict[str, list[int]] = {}
    for name, members in groups:
        number = sum(other == name or other.startswith(f"{name} (") for other in found)
        found[f"{name} ({number + 1})" if number else name] = [place[member] for member in members]
    grouped = {i for members in found.values() for i in members}
    found[PINNED] = [place[name] for name in pins if place[name] not in grouped]
    return found


def silenced(result: AttributionResult, nodes: Sequence[int], value: float = 0.0, kind: str = "set") -> list[Edit]:
    """Edits that set the latents among some nodes to a value (or scale them, or add to them: `kind`, see `Edit`).

    Args:
        nodes: indices into `result.graph.nodes`, such as a group of `saved_groups`. What is no latent is left out.

    Raises:
        ValueError: none of them is a latent.
    """
    chosen = [result.graph.nodes[i] for i in nodes]
    latents = [node for node in chosen if node.node_type is NodeType.LATENT]
    if not latents:
        raise ValueError("None of these nodes is a latent, and only latents can be edited.")
    return [Edit(int(node.layer), node.ctx_idx, node.feature, value, kind) for node in latents]


Saved = tuple[list[tuple[str, list[str]]], list[str]]


def _of_view(content: Mapping[str, Any], graph: Mapping[str, Any]) -> Saved:
    """Groups and pins of a file that the page saved."""
    slug, slugs = graph["metadata"]["slug"], content.get("graphs")
    try:
        need(slug in slugs, f"This is the view of another graph: {', '.join(slugs)}.")
        side = content["view"]["sides"][slugs.index(slug)]
        groups = [(str(group["name"]), [str(name) for name in group["members"]]) for group in side["groups"]]
        return groups, [str(name) for name in side["pins"]]
    except (KeyError, TypeError, AttributeError, IndexError):
        raise GraphFormatError("The saved view is damaged: save it again from the page.") from None


def _of_graph(content: Mapping[str, Any], graph: Mapping[str, Any]) -> Saved:
    """Groups and pins with which a graph file opens."""
    try:
        slug, view = content["metadata"]["slug"], content["qParams"]
        found = [(str(name), list(ids)) for name, *ids in view["supernodes"]], list(view["pinnedIds"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise GraphFormatError("The file holds neither a saved view nor a graph of this course.") from None
    need(slug == graph["metadata"]["slug"], f"This is the file of another graph: {slug}.")
    return found
