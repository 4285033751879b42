"""For tests on graphs: a prompt traced step by step with the reference, all that a call must leave alone, a linear model."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions import chapter3_attribution_graphs as chapter3
from tests.tiny import PROMPT
from utils.engine.graph import GraphNodes
from utils.engine.hooks import Hook, hooked
from utils.grading.run.leftovers import places_of


@dataclass
class Traced:
    """A prompt, step by step through the pipeline up to the edges."""

    model: TransformerBridge
    transcoders: dict
    tokens: Tensor
    freeze: chapter3.FreezeHooks
    cache: ActivationCache
    tc_hooks: chapter3.TranscoderReplacementHooks
    graph: GraphNodes
    run: chapter3.FrozenRun
    adjacency: Tensor
    bias: Tensor
    values: Tensor


def trace(model, transcoders, prompt: str = PROMPT, start_posn: int = 0, top_k: int | None = None) -> Traced:
    """Run the pipeline by hand, so that tests can look inside."""
    tokens = model.to_tokens(prompt)
    freeze = chapter3.FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    tc_hooks = chapter3.TranscoderReplacementHooks(model, transcoders, cache)
    reading_vecs, output_tokens = chapter3.compute_salient_logits(model, freeze.logits)
    graph = chapter3.build_graph_nodes(
        model, transcoders, cache, tc_hooks, reading_vecs, output_tokens, tokens, start_posn, top_k
    )
    run = chapter3.setup_attribution(model, tokens, freeze, tc_hooks)
    batches = chapter3.prepare_backward_batches(graph, 50)
    adjacency = chapter3.compute_adjacency_matrix(model, tokens, graph, freeze, tc_hooks, batches, run)
    bias = chapter3.compute_bias(model, tokens, graph, freeze, tc_hooks)
    values = chapter3.read_targets(graph, run.reads)
    return Traced(model, transcoders, tokens, freeze, cache, tc_hooks, graph, run, adjacency, bias, values)


@dataclass(frozen=True)
class State:
    """All that a function must leave as it found it."""

    hooks: tuple
    grad_mode: bool
    inference_mode: bool
    requires_grad: tuple
    grads: tuple
    training: tuple
    context_level: int


def state_of(model: TransformerBridge, transcoders: dict) -> State:
    """A snapshot of the model, its transcoders and the gradient mode."""
    parameters = [*model.parameters(), *(p for tc in transcoders.values() for p in tc.parameters())]
    points = sorted({id(point): (name, point) for name, point in model.hook_dict.items()}.values(), key=lambda p: p[0])
    return State(
        hooks=tuple((name, len(p.fwd_hooks), len(p.bwd_hooks), len(p._forward_hooks)) for name, p in points),
        grad_mode=torch.is_grad_enabled(),
        inference_mode=torch.is_inference_mode_enabled(),
        requires_grad=tuple(p.requires_grad for p in parameters),
        grads=tuple(p.grad is None for p in parameters),
        training=tuple(module.training for module in [*model.modules(), *model.original_model.modules()]),
        context_level=model.context_level,
    )


def linear_hooks(x: Traced) -> list[Hook]:
    """Hooks that make the model itself linear, for interventions.

    Patterns and scales are held, and every MLP's output is its output on this prompt plus what the skip makes of the change
    of its input. Written without the solution's hooks on MLPs, as an independent truth.
    """
    return x.freeze.fwd_hooks + [hook for layer in x.transcoders for hook in linear_mlp_hooks(x, layer)]


def linear_mlp_hooks(x: Traced, layer: int) -> list[Hook]:
    """Hooks that put the linear MLP in the place of one MLP."""
    x_before, y_before = x.cache[f"blocks.{layer}.mlp.hook_in"], x.cache[f"blocks.{layer}.hook_mlp_out"]
    W_skip, now = getattr(x.transcoders[layer], "W_skip", None), {}

    def capture(value: Tensor, hook: HookPoint) -> None:
        now["x"] = value

    def replace(value: Tensor, hook: HookPoint) -> Tensor:
        # W_skip is (d_out, d_in)
        return y_before if W_skip is None else y_before + torch.einsum("oi,bpi->bpo", W_skip, now["x"] - x_before)

    return [(f"blocks.{layer}.mlp.hook_in", capture), (f"blocks.{layer}.hook_mlp_out", replace)]


def kept(truth: Callable) -> Callable:
    """What an independent computation on something traced gives, kept: it is the same for every answer.

    While there are hooks on the model, which an answer may have left, it is computed anew and not kept.
    """
    found: dict = {}

    @functools.wraps(truth)
    def look_up(x: Traced, *args):
        if any(places_of(x.model).at_points):
            return truth(x, *args)
        key = id(x), *map(_as_key, args)
        if key not in found:
            found[key] = x, truth(x, *args)  # `x` too: another one must not get its id
        return found[key][1]

    return look_up


def _as_key(value: object) -> object:
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().cpu().double().numpy().tobytes()
    return tuple(map(_as_key, value)) if isinstance(value, list | tuple) else value


WRITES = {"E": "blocks.0.hook_in"} | {layer: f"blocks.{layer}.hook_out" for layer in range(64)}
READS = {"L": "ln_final.hook_out"} | {layer: f"blocks.{layer}.mlp.hook_in" for layer in range(64)}


@kept
def readings_after(x: Traced, place: int | str, position: int, vector: Tensor) -> dict[int | str, Tensor]:
    """An intervention: what is read in the linear model, (seq, d_model) a place, when a vector is added where sources write."""

    def push(value: Tensor, hook: HookPoint) -> Tensor:
        value = value.clone()
        value[0, position] += vector.to(value)
        return value

    places = {READS[layer]: layer for layer in (*range(x.model.cfg.n_layers), "L")}
    with torch.no_grad(), hooked(x.model, [*linear_hooks(x), (WRITES[place], push)]):
        _, cache = x.model.run_with_cache(x.tokens, names_filter=places.__contains__)
    return {layer: cache[name][0] for name, layer in places.items()}


@kept
def changes_by(x: Traced, source: int) -> Tensor:
    """How much every node's reading changes when a source's writing vector is added: (n_nodes,), by intervention."""
    node, vector = x.graph.nodes[source], x.graph.writing_vecs[source]
    before = readings_after(x, "E", 0, torch.zeros_like(vector))
    after = readings_after(x, node.layer, node.ctx_idx, vector)
    changes = torch.zeros_like(x.values)
    for place, (start, end) in x.graph.node_range_dict.items():
        if place != "E":
            positions = [target.ctx_idx for target in x.graph.nodes[start:end]]
            change = (after[place] - before[place])[positions].to(changes)
            changes[start:end] = (change * x.graph.reading_vecs[start:end]).sum(-1)
    return changes
