"""Set latents on the real model, and say what else may change.

An intervention is a list of edits: this latent, at this position, has this activation. Around it stand three switches:
attention patterns may be live or frozen at their values on the unchanged prompt, so may the scales of the norms and the
errors of the transcoders, and the MLPs of some layers may be held, so that their latents do not answer to the edit.
(Circuit Tracing, section "Validating attribution graph hypotheses with interventions"; constrained patching is its `held`.)
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import FreezeHooks
from utils.engine.cross_layer import refuse_cross_layer
from utils.engine.hooks import FINAL_HOOK, Transcoder, hooked, mlp_out_hook, reading_hook
from utils.engine.memory import check_room
from utils.engine.sparse import SparseActs


class Edit(NamedTuple):
    """One latent at one place, and what its activation becomes.

    Attributes:
        layer, position, latent: which latent, and where in the prompt (counted from 0, a beginning-of-sequence token counts). A
            slice as position stands for all its positions.
        value: a number whose meaning `kind` says.
        kind: "set": the new activation is `value`; "scale": `value` times the activation on the unchanged prompt; "add":
            that activation plus `value`.
        row: which prompt of the batch.
    """

    layer: int
    position: int | slice
    latent: int
    value: float
    kind: str = "set"
    row: int = 0


def check_edits(
    edits: Sequence[Edit], transcoders: dict[int, Transcoder], tokens: Int[Tensor, "batch seq"]
) -> list[Edit]:
    """The edits, each looked at before the model runs. One whose position is a slice becomes one for each of its positions.

    Args:
        edits: of prompts with these tokens.
        transcoders: layer -> what has a latent for each entry of `b_enc`.
        tokens: the prompts. Positions count from 0; negative ones are refused, since prompts are filled up on the right.

    Raises:
        TypeError: a number is not a whole number, or this is a cross-layer transcoder.
        ValueError: there is no such row, layer, position or latent, a slice has no positions, a value is not finite, or these are
            the layers of a cross-layer transcoder.
    """
    refuse_cross_layer(transcoders)
    n_rows, seq_len = tokens.shape
    checked = []
    for edit in edits:
        if edit.layer not in transcoders:
            raise ValueError(f"An edit is for layer {edit.layer!r}, which has no transcoder.")
        positions = range(seq_len)[edit.position] if isinstance(edit.position, slice) else [edit.position]
        if not positions:
            raise ValueError(f"An edit's {edit.position} has no positions: the prompt has {seq_len}.")
        if not math.isfinite(edit.value):
            raise ValueError(f"An edit's value must be a finite number, not {edit.value}.")
        sizes = {"row": n_rows, "position": seq_len, "latent": len(transcoders[edit.layer].b_enc)}
        for position in positions:
            single = edit._replace(position=position)
            for name, size in sizes.items():
                number = getattr(single, name)
                if not isinstance(number, Integral):
                    raise TypeError(f"An edit's {name} must be a whole number, not {number!r}.")
                if not 0 <= number < size:
                    raise ValueError(f"An edit's {name} must be between 0 and {size - 1}, not {number}.")
            checked.append(single)
    return checked


class LayerEdits(NamedTuple):
    """The edits of one layer as tensors: `acts[rows, positions, latents] = values`."""

    rows: Int[Tensor, " n_edits"]
    positions: Int[Tensor, " n_edits"]
    latents: Int[Tensor, " n_edits"]
    values: Float[Tensor, " n_edits"]


@dataclass
class LayerRun:
    """One MLP on the unchanged prompts.

    Attributes:
        x: (batch, seq, d_model) its input, after ln2.
        acts: (batch, seq, d_latents) activations of its latents.
        error: (batch, seq, d_model) what the MLP writes and the transcoder does not: `y - transcoder(x)`.
    """

    x: Float[Tensor, "batch seq d_model"]
    acts: Float[Tensor, "batch seq d_latents"]
    error: Float[Tensor, "batch seq d_model"]


@dataclass
class BaseRun:
    """The unchanged model on a batch of prompts: everything that an intervention may hold.

    Attributes:
        tokens: (batch, seq), shorter prompts filled up on the right.
        logits: (batch, seq, d_vocab).
        freeze: has the attention patterns and the norms' scales.
        x: layer -> (batch, seq, d_model), what its MLP reads.
        acts: layer -> (batch, seq, d_latents), activations of its latents.
        errors: layer -> (batch, seq, d_model), what its MLP writes and the transcoder does not.
    """

    tokens: Int[Tensor, "batch seq"]
    logits: Float[Tensor, "batch seq d_vocab"]
    freeze: FreezeHooks
    x: dict[int, Float[Tensor, "batch seq d_model"]]
    acts: SparseActs
    errors: dict[int, Float[Tensor, "batch seq d_model"]]

    def layer(self, layer: int) -> LayerRun:
        """The MLP of one layer."""
        return LayerRun(self.x[layer], self.acts[layer], self.errors[layer])


@dataclass
class Outcome:
    """What came of an intervention.

    Attributes:
        logits: (batch, seq, d_vocab).
        acts: layer -> (batch, seq, d_latents), the activations that the MLP wrote with, edits included.
        reads: every layer and "L" -> (batch, seq, d_model), what latents and logits read: `read_targets` takes it.
    """

    logits: Float[Tensor, "batch seq d_vocab"]
    acts: Mapping[int, Float[Tensor, "batch seq d_latents"]]
    reads: dict[int | str, Float[Tensor, "batch seq d_model"]]


def linear_part(transcoder: Transcoder, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What a transcoder writes besides its latents: `b_dec`, and its skip where it has one."""
    skip, b_dec = getattr(transcoder, "W_skip", None), transcoder.b_dec.detach().to(x)
    return b_dec.expand_as(x) if skip is None else b_dec + x @ skip.detach().to(x).T


