"""What each box of the page does in the real model: its latents are silenced, and so are others that write as much.

Nothing is frozen: attention, norms and all later latents answer. Silenced means zero, whatever the activation would have been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions import Edit, intervene, matched_controls, run_base
from solutions.trace.paths import likeliest_answer
from utils.engine.arguments import evaluating, tokenize_prompt
from utils.engine.graph import AttributionResult, NodeInfo, NodeType
from utils.engine.hooks import FINAL_HOOK, hooked

N_CONTROLS = 5

Silence = Callable[[Sequence[NodeInfo]], object]  # runs the model with these latents at zero


class Ablation(NamedTuple):
    """A box without which the model was run.

    Attributes:
        nodes: its latents, as indices into ``result.graph.nodes``.
        removed: the target's value without them.
        control: mean of the target's values without as many others that write as much; None where there are too few others.
    """

    nodes: list[int]
    removed: float
    control: float | None


class Ablations(NamedTuple):
    """The value of the target in the unchanged model, and without each box."""

    baseline: float
    boxes: list[Ablation]


def ablate_boxes(
    model: TransformerBridge,
    dictionary: object,
    result: AttributionResult,
    boxes: Sequence[Sequence[int]],
    position: int | None = None,
) -> Ablations:
    """Run the model without the latents of each box, and without ``N_CONTROLS`` draws of others of the same written length.

    Args:
        model, dictionary: what was traced: transcoders, a cross-layer transcoder, or None for neurons.
        boxes: nodes of ``result.graph`` by index. What is no latent cannot be silenced; a box without any is left out.
        position: as for ``attribute``.

    Returns:
        Values of the target that weighs most: of a token its logit less the mean of all logits.
    """
    tokens = tokenize_prompt(model, result.prompt, position)
    silence = _silencer(model, dictionary, tokens)
    vector = result.graph.reading_vecs[likeliest_answer(result)]

    def value(indices: Sequence[int]) -> float:
        return _reading(model, vector, lambda: silence([result.graph.nodes[i] for i in indices]))

    shown = [
        i for i in result.graph.indices(NodeType.LATENT) if result.graph.nodes[i].ctx_idx >= result.graph.start_posn
    ]
    lengths = result.graph.writing_vecs[shown].norm(dim=1).float().cpu()
    generator = torch.Generator().manual_seed(0)
    measured = []
    with evaluating(model):
        for box in boxes:
            chosen = [shown.index(i) for i in box if i in shown]
            if not chosen:
                continue
            draws = _controls(lengths, chosen, generator)
            values = [value([shown[i] for i in draw]) for draw in draws]
            control = sum(values) / len(values) if values else None
            latents = [shown[i] for i in chosen]
            measured.append(Ablation(latents, value(latents), control))
        return Ablations(value([]), measured)


def ablate_graph(
    model: TransformerBridge, dictionary: object, result: AttributionResult, graph: dict[str, Any]
) -> dict[str, Any]:
    """Measure the boxes with which the graph's page opens, and write the outcome into the graph.

    Returns:
        What was written, with the boxes' ``names``.
    """
    place = {node["node_id"]: i for i, node in zip(result.kept_indices.tolist(), graph["nodes"])}
    groups = [members for _, *members in graph["qParams"]["supernodes"]]
    grouped = {name for members in groups for name in members}
    boxes = groups + [[name] for name in graph["qParams"]["pinnedIds"] if name not in grouped]
    # the result's prompt ends where the target is read
    ablations = ablate_boxes(model, dictionary, result, [[place[name] for name in box] for box in boxes])
    graph["metadata"]["ablations"] = as_metadata(ablations, result, {i: name for name, i in place.items()})
    return graph["metadata"]["ablations"] | {"names": _box_names(graph)}


def _box_names(graph: dict[str, Any]) -> list[str]:
    """The names of the measured boxes, in their order."""
    named = {frozenset(members): name for name, *members in graph["qParams"]["supernodes"]}
    single = {node["node_id"]: node["clerp"] or node["node_id"] for node in graph["nodes"]}
    boxes = graph["metadata"]["ablations"]["boxes"]
    return [named.get(frozenset(box["nodes"])) or single[box["nodes"][0]] for box in boxes]


def as_metadata(ablations: Ablations, result: AttributionResult, ids: Mapping[int, str]) -> dict[str, Any]:
    """The ablations as a part of a graph file's metadata; other tools leave it alone.

    Args:
        ids: the ``node_id`` in the file of every kept node.
    """
    return {
        "target": result.graph.nodes[likeliest_answer(result)].str_token,
        "baseline": ablations.baseline,
        "draws": N_CONTROLS,
        "boxes": [
            {"nodes": [ids[i] for i in box.nodes], "removed": box.removed, "control": box.control}
            for box in ablations.boxes
        ],
    }


def _controls(lengths: Float[Tensor, " n"], chosen: Sequence[int], generator: torch.Generator) -> list[list[int]]:
    if len(lengths) < 2 * len(chosen):
        return []
    return [matched_controls(lengths, chosen, generator) for _ in range(N_CONTROLS)]


@torch.no_grad()
def _reading(model: TransformerBridge, vector: Float[Tensor, " d_model"], run: Callable[[], object]) -> float:
    """What a target reads at the last position in this run."""
    seen: list[Tensor] = []
    with hooked(model, [(FINAL_HOOK, lambda value, hook: seen.append(value))]):
        run()
    last = seen[-1][0, -1]
    return float(last.to(vector) @ vector)


def _silencer(model: TransformerBridge, dictionary: Any, tokens: Int[Tensor, "1 seq"]) -> Silence:
    """A run of the model with some latents at zero, by chapter 4, 5 or 6, whichever knows such latents."""
    if dictionary is None:
        return _neuron_silencer(model, tokens)
    if isinstance(dictionary, Mapping):
        base = run_base(model, dictionary, tokens)
        return lambda nodes: intervene(model, dictionary, base, _zeroed(nodes), freeze_attention=False)
    from solutions.chapter5_cross_layer_transcoders import (
        CrossLayerTranscoder,
        intervene_cross_layer,
        run_base_cross_layer,
    )

    clt = CrossLayerTranscoder.from_weights(dictionary)
    base = run_base_cross_layer(model, clt, tokens)
    return lambda nodes: intervene_cross_layer(model, clt, base, _zeroed(nodes), freeze_attention=False)


def _zeroed(nodes: Sequence[NodeInfo]) -> list[Edit]:
    return [Edit(int(node.layer), node.ctx_idx, node.feature, 0.0) for node in nodes]


def _neuron_silencer(model: TransformerBridge, tokens: Int[Tensor, "1 seq"]) -> Silence:
    from solutions.chapter6_real_models import set_neurons
    from utils.engine.neurons import neuron_weights

    width = len(neuron_weights(model, 0).W_out)
    shape = (1, model.cfg.n_layers, tokens.shape[1], width)

    def silence(nodes: Sequence[NodeInfo]) -> object:
        where = torch.zeros(shape, dtype=torch.bool, device=tokens.device)
        for node in nodes:
            where[0, int(node.layer), node.ctx_idx, node.feature] = True
        return set_neurons(model, tokens, where)

    return silence
