"""Records of a graph's nodes: which output tokens are traced, embeddings and logits, all in one graph.

Which latents are kept, and what latents and errors write and read, are exercises of chapter 3.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.arguments import check_output_choice
from utils.engine.graph import GraphNodes, NodeInfo, NodeType, at_least_float32
from utils.engine.hooks import EMBEDDING_HOOK
from utils.engine.targets import OutputToken, Target, stack_targets
from utils.engine.token_text import token_text


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
    return reading_vecs, [OutputToken(token_text(model.tokenizer, i), prob, i) for i, prob in chosen]


def build_embedding_nodes(
    model: TransformerBridge, cache: ActivationCache, tokens: Int[Tensor, "1 seq"]
) -> tuple[list[NodeInfo], Float[Tensor, "seq d_model"], Float[Tensor, "seq d_model"]]:
    """One node a position. It writes its embedding (with the position's, where the model adds one) and reads nothing.

    What is written is what the first block gets: `cache[EMBEDDING_HOOK]`, (1, seq, d_model).

    Returns:
        The nodes in the order of the positions: type `NodeType.EMBEDDING`, layer "E", `ctx_idx` the position, `feature` the
        token's id, `str_token` its text (`token_text(model.tokenizer, token_id)`).
        Their writing vectors, at least float32.
        Their reading vectors, zeros of the same shape and dtype.
    """
    writing_vecs = at_least_float32(cache[EMBEDDING_HOOK][0])
    nodes = [
        NodeInfo(
            NodeType.EMBEDDING, layer="E", ctx_idx=pos, feature=token, str_token=token_text(model.tokenizer, token)
        )
        for pos, token in enumerate(tokens[0].tolist())
    ]
    return nodes, writing_vecs, torch.zeros_like(writing_vecs)


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
