"""Head loadings: which heads an edge goes through. (Kamath et al. 2025, section "Head loadings".)

A path passes every layer once, and there at most one head. So the part of an edge that goes through a head is what
disappears when that head's output is left out of the linear map, with all patterns as they are.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from solutions.chapter3_attribution_graphs import FrozenRun, setup_attribution
from solutions.chapter7_attention.attributing import contributions
from solutions.opened import OpenGraph, activations, pattern_hook, writes_added
from utils.engine.graph import at_least_float32
from utils.engine.hooks import Hook


def z_hook(layer: int) -> str:
    """What every head of `layer` hands over to `W_O`: (batch, seq, head, d_head)."""
    return f"blocks.{layer}.attn.hook_z"


def v_hook(layer: int) -> str:
    """What every key head of `layer` offers to be moved: (batch, seq, key_head, d_head)."""
    return f"blocks.{layer}.attn.hook_v"


def cut_heads(heads: Sequence[tuple[int, int]]) -> list[Hook]:
    """Hooks that leave the outputs of some heads out of the linear map: their values stay, but no gradient passes them.

    Args:
        heads: (layer, head) of each.
    """
    ### BEGIN SOLUTION
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)

    def cut(z: Tensor, hook: HookPoint, chosen: list[int]) -> Tensor:
        z = z.clone()
        z[:, :, chosen] = z[:, :, chosen].detach()
        return z

    return [(z_hook(layer), partial(cut, chosen=chosen)) for layer, chosen in by_layer.items()]
    ### END SOLUTION


def run_again(x: OpenGraph, hooks: Sequence[Hook]) -> FrozenRun:
    """The recorded run of the frozen model, made again with further hooks."""
    model, tokens, freeze, replaced = x.run.made_from
    return setup_attribution(model, tokens, SimpleNamespace(fwd_hooks=[*freeze.fwd_hooks, *hooks]), replaced)


def with_heads_cut(x: OpenGraph, heads: Sequence[tuple[int, int]]) -> OpenGraph:
    """The opened graph in a run in which some heads are cut: what is walked back then passes none of them."""
    return replace(x, run=run_again(x, cut_heads(heads)))


def row_of(x: OpenGraph, target: int) -> Float[Tensor, " n_nodes"]:
    """One row of the matrix: the edges from all nodes into a target, in the run of the opened graph.

    Args:
        x: the opened graph, or what `with_heads_cut` makes of it.
        target: index of a latent or a logit.
    """
    node, vectors = x.graph.nodes[target], x.graph.reading_vecs[[target]]
    return contributions(x, node.layer, x.run.reads[node.layer][0], vectors, [node.ctx_idx])[:, 0]


class Carried(NamedTuple):
    """What is needed to say which heads an edge goes through.

    Attributes:
        worth: for each target what it would gain by one unit of each head's output `z`, at each query.
        values: for each source what it adds to each head's values `v`, at each key.
        patterns: where each head looks.
    """

    worth: dict[int, Float[Tensor, "layer query head d_head"]]
    values: dict[int, Float[Tensor, "layer key head d_head"]]
    patterns: Float[Tensor, "layer head query key"]


def head_loadings(carried: Carried, target: int, source: int) -> Float[Tensor, "layer head query key"]:
    """The part of an edge that goes through each head, from each key to each query.

    What a source adds to a head's values at a key moves to the queries by the pattern; what the target gains there is the product
    with `worth`. Summed over queries and keys it is the edge less the same edge with that head cut.

    A path of one attention step has one head, so for such edges all parts, and the part past all heads, add up to the edge. A path
    of two steps is counted at both of its heads.

    Args:
        carried: from `carry`.
        target, source: indices of nodes; `carry` was asked for this edge.
    """
    ### BEGIN SOLUTION
    worth, values = carried.worth[target], carried.values[source]
    return carried.patterns * torch.einsum("lqhd,lkhd->lhqk", worth, values)
    ### END SOLUTION


def carry(x: OpenGraph, edges: Sequence[tuple[int, int]], batch_size: int = 32) -> Carried:
    """Carry the sources of some edges forward to all heads, and their targets back.

    Args:
        x: the opened graph.
        edges: (target, source) of each, as indices of nodes.
        batch_size: sources that are carried together.
    """
    layers = range(x.model.cfg.n_layers)
    names, live = [z_hook(layer) for layer in layers], {}

    def note(z: Tensor, hook: HookPoint, name: str) -> Tensor:
        live[name] = z
        return z  # what a hook is given is a reshaped copy: only what it returns is what the model goes on with

    run = run_again(x, [(name, partial(note, name=name)) for name in names])
    targets = dict.fromkeys(target for target, _ in edges)
    worth = {target: gradients_at(x, run, target, [live[name] for name in names]) for target in targets}
    values: dict[int, Tensor] = {}
    sources = list(dict.fromkeys(source for _, source in edges))
    for start in range(0, len(sources), batch_size):
        chosen = sources[start : start + batch_size]
        rows = [[], *([source] for source in chosen)]
        hooks = [*x.linear, *writes_added(x, rows, 1.0)]
        found = activations(x.model, x.tokens.repeat(len(rows), 1), hooks, [v_hook(layer) for layer in layers])
        v = at_least_float32(torch.stack(found, dim=1))
        v = v.repeat_interleave(x.model.cfg.n_heads // v.shape[3], dim=3)  # several heads may share their values
        values |= dict(zip(chosen, v[1:] - v[:1]))
    patterns = torch.stack([x.freeze.frozen_values[pattern_hook(layer)][0] for layer in layers])
    return Carried(worth, values, at_least_float32(patterns))


def gradients_at(
    x: OpenGraph, run: FrozenRun, target: int, places: Sequence[Tensor]
) -> Float[Tensor, "layer query head d_head"]:
    """The gradient of what a target reads at some live tensors of the run; zeros behind the target."""
    node = x.graph.nodes[target]
    output = run.reads[node.layer]
    start = torch.zeros_like(output)
    start[0, node.ctx_idx] = x.graph.reading_vecs[target].to(start)
    found = torch.autograd.grad(output, list(places), start, allow_unused=True, retain_graph=True)
    return at_least_float32(torch.stack([torch.zeros_like(z[0]) if g is None else g[0] for z, g in zip(places, found)]))
