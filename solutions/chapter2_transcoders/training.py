"""A skip transcoder from scratch: BatchTopK while it learns, fixed thresholds when it is done.

(Skip: Paulo et al. 2025, "Transcoders Beat Sparse Autoencoders for Interpretability"; BatchTopK: Bussmann et al. 2024; the
auxiliary loss: Gao et al. 2024, "Scaling and evaluating sparse autoencoders".)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from sae_lens import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor
from tqdm.auto import tqdm

from solutions.chapter2_transcoders.skipping import fit_linear
from utils.engine.hooks import mlp_out_hook, reading_hook


@dataclass(frozen=True)
class TrainingConfig:
    """How a transcoder is trained.

    Attributes:
        active: latents a token, on average over a batch.
        auxiliary: weight of the auxiliary loss.
        auxiliary_latents: dead latents that may explain the error of a token.
        dead_after: a latent that has been silent for so many steps counts as dead.
    """

    width: int = 512
    active: float = 4.0
    steps: int = 1200
    batch_size: int = 512
    learning_rate: float = 2e-3
    auxiliary: float = 1 / 4
    auxiliary_latents: int = 64
    dead_after: int = 20
    seed: int = 0


def batch_topk(pre: Float[Tensor, "token latent"], active: float) -> Float[Tensor, "token latent"]:
    """Keep the largest pre-activations of the whole batch, `active` for each token on average, and set the others to zero.

    A token with much to say may use more latents than one with little. Negative numbers are never kept: where fewer than wanted
    are positive, fewer are kept. The gradient flows through what is kept, and through nothing else.
    """
    ### BEGIN SOLUTION
    pre = pre.relu()
    n_kept = int(active * len(pre))
    lowest = pre.detach().flatten().topk(n_kept, sorted=False).values.min()
    return pre * (pre >= lowest)
    ### END SOLUTION


class SkipTranscoder(torch.nn.Module):
    """A skip transcoder in training. Inputs and outputs are scaled to an average square of 1 first.

    Attributes:
        silent: for how many steps each latent has not fired.
        threshold: a running mean of the least pre-activation that `batch_topk` keeps; all latents' threshold in the end.
    """

    def __init__(self, x: Float[Tensor, "token d_in"], y: Float[Tensor, "token d_out"], config: TrainingConfig):
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        self.x_scale, self.y_scale = x.pow(2).mean().sqrt(), (y - y.mean(0)).pow(2).mean().sqrt()
        W_skip, b_dec = fit_linear(x / self.x_scale, y / self.y_scale)
        # random directions of length 1; an encoder starts as the transpose of what works for y, so here at random too
        W_dec = torch.nn.functional.normalize(torch.randn(config.width, y.shape[1]), dim=1).to(y)
        W_enc = (torch.randn(x.shape[1], config.width) / x.shape[1] ** 0.5).to(y)
        b_enc = torch.zeros(config.width).to(y)
        self.W_enc, self.b_enc = torch.nn.Parameter(W_enc), torch.nn.Parameter(b_enc)
        self.W_dec, self.b_dec = torch.nn.Parameter(W_dec), torch.nn.Parameter(b_dec)
        self.W_skip = torch.nn.Parameter(W_skip)
        self.silent, self.threshold = torch.zeros(config.width).to(y), torch.zeros(()).to(y)

    def forward(
        self, x: Float[Tensor, "token d_in"]
    ) -> tuple[Float[Tensor, "token d_out"], Float[Tensor, "token latent"], Float[Tensor, "token latent"]]:
        """The reconstruction, the activations, and the pre-activations, of scaled inputs."""
        pre = x @ self.W_enc + self.b_enc
        acts = batch_topk(pre, self.config.active)
        return acts @ self.W_dec + x @ self.W_skip.T + self.b_dec, acts, pre

    def auxiliary_loss(
        self, error: Float[Tensor, "token d_out"], pre: Float[Tensor, "token latent"]
    ) -> Float[Tensor, ""]:
        """What the dead latents leave of the error when the best of them are allowed to explain it; 0 if none is dead."""
        dead = self.silent > self.config.dead_after
        if not dead.any():
            return error.new_zeros(())
        candidates = pre.relu() * dead
        best = candidates.topk(min(self.config.auxiliary_latents, int(dead.sum())), dim=1)
        revived = torch.zeros_like(pre).scatter(1, best.indices, best.values) @ self.W_dec
        return (error.detach() - revived).pow(2).mean()

    @torch.no_grad()
    def after_step(self, acts: Float[Tensor, "token latent"]) -> None:
        """Bring decoders back to length 1, count who was silent, and follow the threshold."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-6))
        fired: Bool[Tensor, " latent"] = (acts > 0).any(0)
        self.silent = torch.where(fired, 0.0, self.silent + 1)
        if fired.any():
            lowest = acts[acts > 0].min()
            self.threshold = lowest if self.threshold == 0 else torch.lerp(self.threshold, lowest, 0.02)

    @torch.no_grad()
    def export(self, layer: int) -> JumpReLUSkipTranscoder:
        """The same function on unscaled inputs and outputs, in SAELens' form, with fixed thresholds."""
        (d_in, width), d_out = self.W_enc.shape, self.W_dec.shape[1]
        metadata = SAEMetadata(hook_name=reading_hook(layer), hook_name_out=mlp_out_hook(layer))
        config = JumpReLUSkipTranscoderConfig(
            d_in=d_in, d_out=d_out, d_sae=width, apply_b_dec_to_input=False, metadata=metadata
        )
        transcoder = JumpReLUSkipTranscoder(config).to(self.W_dec)
        state = {
            "W_enc": self.W_enc / self.x_scale * self.y_scale,
            "b_enc": self.b_enc * self.y_scale,
            "threshold": self.threshold.expand(width) * self.y_scale,
            "W_dec": self.W_dec,
            "b_dec": self.b_dec * self.y_scale,
            "W_skip": self.W_skip / self.x_scale * self.y_scale,
        }
        transcoder.load_state_dict({key: value.detach().clone().contiguous() for key, value in state.items()})
        return transcoder.requires_grad_(False)


def train_transcoder(
    x: Float[Tensor, "token d_in"], y: Float[Tensor, "token d_out"], config: TrainingConfig
) -> SkipTranscoder:
    """Train a skip transcoder that explains `y` from `x`.

    Make a `SkipTranscoder`; then `config.steps` times: draw `config.batch_size` tokens at random with `torch.randint`, scale them by
    the transcoder's `x_scale` and `y_scale`, call it, and take a step of `torch.optim.Adam` (betas 0.9 and 0.99) on

        mean squared error of the reconstruction + config.auxiliary * auxiliary_loss(y - reconstruction, pre),

    and call `after_step(acts)`. The learning rate goes linearly from `config.learning_rate` to 0. Show a progress bar
    (`tqdm(..., leave=False, disable=None)`). Gradients may be switched off outside: switch them on (`torch.enable_grad`).
    """
    ### BEGIN SOLUTION
    transcoder = SkipTranscoder(x, y, config)
    optimizer = torch.optim.Adam(transcoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    with torch.enable_grad():
        for step in tqdm(range(config.steps), desc="transcoder", leave=False, disable=None):
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
            index = torch.randint(len(x), (config.batch_size,))
            target = y[index] / transcoder.y_scale
            reconstruction, acts, pre = transcoder(x[index] / transcoder.x_scale)
            error = target - reconstruction
            loss = error.pow(2).mean() + config.auxiliary * transcoder.auxiliary_loss(error, pre)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            transcoder.after_step(acts.detach())
    return transcoder
    ### END SOLUTION
