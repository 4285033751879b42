"""What the tests of chapter 5 share: random cross-layer transcoders of tiny models, and a traced prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import (
    FreezeHooks,
    FrozenRun,
    TranscoderReplacementHooks,
    build_graph_nodes,
    compute_salient_logits,
    setup_attribution,
)
from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder
from tests.tiny import D_LATENTS, D_MODEL, PROMPT
from utils.engine.graph import GraphNodes
from utils.grading.run.process_state import watch

N_LAYERS = 3


@torch.random.fork_rng(devices=[])
def random_clt(n_layers: int = N_LAYERS, d_model: int = D_MODEL, width: int = D_LATENTS, **kinds):
    """All weights at random; a latent is active on about a fifth of the positions of a tiny model."""
    torch.manual_seed(4)
    clt = CrossLayerTranscoder(n_layers, d_model, width, **kinds).double()
    with torch.no_grad():
        for name, weight in clt.named_parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
            if name == "log_threshold":
                weight.abs_()
    return clt.requires_grad_(False)


def gradients_of(value: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of a number; zeros where none arrives."""
    if not (isinstance(value, Tensor) and value.requires_grad):
        return [torch.zeros_like(tensor) for tensor in tensors]
    found = torch.autograd.grad(value, list(tensors), allow_unused=True)
    return [torch.zeros_like(tensor) if grad is None else grad for tensor, grad in zip(tensors, found)]


def clts_of(tiny: Callable) -> Callable[..., tuple[TransformerBridge, CrossLayerTranscoder]]:
    """`clts_of(tiny)(architecture)`: a tiny model and a random cross-layer transcoder, made once."""
    made: dict = {}

    def make(architecture: str = "gemma3") -> tuple[TransformerBridge, CrossLayerTranscoder]:
        if architecture not in made:
            made[architecture] = (tiny(architecture)[0], random_clt())
            watch(made[architecture][1])
        return made[architecture]

    return make


@dataclass
class TracedClt:
    """A prompt on a tiny model, ready for the edges of its cross-layer transcoder."""

    model: TransformerBridge
    clt: CrossLayerTranscoder
    tokens: Tensor
    freeze: FreezeHooks
    cache: ActivationCache
    tc_hooks: TranscoderReplacementHooks
    graph: GraphNodes
    run: FrozenRun


def traces_of(tiny_clt: Callable) -> Callable[..., TracedClt]:
    """`traces_of(tiny_clt)(architecture, top_k=None)`: everything up to the nodes, made once."""
    done: dict = {}

    @torch.random.fork_rng(devices=[])
    def make(architecture: str = "gemma3", top_k: int | None = None) -> TracedClt:
        if (architecture, top_k) not in done:
            model, clt = tiny_clt(architecture)
            with torch.no_grad():
                tokens = model.to_tokens(PROMPT)
                freeze = FreezeHooks(model)
                cache = freeze.cache_frozen_values(tokens)
                layers = clt.weights().transcoders()
                tc_hooks = TranscoderReplacementHooks(model, layers, cache)
                reads, outputs = compute_salient_logits(model, freeze.logits, 3)
                graph = build_graph_nodes(model, layers, cache, tc_hooks, reads, outputs, tokens, 1, top_k)
            run = setup_attribution(model, tokens, freeze, tc_hooks)
            done[architecture, top_k] = TracedClt(model, clt, tokens, freeze, cache, tc_hooks, graph, run)
        return done[architecture, top_k]

    return make
