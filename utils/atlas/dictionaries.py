"""Skip transcoders for every layer: collect what the MLPs read and write, train, save in SAELens' form.

A transcoder explains `y`, what an MLP adds to the residual stream, from `x`, what it reads:
`y ≈ JumpReLU(x @ W_enc + b_enc) @ W_dec + b_dec + x @ W_skip.T` (Dunefsky et al. 2024; skip: Paulo et al. 2025).
Training is BatchTopK (Bussmann et al. 2024) with a nested first part (Matryoshka, Bussmann et al. 2025), then fixed thresholds, and
in the end what the latents write is fitted once more, exactly.
Some layers also have named latents: logistic regression finds what each reads, so that it fires at stated tokens, and the
others are trained around them (supervised dictionaries: Makelov et al. 2024).
"""

import copy
from collections.abc import Iterable, Iterator
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

    width: int = 2048  # named latents come on top
    first: int = 512  # the first latents explain `y` on their own, one a token; the others refine what they say
    active: float = 10.0  # how many of the others a token has, on average over a batch
    steps: int = 3600
    batch_size: int = 2048
    learning_rate: float = 1e-3
    threshold_share: float = 0.35  # share of the steps, at the end, with fixed thresholds in place of BatchTopK
    threshold_height: float = 0.3  # threshold of one of the first latents, as a share of its highest activation
    # In the end every latent's threshold is raised to a share of its highest activation, round by round, with further steps
    # in each round, for as long as no more than `unexplained` of the variance is left or more than `crowded` latents a token fire.
    sharpen_heights: tuple[float, ...] = (0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
    sharpen_steps: int = 200
    unexplained: float = 0.035
    crowded: float = 8.5
    refit_shrinkage: float = 1e-3  # keeps what latents write near what they wrote, see `what_is_left`
    skip_shrinkage: float = 3.0  # keeps the skip small, so that what an MLP says is said by latents
    rare: int = 5  # latents that fire on fewer of the training tokens are left out in the end
    naming_steps: int = 600  # steps of logistic regression that find what named latents read
    auxiliary: int = 32  # dead latents that are given the error to explain
    dead_after: int = 100  # a latent is dead when it has been silent for so many batches


NOTHING, UNKNOWN = -1, -2


@dataclass(frozen=True)
class Names:
    """Which named latent of one layer is to fire at every token: its number, `NOTHING`, or `UNKNOWN`."""

    count: int
    wanted: Int[Tensor, " token"]


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


def what_is_left(
    pairs: Iterable[tuple[Float[Tensor, "token latent"], Float[Tensor, "token d_out"]]], shrinkage: float
) -> tuple[Float[Tensor, "latent d_out"], Float[Tensor, " d_out"]]:
    """What latents have to write besides, and a bias, to explain most of what they leave over, held small by ridge regression.

    Args:
        pairs: active latents, and what they leave unexplained.
        shrinkage: the ridge, as a multiple of the mean square of an activation, summed over the tokens.
    """
    gram, target = 0.0, 0.0
    for acts, left in pairs:
        acts = torch.cat([acts, torch.ones(len(acts), 1)], dim=1)
        gram, target = gram + acts.T @ acts, target + acts.T @ left
    gram, target = gram.double(), target.double()
    gram += shrinkage * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype)
    change = torch.linalg.solve(gram, target).float()
    return change[:-1], change[-1]


