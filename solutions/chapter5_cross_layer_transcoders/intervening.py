"""Chapter 4's interventions through a cross-layer transcoder: an edited latent writes into every layer it writes to."""

from collections.abc import Collection, Sequence
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import FreezeHooks
from solutions.chapter4_interventions import (
    BaseRun,
    Edit,
    Outcome,
    check_edits,
    check_room_for_latents,
    resolve_edits,
)
from solutions.chapter5_cross_layer_transcoders.tracing import check_fits
from solutions.chapter5_cross_layer_transcoders.transcoder import CrossLayerTranscoder
from utils.engine.hooks import FINAL_HOOK, hooked, mlp_out_hook, reading_hook
from utils.engine.sparse import SparseActs


@torch.no_grad()
def run_base_cross_layer(
    model: TransformerBridge, clt: CrossLayerTranscoder, tokens: Int[Tensor, "batch seq"]
) -> BaseRun:
    """Chapter 4's `run_base`: the unchanged model, and what the latents of all layers leave unexplained of each MLP.

    Raises:
        ValueError: the cross-layer transcoder is made for another model.
        MemoryError: the prompts are too many or too long.
    """
    check_fits(model, clt)
    check_room_for_latents(tokens, [clt.b_enc.shape[1] * clt.n_layers], model.W_U)
    freeze = FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    base = BaseRun(tokens, model(tokens), freeze, {}, SparseActs(), {})
    acts: dict[int, Tensor] = {}
    for layer in range(clt.n_layers):
        x, y = cache[reading_hook(layer)], cache[mlp_out_hook(layer)]
        acts[layer] = clt.encode(layer, x)
        base.x[layer], base.acts[layer] = x, acts[layer]
        base.errors[layer] = y - clt.decode(layer, acts) - clt.skip(layer, x)
    return base


@torch.no_grad()
def intervene_cross_layer(
    model: TransformerBridge,
    clt: CrossLayerTranscoder,
    base: BaseRun,
    edits: Sequence[Edit],
    *,
    freeze_attention: bool = True,
    freeze_norms: bool = False,
    freeze_errors: bool = False,
    constrained_layers: Collection[int] = (),
) -> Outcome:
    """Chapter 4's `intervene` through a cross-layer transcoder.

    The MLP of layer m writes `b_dec[m]`, what the latents of all layers up to m write there with their new activations, the skip of
    its input in this run (if there is a skip), and its error: that of this run, in which the latents are as they answer before the edits of their own layers, or that of `base`.

    Args:
        base: from `run_base_cross_layer`.
        edits: "set" to 0 silences a latent in all layers that it writes to, whatever its activation would have been.
        freeze_attention, freeze_norms: hold patterns, or scales, at their values on the unchanged prompts.
        freeze_errors: hold the errors, in every layer.
        constrained_layers: layers whose latents and errors keep their values of the unchanged prompts. With all layers held and
            attention and norms frozen, a reading changes by exactly the edge.

    Raises:
        TypeError, ValueError: an edit is for a place that is not there, or its value is not finite.
    """
    widths = {layer: _Width(b_enc) for layer, b_enc in enumerate(clt.b_enc)}
    resolved = resolve_edits(check_edits(edits, widths, base.tokens), base.acts)
    live: dict[int, Tensor] = {}  # as latents answer, before the edits of their own layer
    acts: dict[int, Tensor] = {}  # as they write
    reads: dict[int | str, Tensor] = {}

    def read(x: Tensor, hook: HookPoint, layer: int) -> None:
        reads[layer], live[layer] = x, clt.encode(layer, x)
        acts[layer] = (base.acts if layer in constrained_layers else live)[layer].clone()
        if layer in resolved:
            here = resolved[layer]
            acts[layer][here.rows, here.positions, here.latents] = here.values

    def write(y: Tensor, hook: HookPoint, layer: int) -> Tensor:
        is_held = freeze_errors or layer in constrained_layers
        skip = clt.skip(layer, reads[layer])
        error = base.errors[layer] if is_held else y - clt.decode(layer, live) - skip
        return clt.decode(layer, acts) + skip + error

    def read_last(x: Tensor, hook: HookPoint) -> None:
        reads["L"] = x

    frozen = ("hook_pattern",) * freeze_attention + ("hook_scale",) * freeze_norms
    hooks = [(name, hold) for name, hold in base.freeze.fwd_hooks if name.endswith(frozen)]
    for layer in range(clt.n_layers):
        hooks += [
            (reading_hook(layer), partial(read, layer=layer)),
            (mlp_out_hook(layer), partial(write, layer=layer)),
        ]
    with hooked(model, [*hooks, (FINAL_HOOK, read_last)]):
        logits = model(base.tokens)
    return Outcome(logits, acts, reads)


class _Width:
    """As much of a layer as `check_edits` looks at."""

    def __init__(self, b_enc: Tensor):
        self.b_enc = b_enc
