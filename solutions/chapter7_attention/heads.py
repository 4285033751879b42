"""One head's queries and keys as linear functions of the residual stream, with the scales of all norms frozen.

    query = rotate(qk_norm(ln1(stream) @ W_Q + b_Q)),   key = rotate(qk_norm(ln1(stream) @ W_K + b_K))
    score = query · key * scaling

(Kamath et al. 2025, "Tracing Attention Computation Through Feature Interactions", section "QK attributions".)
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.opened import OpenGraph
from utils.engine.mlp import is_centred, norm_weight


class AttentionParts(NamedTuple):
    """What the heads of one layer make their queries and keys of, frozen at one prompt.

    Attributes:
        gain: what ln1 multiplies the stream with at each position: its weight divided by its frozen scale.
        centred: whether ln1 takes the mean of the stream away first.
        norm_bias: what ln1 adds in the end.
        W_Q, b_Q: of every head.
        W_K, b_K: of every key head. Several heads in a row may share one key head.
        q_gain, k_gain: QK-norm's weight divided by its frozen scale; ones where there is no QK-norm.
        cos, sin: of the rotary rotation at each position; of width 0 where there is none.
        scaling: what the product is multiplied with, usually one over the square root of d_head.
        softcap: the bound of the scores, `softcap * tanh(score / softcap)`; None where there is none.
    """

    gain: Float[Tensor, "seq d_model"]
    centred: bool
    norm_bias: Float[Tensor, " d_model"]
    W_Q: Float[Tensor, "head d_model d_head"]
    b_Q: Float[Tensor, "head d_head"]
    W_K: Float[Tensor, "key_head d_model d_head"]
    b_K: Float[Tensor, "key_head d_head"]
    q_gain: Float[Tensor, "head seq d_head"]
    k_gain: Float[Tensor, "key_head seq d_head"]
    cos: Float[Tensor, "seq d_rotary"]
    sin: Float[Tensor, "seq d_rotary"]
    scaling: float
    softcap: float | None


class HeadSide(NamedTuple):
    """One side of one head, queries or keys.

    Attributes:
        gain, centred, norm_bias: of ln1, as in `AttentionParts`.
        W, b: of this side of the head.
        norm_gain: of QK-norm.
        cos, sin: of the rotary rotation.
    """

    gain: Float[Tensor, "seq d_model"]
    centred: bool
    norm_bias: Float[Tensor, " d_model"]
    W: Float[Tensor, "d_model d_head"]
    b: Float[Tensor, " d_head"]
    norm_gain: Float[Tensor, "seq d_head"]
    cos: Float[Tensor, "seq d_rotary"]
    sin: Float[Tensor, "seq d_rotary"]


@torch.no_grad()
def attention_parts(x: OpenGraph, layer: int) -> AttentionParts:
    """What the heads of `layer` make their queries and keys of, taken from the model and its frozen values.

    Raises:
        ValueError: the model's attention is of another form; found by comparing the scores with the model's own.
    """
    block, values, prefix = x.model.blocks[layer], x.freeze.frozen_values, f"blocks.{layer}"
    attn = block.attn
    stream = x.stream(layer).detach()
    W_Q, W_K = attn.W_Q.detach(), attn.W_K.detach()

    def bias_of(W: Tensor, name: str) -> Tensor:
        b = getattr(attn, name, None)
        return W.new_zeros(len(W), W.shape[2]) if b is None else b.detach().reshape(len(W), W.shape[2])

    def gain_of(W: Tensor, name: str) -> Tensor:
        scale = values.get(f"{prefix}.attn.{name}.hook_scale")
        if scale is None:
            return W.new_ones(len(W), len(stream), W.shape[2])
        return norm_weight(getattr(attn, name), W.shape[2]) / scale[0]

    d_model = stream.shape[1]
    parts = AttentionParts(
        gain=norm_weight(block.ln1, d_model).to(stream) / values[f"{prefix}.ln1.hook_scale"][0],
        centred=is_centred(block.ln1),
        norm_bias=block.ln1(torch.zeros_like(stream[None, :1]))[0, 0],
        W_Q=W_Q,
        b_Q=bias_of(W_Q, "b_Q"),
        W_K=W_K,
        b_K=bias_of(W_K, "b_K"),
        q_gain=gain_of(W_Q, "q_norm"),
        k_gain=gain_of(W_K, "k_norm"),
        cos=x.rotations[layer][0],
        sin=x.rotations[layer][1],
        scaling=float(getattr(attn.original_component, "scaling", None) or W_Q.shape[2] ** -0.5),
        softcap=getattr(attn.original_component, "attn_logit_softcapping", None),
    )
    return check_parts(x, layer, parts)


def check_parts(x: OpenGraph, layer: int, parts: AttentionParts) -> AttentionParts:
    """Refuse a model whose scores are not those that these parts give."""
    stream = x.stream(layer).detach()
    visible = torch.ones(len(stream), len(stream), dtype=torch.bool, device=stream.device).tril()
    for head in range(len(parts.W_Q)):
        queries, keys = (make_vectors(side, stream) for side in sides_of_head(parts, head))
        scores, theirs = capped(queries @ keys.T * parts.scaling, parts.softcap), x.scores[layer][head]
        seen = visible & (theirs > -1e4)  # what a window hides has a huge negative score
        if not torch.allclose(scores[seen], theirs[seen].to(scores), rtol=1e-2, atol=1e-2):
            raise ValueError(
                f"The attention of layer {layer} is of a form that is not known here: its scores are not those of queries and "
                "keys with ln1, QK-norm and a rotary rotation."
            )
    return parts


def capped(scores: Float[Tensor, "*shape"], softcap: float | None) -> Float[Tensor, "*shape"]:
    """Scores as the softmax gets them: the same, unless the model bounds them (Gemma 2)."""
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def rotate(
    vectors: Float[Tensor, "*batch seq d_head"], cos: Float[Tensor, "seq d_rotary"], sin: Float[Tensor, "seq d_rotary"]
) -> Float[Tensor, "*batch seq d_head"]:
    """The rotary rotation: pairs of dimensions turn by an angle that grows with the position.

    Only the first `d_rotary` dimensions turn, the others stay. Of these, dimension i makes a pair with dimension
    i + d_rotary / 2. The pair (a, b) becomes (a cos - b sin, b cos + a sin).

    Args:
        vectors: queries or keys of one head.
        cos, sin: for each position, as the model has them: the second half of the columns repeats the first.
            (Su et al. 2021, "RoFormer", arXiv 2104.09864.)
    """
    ### BEGIN SOLUTION
    width = cos.shape[-1]
    turning, still = vectors[..., :width], vectors[..., width:]
    first, second = turning.chunk(2, dim=-1)
    turned = turning * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, still], dim=-1)
    ### END SOLUTION


def make_vectors(side: HeadSide, stream: Float[Tensor, "*batch seq d_model"]) -> Float[Tensor, "*batch seq d_head"]:
    """The queries (or keys) that one head makes of a residual stream, with all scales frozen.

    Step by step: take the mean away if the norm is centred; multiply with `gain` and add `norm_bias`; apply `W` and `b`; multiply
    with `norm_gain`; rotate. It is differentiable in `stream`, and linear but for the constants.

    Args:
        side: from `sides_of_head`.
        stream: the residual stream in front of the layer, at all positions.
    """
    ### BEGIN SOLUTION
    if side.centred:
        stream = stream - stream.mean(dim=-1, keepdim=True)
    normed = stream * side.gain.to(stream) + side.norm_bias.to(stream)
    projected = normed @ side.W.to(stream) + side.b.to(stream)
    return rotate(projected * side.norm_gain.to(stream), side.cos.to(stream), side.sin.to(stream))
    ### END SOLUTION


def sides_of_head(parts: AttentionParts, head: int) -> tuple[HeadSide, HeadSide]:
    """The query side and the key side of one head.

    With 4 heads and 2 key heads, heads 0 and 1 use key head 0, heads 2 and 3 use key head 1.

    Args:
        parts: of the head's layer.
        head: its number, from 0.
    """
    norm, rotation = (parts.gain, parts.centred, parts.norm_bias), (parts.cos, parts.sin)
    ### BEGIN SOLUTION
    key_head = head // (len(parts.W_Q) // len(parts.W_K))
    query_side = HeadSide(*norm, parts.W_Q[head], parts.b_Q[head], parts.q_gain[head], *rotation)
    key_side = HeadSide(*norm, parts.W_K[key_head], parts.b_K[key_head], parts.k_gain[key_head], *rotation)
    ### END SOLUTION
    return query_side, key_side
