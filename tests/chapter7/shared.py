"""What the tests of chapter 7 share: graphs of tiny random models, opened again."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter5_cross_layer_transcoders import attribute_cross_layer
from solutions.chapter7_attention import (
    HeadOnPrompt,
    OpenGraph,
    activations,
    attention_parts,
    head_on_prompt,
    open_graph,
)
from solutions.chapter7_attention.heads import AttentionParts
from tests.chapter5.shared import random_clt
from tests.tiny import PROMPT

N_LAYERS = 3
# grouped heads, QK-norm and a window; the same without a window; no rotation, LayerNorm and biases; grouped, no QK-norm
FORMS = ("gemma3", "qwen3", "gpt2", "llama")


def graphs_of(tiny: Callable) -> Callable[[str], OpenGraph]:
    """`graphs_of(tiny)(architecture, cross_layer=False)`: a traced prompt of a tiny model, opened once."""

    @cache
    def make(architecture: str, cross_layer: bool = False) -> OpenGraph:
        model, transcoders = tiny(architecture)
        if cross_layer:
            clt = random_clt()
            return open_graph(model, clt, attribute_cross_layer(model, clt, PROMPT))
        return open_graph(model, transcoders, attribute(model, transcoders, PROMPT))

    return make


def model_vectors(x: OpenGraph, layer: int) -> tuple[Tensor, Tensor]:
    """The queries (seq, head, d_head) and keys (seq, key head, d_head) that the frozen model itself computes."""
    rotated = x.model.get_hook_point(f"blocks.{layer}.attn.hook_rot_q") is not None
    names = ("hook_rot_q", "hook_rot_k") if rotated else ("hook_q", "hook_k")
    queries, keys = activations(
        x.model, x.tokens, x.freeze.fwd_hooks, [f"blocks.{layer}.attn.{name}" for name in names]
    )
    return queries[0], keys[0]


def random_parts(n_heads: int = 6, n_key_heads: int = 2) -> AttentionParts:
    """Parts of which every number is another one."""
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    seq, d_model, d_head = 5, 7, 4
    return AttentionParts(
        gain=draw(seq, d_model),
        centred=False,
        norm_bias=draw(d_model),
        W_Q=draw(n_heads, d_model, d_head),
        b_Q=draw(n_heads, d_head),
        W_K=draw(n_key_heads, d_model, d_head),
        b_K=draw(n_key_heads, d_head),
        q_gain=draw(n_heads, seq, d_head),
        k_gain=draw(n_key_heads, seq, d_head),
        cos=draw(seq, d_head),
        sin=draw(seq, d_head),
        scaling=0.5,
        softcap=None,
    )


def some_head(x: OpenGraph, layer: int = 2, head: int = 2) -> HeadOnPrompt:
    """A head of a tiny model; of the two key heads it uses the second."""
    return head_on_prompt(x, layer, min(head, len(attention_parts(x, layer).W_Q) - 1))
