"""The nodes of the graph, and the vectors by which they write to and read from the residual stream.

    node        writes                            reads
    embedding   the embedding                     -
    latent      activation * W_dec[latent]        W_enc[:, latent], after ln2
    MLP error   what the kept latents leave out   -
    logit       -                                 W_U[:, token] - mean of W_U, after ln_final

(Circuit Tracing, section 3, "Attribution graphs".)
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs.freezing import TranscoderReplacementHooks
from utils.engine.arguments import check_output_choice
from utils.engine.graph import GraphNodes, NodeInfo, NodeType, at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK, Transcoder, mlp_out_hook, reading_hook
from utils.engine.targets import OutputToken, Target, stack_targets


def contrast_vector(
    W_U: Float[Tensor, "d_model d_vocab"], token: int, others: Sequence[int] | None = None
) -> Float[Tensor, " d_model"]:
    """The vector that reads one token's logit, less the mean logit of others, after the final norm.

    Args:
        W_U: the unembedding, a column for each token.
        token: id of the token.
        others: ids of the tokens it is compared with; None compares it with the whole vocabulary.

    Returns:
        (d_model,), at least float32, without gradient.
    """
    columns = at_least_float32(W_U.detach())
    ### BEGIN SOLUTION
    compared = columns if others is None else columns[:, others]
    return columns[:, token] - compared.mean(dim=1)
    ### END SOLUTION


def compute_salient_logits(
    model: TransformerBridge,
    logits: Float[Tensor, "batch seq d_vocab"],
    n_output_nodes: int = 3,
    *,
    probability_mass: float | None = None,
    max_output_nodes: int = 10,
    token_ids: Sequence[int | Target] | None = None,
) -> tuple[Float[Tensor, "n_output d_model"], list[OutputToken]]:
    """Choose the output tokens and return their reading vectors, the demeaned columns of `W_U`.

    A vector that raises all logits alike changes no probability; subtracting the mean column of `W_U` (the mean over the
    whole vocabulary) takes it out.

    Args:
        model: the model; `model.W_U` is (d_model, d_vocab).
        logits: logits of the model; the last position of the first prompt counts.
        n_output_nodes: take this many of the most probable tokens, unless one of the next arguments is given. All tokens if
            there are not so many.
        probability_mass: take the smallest set of top tokens whose probabilities add up to at least this much (above 0, at
            most 1) ...
        max_output_nodes: ... but no more than this many.
        token_ids: take exactly these tokens, in this order, each once, whatever the other arguments say. They may be
            `Target`s instead (a person's choice, with weights), which have their vectors already.

    Returns:
        The reading vectors (one row a token, at least float32, without gradient), and for each token its text, probability
        (among all tokens) and id. Unless `token_ids` is given, the most probable token comes first.

    Raises:
        ValueError: an argument is out of range.
    """
    if token_ids is not None and any(isinstance(chosen, Target) for chosen in token_ids):
        return stack_targets(token_ids, logits)
    check_output_choice(logits.shape[-1], n_output_nodes, probability_mass, max_output_nodes, token_ids)
    W_U = at_least_float32(model.W_U.detach())
    probs = logits[0, -1].detach().float().softmax(dim=-1)
    if token_ids is not None:
        ids = torch.tensor(list(dict.fromkeys(token_ids)), device=probs.device)
    elif probability_mass is None:
        ids = probs.topk(min(n_output_nodes, len(probs))).indices
    else:
        top = probs.topk(min(max_output_nodes, len(probs)))
        # the first token that reaches the mass is still needed
        n_below = int((top.values.cumsum(0) < probability_mass).sum())
        ids = top.indices[: n_below + 1]
    reading_vecs = W_U[:, ids].T - W_U.mean(dim=-1)
    chosen = zip(ids.tolist(), probs[ids].tolist(), strict=True)
    return reading_vecs, [OutputToken(model.tokenizer.decode([i]), prob, i) for i, prob in chosen]


def build_embedding_nodes(
    model: TransformerBridge, cache: ActivationCache, tokens: Int[Tensor, "1 seq"]
) -> tuple[list[NodeInfo], Float[Tensor, "seq d_model"], Float[Tensor, "seq d_model"]]:
    """One node a position. It writes its embedding (with the position's, where the model adds one) and reads nothing.

    What is written is what the first block gets: `cache[EMBEDDING_HOOK]`, (1, seq, d_model).

    Returns:
        The nodes in the order of the positions: type `NodeType.EMBEDDING`, layer "E", `ctx_idx` the position, `feature` the
        token's id, `str_token` its text (`model.tokenizer.decode([token_id])`).
        Their writing vectors, at least float32.
        Their reading vectors, zeros of the same shape and dtype.
    """
    writing_vecs = at_least_float32(cache[EMBEDDING_HOOK][0])
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

    A latent writes its activation times its row of `W_dec` and reads with its column of `W_enc`. The error is all that the MLP
    writes and nobody else accounts for: `y - b_dec - skip(x) - sum of kept a * W_dec`. Latents that `top_k` leaves out
    are therefore in the error. Before `start_posn` there are only errors.

    Args:
        transcoders: layer -> transcoder, with `W_dec` (d_latents, d_model) and `W_enc` (d_model, d_latents).
        cache: from `FreezeHooks.cache_frozen_values`.
        tc_hooks: has the activations of the latents, and `linear_part(layer, x)`: skip and `b_dec`.
        tokens: the prompt.
        d_model: width of the residual stream.
        start_posn: first position whose latents become nodes.
        top_k: keep this many latents a position and layer; None keeps every active one. A dict, layer -> (positions,
            latents), says which ones.

    Returns:
        The nodes, their writing vectors, their reading vectors (zeros for errors), and layer -> (first, one past the last)
        index.
    """
    nodes: list[NodeInfo] = []
    writing_vecs, reading_vecs, ranges = [], [], {}
    seq_len = tokens.shape[1]
    for layer in sorted(transcoders):
        start, transcoder = len(nodes), transcoders[layer]
        # acts: (seq, d_latents); x and y, the MLP's input and output: (seq, d_model)
        acts, x, y = tc_hooks.transcoder_acts[layer], cache[reading_hook(layer)], cache[mlp_out_hook(layer)]
        acts, x, y = (at_least_float32(tensor[0]) for tensor in (acts, x, y))
        W_dec, W_enc = transcoder.W_dec.detach().to(x), transcoder.W_enc.detach().to(x)
        # the latents that become nodes: where and which, and how active, each (n_kept,)
        chosen = top_k[layer] if isinstance(top_k, dict) else select_latents(acts, start_posn, top_k)
        positions, latents = chosen
        kept_acts = acts[positions, latents]
        # Set `writes` and `reads`, (n_kept, d_model), of these latents, and `errors`, (seq, d_model).
        ### BEGIN SOLUTION
        writes = kept_acts[:, None] * W_dec[latents]
        reads = W_enc.T[latents]
        errors = (y - tc_hooks.linear_part(layer, x)).index_add(0, positions, -writes)
        ### END SOLUTION

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

    Args:
        reading_vecs_logit, top_token_info: from `compute_salient_logits`.
        seq_len: number of positions in the prompt.
        d_model: width of the residual stream.

    Returns:
        The nodes in the order of `top_token_info`: type `NodeType.LOGIT`, layer "L", `ctx_idx` the last position, `feature`
        the token's id, `token_prob` its probability, `str_token` its text.
        Their writing vectors, zeros (n_output, d_model).
        Their reading vectors, as given.
    """
    nodes = [
        NodeInfo(NodeType.LOGIT, "L", seq_len - 1, token.token_id, token_prob=token.prob, str_token=token.str_token)
        for token in top_token_info
    ]
    return nodes, reading_vecs_logit.new_zeros(len(nodes), d_model), reading_vecs_logit


Part: TypeAlias = tuple[list[NodeInfo], Float[Tensor, "n_nodes d_model"], Float[Tensor, "n_nodes d_model"]]


def join_nodes(
    embedding: Part,
    intermediate: Part,
    logit: Part,
    layer_ranges: dict[int, tuple[int, int]],
    outputs: Sequence[OutputToken],
    start_posn: int,
) -> GraphNodes:
    """One graph of three parts, each with its nodes, writing and reading vectors. The constants that nodes read are still 0.

    Args:
        layer_ranges: layer -> (first, one past the last) index into the nodes between embeddings and logits.
        outputs: what the logits stand for, with their weights.
        start_posn: first position that is not hidden.
    """
    nodes, writing_vecs, reading_vecs = zip(embedding, intermediate, logit, strict=True)
    seq_len, first_logit = len(nodes[0]), len(nodes[0]) + len(nodes[1])
    ranges: dict[int | str, tuple[int, int]] = {"E": (0, seq_len)}
    ranges |= {layer: (start + seq_len, end + seq_len) for layer, (start, end) in layer_ranges.items()}
    ranges["L"] = (first_logit, first_logit + len(nodes[2]))
    graph = GraphNodes(
        nodes=[node for part in nodes for node in part],
        writing_vecs=torch.cat(writing_vecs),
        reading_vecs=torch.cat(reading_vecs),
        node_range_dict=ranges,
        seq_len=seq_len,
        n_layers=len(layer_ranges),
        start_posn=start_posn,
    )
    for node, token in zip(nodes[2], outputs, strict=True):
        node.weight = token.weight
    graph.reading_bias = graph.reading_vecs.new_zeros(len(graph))
    return graph


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
    graph = join_nodes(embedding, intermediate, logit, layer_ranges, top_token_info, start_posn)
    for layer, transcoder in transcoders.items():
        start, end = graph.node_range_dict[layer]
        latents = [node.feature for node in graph.nodes[start:end] if node.node_type is NodeType.LATENT]
        graph.reading_bias[start : start + len(latents)] = transcoder.b_enc.detach()[latents].to(graph.reading_bias)
    return graph
