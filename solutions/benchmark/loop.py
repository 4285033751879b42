"""Edges in the obvious way, to compare with: the model is run forward for every batch, and Python loops over the sources."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import FreezeHooks, TranscoderReplacementHooks, prepare_backward_batches
from utils.engine.graph import GraphNodes, NodeType
from utils.engine.hooks import EMBEDDING_HOOK, FINAL_HOOK, hooked, reading_hook, writing_hook


def adjacency_by_loop(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    graph: GraphNodes,
    freeze: FreezeHooks,
    tc_hooks: TranscoderReplacementHooks,
    batch_size: int = 8,
) -> Float[Tensor, "n_nodes n_nodes"]:
    """The same matrix in the obvious way: a forward pass a batch, a Python loop over sources."""
    adjacency = graph.writing_vecs.new_zeros(len(graph), len(graph))
    source_hooks = {"E": EMBEDDING_HOOK} | {layer: writing_hook(layer) for layer in range(model.cfg.n_layers)}
    read_hooks = {"L": FINAL_HOOK} | {layer: reading_hook(layer) for layer in range(model.cfg.n_layers)}
    for start, nodes, reading_vecs, positions, layers in prepare_backward_batches(graph, batch_size):
        captured: dict[str, Tensor] = {}

        def capture(value: Tensor, hook: HookPoint, captured: dict[str, Tensor] = captured) -> Tensor:
            # the model's weights may not ask for gradients, so the embedding has to
            captured[hook.name] = value.detach().requires_grad_() if hook.name == EMBEDDING_HOOK else value
            return captured[hook.name]

        hooks = [(name, capture) for name in (*source_hooks.values(), *read_hooks.values())]
        with torch.enable_grad(), hooked(model, freeze.fwd_hooks + tc_hooks.fwd_hooks + hooks):
            model(tokens.expand(len(nodes), -1))
            reads = captured[read_hooks[layers[0]]][torch.arange(len(nodes)), positions]
            objective = (reads * reading_vecs.to(reads)).sum()
            names = list(source_hooks.values())
            grads = torch.autograd.grad(objective, [captured[name] for name in names], allow_unused=True)
        by_name = dict(zip(names, grads))
        for source, node in enumerate(graph.nodes):
            if node.node_type is NodeType.LOGIT or by_name[source_hooks[node.layer]] is None:
                continue
            grad = by_name[source_hooks[node.layer]][:, node.ctx_idx]
            effects = (grad.to(graph.writing_vecs) * graph.writing_vecs[source]).sum(-1)
            for target in range(len(nodes)):
                adjacency[start + target, source] = effects[target]
    return adjacency
