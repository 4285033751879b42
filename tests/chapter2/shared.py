"""What the tests of chapter 2 share: an MLP's inputs and outputs on random tokens, and a latent known by number only."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from torch import Tensor

from tests.tiny import D_MODEL
from utils.engine.hooks import mlp_out_hook, reading_hook

N_SAE = 29


class Mlp(NamedTuple):
    """One MLP of a tiny model at work."""

    model: object
    transcoder: object
    x: Tensor
    y: Tensor
    tokens: Tensor


def mlps_of(tiny: Callable) -> Callable[..., Mlp]:
    """`mlps_of(tiny)(architecture, layer=1, skip=True)`: what an MLP reads and writes on 3 rows of 7 random tokens, token by token."""

    def make(architecture: str, layer: int = 1, skip: bool = True) -> Mlp:
        model, transcoders = tiny(architecture, skip=skip)
        tokens = random_tokens(model, rows=3)
        _, cache = model.run_with_cache(tokens)
        x, y = (cache[name(layer)].detach().flatten(0, 1) for name in (reading_hook, mlp_out_hook))
        return Mlp(model, transcoders[layer], x, y, tokens)

    return make


def random_tokens(model, rows: int, seed: int = 3, length: int = 7) -> Tensor:
    """Token rows that hold every kind of word."""
    return torch.randint(3, model.W_U.shape[1], (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.random.fork_rng(devices=[])
def random_sae() -> JumpReLUSAE:
    """A random SAE of a tiny MLP's output."""
    torch.manual_seed(5)
    config = JumpReLUSAEConfig(d_in=D_MODEL, d_sae=N_SAE, apply_b_dec_to_input=False, dtype="float64")
    sae = JumpReLUSAE(config)
    with torch.no_grad():
        for name, weight in sae.named_parameters():
            weight.copy_(torch.randn_like(weight) * 0.4)
            if name == "threshold":
                weight.abs_()
    return sae