class SkipTranscoder(torch.nn.Module):
    """A skip transcoder in training: inputs and outputs scaled to mean square 1 per dimension.

    The first `named` latents have names, the `config.first` behind them explain `y` on their own, the others refine.
    """

    def __init__(self, x: Tensor, y: Tensor, config: DictionaryConfig, named: int = 0):
        super().__init__()
        width = named + config.width
        self.config = config
        self.named, self.coarse = named, named + config.first
        self.x_scale = x.pow(2).mean().sqrt()
        self.y_scale = (y - y.mean(0)).pow(2).mean().sqrt()
        skip, bias = least_squares(x / self.x_scale, y / self.y_scale, config.skip_shrinkage)
        d_in, d_out = x.shape[1], y.shape[1]
        directions = torch.nn.functional.normalize(torch.randn(width, d_out), dim=1)
        self.W_dec = torch.nn.Parameter(directions)
        self.W_enc = torch.nn.Parameter(torch.randn(d_in, width) / d_in**0.5)
        self.b_enc = torch.nn.Parameter(torch.zeros(width))
        self.b_dec = torch.nn.Parameter(bias)
        self.register_buffer("W_skip", skip)  # not trained: it would take over whatever is nearly linear
        self.register_buffer("highest", torch.zeros(config.first))  # running maximum of each of the first latents
        self.register_buffer("lowest", torch.zeros(()))  # running mean of the least that BatchTopK keeps
        self.register_buffer("raised", torch.zeros(width))  # thresholds after sharpening
        self.register_buffer("silent", torch.zeros(width))

    def pre_activations(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token latent"]:
        return torch.relu(x @ self.W_enc + self.b_enc)

    @property
    def threshold(self) -> Float[Tensor, " latent"]:
        """Where every latent begins to count. What excites one of the first only a little, another explains better."""
        others = self.lowest.expand(self.config.width - self.config.first)
        first = torch.maximum(self.lowest, self.config.threshold_height * self.highest)
        kept = torch.cat([torch.zeros(self.named), first, others])
        return torch.maximum(kept, self.raised)

    @torch.no_grad()
    def raise_thresholds(self, x: Float[Tensor, "token d_in"], height: float) -> None:
        """Let every latent count only where it reaches a share of its highest activation on `x`.

        A latent that stands for Texas is excited a little by much else. There is enough accuracy to spare to leave that out.
        """
        highest = torch.stack([self.pre_activations(part).amax(0) for part in x.split(4096)]).amax(0)
        self.raised = height * highest
        self.raised[: self.named] = 0.0

    def select(self, pre: Float[Tensor, "token latent"], fixed: bool) -> Float[Tensor, "token latent"]:
        """All above the threshold; or the named, of the first latents each token's largest, of the others the batch's."""
        if fixed:
            return pre * (pre > self.threshold)
        named, first, others = pre.tensor_split([self.named, self.coarse], dim=1)
        sample = others.detach()[::8]  # to find where to cut, an eighth of the batch is enough
        lowest = sample.flatten().topk(int(self.config.active * len(sample)), sorted=False).values.min()
        self.highest = torch.maximum(self.highest * 0.998, first.detach().amax(0))
        self.lowest.lerp_(lowest, 0.02 if self.lowest > 0 else 1.0)
        best = first.max(1, keepdim=True)
        return torch.cat(
            [named, torch.zeros_like(first).scatter(1, best.indices, best.values), others * (others >= lowest)], dim=1
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

    @torch.no_grad()
    def active(self, x: Float[Tensor, "token d_in"]) -> float:
        """How many latents (unscaled) inputs have on average, with fixed thresholds."""
        fired = sum((self.pre_activations(part / self.x_scale) > self.threshold).sum().item() for part in x.split(4096))
        return fired / len(x)

    def losses(self, x: Tensor, y: Tensor, fixed: bool) -> Float[Tensor, ""]:
        """Mean squared error of named and first latents alone and of all, plus what dead latents leave of the error."""
        cut = self.coarse
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

    def keep_names(self) -> None:
        """Leave alone what named latents read: only what they write is trained."""
        self.W_enc.grad[:, : self.named] = 0.0
        self.b_enc.grad[: self.named] = 0.0

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


@dataclass
class TrainingSet:
    """What one layer's MLP reads and writes, and where its named latents are to fire."""

    x: Float[Tensor, "token d_in"]
    y: Float[Tensor, "token d_out"]
    names: Names


def log_loss(score: Float[Tensor, "token name"], wanted: Int[Tensor, " token"]) -> Float[Tensor, ""]:
    """Cross-entropy of log-odds `score` against the one name wanted at each token, or none; a sum over the names."""
    target = torch.zeros_like(score)
    row = (wanted != NOTHING).nonzero().flatten()
    target[row, wanted[row]] = 1.0
    return torch.nn.functional.binary_cross_entropy_with_logits(score, target, reduction="sum") / len(score)


def train_names(transcoder: SkipTranscoder, data: TrainingSet, title: str) -> None:
    """Let every named latent read what tells its name (logistic regression), and write the mean of what its MLP then writes.

    Half of every batch are tokens with a name, however rare they are.
    """
    config, count, wanted = transcoder.config, data.names.count, data.names.wanted
    mean, spread = data.x.mean(0), data.x.std(0).clamp_min(1e-6)
    weight = torch.zeros(data.x.shape[1], count, requires_grad=True)
    bias = torch.full((count,), -3.0, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    with_name, without = ((wanted >= 0).nonzero().flatten(), (wanted == NOTHING).nonzero().flatten())
    half = config.batch_size // 2
    for step in tqdm(range(config.naming_steps), desc=f"{title}, names", leave=False, disable=None):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / config.naming_steps)
        index = torch.cat([rows[torch.randint(len(rows), (half,))] for rows in (with_name, without)])
        log_loss((data.x[index] - mean) / spread @ weight + bias, wanted[index]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    weight = weight.detach() / spread[:, None]
    install_names(transcoder, data, weight, bias.detach() - mean @ weight)


@torch.no_grad()
def install_names(
    transcoder: SkipTranscoder, data: TrainingSet, weight: Float[Tensor, "d_in name"], bias: Float[Tensor, " name"]
) -> None:
    """Scale log-odds to activations: at its own tokens a latent then writes, on average, what the skip leaves over."""
    count = data.names.count
    rows = (data.names.wanted >= 0).nonzero().flatten()
    name = data.names.wanted[rows]
    x, y = data.x[rows], data.y[rows] / transcoder.y_scale
    left = y - x / transcoder.x_scale @ transcoder.W_skip.T - transcoder.b_dec
    times = torch.bincount(name, minlength=count).clamp_min(1)
    writes = torch.zeros(count, y.shape[1]).index_add_(0, name, left) / times[:, None]
    score = ((x @ weight + bias)[torch.arange(len(rows)), name]).clamp_min(1.0)
    score = (torch.zeros(count).index_add_(0, name, score) / times).clamp_min(1.0)
    scale = writes.norm(dim=1).clamp_min(1e-3) / score
    transcoder.W_enc[:, :count] = weight * transcoder.x_scale * scale
    transcoder.b_enc[:count] = bias * scale
    transcoder.W_dec[:count] = torch.nn.functional.normalize(writes, dim=1)


def train_transcoder(data: TrainingSet, config: DictionaryConfig, seed: int, title: str) -> SkipTranscoder:
    """Train one layer's transcoder: which latents there are, then their thresholds, then sharper ones."""
    torch.manual_seed(seed)
    transcoder = SkipTranscoder(data.x, data.y, config, data.names.count)
    if data.names.count:
        train_names(transcoder, data, title)
    fixed_from = int(config.steps * (1 - config.threshold_share))
    fit(transcoder, data, range(config.steps), fixed_from, title)
    sharpen(transcoder, data, title)
    refit_writes(transcoder, data)
    return transcoder


@torch.no_grad()
def refit_writes(transcoder: SkipTranscoder, data: TrainingSet) -> None:
    """Let latents write what then explains most, and leave alone what they read.

    Raised thresholds cut off what latents wrote where they were excited only a little, and few steps of Adam do not make up
    for it: this leaves a quarter less unexplained.
    """

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in zip(data.x.split(8192), data.y.split(8192), strict=True):
            x, y = x / transcoder.x_scale, y / transcoder.y_scale
            acts = transcoder.select(transcoder.pre_activations(x), fixed=True)
            yield acts, y - acts @ transcoder.W_dec - x @ transcoder.W_skip.T - transcoder.b_dec

    change, bias = what_is_left(pairs(), transcoder.config.refit_shrinkage)
    norms = (transcoder.W_dec + change).norm(dim=1).clamp_min(1e-6)
    transcoder.raised = transcoder.threshold * norms
    transcoder.lowest.zero_()
    transcoder.highest.zero_()
    transcoder.W_enc.mul_(norms)
    transcoder.b_enc.mul_(norms)
    transcoder.W_dec.add_(change).div_(norms[:, None])
    transcoder.b_dec.add_(bias)


def sharpen(transcoder: SkipTranscoder, data: TrainingSet, title: str) -> None:
    """Raise the thresholds round by round, and take the last round back when it leaves too much unexplained.

    A round that begins with too many active latents is never taken back.
    """
    config = transcoder.config
    for height in config.sharpen_heights:
        before = copy.deepcopy(transcoder.state_dict())
        few = transcoder.active(data.x[:50_000]) <= config.crowded
        transcoder.raise_thresholds(data.x / transcoder.x_scale, height)
        fit(transcoder, data, range(config.sharpen_steps), 0, f"{title}, thresholds at {height}")
        if few and transcoder.unexplained(data.x[:50_000], data.y[:50_000]) > config.unexplained:
            transcoder.load_state_dict(before)
            return


def fit(transcoder: SkipTranscoder, data: TrainingSet, steps: range, fixed_from: int, title: str) -> None:
    """Adam with a short warm-up and a linear decay; thresholds are fixed from step `fixed_from` on."""
    config = transcoder.config
    optimizer = torch.optim.Adam(transcoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    progress = tqdm(steps, desc=title, leave=False, disable=None)
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / 50, 1.02 - step / len(steps))
        index = torch.randint(data.x.shape[0], (config.batch_size,))
        x, y = data.x[index] / transcoder.x_scale, data.y[index] / transcoder.y_scale
        loss = transcoder.losses(x, y, step >= fixed_from)
        loss.backward()
        transcoder.keep_names()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        transcoder.unit_decoders()
        if step % 50 == 0:
            progress.set_postfix(error=f"{loss.item():.3f}")


def save_half(transcoder: JumpReLUSkipTranscoder, folder: Path) -> None:
    """Save in float16, which costs nothing that can be measured and halves the size."""
    transcoder.cfg.dtype = "float16"
    transcoder.half().save_model(folder)


def train_all(
    activations: Activations, names: dict[int, Names], config: DictionaryConfig, folder: Path, seed: int
) -> dict[int, JumpReLUSkipTranscoder]:
    """Train or, where `folder` holds them already, read the transcoders of all layers.

    Args:
        names: of the layers that have named latents, for the tokens of `activations`.
    """
    transcoders, nameless = {}, Names(0, torch.full_like(activations.tokens, NOTHING))
    for layer, (x, y) in enumerate(zip(activations.x, activations.y, strict=True)):
        place = folder / f"layer_{layer}"
        if not (place / "cfg.json").exists():
            data = TrainingSet(x, y, names.get(layer, nameless))
            trained = train_transcoder(data, config, seed + layer, f"transcoder {layer}")
            save_half(trained.export(layer, trained.frequent(x)), place)
        transcoders[layer] = JumpReLUSkipTranscoder.load_from_disk(place, dtype="float32")
    return transcoders
