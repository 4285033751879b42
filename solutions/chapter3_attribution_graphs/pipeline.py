"""The whole pipeline: from a prompt to a pruned attribution graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs.edges import (
    completeness_gap,
    compute_adjacency_matrix,
    compute_bias,
    compute_values,
    prepare_backward_batches,
    setup_attribution,
)
from solutions.chapter3_attribution_graphs.freezing import (
    FreezeHooks,
    Transcoder,
    TranscoderReplacementHooks,
    check_transcoders,
)
from solutions.chapter3_attribution_graphs.influence import compute_graph_scores, compute_influence, prune_graph
from solutions.chapter3_attribution_graphs.nodes import build_graph_nodes, compute_salient_logits
from utils.graph import AttributionResult, GraphNodes, NodeType


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
    target_tokens: Sequence[str | int] | None = None,
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
        target_tokens: trace exactly these tokens (texts that are one token each, or ids).
        keep_embeddings: never prune the embeddings of visible positions.
        model_name, dictionary_name: names to put into the result; the model's own name if not given.
        progress: called with (targets done, targets in all) during the computation of the edges.

    Returns:
        The result. Its tensors are in float32 even for a model in half precision.

    Raises:
        ValueError: an argument is wrong; the message says what to do.
    """
    check_transcoders(model, transcoders)
    tokens = _tokenize(model, prompt)
    start_posn = _check_arguments(model, tokens, start_posn, top_k, batch_size, node_threshold, edge_threshold)
    token_ids = None if target_tokens is None else [_token_id(model, token) for token in target_tokens]

    with torch.inference_mode(False), torch.no_grad(), _evaluating(model):
        tokens = tokens.clone()
        freeze = FreezeHooks(model)
        cache = freeze.cache_frozen_values(tokens)
        tc_hooks = TranscoderReplacementHooks(model, transcoders, cache)
        reading_vecs, output_tokens = compute_salient_logits(
            model,
            freeze.logits,
            n_output_nodes,
            probability_mass=probability_mass,
            max_output_nodes=max_output_nodes,
            token_ids=token_ids,
        )
        graph = build_graph_nodes(
            model, transcoders, cache, tc_hooks, reading_vecs, output_tokens, tokens, start_posn, top_k
        )

        run = setup_attribution(model, tokens, freeze, tc_hooks)
        values = compute_values(graph, run)
        if not bool(values.isfinite().all()):
            raise ValueError("The model's activations on this prompt are not finite; load the model in float32.")
        batches = prepare_backward_batches(graph, batch_size)
        adjacency = compute_adjacency_matrix(model, tokens, graph, freeze, tc_hooks, batches, run, progress)
        bias = compute_bias(model, tokens, graph, freeze, tc_hooks)

        logit_weights = torch.tensor([token.prob for token in output_tokens]).to(adjacency)
        hidden = hidden_nodes(graph)
        keep = _nodes_of_type(graph, NodeType.EMBEDDING) & ~hidden if keep_embeddings else None
        kept_indices, pruned_matrix = prune_graph(
            adjacency, logit_weights, graph.n_layers, node_threshold, edge_threshold, keep, hidden
        )
        scores = compute_graph_scores(adjacency, logit_weights, graph)
        scores["completeness_gap"] = float(completeness_gap(adjacency, bias, values).max())

    return AttributionResult(
        graph=graph,
        adjacency_matrix=adjacency,
        bias=bias,
        values=values,
        influence=compute_influence(adjacency, logit_weights, graph.n_layers),
        kept_indices=kept_indices,
        pruned_matrix=pruned_matrix,
        prompt=prompt,
        str_tokens=[node.str_token for node in graph.nodes[: graph.seq_len]],
        node_threshold=node_threshold,
        edge_threshold=edge_threshold,
        model_name=_default_name(model) if model_name is None else model_name,
        dictionary_name=dictionary_name,
        scores=scores,
    )


def _default_name(model: TransformerBridge) -> str:
    """The model's name on the hub, or the last part of the folder it was loaded from."""
    name = str(getattr(model.cfg, "model_name", None) or "")
    return Path(name).name if Path(name).is_absolute() else name


def hidden_nodes(graph: GraphNodes) -> Bool[Tensor, " n_nodes"]:
    """Nodes at positions before `start_posn`."""
    positions = [node.ctx_idx for node in graph.nodes]
    return torch.tensor(positions, device=graph.writing_vecs.device) < graph.start_posn


def _nodes_of_type(graph: GraphNodes, node_type: NodeType) -> Bool[Tensor, " n_nodes"]:
    return torch.tensor([node.node_type is node_type for node in graph.nodes], device=graph.writing_vecs.device)


def _tokenize(model: TransformerBridge, prompt: str) -> Int[Tensor, "1 seq"]:
    """The prompt's tokens.

    Raises:
        ValueError: there are none, or more than the model can take.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("The prompt is empty; give at least one word.")
    tokens = model.to_tokens(prompt, truncate=False)
    n_ctx = getattr(model.cfg, "n_ctx", None)
    if n_ctx and tokens.shape[1] > n_ctx:
        raise ValueError(f"The prompt has {tokens.shape[1]} tokens, but the model takes at most {n_ctx}; shorten it.")
    return tokens


def _check_arguments(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    start_posn: int | None,
    top_k: int | None,
    batch_size: int,
    node_threshold: float,
    edge_threshold: float,
) -> int:
    """Refuse numbers out of range; return the first visible position."""
    for name, threshold in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
        if not 0 <= threshold <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {threshold}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    if top_k is not None and top_k < 0:
        raise ValueError(f"top_k must be at least 0, or None to keep every active latent, not {top_k}.")
    seq_len = tokens.shape[1]
    if start_posn is None:
        starts_with_bos = tokens[0, 0].item() == model.tokenizer.bos_token_id
        return int(starts_with_bos and seq_len > 1)
    if not 0 <= start_posn < seq_len:
        raise ValueError(f"start_posn must be between 0 and {seq_len - 1} for this prompt, not {start_posn}.")
    return start_posn


def _token_id(model: TransformerBridge, token: str | int) -> int:
    """The id of a text that is a single token.

    Raises:
        ValueError: the text is unknown or takes several tokens.
    """
    d_vocab = model.W_U.shape[1]
    if isinstance(token, int):
        if not 0 <= token < d_vocab:
            raise ValueError(f"There is no token {token}; ids go from 0 to {d_vocab - 1}.")
        return token
    ids = model.tokenizer.encode(token, add_special_tokens=False)
    if len(ids) == 1 and (ids[0] != model.tokenizer.unk_token_id or token == model.tokenizer.unk_token):
        return ids[0]
    if len(ids) < 2:
        raise ValueError(f"The model does not know the token {token!r}; give one that is in its vocabulary.")
    pieces = " | ".join(model.tokenizer.decode([i]) for i in ids)
    raise ValueError(
        f"{token!r} is not one token but {len(ids)} ({pieces}); give a single token, such as the first one."
    )


@contextmanager
def _evaluating(model: TransformerBridge) -> Iterator[None]:
    """Without dropout; the model's mode is put back at the end."""
    # the bridge does not own the Hugging Face model that it runs
    modules = {*model.modules(), *model.original_model.modules()}
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
