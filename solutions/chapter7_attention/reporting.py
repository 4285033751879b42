"""What a page can show about a graph's heads, as plain data: numbers, texts, lists and dicts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder
from solutions.chapter7_attention.attributing import head_on_prompt, pair_attributions, strongest_pairs
from solutions.chapter7_attention.loadings import carry, head_loadings, row_of, with_heads_cut
from solutions.opened import OpenGraph, open_graph
from utils.engine.arguments import evaluating
from utils.engine.cross_layer import CrossLayerWeights
from utils.engine.graph import AttributionResult, NodeType
from utils.engine.hooks import Transcoder


def attention_report(
    model: TransformerBridge,
    dictionary: Mapping[int, Transcoder] | CrossLayerTranscoder | CrossLayerWeights | None,
    result: AttributionResult,
    edges: Sequence[tuple[int, int]],
    n_heads: int = 5,
    n_pairs: int = 8,
) -> dict[str, Any]:
    """The heads of some edges of a graph, and for each of these heads where and why it looks.

    Args:
        model, dictionary, result: as for `open_graph`.
        edges: (target, source), as indices into `result.graph.nodes`.
        n_heads: heads of each edge, those with the largest absolute loadings.
        n_pairs: pairs of nodes of each head.

    Returns:
        Of JSON's types only. "edges": for each edge `target` and `source` (indices of nodes), `value`, `past_heads` (the part that
        goes through no head), and `heads`, strongest first: `layer`, `head`, `loading`, and the `query` and the `key` between which
        the head moves most of it. "heads": for each head that is named there `layer`, `head`, `pattern` (rows are queries), and
        `looks`, one for each query and key that are named there: `query`, `key`, `score`, `contrast` (the score less the mean of
        the other visible keys; None where there is no other), and `pairs`, strongest first: `query_node`, `key_node` (indices; None
        for constants), `value`. The pairs split the contrast, or the score where there is none.

    Raises:
        ValueError: an edge names a node that there is not, or a target that does not read; or see `open_graph`.
    """
    _check_edges(result, edges)
    with evaluating(model):
        x = open_graph(model, dictionary, result)
        carried, past = carry(x, edges), edges_past_heads(x, [target for target, _ in edges])
        found, looks = [], {}
        for target, source in edges:
            heads = _strongest_heads(head_loadings(carried, target, source), n_heads)
            for head in heads:
                looks.setdefault((head["layer"], head["head"]), {})[head["query"], head["key"]] = None
            value, past_heads = float(result.adjacency_matrix[target, source]), float(past[target][source])
            found.append({"target": target, "source": source, "value": value, "past_heads": past_heads, "heads": heads})
        return {"edges": found, "heads": [_describe_head(x, *head, looks[head], n_pairs) for head in sorted(looks)]}


def edges_past_heads(x: OpenGraph, targets: Iterable[int]) -> dict[int, Float[Tensor, " n_nodes"]]:
    """The edges into some targets with all heads cut: what stays at its position."""
    every = [(layer, head) for layer in range(x.model.cfg.n_layers) for head in range(x.model.cfg.n_heads)]
    cut = with_heads_cut(x, every)
    return {target: row_of(cut, target) for target in dict.fromkeys(targets)}


def _strongest_heads(parts: Float[Tensor, "layer head query key"], n: int) -> list[dict[str, Any]]:
    """The heads with the largest absolute parts of an edge, and between which positions each moves most."""
    sums = parts.sum((2, 3))
    heads = []
    for place in sums.abs().flatten().argsort(descending=True).tolist()[:n]:
        layer, head = divmod(place, sums.shape[1])
        if sums[layer, head] != 0:
            query, key = divmod(int(parts[layer, head].abs().argmax()), parts.shape[3])
            loading = float(sums[layer, head])
            heads.append({"layer": layer, "head": head, "loading": loading, "query": query, "key": key})
    return heads


def _describe_head(
    x: OpenGraph, layer: int, head: int, looks: Iterable[tuple[int, int]], n_pairs: int
) -> dict[str, Any]:
    found = head_on_prompt(x, layer, head)
    described = []
    for query, key in looks:
        others = [other for other in found.visible(query) if other != key]
        split = pair_attributions(found, query, key, others or None)
        described.append(
            {
                "query": query,
                "key": key,
                "score": float(found.scores[query, key]),
                "contrast": split.value if others else None,
                "pairs": [pair._asdict() for pair in strongest_pairs(split.pairs, n_pairs)],
            }
        )
    return {"layer": layer, "head": head, "pattern": x.pattern(layer, head).float().tolist(), "looks": described}


def _check_edges(result: AttributionResult, edges: Sequence[tuple[int, int]]) -> None:
    n, reads = len(result.graph), (NodeType.LATENT, NodeType.LOGIT)
    for target, source in edges:
        if not (0 <= target < n and 0 <= source < n):
            raise ValueError(f"There is no edge from node {source} to node {target}: the graph has {n} nodes.")
        if result.graph.nodes[target].node_type not in reads:
            raise ValueError(
                f"Node {target} ({result.graph.nodes[target].node_id}) reads nothing, so no edge leads to it."
            )
