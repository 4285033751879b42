"""A traced graph opened again: the frozen model it was made in, and what chapter 7 asks of it.

The frozen run, the nodes and what they write are those of chapters 3, 5 and 6; this file puts them together for all three
kinds of nodes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import (
    FreezeHooks,
    FrozenRun,
    TranscoderReplacementHooks,
    linear_hooks,
    setup_attribution,
)
from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, collect_sources
from solutions.chapter5_cross_layer_transcoders.tracing import PlaceSources
from solutions.chapter6_real_models import NeuronHooks, linearise
from utils.engine.arguments import TracingArguments, evaluating
from utils.engine.cross_layer import CrossLayerWeights
from utils.engine.graph import AttributionResult, GraphNodes, NodeType, at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK, NO_LOGITS, Hook, Transcoder, hooked, writing_hook
from utils.engine.neurons import acts_hook


@dataclass
class OpenGraph:
    """A graph together with the frozen model in which its edges were computed.

    Attributes:
        model, tokens, graph: what was traced, and the nodes.
        freeze: patterns and scales on this prompt.
        run: the recorded run of the frozen model.
        sources: "E" and every layer -> the nodes that write there, and what they write.
        linear: hooks of the linear model as a forward pass; on the prompt it gives the model's own values.
        silent: for every layer (seq, d_model): the residual stream in front of it when no node writes.
        scores: for every layer (head, query, key): the model's attention scores, as the softmax gets them.
        rotations: for every layer cosines and sines of its rotary rotation, each (seq, d_rotary); of width 0 where there is none.
    """

    model: TransformerBridge
    tokens: Int[Tensor, "1 seq"]
    graph: GraphNodes
    freeze: FreezeHooks
    run: FrozenRun
    sources: dict[int | str, PlaceSources]
    linear: list[Hook]
    silent: list[Float[Tensor, "seq d_model"]]
    scores: list[Float[Tensor, "head query key"]]
    rotations: list[tuple[Float[Tensor, "seq d_rotary"], Float[Tensor, "seq d_rotary"]]]

    def stream(self, layer: int) -> Float[Tensor, "seq d_model"]:
        """The residual stream in front of `layer`: a live tensor, which knows how it was computed."""
        return self.run.writes["E" if layer == 0 else layer - 1][0]

    def pattern(self, layer: int, head: int) -> Float[Tensor, "query key"]:
        """How much the head looks from each query at each key, on this prompt."""
        return self.freeze.frozen_values[pattern_hook(layer)][0, head]


def pattern_hook(layer: int) -> str:
    """Where the heads of `layer` look: (batch, head, query, key)."""
    return f"blocks.{layer}.attn.hook_pattern"


def scores_hook(layer: int) -> str:
    """The attention scores of all heads of `layer`, as the softmax gets them."""
    return f"blocks.{layer}.attn.hook_attn_scores"


def stream_hook(layer: int) -> str:
    """The residual stream in front of `layer`."""
    return f"blocks.{layer}.hook_in"


def open_graph(
    model: TransformerBridge,
    dictionary: Mapping[int, Transcoder] | CrossLayerTranscoder | CrossLayerWeights | None,
    result: AttributionResult,
) -> OpenGraph:
    """Freeze the model on the prompt of a traced graph again, and collect what its nodes write.

    Args:
        model: the model that was traced.
        dictionary: what it was traced with: transcoders, a cross-layer transcoder, or None for the model's own neurons.
        result: from `attribute`, `attribute_cross_layer` or `attribute_neurons`, before or after `save` and `load`.

    Raises:
        ValueError: the graph was made of another model or with another dictionary.
    """
    embeddings = result.graph.nodes[: result.graph.seq_len]
    tokens = torch.tensor([[node.feature for node in embeddings]], device=model.W_U.device)
    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        if dictionary is None:
            return _open_neurons(model, tokens, result.graph)
        if isinstance(dictionary, Mapping):
            return _open_transcoders(model, dict(dictionary), tokens, result.graph)
        clt = dictionary
        if isinstance(clt, CrossLayerWeights):
            clt = CrossLayerTranscoder.from_weights(clt)
        return _open_cross_layer(model, clt, tokens, result.graph)


def sources_of(graph: GraphNodes) -> dict[int | str, PlaceSources]:
    """What writes where, for nodes that write at one place only: all but the latents of a cross-layer transcoder."""
    sources = {}
    for place, (start, end) in graph.node_range_dict.items():
        if place != "L":
            nodes = torch.arange(start, end, device=graph.writing_vecs.device)
            positions = torch.tensor([node.ctx_idx for node in graph.nodes[start:end]], dtype=torch.long).to(nodes)
            sources[place] = PlaceSources(nodes, positions, graph.writing_vecs[start:end])
    return sources


def _open_transcoders(
    model: TransformerBridge, transcoders: dict[int, Transcoder], tokens: Int[Tensor, "1 seq"], graph: GraphNodes
) -> OpenGraph:
    freeze = FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    tc_hooks = TranscoderReplacementHooks(model, transcoders, cache)
    linear = linear_hooks(freeze, tc_hooks)
    return _record(model, tokens, graph, freeze, tc_hooks, sources_of(graph), linear, cache)


def _open_cross_layer(
    model: TransformerBridge, clt: CrossLayerTranscoder, tokens: Int[Tensor, "1 seq"], graph: GraphNodes
) -> OpenGraph:
    freeze = FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    tc_hooks = TranscoderReplacementHooks(model, clt.weights().transcoders(), cache)
    linear = linear_hooks(freeze, tc_hooks)
    return _record(model, tokens, graph, freeze, tc_hooks, collect_sources(clt, graph, cache), linear, cache)


def _open_neurons(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], graph: GraphNodes) -> OpenGraph:
    x = linearise(model, tokens, TracingArguments(n_output_nodes=1))
    for i in graph.indices(NodeType.LATENT):
        node = graph.nodes[i]
        mask = x.hooks.nodes.setdefault(node.layer, torch.zeros_like(x.hooks.acts[node.layer], dtype=torch.bool))
        mask[node.ctx_idx, node.feature] = True
    linear = [*x.freeze.fwd_hooks, *_linear_neurons(x.hooks)]
    return _record(model, tokens, graph, x.freeze, x.hooks, sources_of(graph), linear, x.cache)


def _linear_neurons(hooks: NeuronHooks) -> list[Hook]:
    """The linear model in the forward pass, in which neurons that are nodes write what they wrote."""

    def keep_nodes(layer: int) -> Callable[..., Tensor]:
        kept = hooks.acts[layer] * hooks.nodes[layer]
        return lambda acts, hook: acts + kept.to(acts)

    return [*hooks.live_hooks, *((acts_hook(layer), keep_nodes(layer)) for layer in hooks.nodes)]


def _record(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    graph: GraphNodes,
    freeze: FreezeHooks,
    replaced: TranscoderReplacementHooks | NeuronHooks,
    sources: dict[int | str, PlaceSources],
    linear: list[Hook],
    cache: ActivationCache,
) -> OpenGraph:
    """The runs that all three kinds of nodes need."""
    embedding = sources["E"].vectors
    if embedding.shape != cache[EMBEDDING_HOOK][0].shape or not torch.allclose(
        embedding.float(), cache[EMBEDDING_HOOK][0].float(), rtol=1e-3, atol=1e-3
    ):
        raise ValueError("The graph was not made of this model: its embeddings differ. Trace the prompt again.")
    layers = range(model.cfg.n_layers)
    run = setup_attribution(model, tokens, freeze, replaced)
    scores = activations(model, tokens, freeze.fwd_hooks, [scores_hook(layer) for layer in layers])
    silent = activations(
        model, tokens, [*freeze.fwd_hooks, *replaced.silent_hooks], [stream_hook(layer) for layer in layers]
    )
    kept = [at_least_float32(x[0]) for x in silent]
    rotations = _rotations(model, tokens, kept)
    return OpenGraph(model, tokens, graph, freeze, run, sources, linear, kept, [x[0] for x in scores], rotations)


def _rotations(
    model: TransformerBridge, tokens: Int[Tensor, "1 seq"], silent: Sequence[Float[Tensor, "seq d_model"]]
) -> list[tuple[Float[Tensor, "seq d_rotary"], Float[Tensor, "seq d_rotary"]]]:
    """Cosines and sines of every layer, from one run; without any column where a layer does not rotate."""
    layers = range(len(silent))
    names = [[f"blocks.{layer}.attn.hook_{part}" for part in ("cos", "sin")] for layer in layers]
    rotating = [layer for layer in layers if model.get_hook_point(names[layer][0]) is not None]
    found = activations(model, tokens, (), [name for layer in rotating for name in names[layer]]) if rotating else []
    pairs = {layer: (found[2 * i][0], found[2 * i + 1][0]) for i, layer in enumerate(rotating)}
    return [pairs.get(layer, (silent[layer][:, :0],) * 2) for layer in layers]


@torch.no_grad()
def activations(
    model: TransformerBridge, tokens: Int[Tensor, "batch seq"], hooks: Sequence[Hook], names: Sequence[str]
) -> list[Tensor]:
    """What the model has at some places, in a run with these hooks; places come in the order of `names`."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def note(value: Tensor, hook: HookPoint) -> None:
            found[name] = value.detach()

        return note

    with hooked(model, [*hooks, *((name, keep(name)) for name in names), NO_LOGITS]):
        model(tokens)
    return [found[name] for name in names]


def writes_added(x: OpenGraph, nodes: Sequence[Sequence[int]], times: float) -> list[Hook]:
    """Hooks for a batch of runs: in row r, each of `nodes[r]` writes `times` its vector in addition, wherever it writes."""
    hooks: list[Hook] = []
    width = x.graph.writing_vecs.shape[1]
    for place, (where, positions, vectors) in x.sources.items():
        added = vectors.new_zeros(len(nodes), x.graph.seq_len, width)
        for row, chosen in enumerate(nodes):
            here = torch.isin(where, torch.tensor(list(chosen), dtype=torch.long, device=where.device))
            added[row].index_add_(0, positions[here], times * vectors[here])
        if bool(added.any()):
            name = EMBEDDING_HOOK if place == "E" else writing_hook(place)
            hooks.append((name, lambda stream, hook, added=added: stream + added.to(stream)))
    return hooks
