"""The nodes of the graph, and the vectors by which they write to and read from the residual stream.

    node        writes                            reads
    embedding   the embedding                     -
    latent      activation * W_dec[latent]        W_enc[:, latent], after ln2
    MLP error   what the kept latents leave out   -
    logit       -                                 W_U[:, token] - mean of W_U, after ln_final

(Circuit Tracing, section 3, "Attribution graphs".)
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs.freezing import (
    EMBEDDING_HOOK,
    Transcoder,
    TranscoderReplacementHooks,
    mlp_out_hook,
    reading_hook,
)
from utils.graph import GraphNodes, NodeInfo, NodeType


class OutputToken(NamedTuple):
    """A token whose logit becomes a node."""

    str_token: str
    prob: float
    token_id: int


def compute_salient_logits(
    model: TransformerBridge,
    logits: Float[Tensor, "batch seq d_vocab"],
    n_output_nodes: int = 3,
    *,
    probability_mass: float | None = None,
    max_output_nodes: int = 10,
    token_ids: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "n_output d_model"], list[OutputToken]]:
    """Choose the output tokens and return their reading vectors, the demeaned columns of `W_U`.

    A vector that raises all logits alike changes no probability; subtracting the mean column takes it out.

    Args:
        model: the model.
        logits: logits of the model; the last position of the first prompt counts.
        n_output_nodes: take this many of the most probable tokens, unless one of the next arguments is given.
        probability_mass: take the smallest set of top tokens whose probabilities add up to this much (between 0 and 1) ...
        max_output_nodes: ... but no more than this many.
        token_ids: take exactly these tokens, in this order.

    Returns:
        The reading vectors (one row a token), and for each token its text, probability and id.

    Raises:
        ValueError: an argument is out of range.
    """
    probs = logits[0, -1].detach().float().softmax(dim=-1)
    ids = _choose_tokens(probs, n_output_nodes, probability_mass, max_output_nodes, token_ids)
    W_U = model.W_U.detach()
    reading_vecs = _at_least_float32(W_U[:, ids].T) - _at_least_float32(W_U).mean(dim=-1)
    chosen = zip(ids.tolist(), probs[ids].tolist(), strict=True)
    return reading_vecs, [OutputToken(model.tokenizer.decode([i]), prob, i) for i, prob in chosen]


def _at_least_float32(x: Tensor) -> Tensor:
    """Half precision is for the model's own computation; sums over many nodes need more."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _choose_tokens(
    probs: Float[Tensor, " d_vocab"],
    n_output_nodes: int,
    probability_mass: float | None,
    max_output_nodes: int,
    token_ids: Sequence[int] | None,
) -> Int[Tensor, " n_output"]:
    d_vocab = probs.shape[0]
    if token_ids is not None:
        ids = list(dict.fromkeys(token_ids))
        if not ids or not all(0 <= i < d_vocab for i in ids):
            raise ValueError(f"Token ids must be between 0 and {d_vocab - 1}, and at least one is needed; got {ids}.")
        return torch.tensor(ids, device=probs.device)
    if probability_mass is None:
        if n_output_nodes < 1:
            raise ValueError(f"n_output_nodes must be at least 1, not {n_output_nodes}.")
        return probs.topk(min(n_output_nodes, d_vocab)).indices
    if not 0 < probability_mass <= 1:
        raise ValueError(f"probability_mass must be above 0 and at most 1, not {probability_mass}.")
    if max_output_nodes < 1:
        raise ValueError(f"max_output_nodes must be at least 1, not {max_output_nodes}.")
    top = probs.topk(min(max_output_nodes, d_vocab))
    # the first token that reaches the mass is still needed
    n_below = int((top.values.cumsum(0) < probability_mass).sum())
    return top.indices[: n_below + 1]


def build_embedding_nodes(
    model: TransformerBridge, cache: ActivationCache, tokens: Int[Tensor, "1 seq"]
) -> tuple[list[NodeInfo], Float[Tensor, "seq d_model"], Float[Tensor, "seq d_model"]]:
    """One node a position. It writes its embedding (with the position's, where the model adds one) and reads nothing.

    Returns:
        The nodes, their writing vectors and their reading vectors (zeros).
    """
    writing_vecs = _at_least_float32(cache[EMBEDDING_HOOK][0])
    nodes = [
        NodeInfo(NodeType.EMBEDDING, layer="E", ctx_idx=pos, feature=token, str_token=model.tokenizer.decode([token]))
        for pos, token in enumerate(tokens[0].tolist())
    ]
    return nodes, writing_vecs, torch.zeros_like(writing_vecs)


def select_latents(
    acts: Float[Tensor, "seq d_latents"], start_posn: int = 0, top_k: int | None = None
) -> tuple[Int[Tensor, " n_latents"], Int[Tensor, " n_latents"]]:
    """Positions and indices of the latents to keep: the active ones, at most `top_k` a position, from `start_posn` on."""
    active = acts > 0
    if top_k is not None and top_k < acts.shape[-1]:
        largest = torch.zeros_like(active)
        largest.scatter_(-1, acts.topk(top_k, dim=-1).indices, True)
        active &= largest
    active[:start_posn] = False
    positions, latents = active.nonzero(as_tuple=True)
    return positions, latents


