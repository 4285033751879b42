"""Skip transcoders for every layer: collect what the MLPs read and write, train, save in SAELens' form.

A transcoder explains `y`, what an MLP adds to the residual stream, from `x`, what it reads:
`y ≈ JumpReLU(x @ W_enc + b_enc) @ W_dec + b_dec + x @ W_skip.T` (Dunefsky et al. 2024; skip: Paulo et al. 2025).
Training is BatchTopK (Bussmann et al. 2024) with a nested first part (Matryoshka, Bussmann et al. 2025), then fixed thresholds.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from sae_lens import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.tokenizer import EOS_ID, PAD_ID


@dataclass(frozen=True)
class DictionaryConfig:
    """Size of one layer's transcoder and how it is trained."""

    width: int = 1536
    first: int = 512  # the first latents explain `y` on their own, one a token; the others refine what they say
    active: float = 9.0  # how many of the others a token has, on average over a batch
    steps: int = 3000
    batch_size: int = 2048
    learning_rate: float = 1e-3
    threshold_share: float = 0.35  # share of the steps, at the end, with fixed thresholds in place of BatchTopK
    threshold_height: float = 0.3  # threshold of one of the first latents, as a share of its highest activation
    # In the end every latent's threshold is raised to a share of its highest activation, round by round, with further steps
    # in each round, for as long as no more than `unexplained` of the variance is left.
    sharpen_heights: tuple[float, ...] = (0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
    sharpen_steps: int = 200
    unexplained: float = 0.048
    skip_shrinkage: float = 3.0  # keeps the skip small, so that what an MLP says is said by latents
    rare: int = 5  # latents that fire on fewer of the training tokens are left out in the end
    auxiliary: int = 32  # dead latents that are given the error to explain
    dead_after: int = 100  # a latent is dead when it has been silent for so many batches


@dataclass
class Activations:
    """What every MLP reads (`x`, after ln2) and adds to the residual stream (`y`), padding left out."""

    x: list[Float[Tensor, "token d_model"]]
    y: list[Float[Tensor, "token d_model"]]
    tokens: Int[Tensor, " token"]


@torch.no_grad()
def collect(model: TransformerBridge, tokens: Int[Tensor, "row position"], batch_size: int = 256) -> Activations:
    """Run the model over token rows and keep the MLPs' inputs and outputs; padding and `<eos>` are left out."""
    layers = range(model.cfg.n_layers)
    names = {f"blocks.{layer}.{hook}" for layer in layers for hook in ("mlp.hook_in", "hook_mlp_out")}
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    tokens_read = []
    for rows in tqdm(tokens.split(batch_size), desc="activations", leave=False, disable=None):
        rows = rows[:, : int((rows != PAD_ID).sum(1).max())]
        used = (rows != PAD_ID) & (rows != EOS_ID)
        _, cache = model.run_with_cache(rows, names_filter=lambda name: name in names)
        for name in names:
            kept[name].append(cache[name][used])
        tokens_read.append(rows[used])
    stacked = {name: torch.cat(parts) for name, parts in kept.items()}
    return Activations(
        [stacked[f"blocks.{layer}.mlp.hook_in"] for layer in layers],
        [stacked[f"blocks.{layer}.hook_mlp_out"] for layer in layers],
        torch.cat(tokens_read),
    )


def least_squares(
    x: Float[Tensor, "token d_in"], y: Float[Tensor, "token d_out"], shrinkage: float = 1e-4
) -> tuple[Float[Tensor, "d_out d_in"], Float[Tensor, " d_out"]]:
    """The linear map and the bias that explain most of `y`, the map held small by ridge regression.

    Args:
        shrinkage: the ridge, as a multiple of the mean variance of `x`.
    """
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = (x - mean_x).double()
    gram = centred.T @ centred
    gram += shrinkage * gram.diagonal().mean() * torch.eye(gram.shape[0], dtype=gram.dtype)
    solution = torch.linalg.solve(gram, centred.T @ (y - mean_y).double())
    skip = solution.T.to(x.dtype)
    return skip, mean_y - skip @ mean_x


class SkipTranscoder(torch.nn.Module):
    """A skip transcoder in training: inputs and outputs scaled to mean square 1 per dimension."""

    def __init__(self, x: Tensor, y: Tensor, config: DictionaryConfig):
        super().__init__()
        self.config = config
        self.x_scale = x.pow(2).mean().sqrt()
        self.y_scale = (y - y.mean(0)).pow(2).mean().sqrt()
        skip, bias = least_squares(x / self.x_scale, y / self.y_scale, config.skip_shrinkage)
        d_in, d_out = x.shape[1], y.shape[1]
        directions = torch.nn.functional.normalize(torch.randn(config.width, d_out), dim=1)
        self.W_dec = torch.nn.Parameter(directions)
        self.W_enc = torch.nn.Parameter((torch.randn(d_in, config.width)) / d_in**0.5)
        self.b_enc = torch.nn.Parameter(torch.zeros(config.width))
        self.b_dec = torch.nn.Parameter(bias)
        self.register_buffer("W_skip", skip)  # not trained: it would take over whatever is nearly linear
        self.register_buffer("highest", torch.zeros(config.first))  # running maximum of each of the first latents
        self.register_buffer("lowest", torch.zeros(()))  # running mean of the least that BatchTopK keeps
        self.register_buffer("raised", torch.zeros(config.width))  # thresholds after sharpening
        self.register_buffer("silent", torch.zeros(config.width))

    def pre_activations(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token latent"]:
        return torch.relu(x @ self.W_enc + self.b_enc)

    @property
    def threshold(self) -> Float[Tensor, " latent"]:
        """Where every latent begins to count. What excites one of the first only a little, another explains better."""
        others = self.lowest.expand(self.config.width - self.config.first)
        kept = torch.cat([torch.maximum(self.lowest, self.config.threshold_height * self.highest), others])
        return torch.maximum(kept, self.raised)

    @torch.no_grad()
    def raise_thresholds(self, x: Float[Tensor, "token d_in"], height: float) -> None:
        """Let every latent count only where it reaches a share of its highest activation on `x`.

        A latent that stands for Texas is excited a little by much else. There is enough accuracy to spare to leave that out.
        """
        highest = torch.stack([self.pre_activations(part).amax(0) for part in x.split(4096)]).amax(0)
        self.raised = height * highest

    def select(self, pre: Float[Tensor, "token latent"], fixed: bool) -> Float[Tensor, "token latent"]:
        """Of the first latents keep each token's largest, of the others the batch's largest; or all above the threshold."""
        if fixed:
            return pre * (pre > self.threshold)
        first, others = pre[:, : self.config.first], pre[:, self.config.first :]
        sample = others.detach()[::8]  # to find where to cut, an eighth of the batch is enough
        lowest = sample.flatten().topk(int(self.config.active * len(sample)), sorted=False).values.min()
        self.highest = torch.maximum(self.highest * 0.998, first.detach().amax(0))
        self.lowest.lerp_(lowest, 0.02 if self.lowest > 0 else 1.0)
        best = first.max(1, keepdim=True)
        return torch.cat(
            [torch.zeros_like(first).scatter(1, best.indices, best.values), others * (others >= lowest)], dim=1
        )

    @torch.no_grad()
    def unexplained(self, x: Tensor, y: Tensor) -> float:
        """Share of the variance of the (unscaled) outputs that is left, with fixed thresholds."""
        squared = 0.0
        for a, b in zip(x.split(4096), y.split(4096), strict=True):
            a = a / self.x_scale
            acts = self.select(self.pre_activations(a), fixed=True)
            squared += (b / self.y_scale - acts @ self.W_dec - a @ self.W_skip.T - self.b_dec).pow(2).sum().item()
        return squared / ((y - y.mean(0)) / self.y_scale).pow(2).sum().item()

    def losses(self, x: Tensor, y: Tensor, fixed: bool) -> Float[Tensor, ""]:
        """Mean squared error of the first latents alone and of all, plus what dead latents leave of the error."""
        cut = self.config.first
        with torch.autocast("cpu", torch.bfloat16):
            pre = self.pre_activations(x)
            acts = self.select(pre, fixed)
            coarse = x @ self.W_skip.T + acts[:, :cut] @ self.W_dec[:cut]
            fine = acts[:, cut:] @ self.W_dec[cut:]
        coarse = coarse.float() + self.b_dec
        reconstruction = coarse + fine.float()
        fired = (acts.detach() > 0).any(0)
        self.silent = torch.where(fired, 0.0, self.silent + 1)
        dead = self.silent > self.config.dead_after
        loss = (y - reconstruction).pow(2).mean() + 0.5 * (y - coarse).pow(2).mean()
        if not fixed and dead.any():
            residual = (y - reconstruction).detach()
            best = (pre * dead).topk(min(self.config.auxiliary, int(dead.sum())), dim=1)
            with torch.autocast("cpu", torch.bfloat16):
                revived = torch.zeros_like(pre).scatter(1, best.indices, best.values) @ self.W_dec
            loss = loss + (residual - revived).pow(2).mean() / 32
        return loss

    @torch.no_grad()
    def unit_decoders(self) -> None:
        """Scale every decoder row to length 1 and its latent the other way: activations are then comparable."""
        norms = self.W_dec.norm(dim=1).clamp_min(1e-6)
        self.W_dec.div_(norms[:, None])

    @torch.no_grad()
    def frequent(self, x: Float[Tensor, "token d_in"]) -> Bool[Tensor, " latent"]:
        """Latents that fire on at least `config.rare` of the (unscaled) inputs."""
        fired = sum((self.pre_activations(part / self.x_scale) > self.threshold).sum(0) for part in x.split(4096))
        return fired >= self.config.rare

    def export(self, layer: int, kept: Bool[Tensor, " latent"]) -> JumpReLUSkipTranscoder:
        """The same function on unscaled inputs and outputs, as SAELens has it, with the latents that are `kept`."""
        d_in, d_out = self.W_enc.shape[0], self.W_dec.shape[1]
        config = JumpReLUSkipTranscoderConfig(
            d_in=d_in,
            d_out=d_out,
            d_sae=int(kept.sum()),
            apply_b_dec_to_input=False,
            metadata=SAEMetadata(
                model_name="atlas",
                hook_name=f"blocks.{layer}.mlp.hook_in",
                hook_name_out=f"blocks.{layer}.hook_mlp_out",
            ),
        )
        transcoder = JumpReLUSkipTranscoder(config)
        state = {
            "W_enc": self.W_enc[:, kept] / self.x_scale * self.y_scale,
            "b_enc": self.b_enc[kept] * self.y_scale,
            "threshold": self.threshold[kept] * self.y_scale,
            "W_dec": self.W_dec[kept],
            "b_dec": self.b_dec * self.y_scale,
            "W_skip": self.W_skip / self.x_scale * self.y_scale,
        }
        transcoder.load_state_dict({k: v.detach().clone().contiguous() for k, v in state.items()})
        return transcoder


def train_transcoder(
    x: Float[Tensor, "token d_in"], y: Float[Tensor, "token d_out"], config: DictionaryConfig, seed: int, title: str
) -> SkipTranscoder:
    """Train one layer's transcoder: which latents there are, then their thresholds, then sharper ones."""
    torch.manual_seed(seed)
    transcoder = SkipTranscoder(x, y, config)
    fixed_from = int(config.steps * (1 - config.threshold_share))
    fit(transcoder, x, y, range(config.steps), fixed_from, title)
    sharpen(transcoder, x, y, title)
    return transcoder


def sharpen(transcoder: SkipTranscoder, x: Tensor, y: Tensor, title: str) -> None:
    """Raise the thresholds round by round, and take the last round back when it leaves too much unexplained."""
    config = transcoder.config
    for height in config.sharpen_heights:
        before = copy.deepcopy(transcoder.state_dict())
        transcoder.raise_thresholds(x / transcoder.x_scale, height)
        fit(transcoder, x, y, range(config.sharpen_steps), 0, f"{title}, thresholds at {height}")
        if transcoder.unexplained(x[:50_000], y[:50_000]) > config.unexplained:
            transcoder.load_state_dict(before)
            return


def fit(transcoder: SkipTranscoder, x: Tensor, y: Tensor, steps: range, fixed_from: int, title: str) -> None:
    """Adam with a short warm-up and a linear decay; thresholds are fixed from step `fixed_from` on."""
    config = transcoder.config
    optimizer = torch.optim.Adam(transcoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    progress = tqdm(steps, desc=title, leave=False, disable=None)
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / 50, 1.02 - step / len(steps))
        index = torch.randint(x.shape[0], (config.batch_size,))
        loss = transcoder.losses(x[index] / transcoder.x_scale, y[index] / transcoder.y_scale, step >= fixed_from)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        transcoder.unit_decoders()
        if step % 50 == 0:
            progress.set_postfix(error=f"{loss.item():.3f}")


def train_all(
    activations: Activations, config: DictionaryConfig, folder: Path, seed: int
) -> dict[int, JumpReLUSkipTranscoder]:
    """Train or, where `folder` holds them already, read the transcoders of all layers."""
    transcoders = {}
    for layer, (x, y) in enumerate(zip(activations.x, activations.y, strict=True)):
        place = folder / f"layer_{layer}"
        if not (place / "cfg.json").exists():
            trained = train_transcoder(x, y, config, seed + layer, f"transcoder {layer}")
            trained.export(layer, trained.frequent(x)).save_model(place)
        transcoders[layer] = JumpReLUSkipTranscoder.load_from_disk(place)
    return transcoders
