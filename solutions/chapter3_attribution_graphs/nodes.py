"""The nodes of the graph, and the vectors by which they write to and read from the residual stream.

    node        writes                            reads
    embedding   the embedding                     -
    latent      activation * W_dec[latent]        W_enc[:, latent], after ln2
    MLP error   what the kept latents leave out   -
    logit       -                                 W_U[:, token] - mean of W_U, after ln_final

(Circuit Tracing, section 3, "Attribution graphs".)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs.freezing import TranscoderReplacementHooks
from utils.engine.graph import GraphNodes, NodeInfo, NodeType, at_least_float32
from utils.engine.hooks import Transcoder, mlp_out_hook, reading_hook
from utils.engine.records import build_embedding_nodes, build_logit_nodes, join_nodes
from utils.engine.targets import OutputToken


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


def select_latents(
    acts: Float[Tensor, "seq d_latents"], start_posn: int = 0, top_k: int | None = None
) -> tuple[Int[Tensor, " n_kept"], Int[Tensor, " n_kept"]]:
    """Which latents of a layer become nodes: the active ones, at most `top_k` a position, from `start_posn` on.

    Args:
        acts: activations of the latents; those above 0 are active.
        start_posn: latents at positions before it become no nodes.
        top_k: keep the most active ones at each position; None keeps all. It may be larger than `d_latents`.

    Returns:
        Positions and latents, a pair for each one that is kept, ordered by position and then by latent.
    """
    ### BEGIN SOLUTION
    keep = acts > 0
    if top_k is not None and top_k < acts.shape[1]:
        largest = torch.zeros_like(keep)
        largest.scatter_(1, acts.topk(top_k, dim=1).indices, True)
        keep &= largest
    keep[:start_posn] = False
    positions, latents = keep.nonzero(as_tuple=True)
    return positions, latents
    ### END SOLUTION


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
        found = [NodeInfo(NodeType.LATENT, layer, at, latent, activation=act) for at, latent, act in columns]
        nodes += found
        nodes += [NodeInfo(NodeType.MLP_ERROR, layer, pos, feature=0) for pos in range(seq_len)]
        writing_vecs += [writes, errors]
        reading_vecs += [reads, x.new_zeros(seq_len, d_model)]
        ranges[layer] = (start, len(nodes))
    return nodes, torch.cat(writing_vecs), torch.cat(reading_vecs), ranges


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