def build_intermediate_nodes(
    transcoders: dict[int, Transcoder],
    cache: ActivationCache,
    tc_hooks: TranscoderReplacementHooks,
    tokens: Int[Tensor, "1 seq"],
    d_model: int,
    start_posn: int = 0,
    top_k: int | None = None,
) -> tuple[
    list[NodeInfo], Float[Tensor, "n_nodes d_model"], Float[Tensor, "n_nodes d_model"], dict[int, tuple[int, int]]
]:
    """Latents and MLP errors of all layers; in each layer first the latents, then one error a position.

    The error is all that the MLP writes and nobody else accounts for: `y - b_dec - x @ W_skip.T - sum of kept a * W_dec`.
    Latents that `top_k` leaves out are therefore in the error. Before `start_posn` there are only errors.

    Args:
        transcoders: layer -> transcoder.
        cache: from `FreezeHooks.cache_frozen_values`.
        tc_hooks: has the activations of the latents.
        tokens: the prompt.
        d_model: width of the residual stream.
        start_posn: first position whose latents become nodes.
        top_k: keep this many latents a position and layer; None keeps every active one.

    Returns:
        The nodes, their writing vectors, their reading vectors, and layer -> (first, one past the last) index.
    """
    nodes: list[NodeInfo] = []
    writing_vecs, reading_vecs, ranges = [], [], {}
    seq_len = tokens.shape[1]
    for layer in sorted(transcoders):
        start, transcoder = len(nodes), transcoders[layer]
        acts, x, y = tc_hooks.transcoder_acts[layer], cache[reading_hook(layer)], cache[mlp_out_hook(layer)]
        acts, x, y = (_at_least_float32(tensor[0]) for tensor in (acts, x, y))
        positions, latents = select_latents(acts, start_posn, top_k)
        kept_acts = acts[positions, latents]
        writes = kept_acts[:, None] * transcoder.W_dec.detach()[latents].to(x)
        reads = transcoder.W_enc.detach().T[latents].to(x)
        errors = (y - tc_hooks.linear_part(layer, x)).index_add(0, positions, -writes)

        columns = zip(positions.tolist(), latents.tolist(), kept_acts.tolist(), strict=True)
        nodes += [NodeInfo(NodeType.LATENT, layer, pos, latent, activation=act) for pos, latent, act in columns]
        nodes += [NodeInfo(NodeType.MLP_ERROR, layer, pos, feature=0) for pos in range(seq_len)]
        writing_vecs += [writes, errors]
        reading_vecs += [reads, x.new_zeros(seq_len, d_model)]
        ranges[layer] = (start, len(nodes))
    return nodes, torch.cat(writing_vecs), torch.cat(reading_vecs), ranges


def build_logit_nodes(
    reading_vecs_logit: Float[Tensor, "n_output d_model"],
    top_token_info: Sequence[OutputToken],
    seq_len: int,
    d_model: int,
) -> tuple[list[NodeInfo], Float[Tensor, "n_output d_model"], Float[Tensor, "n_output d_model"]]:
    """One node an output token, at the last position. It reads its logit and writes nothing.

    Returns:
        The nodes, their writing vectors (zeros) and their reading vectors.
    """
    nodes = [
        NodeInfo(NodeType.LOGIT, "L", seq_len - 1, token.token_id, token_prob=token.prob, str_token=token.str_token)
        for token in top_token_info
    ]
    return nodes, reading_vecs_logit.new_zeros(len(nodes), d_model), reading_vecs_logit


def build_graph_nodes(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    cache: ActivationCache,
    tc_hooks: TranscoderReplacementHooks,
    reading_vecs_logit: Float[Tensor, "n_output d_model"],
    top_token_info: Sequence[OutputToken],
    tokens: Int[Tensor, "1 seq"],
    start_posn: int = 0,
    top_k: int | None = None,
) -> GraphNodes:
    """All nodes, in order: embeddings, layer 0, layer 1, ..., logits. The arguments are those of the three functions above."""
    seq_len, d_model = tokens.shape[1], model.cfg.d_model
    embedding = build_embedding_nodes(model, cache, tokens)
    *intermediate, layer_ranges = build_intermediate_nodes(
        transcoders, cache, tc_hooks, tokens, d_model, start_posn, top_k
    )
    logit = build_logit_nodes(reading_vecs_logit, top_token_info, seq_len, d_model)
    nodes, writing_vecs, reading_vecs = zip(embedding, intermediate, logit, strict=True)

    first_logit = len(nodes[0]) + len(nodes[1])
    ranges: dict[int | str, tuple[int, int]] = {"E": (0, seq_len)}
    ranges |= {layer: (start + seq_len, end + seq_len) for layer, (start, end) in layer_ranges.items()}
    ranges["L"] = (first_logit, first_logit + len(nodes[2]))

    graph = GraphNodes(
        nodes=[node for part in nodes for node in part],
        writing_vecs=torch.cat(writing_vecs),
        reading_vecs=torch.cat(reading_vecs),
        node_range_dict=ranges,
        seq_len=seq_len,
        n_layers=len(transcoders),
        start_posn=start_posn,
    )
    graph.reading_bias = _reading_bias(graph, transcoders)
    return graph


def _reading_bias(graph: GraphNodes, transcoders: dict[int, Transcoder]) -> Float[Tensor, " n_nodes"]:
    """`b_enc` of every latent, 0 for all other nodes."""
    bias = graph.reading_vecs.new_zeros(len(graph))
    for layer, transcoder in transcoders.items():
        start, end = graph.node_range_dict[layer]
        latents = [node.feature for node in graph.nodes[start:end] if node.node_type is NodeType.LATENT]
        bias[start : start + len(latents)] = transcoder.b_enc.detach()[latents].to(bias)
    return bias