@torch.no_grad()
def run_base(model: TransformerBridge, transcoders: dict[int, Transcoder], tokens: Int[Tensor, "batch seq"]) -> BaseRun:
    """Run the unchanged model and keep everything that an intervention may hold.

    Raises:
        TypeError, ValueError: the transcoders are a cross-layer transcoder, or its layers: chapter 5 edits these.
        MemoryError: the prompts are too many or too long.
    """
    refuse_cross_layer(transcoders)
    check_room_for_latents(tokens, [len(transcoder.b_enc) for transcoder in transcoders.values()], model.W_U)
    freeze = FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    # with live norms, as in an intervention that freezes nothing: a difference of logits may be small
    base = BaseRun(tokens, model(tokens), freeze, {}, SparseActs(), {})
    for layer, transcoder in transcoders.items():
        x, y = cache[reading_hook(layer)], cache[mlp_out_hook(layer)]
        acts = transcoder.encode(x).to(x)
        base.x[layer], base.acts[layer] = x, acts
        base.errors[layer] = y - acts @ transcoder.W_dec.to(x) - linear_part(transcoder, x)
    return base


# Activations of one layer are dense while it is computed: as they are, as they were, after the edits, and twice on the way.
DENSE_AT_ONCE = 5


def check_room_for_latents(tokens: Int[Tensor, "batch seq"], widths: Sequence[int], like: Tensor) -> None:
    """Say what activations of all latents take on these prompts, and refuse what does not fit.

    Args:
        widths: numbers of latents of the layers; one layer at a time is dense.
        like: has the activations' dtype and device.

    Raises:
        MemoryError: one sentence that says what helps.
    """
    rows, length = tokens.shape
    needed = DENSE_AT_ONCE * tokens.numel() * max(widths) * like.element_size()
    prompts = f"{rows} prompts of {length} tokens" if rows > 1 else f"A prompt of {length} tokens"
    what = f"{prompts}: the activations of a layer's {max(widths):,} latents take {{}} of memory"
    check_room(needed, like.device, what, "run fewer prompts together (batch_size), shorten them")


def resolve_edits(
    edits: Sequence[Edit], base_acts: Mapping[int, Float[Tensor, "batch seq d_latents"]]
) -> dict[int, LayerEdits]:
    """Turn edits of all kinds into new activations, layer by layer.

    Args:
        edits: in any order, of any layers, rows and kinds.
        base_acts: layer -> activations on the unchanged prompts. Multiples and sums refer to these.

    Returns:
        layer -> its edits, in the order given. Layers without an edit are left out.

    Raises:
        ValueError: a kind is none of "set", "scale" and "add", or two edits name the same latent at the same place of the
            same row: then it would be chance which of them counts.
    """
    ### BEGIN SOLUTION
    places = [(edit.row, edit.layer, edit.position, edit.latent) for edit in edits]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ValueError(f"Two edits name row {twice[0]}, layer {twice[1]}, position {twice[2]}, latent {twice[3]}.")
    if unknown := {edit.kind for edit in edits} - {"set", "scale", "add"}:
        raise ValueError(f"An edit's kind must be 'set', 'scale' or 'add', not {sorted(unknown)[0]!r}.")
    resolved = {}
    for layer in sorted({edit.layer for edit in edits}):
        acts, here = base_acts[layer], [edit for edit in edits if edit.layer == layer]
        rows, positions, latents = (
            torch.tensor([getattr(edit, name) for edit in here], device=acts.device)
            for name in ("row", "position", "latent")
        )
        before = acts[rows, positions, latents]
        # every kind is: factor times before, plus shift
        factor = [{"set": 0.0, "scale": edit.value, "add": 1.0}[edit.kind] for edit in here]
        shift = [0.0 if edit.kind == "scale" else edit.value for edit in here]
        values = before.new_tensor(factor) * before + before.new_tensor(shift)
        resolved[layer] = LayerEdits(rows, positions, latents, values)
    return resolved
    ### END SOLUTION


