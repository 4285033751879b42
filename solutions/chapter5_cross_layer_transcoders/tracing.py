"""The attribution graph of a cross-layer transcoder: chapter 3's, except that a latent writes at several layers.

(Ameisen et al. 2025, "Circuit Tracing", section 3.1, "Constructing an attribution graph for a prompt".)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import (
    BackwardBatch,
    FreezeHooks,
    FrozenRun,
    TranscoderReplacementHooks,
    build_graph_nodes,
    choose_outputs,
    compute_bias,
    prepare_backward_batches,
    prune_and_pack,
    read_targets,
    setup_attribution,
    walk_back,
)
from solutions.chapter5_cross_layer_transcoders.transcoder import CrossLayerTranscoder
from solutions.ranking import rank_latents
from utils.engine.arguments import (
    TracingArguments,
    evaluating,
    first_visible_position,
    name_of,
    text_of,
    tokenize_prompt,
)
from utils.engine.graph import AttributionResult, GraphNodes, NodeType, at_least_float32
from utils.engine.hooks import mlp_out_hook, reading_hook
from utils.engine.memory import zero_edges


class PlaceSources(NamedTuple):
    """What writes at one place of the residual stream.

    Attributes:
        nodes: indices into `graph.nodes`, each once.
        positions: where in the prompt they write.
        vectors: what they write here.
    """

    nodes: Int[Tensor, " source"]
    positions: Int[Tensor, " source"]
    vectors: Float[Tensor, "source d_model"]


def latents_of_layer(
    graph: GraphNodes, layer: int
) -> tuple[Int[Tensor, " node"], Int[Tensor, " node"], Int[Tensor, " node"], Float[Tensor, " node"]]:
    """Of the latents of one layer in the graph: index of the node, position, number of the latent, activation."""
    nodes = {i: graph.nodes[i] for i in range(*graph.node_range_dict[layer])}
    latents = {i: node for i, node in nodes.items() if node.node_type is NodeType.LATENT}
    rows = [(i, node.ctx_idx, node.feature) for i, node in latents.items()]
    places = torch.tensor(rows, dtype=torch.long, device=graph.writing_vecs.device).reshape(-1, 3)
    strengths = torch.tensor([node.activation for node in latents.values()], dtype=torch.double)
    return *places.unbind(1), strengths.to(graph.writing_vecs)


def collect_sources(
    clt: CrossLayerTranscoder, graph: GraphNodes, cache: ActivationCache
) -> dict[int | str, PlaceSources]:
    """What writes where: for "E" and for every layer the nodes that write there, with their vectors.

    At "E" the embeddings write `graph.writing_vecs`. Into layer m write the latents of `clt.sources_of(m)` (all layers up to m; only
    m itself with `cross_layer=False`), each its activation times its decoder into m; and last the errors of m, one a position in
    order: `y - b_dec[m] -` what these latents write there.
    `y`, what the MLP of m adds (besides the skip, if the CLT has one), is set below.

    In a layer's range of nodes (`graph.node_range_dict[m]`) the latents come first and then `graph.seq_len` errors. A latent's
    node has its `activation`; `latents_of_layer` gives all that is needed of a layer's latents.
    """
    n_embeddings = graph.node_range_dict["E"][1]
    embeddings = torch.arange(n_embeddings, device=graph.writing_vecs.device)
    sources: dict[int | str, PlaceSources] = {
        "E": PlaceSources(embeddings, embeddings, graph.writing_vecs[:n_embeddings])
    }
    latents = {layer: latents_of_layer(graph, layer) for layer in range(graph.n_layers)}
    for target in range(graph.n_layers):
        x, y = (at_least_float32(cache[hook(target)][0]) for hook in (reading_hook, mlp_out_hook))
        y = y - clt.skip(target, x)
        b_dec = clt.b_dec[target].detach().to(y)
        # Set `sources[target]`.
        ### BEGIN SOLUTION
        nodes, positions, vectors = [], [], []
        error = y - b_dec
        for source in clt.sources_of(target):
            found, where, numbers, acts = latents[source]
            written = acts[:, None] * clt.W_dec[source][target - source].detach().to(y)[numbers]
            error = error.index_add(0, where, -written)
            nodes.append(found)
            positions.append(where)
            vectors.append(written)
        end = graph.node_range_dict[target][1]
        nodes.append(torch.arange(end - graph.seq_len, end, device=error.device))
        positions.append(torch.arange(graph.seq_len, device=error.device))
        sources[target] = PlaceSources(torch.cat(nodes), torch.cat(positions), torch.cat([*vectors, error]))
        ### END SOLUTION
    return sources


def compute_cross_layer_edges(
    graph: GraphNodes,
    sources: dict[int | str, PlaceSources],
    batches: list[BackwardBatch],
    run: FrozenRun,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n_nodes n_nodes"]:
    """Direct effects, [target, source]. A source that writes at several places has one edge: the sum over the places.

    Args:
        graph: the nodes.
        sources: from `collect_sources`: what writes at "E" and into every layer.
        batches, run: from chapter 3's `prepare_backward_batches` and `setup_attribution`.
        progress: called with (targets done, targets in all) after every batch.
    """
    n_nodes, n_targets, n_done = len(graph), sum(len(batch.nodes) for batch in batches), 0
    adjacency = zero_edges(graph.writing_vecs, n_nodes)
    # in this order `walk_back` needs each length of the run once
    for batch in sorted(batches, key=lambda batch: int(batch.positions.max())):
        rows = adjacency[batch.global_start_idx : batch.global_start_idx + len(batch.nodes)]  # a row for each target
        for place, grad in walk_back(run, batch.reading_vecs, batch.positions, batch.layers[0]):
            # Add to `rows` what the sources that write at this place do. `grad` is (target, seq, d_model); `sources[place]` has
            # `nodes`, `positions` and `vectors`.
            ### BEGIN SOLUTION
            nodes, positions, vectors = sources[place]
            effects = (grad[:, positions].to(vectors) * vectors).sum(-1)  # (target, source)
            rows[:, nodes] += effects
            ### END SOLUTION
        n_done += len(batch.nodes)
        if progress is not None:
            progress(n_done, n_targets)
    return adjacency


def cross_layer_effects(
    run: FrozenRun, sources: dict[int | str, PlaceSources], targets: BackwardBatch
) -> dict[int | str, Float[Tensor, "target source"]]:
    """What each source does to one batch of targets by what it writes at each place."""
    effects = {}
    for place, grad in walk_back(run, targets.reading_vecs, targets.positions, targets.layers[0]):
        writers = sources[place]
        effects[place] = torch.einsum("tsd,sd->ts", grad[:, writers.positions].to(writers.vectors), writers.vectors)
    return effects


def edges_of_strongest(
    run: FrozenRun,
    sources: dict[int | str, PlaceSources],
    candidates: GraphNodes,
    nodes: Callable[..., GraphNodes],
    given: TracingArguments,
) -> tuple[GraphNodes, Float[Tensor, "n_nodes n_nodes"]]:
    """The graph of the `given.max_latent_nodes` strongest latents, and its edges.

    Its rows are those that were computed to find the latents. What a latent that is left out writes into a layer goes into the
    error there.

    Args:
        sources: of all candidates.
        nodes: makes the smaller graph from the chosen latents.
    """
    found = []

    def rows_of(targets: BackwardBatch) -> Float[Tensor, "target n_nodes"]:
        found.append(cross_layer_effects(run, sources, targets))
        rows = targets.reading_vecs.new_zeros(len(targets.nodes), len(candidates))
        for place, effects in found[-1].items():
            rows.index_add_(1, sources[place].nodes, effects.to(rows))
        return rows

    ranking = rank_latents(candidates, rows_of, given.max_latent_nodes, given.progress)
    graph = nodes(ranking.selection)
    index = {node.node_id: i for i, node in enumerate(graph.nodes)}
    columns = {}
    for place, (here, positions, _) in sources.items():
        errors = [index.get(f"{place}_error_{position}") for position in positions.tolist()]
        kept = [index.get(candidates.nodes[i].node_id) for i in here.tolist()]
        column = [error if node is None else node for node, error in zip(kept, errors, strict=True)]
        columns[place] = torch.tensor(column, device=here.device)

    adjacency, targets = zero_edges(graph.writing_vecs, len(graph)), iter(ranking.targets)
    for batch in found:
        n_targets = len(batch["E"])
        rows = adjacency.new_zeros(n_targets, len(graph))
        for place, effects in batch.items():
            rows.index_add_(1, columns[place], effects.to(rows))
        adjacency[[index[candidates.nodes[next(targets)].node_id] for _ in range(n_targets)]] = rows
    return graph, adjacency


def attribute_cross_layer(
    model: TransformerBridge, clt: CrossLayerTranscoder, prompt: str, **arguments
) -> AttributionResult:
    """Trace a prompt through a cross-layer transcoder. Result and errors are those of chapter 3's `attribute`.

    In the result, `graph.writing_vecs` has for each latent the sum of all that it writes.

    Args:
        model, clt, prompt: what is traced.
        arguments: all others of chapter 3's `attribute`: `n_output_nodes`, `top_k`, `target_tokens`, ...
    """
    check_fits(model, clt)
    given = TracingArguments(**arguments)
    tokens = tokenize_prompt(model, prompt, given.position)
    prompt = prompt if given.position is None else text_of(model, tokens)
    start_posn = first_visible_position(model, tokens, given.start_posn)

    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        tokens = tokens.clone()
        freeze = FreezeHooks(model)
        cache = freeze.cache_frozen_values(tokens)
        # as far as reading and freezing go, each layer's part is a transcoder like any other
        parts = clt.weights().transcoders(name_of(model))
        tc_hooks = TranscoderReplacementHooks(model, parts, cache)
        outputs = choose_outputs(model, freeze.logits, given)
        run = setup_attribution(model, tokens, freeze, tc_hooks)
        nodes = partial(build_graph_nodes, model, parts, cache, tc_hooks, *outputs, tokens, start_posn)
        graph = nodes(given.top_k)
        sources = collect_sources(clt, graph, cache)
        if given.max_latent_nodes is None:
            batches = prepare_backward_batches(graph, given.batch_size)
            adjacency = compute_cross_layer_edges(graph, sources, batches, run, given.progress)
        else:
            graph, adjacency = edges_of_strongest(run, sources, graph, nodes, given)
            sources = collect_sources(clt, graph, cache)
        for layer in parts:
            errors = sources[layer].nodes[-graph.seq_len :]
            graph.writing_vecs[errors] = sources[layer].vectors[-graph.seq_len :].to(graph.writing_vecs)

        bias, values = compute_bias(model, tokens, graph, freeze, tc_hooks), read_targets(graph, run.reads)
        return prune_and_pack(model, prompt, graph, adjacency, bias, values, given)


def check_fits(model: TransformerBridge, clt: CrossLayerTranscoder) -> None:
    """Refuse a cross-layer transcoder of another model.

    Raises:
        ValueError: number of layers or width of the residual stream differ.
    """
    given, wanted = tuple(clt.b_dec.shape), (model.cfg.n_layers, model.cfg.d_model)
    if given != wanted:
        raise ValueError(
            f"The cross-layer transcoder is made for {given[0]} layers of {given[1]} dimensions, but the model has "
            f"{wanted[0]} layers of {wanted[1]}."
        )
