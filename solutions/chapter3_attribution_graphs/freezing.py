"""The local replacement model: the real model on one prompt, made linear.

Attention patterns and the scales of all norms are frozen at their values on this prompt, and the gradient passes every MLP
through the linear part of its transcoder. What is left is a linear map of the residual stream, so that a derivative is an
exact direct effect. (Circuit Tracing, section 2.2, "The local replacement model".)
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from sae_lens import JumpReLUSkipTranscoder, JumpReLUTranscoder
from sae_lens.saes.transcoder import Transcoder as AnyTranscoder
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

Transcoder: TypeAlias = JumpReLUTranscoder | JumpReLUSkipTranscoder
Hook: TypeAlias = tuple[str, Callable[..., Tensor | None]]

# TransformerBridge says so whenever a norm's scale is edited. Editing it is what this module is for.
warnings.filterwarnings("ignore", message="A forward hook edited hook_scale/hook_normalized")

EMBEDDING_HOOK = "blocks.0.hook_in"
FINAL_HOOK = "ln_final.hook_out"


def reading_hook(layer: int) -> str:
    """Where the latents of `layer` read: the input of the MLP, after ln2."""
    return f"blocks.{layer}.mlp.hook_in"


def mlp_out_hook(layer: int) -> str:
    """What the MLP of `layer` adds to the residual stream (after the norm behind the MLP, if there is one)."""
    return f"blocks.{layer}.hook_mlp_out"


def writing_hook(layer: int) -> str:
    """Where the latents and the error of `layer` write: the residual stream after the block."""
    return f"blocks.{layer}.hook_out"


# TransformerBridge counts its own levels up from 1.
_levels = itertools.count(-1, -1)


@contextmanager
def hooked(model: TransformerBridge, fwd_hooks: list[Hook]) -> Iterator[None]:
    """`model.hooks(fwd_hooks=...)`, but quick (that one takes 0.7 ms a hook) and strict about names.

    Raises:
        ValueError: the model has no hook of that name.
    """
    points, level, used = model.hook_dict, next(_levels), []
    try:
        for name, function in fwd_hooks:
            if name not in points:
                raise ValueError(f"The model has no hook {name!r}, so that this chapter's method does not apply to it.")
            points[name].add_hook(function, level=level)
            used.append(points[name])
        yield
    finally:
        for point in used:
            point.remove_hooks(level=level)


class FreezeHooks:
    """Hold attention patterns and norm scales at their values on one prompt.

    Use it as a context manager, `with freeze: model(tokens)`, or pass `freeze.fwd_hooks` on together with other hooks:
    `with model.hooks(fwd_hooks=freeze.fwd_hooks + other_hooks): ...`.

    Attributes:
        frozen_values: hook name -> value; empty until `cache_frozen_values` has run.
        logits: (1, seq, d_vocab) of the unchanged model.
    """

    def __init__(self, model: TransformerBridge):
        self.model = model
        self.frozen_values: dict[str, Tensor] = {}
        self.logits: Float[Tensor, "batch seq d_vocab"] | None = None
        self._contexts: list[AbstractContextManager] = []

    @property
    def fwd_hooks(self) -> list[Hook]:
        """The hooks as (name, function) pairs."""
        return [(name, self._freeze_hook) for name in self.frozen_values]

    @torch.no_grad()
    def cache_frozen_values(self, tokens: Int[Tensor, "batch seq"]) -> ActivationCache:
        """Freeze the model at its values on `tokens`, and return the activations that the graph needs.

        The patterns and scales come from a run of the unchanged model. The activations come from a second run in which they
        are frozen: Hugging Face's RMSNorm rounds to float32 inside, so the two differ by about 1e-7, and the graph describes
        the frozen model.
        """
        # freezing a model that is already frozen would freeze the old prompt's values
        self.frozen_values = {}
        self.logits, cache = self.model.run_with_cache(
            tokens, names_filter=lambda name: name.endswith(("hook_pattern", "hook_scale"))
        )
        self.frozen_values = dict(cache.items())
        layers = range(self.model.cfg.n_layers)
        names = {EMBEDDING_HOOK, FINAL_HOOK} | {
            f(i) for f in (reading_hook, mlp_out_hook, writing_hook) for i in layers
        }
        with self:
            _, cache = self.model.run_with_cache(tokens, names_filter=names.__contains__)
        return cache

    def _freeze_hook(self, value: Tensor, hook: HookPoint) -> Tensor:
        """Put the frozen value in the place of the live one, once for every prompt in the batch."""
        frozen = self.frozen_values[hook.name]
        copies, rest = divmod(value.shape[0], frozen.shape[0])
        if rest or frozen.shape[1:] != value.shape[1:]:
            raise ValueError(
                f"{hook.name} was frozen with shape {tuple(frozen.shape)} but now has {tuple(value.shape)}: "
                "run the frozen model on the prompt it was frozen at."
            )
        # also right where a model folds positions and heads into the first dimension: the batch is the slowest part of it
        return frozen if copies == 1 else frozen.repeat(copies, *[1] * (frozen.ndim - 1))

    def __enter__(self) -> "FreezeHooks":
        context = hooked(self.model, self.fwd_hooks)
        context.__enter__()
        self._contexts.append(context)
        return self

    def __exit__(self, *exc) -> None:
        """Remove the freezing hooks, and no others."""
        self._contexts.pop().__exit__(*exc)


class TranscoderReplacementHooks:
    """Let the gradient pass every MLP through the linear skip of its transcoder, and keep the forward values as they are.

    A transcoder splits what the MLP writes: `y = a @ W_dec + b_dec + x @ W_skip.T + e`. The latents `a` and the error `e`
    become nodes of the graph; only the skip is left for the gradient. Without a skip no gradient passes the MLP.

    Use it as a context manager, or `install()` and `remove()`, or pass `fwd_hooks` on together with other hooks.

    Attributes:
        transcoder_acts: layer -> (batch, seq, d_latents), activations of the latents.
        transcoder_output: layer -> (batch, seq, d_model), reconstruction of the MLP's output, the skip included.

    Raises:
        ValueError: a layer has no transcoder, or a transcoder does not fit the model.
    """

    def __init__(self, model: TransformerBridge, transcoders: dict[int, Transcoder], cache: ActivationCache):
        check_transcoders(model, transcoders)
        self.model = model
        self.transcoders = transcoders
        self.cache = cache
        self.transcoder_acts: dict[int, Float[Tensor, "batch seq d_latents"]] = {}
        self.transcoder_output: dict[int, Float[Tensor, "batch seq d_model"]] = {}
        self._installed = ExitStack()
        with torch.no_grad():
            for layer, transcoder in transcoders.items():
                x = cache[reading_hook(layer)]
                acts = transcoder.encode(x).to(x.dtype)
                self.transcoder_acts[layer] = acts
                self.transcoder_output[layer] = (acts @ transcoder.W_dec.to(x)) + self.linear_part(layer, x)

    def skip(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The skip of one transcoder; zeros if it has none. SAELens stores `W_skip` as (d_out, d_in)."""
        W_skip = getattr(self.transcoders[layer], "W_skip", None)
        return torch.zeros_like(x) if W_skip is None else x @ W_skip.detach().to(x).T

    def linear_part(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the transcoder writes besides its latents: the skip and `b_dec`."""
        return self.skip(layer, x) + self.transcoders[layer].b_dec.detach().to(x)

    @property
    def fwd_hooks(self) -> list[Hook]:
        """The MLP's output in the forward pass, the skip in the backward pass."""

        def keep_value(layer: int, x: Tensor, mlp_out: Tensor) -> Tensor:
            skip = self.skip(layer, x)
            return skip + (mlp_out - skip).detach()

        return self._mlp_hooks(keep_value)

    @property
    def silent_hooks(self) -> list[Hook]:
        """A run in which no node writes: zero embeddings, no latents and no errors, only what is constant or linear."""

        def no_embedding(embedding: Tensor, hook: HookPoint) -> Tensor:
            return torch.zeros_like(embedding)

        def only_linear(layer: int, x: Tensor, mlp_out: Tensor) -> Tensor:
            return self.linear_part(layer, x)

        return [(EMBEDDING_HOOK, no_embedding), *self._mlp_hooks(only_linear)]

    def _mlp_hooks(self, replace: Callable[[int, Tensor, Tensor], Tensor]) -> list[Hook]:
        """Hooks that put `replace(layer, x, mlp_out)` in the place of every MLP's output."""
        live: dict[int, Tensor] = {}

        def hooks_of(layer: int) -> list[Hook]:
            # x must be the live tensor: a cached one is detached, and no gradient would reach the skip
            def capture(x: Tensor, hook: HookPoint) -> None:
                live[layer] = x

            def substitute(mlp_out: Tensor, hook: HookPoint) -> Tensor:
                return replace(layer, live.pop(layer), mlp_out)

            return [(reading_hook(layer), capture), (mlp_out_hook(layer), substitute)]

        return [hook for layer in self.transcoders for hook in hooks_of(layer)]

    def install(self) -> None:
        """Add `fwd_hooks` to the model until `remove` is called."""
        self._installed.enter_context(hooked(self.model, self.fwd_hooks))

    def remove(self) -> None:
        """Remove the hooks that `install` added, and no others."""
        self._installed.close()

    def __enter__(self) -> "TranscoderReplacementHooks":
        self.install()
        return self

    def __exit__(self, *exc) -> None:
        self.remove()


def check_transcoders(model: TransformerBridge, transcoders: dict[int, Transcoder]) -> None:
    """Refuse transcoders that the algebra of this chapter does not cover.

    Raises:
        ValueError: one sentence that names the layer and what is wrong.
    """
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