def rewrite_mlp(
    transcoder: Transcoder,
    x: Float[Tensor, "batch seq d_model"],
    y: Float[Tensor, "batch seq d_model"],
    base: LayerRun,
    edits: LayerEdits | None = None,
    held: bool = False,
    freeze_errors: bool = False,
) -> tuple[Float[Tensor, "batch seq d_model"], Float[Tensor, "batch seq d_latents"]]:
    """What an MLP writes after an edit of its latents: `linear_part(x) + activations @ W_dec + error`.

    Args:
        transcoder: the transcoder of the MLP.
        x, y: what the MLP reads and writes in this run, in which earlier layers may have been edited already.
        base: the same MLP on the unchanged prompts.
        edits: new activations of some latents; they count whatever `held` says. None: no edit here.
        held: latents and error keep their values of the unchanged prompts; only the linear part answers to `x`.
        freeze_errors: the error keeps its value of the unchanged prompts, though the latents answer.

    Returns:
        What the MLP writes, and the activations it writes with, as a tensor of their own: the tensors of `base` are left as
        they are, also by whoever writes into the result. Where nothing is edited, held or frozen, the MLP writes `y`, up to
        rounding.
    """
    ### BEGIN SOLUTION
    W_dec = transcoder.W_dec.detach().to(x)
    linear = linear_part(transcoder, x)
    live = transcoder.encode(x).to(x)
    acts = base.acts.clone() if held else live.clone()
    error = base.error if held or freeze_errors else y - linear - live @ W_dec
    if edits is not None:
        acts[edits.rows, edits.positions, edits.latents] = edits.values
    return linear + acts @ W_dec + error, acts
    ### END SOLUTION


@torch.no_grad()
def intervene(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    base: BaseRun,
    edits: Sequence[Edit],
    *,
    freeze_attention: bool = True,
    freeze_norms: bool = False,
    freeze_errors: bool = False,
    constrained_layers: Collection[int] = (),
) -> Outcome:
    """Run the model on the prompts of `base` with some latents edited.

    Args:
        model, transcoders: as for `run_base`.
        base: the unchanged run; what is frozen or held is taken from it, and its tokens are run.
        edits: see `Edit`; none gives the unchanged model.
        freeze_attention: hold every attention pattern (the hooks of `base.freeze` whose name ends in "hook_pattern").
        freeze_norms: hold the scale of every norm ("hook_scale").
        freeze_errors: hold what the transcoders leave unexplained, in every layer.
        constrained_layers: layers whose MLPs are held, see `rewrite_mlp`. With all layers held and attention and norms
            frozen, the model is the linear one of the graph, and a reading changes by exactly the edge.

    Returns:
        Logits, activations of all latents, and what every layer and the unembedding read. The model's hooks, others' too, are
        as before when this returns or raises.

    Raises:
        TypeError, ValueError: an edit is for a place that is not there, or its value is not finite.
    """
    edits = check_edits(edits, transcoders, base.tokens)
    acts, reads = SparseActs(), {}
    # Fill these two by hooks, and run the model with them. `base.layer(layer)` is the MLP of a layer as it was.
    ### BEGIN SOLUTION
    resolved = resolve_edits(edits, base.acts)

    def read(x: Tensor, hook: HookPoint, place: int | str) -> None:
        reads[place] = x

    def write(y: Tensor, hook: HookPoint, layer: int) -> Tensor:
        held = layer in constrained_layers
        y, acts[layer] = rewrite_mlp(
            transcoders[layer], reads[layer], y, base.layer(layer), resolved.get(layer), held, freeze_errors
        )
        return y

    frozen = ("hook_pattern",) * freeze_attention + ("hook_scale",) * freeze_norms
    hooks = [(name, hold) for name, hold in base.freeze.fwd_hooks if name.endswith(frozen)]
    for layer in transcoders:
        hooks += [(reading_hook(layer), partial(read, place=layer)), (mlp_out_hook(layer), partial(write, layer=layer))]
    hooks.append((FINAL_HOOK, partial(read, place="L")))
    with hooked(model, hooks):
        logits = model(base.tokens)
    return Outcome(logits, acts, reads)
    ### END SOLUTION
