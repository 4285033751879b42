"""The local replacement model: the real model on one prompt, made linear.

Attention patterns and the scales of all norms are frozen at their values on this prompt, and the gradient passes every MLP
through the linear part of its transcoder. What is left is a linear map of the residual stream, so that a derivative is an
exact direct effect. (Circuit Tracing, section 2.2, "The local replacement model".)
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import (
    Hook,
    Transcoder,
    check_transcoders,
    hooked,
    keep_activations,
    mlp_out_hook,
    norms_by_scale,
    reading_hook,
    writing_hook,
)
from utils.engine.sparse import SparseActs


def gradient_times_stream(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    vector: Float[Tensor, " d_model"],
    hooks: Sequence[Hook] = (),
) -> tuple[float, float]:
    """What a gradient at the end of the model finds, and what it should find.

    The reading is what `vector` reads at the last position after the final norm (`reading_hook("L")`). Its gradient is taken at the
    residual stream after the last block, and its dot product with that stream is taken.

    Args:
        hooks: further hooks for the run.

    Returns:
        (the gradient at the stream, times the stream; the reading).
    """
    last_stream = writing_hook(model.cfg.n_layers - 1)
    # `hooked` puts hooks on the model; `torch.enable_grad` switches gradients on.
    ### BEGIN SOLUTION
    seen = {}

    def start_here(stream, hook):
        seen["stream"] = stream.detach().requires_grad_()
        return seen["stream"]

    def read(value, hook):
        seen["reading"] = value[0, -1].to(vector) @ vector

    mine = [(last_stream, start_here), (reading_hook("L"), read)]
    with hooked(model, [*hooks, *mine]), torch.enable_grad():
        model(tokens)
    (gradient,) = torch.autograd.grad(seen["reading"], seen["stream"])
    return float((gradient * seen["stream"].detach()).sum()), float(seen["reading"].detach())
    ### END SOLUTION


class FreezeHooks:
    """Hold attention patterns and norm scales at their values on one prompt.

    Use it as a context manager, `with freeze: model(tokens)`, or pass `freeze.fwd_hooks` on together with other hooks:
    `with hooked(model, freeze.fwd_hooks + other_hooks): ...`.

    Attributes:
        frozen_values: hook name -> value; empty until `cache_frozen_values` has run.
        logits: (batch, seq, d_vocab) of the unchanged model, up to rounding.
    """

    def __init__(self, model: TransformerBridge):
        self.model = model
        self.frozen_values: dict[str, Tensor] = {}
        self.logits: Float[Tensor, "batch seq d_vocab"] | None = None
        self._contexts: list[AbstractContextManager] = []

    @property
    def fwd_hooks(self) -> list[Hook]:
        """The hooks as (name, function) pairs: one for every frozen value."""
        return [(name, self.freeze_hook) for name in self.frozen_values]

    @torch.no_grad()
    def cache_frozen_values(self, tokens: Int[Tensor, "batch seq"]) -> ActivationCache:
        """Freeze the model at its values on `tokens`, and return the activations that the graph needs.

        Frozen are every attention pattern and the scale of every norm: those of the blocks, the final one, and, where the
        model has them, those of queries and keys and those behind attention and MLP. Their hooks are named
        `blocks.0.attn.hook_pattern`, `blocks.0.ln2.hook_scale`, `blocks.0.attn.q_norm.hook_scale`, `ln_final.hook_scale`, ...
        Nothing else is frozen.

        One run of the model gives all: `self.frozen_values`, `self.logits`, and the activations that are returned. The norms
        compute in it as they do when their scale is frozen. (Hugging Face's RMSNorm rounds to float32 inside, which makes a
        difference of about 1e-7 in a float64 model, and the graph describes the frozen one.)
        """
        # freezing a model that is already frozen would freeze the old prompt's values
        self.frozen_values = {}
        model, names = self.model, [point.name for point in self.model.hook_points()]
        with hooked(model, norms_by_scale(model)), keep_activations(model) as acts:
            # `names` are the names of all places. Run `model` once with a hook of your own at those that are frozen.
            # Set `frozen`, a dict from a place's name to its value, and `logits`, what the model returns.
            ### BEGIN SOLUTION
            frozen = {}

            def record(value, hook):
                frozen[hook.name] = value

            wanted = [name for name in names if name.endswith(("hook_pattern", "hook_scale"))]
            with hooked(model, [(name, record) for name in wanted]):
                logits = model(tokens)
            ### END SOLUTION
        self.frozen_values, self.logits = frozen, logits
        return ActivationCache(acts, model)

    def freeze_hook(self, value: Tensor, hook: HookPoint) -> Tensor:
        """The hook function: what it returns takes the place of the live `value`.

        Returns:
            The frozen value of `hook.name`, in the shape of `value`. The model may be run on a batch that holds the frozen
            prompts `copies` times, one whole copy after the other; the frozen value is then repeated in the same order.

        Raises:
            ValueError: the model is run on a prompt of another length.
        """
        frozen = self.frozen_values[hook.name]
        copies, rest = divmod(value.shape[0], frozen.shape[0])
        if rest or frozen.shape[1:] != value.shape[1:]:
            raise ValueError(
                f"{hook.name} was frozen with shape {tuple(frozen.shape)} but now has {tuple(value.shape)}: "
                "run the frozen model on the prompt it was frozen at."
            )
        ### BEGIN SOLUTION
        return frozen.repeat(copies, *[1] * (frozen.ndim - 1))
        ### END SOLUTION

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

    A transcoder splits what the MLP writes: `y = a @ W_dec + b_dec + skip(x) + e`. The latents `a` and the error `e`
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
        self.transcoder_acts = SparseActs()
        self.transcoder_output: dict[int, Float[Tensor, "batch seq d_model"]] = {}
        self._installed = ExitStack()
        with torch.no_grad():
            for layer, transcoder in transcoders.items():
                x, W_dec = cache[reading_hook(layer)], transcoder.W_dec.to(cache[reading_hook(layer)])
                # Set `acts`, what the latents do, in the dtype of `x`, and `output`, all that the transcoder writes.
                ### BEGIN SOLUTION
                acts = transcoder.encode(x).to(x.dtype)
                output = acts @ W_dec + self.linear_part(layer, x)
                ### END SOLUTION
                self.transcoder_acts[layer], self.transcoder_output[layer] = acts, output

    def linear_part(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What one transcoder writes besides its latents: `b_dec`, and the skip of the MLP's input `x`; in the shape of `x`.

        A transcoder may have no skip. Its weights are constants: no gradient goes into them. SAELens stores `W_skip` as
        (d_out, d_in).
        """
        b_dec, W_skip = self.transcoders[layer].b_dec.detach().to(x), getattr(self.transcoders[layer], "W_skip", None)
        W_skip = None if W_skip is None else W_skip.detach().to(x)
        ### BEGIN SOLUTION
        if W_skip is None:
            return b_dec.expand_as(x)
        return x @ W_skip.T + b_dec
        ### END SOLUTION

    def keep_value(
        self, layer: int, x: Float[Tensor, "batch seq d_model"], mlp_out: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        """What the MLP's output is replaced by: a tensor with the value of `mlp_out` and the gradient of `linear_part`.

        No gradient reaches `mlp_out`: the one way back is through the skip of `x`.
        """
        ### BEGIN SOLUTION
        linear = self.linear_part(layer, x)
        return linear + (mlp_out - linear).detach()
        ### END SOLUTION

    def layer_hooks(self, layer: int, replace: Callable[[int, Tensor, Tensor], Tensor]) -> list[Hook]:
        """Two hooks, as (name, function), which put `replace(layer, x, mlp_out)` in the place of one MLP's output.

        The first, at `reading_hook(layer)`, remembers the MLP's input `x` of the run that is going on, and leaves it
        unchanged. The second, at `mlp_out_hook(layer)`, is given `mlp_out` and returns the replacement. `x` must be the live
        tensor, which knows how it was computed; the one in `self.cache` has forgotten it.
        """
        ### BEGIN SOLUTION
        live = {}

        def remember(x, hook):
            live["x"] = x

        def substitute(mlp_out, hook):
            return replace(layer, live.pop("x"), mlp_out)

        return [(reading_hook(layer), remember), (mlp_out_hook(layer), substitute)]
        ### END SOLUTION

    @property
    def fwd_hooks(self) -> list[Hook]:
        """The MLP's output in the forward pass, the skip in the backward pass."""
        return [hook for layer in self.transcoders for hook in self.layer_hooks(layer, self.keep_value)]

    @property
    def silent_hooks(self) -> list[Hook]:
        """A run in which no node writes."""
        return silent_hooks(self)

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


def linear_hooks(freeze: FreezeHooks, tc_hooks: TranscoderReplacementHooks) -> list[Hook]:
    """The local replacement model as a forward pass: linear, and equal to the model on the prompt itself.

    Patterns and scales are frozen. Each MLP's output is its output on the prompt, plus the change of its `linear_part` from
    the input on the prompt to the input `x` of this run.
    """
    layers, cache = list(tc_hooks.transcoders), tc_hooks.cache
    on_prompt = {layer: (cache[reading_hook(layer)], cache[mlp_out_hook(layer)]) for layer in layers}

    # `on_prompt` has each MLP's input and output on the prompt. An MLP's hooks come from `tc_hooks.layer_hooks(layer, replace)`.
    ### BEGIN SOLUTION
    def follow_skip(layer, x, mlp_out):
        x_before, mlp_before = on_prompt[layer]
        return mlp_before + tc_hooks.linear_part(layer, x) - tc_hooks.linear_part(layer, x_before)

    hooks = list(freeze.fwd_hooks)
    for layer in layers:
        hooks += tc_hooks.layer_hooks(layer, follow_skip)
    return hooks
    ### END SOLUTION


def silent_hooks(tc_hooks: TranscoderReplacementHooks) -> list[Hook]:
    """Hooks for a run in which no source writes: zero embeddings, no latents and no errors.

    Only what is constant or linear is left: each MLP writes `tc_hooks.linear_part(layer, x)`, with its input `x` of this run.
    Freezing is left to `FreezeHooks`.
    """
    layers = list(tc_hooks.transcoders)

    # The embedding passes `writing_hook("E")`. An MLP's hooks come from `tc_hooks.layer_hooks(layer, replace)`.
    ### BEGIN SOLUTION
    def no_embedding(embedding, hook):
        return torch.zeros_like(embedding)

    def only_linear(layer, x, mlp_out):
        return tc_hooks.linear_part(layer, x)

    hooks = [(writing_hook("E"), no_embedding)]
    for layer in layers:
        hooks += tc_hooks.layer_hooks(layer, only_linear)
    return hooks
    ### END SOLUTION
