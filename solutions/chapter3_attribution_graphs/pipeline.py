"""The whole pipeline: from a prompt to a pruned attribution graph."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs.edges import (
    completeness_gap,
    compute_adjacency_matrix,
    compute_bias,
    prepare_backward_batches,
    read_targets,
    setup_attribution,
)
from solutions.chapter3_attribution_graphs.freezing import FreezeHooks, TranscoderReplacementHooks
from solutions.chapter3_attribution_graphs.influence import compute_graph_scores, compute_influence, prune_graph
from solutions.chapter3_attribution_graphs.nodes import build_graph_nodes
from utils.engine.arguments import (
    TracingArguments,
    check_threshold,
    evaluating,
    first_visible_position,
    name_of,
    text_of,
    tokenize_prompt,
)
from utils.engine.cross_layer import refuse_cross_layer
from utils.engine.graph import AttributionResult, GraphNodes, NodeType, warn_of_gap
from utils.engine.hooks import NO_LOGITS, Transcoder, check_transcoders, hooked
from utils.engine.records import compute_salient_logits
from utils.engine.targets import GivenTargets, OutputToken, as_targets


def pack_result(
    graph: GraphNodes,
    logit_weights: Float[Tensor, " n_logits"],
    adjacency: Float[Tensor, "n_nodes n_nodes"],
    bias: Float[Tensor, " n_nodes"],
    values: Float[Tensor, " n_nodes"],
    kept_indices: Int[Tensor, " n_kept"],
    pruned_matrix: Float[Tensor, "n_kept n_kept"],
    **described,
) -> AttributionResult:
    """Score a traced graph and pack it: the last step for every kind of dictionary.

    Args:
        graph, logit_weights, adjacency, bias, values: the graph before pruning.
        kept_indices, pruned_matrix: from `prune_graph`.
        described: the result's other fields: `prompt`, thresholds, names.

    Raises:
        ValueError: a value is not finite.
    """
    if not bool(values.isfinite().all()):
        raise ValueError(
            "The model's activations on this prompt are not finite: load it in float32 (dtype); if it is, its weights are damaged."
        )
    influence = compute_influence(adjacency, logit_weights, graph.n_layers)
    scores = compute_graph_scores(adjacency, logit_weights, graph)
    scores["completeness_gap"] = float(completeness_gap(adjacency, bias, values).max())
    warn_of_gap(scores["completeness_gap"])
    return AttributionResult(
        graph=graph,
        adjacency_matrix=adjacency,
        bias=bias,
        values=values,
        influence=influence,
        kept_indices=kept_indices,
        pruned_matrix=pruned_matrix,
        str_tokens=[node.str_token for node in graph.nodes[: graph.seq_len]],
        scores=scores,
        **described,
    )


def trace_graph(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    tokens: Int[Tensor, "1 seq"],
    choice: dict,
    start_posn: int = 0,
    top_k: int | None = None,
    batch_size: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[GraphNodes, Float[Tensor, "n_nodes n_nodes"], Float[Tensor, " n_nodes"], Float[Tensor, " n_nodes"]]:
    """From tokens to edges: linearise the model, build the nodes, walk back.

    Args:
        choice: arguments of `compute_salient_logits` that choose the targets.
        start_posn, top_k: which latents become nodes; arguments of `build_graph_nodes`.
        batch_size: targets that are walked back together.
        progress: handed to `compute_adjacency_matrix`.

    Returns:
        The nodes, the edges [target, source], and every target's bias and value.
    """
    freeze = FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    tc_hooks = TranscoderReplacementHooks(model, transcoders, cache)

    reading_vecs, outputs = compute_salient_logits(model, freeze.logits, **choice)
    graph = build_graph_nodes(model, transcoders, cache, tc_hooks, reading_vecs, outputs, tokens, start_posn, top_k)

    with hooked(model, [NO_LOGITS]):
        run = setup_attribution(model, tokens, freeze, tc_hooks)
    batches = prepare_backward_batches(graph, batch_size)
    adjacency = compute_adjacency_matrix(model, tokens, graph, freeze, tc_hooks, batches, run, progress)
    bias, values = compute_bias(model, tokens, graph, freeze, tc_hooks), read_targets(graph, run.reads)
    return graph, adjacency, bias, values


def attribute(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    prompt: str,
    n_output_nodes: int = 3,
    start_posn: int | None = None,
    top_k: int | None = None,
    batch_size: int = 128,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.85,
    *,
    probability_mass: float | None = None,
    max_output_nodes: int = 10,
    target_tokens: GivenTargets | None = None,
    position: int | None = None,
    max_latent_nodes: int | None = None,
    keep_embeddings: bool = True,
    model_name: str | None = None,
    dictionary_name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> AttributionResult:
    """Trace a prompt: linearise the model, build the nodes, compute the edges, prune.

    Args:
        model: the model.
        transcoders: one for every layer.
        prompt: the text. The model's own rule decides whether a beginning-of-sequence token is put in front.
        n_output_nodes: trace this many of the most probable next tokens, unless `probability_mass` or `target_tokens` is given.
        start_posn: hide positions before this one from the pruned graph. Their latents are not told apart (all that their
            MLPs write is in their error nodes), and they remain sources: the edges still add up. None hides a
            beginning-of-sequence token and nothing else.
        top_k: keep this many latents a position and layer; None keeps every active one. The rest goes into the error nodes.
        batch_size: targets that are walked back together. More is faster and needs more memory; the result is the same.
        node_threshold, edge_threshold: shares of influence to keep, in [0, 1]; higher ones keep more.
        probability_mass, max_output_nodes: trace the smallest set of top tokens that reaches this mass, but no more than this.
        target_tokens: trace exactly this, whatever the other arguments say: a token (a text that is one token, or an id),
            several, a dict token -> weight, or `Target`s: `contrast` (the logit of one token less that of others) and
            `direction` (any vector at the output) make them. All weigh the same unless weights are given.
        position: trace what the model says after the token at this position, not after the last one. The rest of the prompt
            cannot act on it and is left out.
        max_latent_nodes: keep only this many latents in all, those with most influence. They are found while their edges are
            computed, so that the others' edges are never needed; the others go into the error nodes.
        keep_embeddings: never prune the embeddings of visible positions.
        model_name, dictionary_name: names to put into the result; the model's own name if not given.
        progress: called with (targets done, targets in all) during the computation of the edges.

    Returns:
        The result. Its tensors are in float32 even for a model in half precision.

    Raises:
        ValueError: an argument is wrong; the message says what to do.
        TypeError: an argument is of the wrong kind.
    """
    check_transcoders(model, transcoders)
    refuse_cross_layer(transcoders, "use attribute_cross_layer of chapter 5 with the cross-layer transcoder itself")
    given = TracingArguments(
        n_output_nodes=n_output_nodes,
        top_k=top_k,
        batch_size=batch_size,
        node_threshold=node_threshold,
        edge_threshold=edge_threshold,
        probability_mass=probability_mass,
        max_output_nodes=max_output_nodes,
        target_tokens=target_tokens,
        max_latent_nodes=max_latent_nodes,
        keep_embeddings=keep_embeddings,
        model_name=model_name,
        dictionary_name=dictionary_name,
        progress=progress,
    )
    tokens = tokenize_prompt(model, prompt, position)
    prompt = prompt if position is None else text_of(model, tokens)
    start_posn = first_visible_position(model, tokens, start_posn)
    token_ids = as_targets(model, target_tokens)

    with torch.inference_mode(False), torch.no_grad(), evaluating(model):
        tokens = tokens.clone()
        choice = {"n_output_nodes": n_output_nodes, "token_ids": token_ids}
        choice |= {"probability_mass": probability_mass, "max_output_nodes": max_output_nodes}
        if max_latent_nodes is not None:
            from solutions.ranking import attribute_strongest

            return attribute_strongest(model, transcoders, prompt, tokens, start_posn, given)
        graph, adjacency, bias, values = trace_graph(
            model, transcoders, tokens, choice, start_posn, top_k, batch_size, progress
        )
        logit_weights = graph.logit_weights.to(adjacency)
        kept_indices, pruned_matrix = _prune(graph, adjacency, node_threshold, edge_threshold, keep_embeddings)
        return pack_result(
            graph,
            logit_weights,
            adjacency,
            bias,
            values,
            kept_indices,
            pruned_matrix,
            prompt=prompt,
            node_threshold=node_threshold,
            edge_threshold=edge_threshold,
            model_name=name_of(model) if model_name is None else model_name,
            dictionary_name=dictionary_name,
        )


def choose_outputs(
    model: TransformerBridge, logits: Float[Tensor, "1 seq d_vocab"], given: TracingArguments
) -> tuple[Float[Tensor, "n_output d_model"], list[OutputToken]]:
    """The output tokens that the arguments ask for: what `compute_salient_logits` returns."""
    return compute_salient_logits(
        model,
        logits,
        given.n_output_nodes,
        probability_mass=given.probability_mass,
        max_output_nodes=given.max_output_nodes,
        token_ids=as_targets(model, given.target_tokens),
    )


def prune_and_pack(
    model: TransformerBridge,
    prompt: str,
    graph: GraphNodes,
    adjacency: Float[Tensor, "n_nodes n_nodes"],
    bias: Float[Tensor, " n_nodes"],
    values: Float[Tensor, " n_nodes"],
    given: TracingArguments,
) -> AttributionResult:
    """The end of `attribute` for graphs of other dictionaries: prune by the arguments, and pack."""
    logit_weights = graph.logit_weights.to(adjacency)
    thresholds = {"node_threshold": given.node_threshold, "edge_threshold": given.edge_threshold}
    pruned = _prune(graph, adjacency, keep_embeddings=given.keep_embeddings, **thresholds)
    return pack_result(
        graph,
        logit_weights,
        adjacency,
        bias,
        values,
        *pruned,
        prompt=prompt,
        model_name=name_of(model) if given.model_name is None else given.model_name,
        dictionary_name=given.dictionary_name,
        **thresholds,
    )


def prune_again(
    result: AttributionResult, node_threshold: float, edge_threshold: float, keep_embeddings: bool = True
) -> AttributionResult:
    """The same graph pruned with other thresholds. Its edges are not computed again.

    Raises:
        ValueError: a threshold is not in [0, 1].
    """
    check_threshold(node_threshold, "node_threshold")
    check_threshold(edge_threshold, "edge_threshold")
    kept, matrix = _prune(result.graph, result.adjacency_matrix, node_threshold, edge_threshold, keep_embeddings)
    thresholds = {"node_threshold": node_threshold, "edge_threshold": edge_threshold}
    return replace(result, kept_indices=kept, pruned_matrix=matrix, **thresholds)


def _prune(
    graph: GraphNodes,
    adjacency: Float[Tensor, "n_nodes n_nodes"],
    node_threshold: float,
    edge_threshold: float,
    keep_embeddings: bool,
) -> tuple[Int[Tensor, " n_kept"], Float[Tensor, "n_kept n_kept"]]:
    """`prune_graph` with what the graph says: weights, hidden positions, embeddings."""
    weights, keep = graph.logit_weights.to(adjacency), graph.mask(NodeType.EMBEDDING) if keep_embeddings else None
    return prune_graph(adjacency, weights, graph.n_layers, node_threshold, edge_threshold, keep, graph.hidden)
