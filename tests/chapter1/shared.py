"""What the tests of chapter 1 share: tiny random models with random SAEs, the bundled model, and truths found without the solutions."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from sae_lens import JumpReLUSAE
from sae_lens.saes.jumprelu_sae import JumpReLUSAEConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from tests.tiny import D_MODEL, PROMPT
from utils import models
from utils.engine.hooks import hooked

WIDTHS = (41, 37, 43)  # latents of the three layers' SAEs: pairwise different, and different from all other dimensions


class Case(NamedTuple):
    """A model, its SAEs and a prompt."""

    model: TransformerBridge
    saes: dict[int, JumpReLUSAE]
    tokens: Tensor
    truths: dict[object, Tensor]

    def once(self, name: object, compute: Callable[[], Tensor]) -> Tensor:
        """What tests expect under a name: computed for the first answer, and kept for the next ones and for planted mistakes."""
        if name not in self.truths:
            self.truths[name] = compute()
        return self.truths[name]

    def clean(self, layer: int) -> Tensor:
        """The residual stream after a layer, (seq, d_model)."""
        return self.once(("clean", layer), lambda: read(self, f"blocks.{layer}.hook_out")).clone()

    def active(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Activations, positions and latents of what is active after a layer, in reading order."""
        acts = self.saes[layer].encode(self.clean(layer))
        positions, latents = torch.where(acts > 0)
        return acts[positions, latents], positions, latents


def read(
    case: Case, place: str, changes: dict[str, Callable[[Tensor], Tensor]] | None = None, batch: int = 1
) -> Tensor:
    """What the model has at the hook `place`, with the values at other hooks replaced; (batch, seq, ...), or (seq, ...) of one."""
    found = {}

    def look(value: Tensor, hook) -> None:
        found["value"] = value.clone()

    hooks = [(name, lambda value, hook, change=change: change(value)) for name, change in (changes or {}).items()]
    with torch.no_grad(), hooked(case.model, [*hooks, (place, look)]):
        case.model(case.tokens.expand(batch, -1))
    return found["value"] if batch > 1 else found["value"][0]


def frozen_changes(case: Case, mlps: bool = True) -> dict[str, Callable[[Tensor], Tensor]]:
    """Changes for `read` that hold every pattern, every norm's scale and the MLPs' outputs at their values on the prompt."""
    names = [f"blocks.{layer}.hook_mlp_out" for layer in range(case.model.cfg.n_layers)] if mlps else []
    wanted = set(names)
    with torch.no_grad():
        _, held = case.model.run_with_cache(
            case.tokens, names_filter=lambda name: name in wanted or name.endswith(("hook_pattern", "hook_scale"))
        )

    def hold(frozen: Tensor) -> Callable[[Tensor], Tensor]:
        # the batch is the slowest part of the first dimension, also where positions and heads are folded into it
        return lambda value: frozen.repeat(len(value) // len(frozen), *[1] * (frozen.ndim - 1))

    return {name: hold(value) for name, value in held.items()}


def half_mlp(layer: int) -> tuple[list, dict[str, Callable[[Tensor], Tensor]]]:
    """A hook that changes values: it halves what an MLP writes. And the same change for `read`."""
    place = f"blocks.{layer}.hook_mlp_out"
    return [(place, lambda value, hook: 0.5 * value)], {place: lambda value: 0.5 * value}


def later_acts(case: Case, layer_from: int, layer_to: int, streams: Tensor, changes: dict | None = None) -> Tensor:
    """Later activations (batch, seq, latents) for replaced residual streams (batch, seq, d_model) after an earlier layer."""
    put = {f"blocks.{layer_from}.hook_out": lambda value: streams}
    later = read(case, f"blocks.{layer_to}.hook_out", {**(changes or {}), **put}, batch=len(streams))
    return case.saes[layer_to].encode(later.reshape(len(streams), *later.shape[-2:]))


def slopes(function: Callable[[Tensor], Tensor], at: Tensor, size: float) -> Tensor:
    """Jacobian (outputs, inputs) of `function` by central differences. It takes a batch of inputs (batch, n) -> (batch, outputs)."""
    steps = size * torch.eye(len(at), dtype=at.dtype)
    upper, lower = function(at + steps), function(at - steps)
    return (upper - lower).T / (2 * size)


def decoded(
    case: Case, layer: int, values: Tensor, positions: Tensor, latents: Tensor, error: Tensor | float
) -> Tensor:
    """Residual streams (batch, seq, d_model) for a batch of values of the active latents."""
    sae = case.saes[layer]
    acts = values.new_zeros(len(values), case.tokens.shape[1], sae.cfg.d_sae)
    acts[:, positions, latents] = values
    return acts @ sae.W_dec + sae.b_dec + error


def error_of(case: Case, layer: int) -> Tensor:
    """What the SAE of a layer leaves out of the residual stream."""
    residual = case.clean(layer)
    return residual - case.saes[layer].decode(case.saes[layer].encode(residual))


@torch.random.fork_rng(devices=[])
def random_sae(layer: int, seed: int) -> JumpReLUSAE:
    """A random SAE in float64; about a fifth of its latents are active at a position."""
    torch.manual_seed(seed)
    sae = JumpReLUSAE(
        JumpReLUSAEConfig(
            d_in=D_MODEL,
            d_sae=WIDTHS[layer],
            apply_b_dec_to_input=False,
            dtype="float64",
            metadata=SAEMetadata(hook_name=f"blocks.{layer}.hook_out"),
        )
    )
    with torch.no_grad():
        for name, weight in sae.named_parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
            if name == "threshold":
                weight.abs_().add_(1.0)
    return sae.eval().requires_grad_(False)


def cases_of(tiny: Callable) -> Callable[[str], Case]:
    """`cases_of(tiny)(architecture)`: a tiny random model of three layers in float64, its SAEs and a prompt, made once."""

    @cache
    def make(architecture: str) -> Case:
        model, _ = tiny(architecture)
        return Case(model, {layer: random_sae(layer, 10 + layer) for layer in range(3)}, model.to_tokens(PROMPT), {})

    return make


def real_case(name: str) -> Case:
    """A model of the registry on a short prompt. Skips the test where the model or its SAEs are not to be had."""
    try:
        model = models.load(name).model
        layers = range(model.cfg.n_layers)
        saes = models.load_saes(name, layers=(layers[1], layers[2]))
    except (FileNotFoundError, ConnectionError, PermissionError, MemoryError) as error:
        pytest.skip(str(error))
    except ValueError as error:
        if "no SAEs" not in str(error):
            raise
        pytest.skip(str(error))
    return Case(model, saes, model.to_tokens("The capital of Texas is"), {})
