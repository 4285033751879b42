"""Where this course looks into a model and changes it: names of hooks, a quick way to add them, and transcoders that fit.

For layer l: the latents read at `reading_hook(l)`, the MLP's output is at `mlp_out_hook(l)`, and what the latents write is
in the residual stream at `writing_hook(l)`. Embeddings write at `writing_hook("E")`, logits read at `reading_hook("L")`.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

from sae_lens import JumpReLUSkipTranscoder, JumpReLUTranscoder
from sae_lens.saes.transcoder import Transcoder as AnyTranscoder
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

Transcoder: TypeAlias = JumpReLUTranscoder | JumpReLUSkipTranscoder
Hook: TypeAlias = tuple[str, Callable[..., Tensor | None]]

# TransformerBridge says so whenever a norm's scale is edited. Editing it is what freezing a model is.
warnings.filterwarnings("ignore", message="A forward hook edited hook_scale/hook_normalized")

EMBEDDING_HOOK = "blocks.0.hook_in"
FINAL_HOOK = "ln_final.hook_out"

# The unembedding reads here. A run whose logits nobody needs leaves it nothing to do.
NO_LOGITS: Hook = ("unembed.hook_in", lambda x, hook: x[:, :0])
LAST_LOGITS: Hook = ("unembed.hook_in", lambda x, hook: x[:, -1:])


def reading_hook(layer: int | str) -> str:
    """Where the latents of `layer` read: the input of the MLP, after ln2. Logits, "L", read the output of the final norm."""
    return FINAL_HOOK if layer == "L" else f"blocks.{layer}.mlp.hook_in"


def mlp_out_hook(layer: int) -> str:
    """What the MLP of `layer` adds to the residual stream (after the norm behind the MLP, if there is one)."""
    return f"blocks.{layer}.hook_mlp_out"


def writing_hook(layer: int | str) -> str:
    """Where the latents and the error of `layer` write: the stream after the block. Embeddings, "E", write what enters block 0."""
    return EMBEDDING_HOOK if layer == "E" else f"blocks.{layer}.hook_out"


# TransformerBridge counts its own levels up from 1.
_levels = itertools.count(-1, -1)


@contextmanager
def hooked(model: TransformerBridge, fwd_hooks: list[Hook]) -> Iterator[None]:
    """`model.hooks(fwd_hooks=...)`, but quick (that one takes 0.7 ms a hook) and strict about names.

    Raises:
        ValueError: the model has no hook of that name.
    """
    level, used = next(_levels), []
    try:
        for name, function in fwd_hooks:
            # not `model.hook_dict[name]`: the bridge makes that dict anew each time, with all names
            point = model.get_hook_point(name)
            if point is None:
                raise ValueError(f"The model has no hook {name!r}, so that this chapter's method does not apply to it.")
            point.add_hook(function, level=level)
            used.append(point)
        yield
    finally:
        for point in used:
            point.remove_hooks(level=level)


@contextmanager
def keep_activations(model: TransformerBridge) -> Iterator[dict[str, Tensor]]:
    """In this block a run of the model fills a dict, by the hooks' names above: embedding, MLPs' inputs and outputs, streams."""
    acts: dict[str, Tensor] = {}
    layers = range(model.cfg.n_layers)
    names = [f(layer) for layer in layers for f in (reading_hook, mlp_out_hook, writing_hook)]

    def keep(value: Tensor, hook: HookPoint, name: str) -> None:
        acts[name] = value.detach()

    with hooked(model, [(name, partial(keep, name=name)) for name in (EMBEDDING_HOOK, *names, FINAL_HOOK)]):
        yield acts


def norms_by_scale(model: TransformerBridge) -> list[Hook]:
    """Hooks that leave the scale of every norm as it is. The bridge then divides by it, as it does by a frozen one."""
    names = [point.name for point in model.hook_points() if point.name.endswith("hook_scale")]
    return [(name, lambda scale, hook: scale.detach()) for name in names]


def check_transcoders(model: TransformerBridge, transcoders: dict[int, Transcoder]) -> None:
    """Refuse transcoders that the algebra of this chapter does not cover.

    Raises:
        TypeError: the model or the transcoders are something else.
        ValueError: one sentence that names the layer and what is wrong.
    """
    if not isinstance(model, TransformerBridge):
        raise TypeError(f"The model must be a TransformerBridge, as `load` gives it, not a {type(model).__name__}.")
    if not isinstance(transcoders, dict):
        raise TypeError(f"Transcoders are a dict, layer -> transcoder, not a {type(transcoders).__name__}.")
    n_layers, d_model = model.cfg.n_layers, model.cfg.d_model
    missing = sorted(set(range(n_layers)) - set(transcoders))
    if missing:
        raise ValueError(
            f"There is no transcoder for layer {', '.join(map(str, missing))}: give one for each of the {n_layers} layers."
        )
    if len(transcoders) != n_layers:
        raise ValueError(f"There are transcoders for {len(transcoders)} layers, but the model has {n_layers}.")
    for layer, transcoder in transcoders.items():
        if not isinstance(transcoder, AnyTranscoder):
            raise ValueError(
                f"Layer {layer} has a {type(transcoder).__name__}; it needs a transcoder (JumpReLUTranscoder or "
                "JumpReLUSkipTranscoder of SAELens)."
            )
        if transcoder.cfg.normalize_activations != "none":
            raise ValueError(
                f"The transcoder of layer {layer} normalises its input ({transcoder.cfg.normalize_activations}); fold the "
                "normalisation into its weights first."
            )
        if transcoder.cfg.reshape_activations != "none":
            raise ValueError(f"The transcoder of layer {layer} reshapes its input, which is not supported.")
        if (transcoder.cfg.d_in, transcoder.cfg.d_out) != (d_model, d_model):
            raise ValueError(
                f"The transcoder of layer {layer} maps {transcoder.cfg.d_in} to {transcoder.cfg.d_out} dimensions, but the "
                f"model has {d_model}."
            )
        _check_place(layer, transcoder)


def _check_place(layer: int, transcoder: Transcoder) -> None:
    """Refuse a transcoder that says it was trained on another layer."""
    metadata = transcoder.cfg.metadata
    for name in (getattr(metadata, "hook_name", None), getattr(metadata, "hook_name_out", None)):
        if name and name.startswith("blocks.") and name.split(".")[1] != str(layer):
            raise ValueError(f"The transcoder given for layer {layer} was made for {name}.")
