"""What the heads of a graph's strongest edges do: which heads an edge goes through, where they look, and why (chapter 7)."""

from __future__ import annotations

from typing import Any

import torch

from solutions.trace.summary import Labels, node_in_words
from utils.engine.graph import AttributionResult, NodeType
from utils.latents.labels import latent_word

N_EDGES, N_HEADS = 40, 3
DIGITS = 4  # of patterns: more cannot be seen
CONSTANTS = "constants"  # biases, and what no node writes


def attend_graph(model: Any, dictionary: Any, result: AttributionResult, graph: dict[str, Any], names: Labels) -> None:
    """Compute the heads of the strongest edges of a graph, and write them into its metadata; other tools leave them alone.

    Args:
        model, dictionary: what was traced: transcoders, a cross-layer transcoder's weights, or None for neurons.
        result: the trace.
        graph: made of it by `build_graph`.
        names: labels of latents.

    Raises:
        ValueError: the model's attention is of a form that chapter 7 does not know.
    """
    from solutions.chapter7_attention import attention_report

    report = attention_report(model, dictionary, result, strongest_edges(result, N_EDGES), n_heads=N_HEADS)
    graph["metadata"]["attention"] = as_metadata(report, result, graph, names)


def strongest_edges(result: AttributionResult, n: int) -> list[tuple[int, int]]:
    """The kept edges, as (target, source), along which most of the answers' weight moves.

    That is chapter 3's score of an edge: its share of the target's inputs, times the target's influence and weight.
    """
    kept = result.kept_indices
    totals = result.adjacency_matrix.abs().sum(1).clamp_min(1e-30)
    worth = result.influence.to(totals).clone()
    worth[result.graph.indices(NodeType.LOGIT)] += result.logit_weights.to(totals)
    flow = result.pruned_matrix.abs() * (worth / totals)[kept, None]
    order = flow.flatten().topk(min(n, int((flow > 0).sum()))).indices
    return [tuple(kept[torch.stack([place // len(kept), place % len(kept)])].tolist()) for place in order]


def as_metadata(
    report: dict[str, Any], result: AttributionResult, graph: dict[str, Any], names: Labels
) -> dict[str, Any]:
    """A report in the file's form: nodes by their ids, or in words where pruning dropped them."""
    ids = {i: node["node_id"] for i, node in zip(result.kept_indices.tolist(), graph["nodes"], strict=True)}
    word = latent_word(result.dictionary_name)

    def end_of_pair(i: int | None) -> dict[str, str]:
        if i is None:
            return {"name": CONSTANTS}
        if i in ids:
            return {"id": ids[i]}
        return {"name": node_in_words(result.graph.nodes[i], result.str_tokens, names, word=word)}

    def pair(found: dict[str, Any]) -> dict[str, Any]:
        ends = {side: end_of_pair(found[f"{side}_node"]) for side in ("query", "key")}
        return ends | {"value": found["value"]}

    heads = []
    for head in report["heads"]:
        pattern = [[round(part, DIGITS) for part in row] for row in head["pattern"]]
        looks = [look | {"pairs": [pair(found) for found in look["pairs"]]} for look in head["looks"]]
        heads.append(head | {"pattern": pattern, "looks": looks})
    edges = [edge | {"source": ids[edge["source"]], "target": ids[edge["target"]]} for edge in report["edges"]]
    return {"edges": edges, "heads": heads}
