"""The model with a cross-layer transcoder in the place of all its MLPs, and two dictionaries at the same sparsity."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter2_transcoders import transcoder_hooks
from solutions.chapter5_cross_layer_transcoders.transcoder import CrossLayerTranscoder
from utils.engine.hooks import Hook, Transcoder, hooked, mlp_out_hook, reading_hook


def cross_layer_hooks(
    clt: CrossLayerTranscoder,
    errors: dict[int, Float[Tensor, "batch seq d_model"]] | None = None,
    cutoff: float = 0.0,
) -> list[Hook]:
    """Hooks that put a cross-layer transcoder in the place of all MLPs.

    Each layer's latents read that layer's live input (at `reading_hook(layer)`), which earlier layers' replacements have already
    changed. Each MLP's output (at `mlp_out_hook(layer)`) is replaced by what all latents so far write into this layer.

    Args:
        clt: for activations that are not normalised.
        errors: layer -> what is added to the reconstruction; None adds nothing.
        cutoff: a latent is silenced where its activation times its decoder norm is not above this.

    Returns:
        (hook name, function) pairs, ready for `hooked(model, hooks)`. A hook function is called as `function(value, hook)`.

    Raises:
        ValueError: the CLT has a skip, which these hooks leave out.
    """
    if clt.W_skip is not None:
        raise ValueError(
            "This cross-layer transcoder has a skip: it can be traced, but not put in the place of all MLPs."
        )
    norms = clt.decoder_norms()
    ### BEGIN SOLUTION
    acts: dict[int, Tensor] = {}

    def hooks_at(layer: int) -> list[Hook]:
        def read(x, hook):
            active = clt.encode(layer, x)
            acts[layer] = active * (active * norms[layer] > cutoff)

        def write(y, hook):
            output = clt.decode(layer, acts)
            return output if errors is None else output + errors[layer]

        return [(reading_hook(layer), read), (mlp_out_hook(layer), write)]

    return [hook for layer in range(clt.n_layers) for hook in hooks_at(layer)]
    ### END SOLUTION


def choose_cutoff(strengths: Float[Tensor, "token latent"], active: float) -> float:
    """The cutoff above which `active` latents a token remain, on average over the tokens.

    Args:
        strengths: activations times decoder norms, of all layers' latents side by side; 0 where a latent is not active.
        active: how many are wanted; a fraction is allowed.

    Returns:
        The largest strength that is silenced: `strengths > cutoff` holds for `active * n_tokens` entries, rounded down. 0 if no
        more than these are active.
    """
    ### BEGIN SOLUTION
    n_kept = int(active * len(strengths))
    if n_kept >= strengths.numel():
        return 0.0
    return strengths.flatten().topk(n_kept + 1).values[-1].item()
    ### END SOLUTION


def without_weak(transcoder: Transcoder, cutoff: float, x: Float[Tensor, "*batch d_model"]) -> Tensor:
    """What one of SAELens' transcoders writes when its weak latents are silenced, with its skip where it has one."""
    acts = transcoder.encode(x)
    weak = acts * (acts * transcoder.W_dec.norm(dim=1) <= cutoff)
    return transcoder(x) - weak @ transcoder.W_dec


def per_layer_hooks(transcoders: dict[int, Transcoder], cutoff: float = 0.0) -> list[Hook]:
    """The same for per-layer transcoders: chapter 2's hooks, with weak latents silenced."""
    return transcoder_hooks({layer: partial(without_weak, t, cutoff) for layer, t in transcoders.items()})


@torch.no_grad()
def mlp_inputs(
    model: TransformerBridge, tokens: Int[Tensor, "row position"], used: Tensor
) -> Float[Tensor, "layer token d_model"]:
    """What the MLPs of the unchanged model read on the tokens for which `used` is true."""
    names = [reading_hook(layer) for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(tokens, names_filter=names.__contains__)
    return torch.stack([cache[name][used] for name in names])


@torch.no_grad()
def strengths_of(
    dictionary: CrossLayerTranscoder | dict[int, Transcoder], inputs: Float[Tensor, "layer token d_model"]
) -> Float[Tensor, "token latent"]:
    """Activation times decoder norm of all latents of a dictionary, layers side by side."""
    if isinstance(dictionary, CrossLayerTranscoder):
        norms = dictionary.decoder_norms()
        return torch.cat([dictionary.encode(layer, x) * norms[layer] for layer, x in enumerate(inputs)], dim=1)
    return torch.cat([t.encode(inputs[layer]) * t.W_dec.norm(dim=1) for layer, t in dictionary.items()], dim=1)


@torch.no_grad()
def run_with_dictionary(
    model: TransformerBridge,
    dictionary: CrossLayerTranscoder | dict[int, Transcoder],
    tokens: Int[Tensor, "row position"],
    cutoff: float = 0.0,
) -> Float[Tensor, "row position d_vocab"]:
    """The logits of the model with a dictionary in the place of its MLPs, without errors."""
    is_cross_layer = isinstance(dictionary, CrossLayerTranscoder)
    added = cross_layer_hooks(dictionary, cutoff=cutoff) if is_cross_layer else per_layer_hooks(dictionary, cutoff)
    with hooked(model, added):
        return model(tokens)
