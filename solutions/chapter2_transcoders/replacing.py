"""The model with transcoders in the place of its MLPs, and what that costs."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter2_transcoders.comparing import split_mlp_output
from utils.engine.hooks import Hook, Transcoder, hooked, mlp_out_hook, reading_hook


class ReplacementScores(NamedTuple):
    """What a change of the model costs, on average over the predictions that count."""

    loss: float
    kl: float
    kept: float


def transcoder_hooks(
    transcoders: dict[int, Transcoder],
    errors: dict[int, Float[Tensor, "batch seq d_model"]] | None = None,
    with_skip: bool = True,
) -> list[Hook]:
    """Hooks that put transcoders in the place of MLPs.

    Each MLP then adds to the residual stream what its transcoder makes of its live input: an input that the transcoders of
    earlier layers have already changed. `reading_hook(layer)` names the place where the MLP's input can be seen,
    `mlp_out_hook(layer)` the place of its output. A hook function is called as `function(value, hook)`; what it returns takes
    the value's place, and None leaves the value alone. Gradients pass through the transcoders.

    Args:
        transcoders: layer -> transcoder; other layers keep their MLP.
        errors: layer -> what is added to the transcoder's output; None adds nothing.
        with_skip: False leaves the skip out. (`transcoder(x)` includes it, `transcoder.decode(acts)` does not.)

    Returns:
        (hook name, function) pairs, ready for `hooked(model, hooks)`.
    """
    ### BEGIN SOLUTION
    inputs: dict[int, Tensor] = {}

    def hooks_of(layer: int, transcoder: Transcoder) -> list[Hook]:
        def read(x, hook):
            inputs[layer] = x

        def write(y, hook):
            x = inputs[layer]
            output = transcoder(x) if with_skip else transcoder.decode(transcoder.encode(x))
            return output if errors is None else output + errors[layer]

        return [(reading_hook(layer), read), (mlp_out_hook(layer), write)]

    pairs = (hooks_of(*item) for item in transcoders.items())
    return [hook for pair in pairs for hook in pair]
    ### END SOLUTION


@torch.no_grad()
def run_with_transcoders(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    tokens: Int[Tensor, "batch seq"],
    with_errors: bool = False,
    with_skip: bool = True,
) -> Float[Tensor, "batch seq d_vocab"]:
    """The logits of the model with transcoders in the place of its MLPs; errors are taken from the unchanged model."""
    errors = transcoder_errors(model, transcoders, tokens) if with_errors else None
    with hooked(model, transcoder_hooks(transcoders, errors, with_skip)):
        return model(tokens)


@torch.no_grad()
def transcoder_errors(
    model: TransformerBridge, transcoders: dict[int, Transcoder], tokens: Int[Tensor, "batch seq"]
) -> dict[int, Float[Tensor, "batch seq d_model"]]:
    """What every transcoder misses on the unchanged model, by layer."""
    names = {name for layer in transcoders for name in (reading_hook(layer), mlp_out_hook(layer))}
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name in names)
    errors = {}
    for layer, transcoder in transcoders.items():
        x, y = cache[reading_hook(layer)], cache[mlp_out_hook(layer)]
        errors[layer] = split_mlp_output(transcoder, x.flatten(0, 1), y.flatten(0, 1)).error.view_as(y)
    return errors


def constant_hooks(outputs: dict[int, Float[Tensor, " d_model"]]) -> list[Hook]:
    """Hooks that let each MLP write the same vector everywhere: zeros, or its mean."""

    def hook_of(vector: Tensor):
        return lambda y, hook: vector.expand_as(y)

    return [(mlp_out_hook(layer), hook_of(vector)) for layer, vector in outputs.items()]


@torch.no_grad()
def replacement_scores(
    logits: Float[Tensor, "row position d_vocab"],
    replaced_logits: Float[Tensor, "row position d_vocab"],
    tokens: Int[Tensor, "row position"],
    counted: Bool[Tensor, "row position"],
) -> ReplacementScores:
    """Compare a changed model with the original one, on average over the predictions that count.

    Args:
        logits: of the original model. Those at position p predict the token at p + 1.
        replaced_logits: of the changed model.
        tokens: what both have read.
        counted: true at the positions whose prediction counts. The last position of a row predicts nothing that is known
            and never counts.

    Returns:
        loss: cross-entropy of the changed model for the true next token, in nats.
        kl: KL(original || changed) of the two distributions over the next token, in nats.
        kept: share of the predictions where both have the same most probable token.
    """
    ### BEGIN SOLUTION
    used = counted[:, :-1]
    original, replaced = logits[:, :-1][used], replaced_logits[:, :-1][used]
    loss = cross_entropy(replaced, tokens[:, 1:][used])
    log_p, log_q = original.log_softmax(-1), replaced.log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    kept = (original.argmax(-1) == replaced.argmax(-1)).float().mean()
    return ReplacementScores(loss.item(), kl.item(), kept.item())
    ### END SOLUTION
