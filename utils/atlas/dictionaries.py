"""Skip transcoders for every layer: collect what the MLPs read and write, train, save in SAELens' form.

A transcoder explains `y`, what an MLP adds to the residual stream, from `x`, what it reads:
`y ≈ JumpReLU(x @ W_enc + b_enc) @ W_dec + b_dec + x @ W_skip.T` (Dunefsky et al. 2024; skip: Paulo et al. 2025).
Some layers have named latents (a supervised dictionary, Makelov et al. 2024). They are trained first: each is to fire at stated
tokens, and to carry what the MLP then writes. All others explain what these leave over. Their training is BatchTopK (Bussmann et
al. 2024) with a nested first part (Matryoshka, Bussmann et al. 2025), then fixed thresholds, and in the end what they write is
fitted once more, exactly.
"""

import copy
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    steps: int = 2400
    batch_size: int = 2048
    learning_rate: float = 2.5e-3
    threshold_share: float = 0.35  # share of the steps, at the end, with fixed thresholds in place of BatchTopK
    threshold_height: float = 0.3  # threshold of one of the first latents, as a share of its highest activation
    # In the end every latent's threshold is raised to a share of its highest activation, round by round, with further steps
    # in each round, for as long as no more than `unexplained` of the variance is left or more than `crowded` latents a token fire.
    sharpen_heights: tuple[float, ...] = (0.06, 0.12, 0.2, 0.35, 0.5)
    sharpen_steps: int = 150
    unexplained: float = 0.035
    crowded: float = 9.3
    refit_shrinkage: float = 1e-3  # keeps what latents write near what they wrote
    skip_shrinkage: float = 3.0  # keeps the skip small, so that what an MLP says is said by latents
    rare: int = 5  # latents that fire on fewer of the training tokens are left out in the end
    naming_steps: int = 1200  # steps that find what named latents read, ...
    naming_rate: float = 0.04  # ... and their learning rate
    named_height: float = 0.5  # threshold of a named latent, as a share of its mean activation
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


def ridge(
    pairs: Iterable[tuple[Float[Tensor, "token d_in"], Float[Tensor, "token d_out"]]], shrinkage: float
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, " d_out"]]:
    """The linear map and the bias that explain most of `y`, the map (but not the bias) held small.

    Args:
        pairs: `x` and `y`, part by part.
        shrinkage: the ridge, as a multiple of the mean variance of `x`.
    """
    gram, target = 0.0, 0.0
    for x, y in pairs:
        x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
        gram, target = gram + (x.T @ x).double(), target + (x.T @ y).double()
    count = gram[-1, -1].clone()
    variance = gram.diagonal()[:-1] / count - (gram[-1, :-1] / count) ** 2
    gram.diagonal()[:-1].add_(shrinkage * count * variance.mean())
    solution = torch.linalg.solve(gram, target).float()
    return solution[:-1], solution[-1]


@dataclass
class TrainingSet:
    """What one layer's MLP reads and writes, and where its named latents are to fire."""

    x: Float[Tensor, "token d_in"]
    y: Float[Tensor, "token d_out"]
    names: Names

    def parts(self) -> Iterator[tuple[Float[Tensor, "token d_in"], Float[Tensor, "token d_out"]]]:
        return zip(self.x.split(8192), self.y.split(8192), strict=True)

    @property
    def variance(self) -> float:
        """Of `y`, summed over tokens and dimensions."""
        return (self.y - self.y.mean(0)).pow(2).sum().item()


@dataclass
class NamedLatents:
    """The latents of one layer that have names: trained first, on their own, and never changed afterwards."""

    W_enc: Float[Tensor, "d_in name"]
    b_enc: Float[Tensor, " name"]
    threshold: Float[Tensor, " name"]
    W_dec: Float[Tensor, "name d_out"]  # rows of length 1

    def encode(self, x: Float[Tensor, "token d_in"]) -> Float[Tensor, "token name"]:
        pre = x @ self.W_enc + self.b_enc
        return pre * (pre > self.threshold)

    def left_over(self, data: TrainingSet) -> TrainingSet:
        """The same tokens, without what these latents write."""
        y = torch.cat([y - self.encode(x) @ self.W_dec for x, y in data.parts()])
        return TrainingSet(data.x, y, data.names)


def train_names(data: TrainingSet, config: DictionaryConfig, generator: torch.Generator, title: str) -> NamedLatents:
    """Give every name a latent that carries all of what the MLP then writes about it.

    A latent writes along the mean of what the MLP writes at its tokens, beside the mean over all tokens. What it reads is fitted by
    least squares: at its own tokens, how much of its direction the MLP writes; at all others nothing (below 0 costs nothing). Where a
    name is `UNKNOWN`, it may be anything up to what the MLP writes there along its direction. Half of every batch are tokens with
    a name, however rare they are.
    """
    rows = (data.names.wanted >= 0).nonzero().flatten()
    name, amount, directions = named_writes(data, rows)
    mean, whiten = whitening(data.x)
    read = (data.x - mean) @ whiten
    weight = torch.zeros(data.x.shape[1], data.names.count, requires_grad=True)
    bias = torch.zeros(data.names.count, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=config.naming_rate)
    without, unknown = ((data.names.wanted == kind).nonzero().flatten() for kind in (NOTHING, UNKNOWN))
    half = config.batch_size // 2
    for step in tqdm(range(config.naming_steps), desc=f"{title}, names", leave=False, disable=None):
        optimizer.param_groups[0]["lr"] = config.naming_rate * (1 - step / config.naming_steps)
        chosen, others = (torch.randint(len(r), (half,), generator=generator) for r in (rows, without))
        drawn = torch.cat([rows[chosen], without[others]])
        loss = naming_loss(read[drawn] @ weight + bias, name[chosen], amount[chosen])
        if len(unknown):
            drawn = unknown[torch.randint(len(unknown), (half,), generator=generator)]
            loss = loss + excess_loss(read[drawn] @ weight + bias, amounts(data.y[drawn] - data.y.mean(0), directions))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    weight = whiten @ weight.detach()
    return install_names(data, rows, weight, bias.detach() - mean @ weight, directions, config.named_height)


@torch.no_grad()
def whitening(x: Float[Tensor, "token d_in"]) -> tuple[Float[Tensor, " d_in"], Float[Tensor, "d_in d_in"]]:
    """The mean of `x`, and a map `W` that makes `(x - mean) @ W` vary as much in every direction.

    Directions in which `x` hardly varies stay small. On inputs like these Adam needs a quarter of the steps.
    """
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(x.T).double())
    return mean, (vectors * values.clamp_min(1e-3 * values.mean()).rsqrt()).float()


def named_writes(
    data: TrainingSet, rows: Int[Tensor, " named"]
) -> tuple[Int[Tensor, " named"], Float[Tensor, " named"], Float[Tensor, "name d_out"]]:
    """At the named tokens `rows`: the name, and how much of its direction the MLP writes (on average 1). And the directions."""
    name, y = data.names.wanted[rows], data.y[rows] - data.y.mean(0)
    times = torch.bincount(name, minlength=data.names.count).clamp_min(1)
    directions = torch.zeros(data.names.count, y.shape[1]).index_add_(0, name, y) / times[:, None]
    amount = (y * directions[name]).sum(1) / directions.pow(2).sum(1).clamp_min(1e-6)[name]
    return name, amount, directions


def amounts(y: Float[Tensor, "token d_out"], directions: Float[Tensor, "name d_out"]) -> Float[Tensor, "token name"]:
    """How much of every direction is written (1: as much as at its own tokens on average); less than nothing counts as 0."""
    return torch.relu(y @ directions.T / directions.pow(2).sum(1).clamp_min(1e-6))


def excess_loss(pre: Float[Tensor, "token name"], most: Float[Tensor, "token name"]) -> Float[Tensor, ""]:
    """Squared excess over what is allowed, a sum over the names."""
    return torch.relu(pre - most).pow(2).sum() / len(pre)


def naming_loss(
    pre: Float[Tensor, "token name"], name: Int[Tensor, " named"], amount: Float[Tensor, " named"]
) -> Float[Tensor, ""]:
    """Squared error, a sum over the names. The first tokens have a name; a latent that is to be silent may read less than 0."""
    row = torch.arange(len(name))
    own = pre[row, name]
    silent = torch.relu(pre).pow(2).sum() - torch.relu(own).pow(2).sum()
    return ((own - amount).pow(2).sum() + silent) / len(pre)


@torch.no_grad()
def install_names(
    data: TrainingSet,
    rows: Int[Tensor, " named"],
    weight: Float[Tensor, "d_in name"],
    bias: Float[Tensor, " name"],
    directions: Float[Tensor, "name d_out"],
    height: float,
) -> NamedLatents:
    """Fit once more, exactly, what each latent writes where it fires at its own tokens; decoder rows get length 1."""
    name, y = data.names.wanted[rows], data.y[rows] - data.y.mean(0)
    acts = (data.x[rows] @ weight + bias)[torch.arange(len(rows)), name]
    acts = acts * (acts > height)
    squares = torch.zeros(data.names.count).index_add_(0, name, acts.pow(2))
    writes = torch.zeros_like(directions).index_add_(0, name, acts[:, None] * y) / squares.clamp_min(1e-6)[:, None]
    writes = torch.where((squares > 0)[:, None], writes, directions)
    norms = writes.norm(dim=1).clamp_min(1e-6)
    return NamedLatents(weight * norms, bias * norms, height * norms, writes / norms[:, None])


class SkipTranscoder(torch.nn.Module):
    """A skip transcoder in training: inputs and outputs scaled to mean square 1 per dimension.

    The first `config.first` latents explain `y` on their own, the others refine.
    """

    def __init__(self, data: TrainingSet, config: DictionaryConfig, generator: torch.Generator):
        super().__init__()
        width = config.width
        self.config, self.generator = config, generator
        self.x_scale = data.x.pow(2).mean().sqrt()
        self.y_scale = (data.y - data.y.mean(0)).pow(2).mean().sqrt()
        scaled = ((x / self.x_scale, y / self.y_scale) for x, y in data.parts())
        skip, bias = ridge(scaled, config.skip_shrinkage)
        d_in, d_out = data.x.shape[1], data.y.shape[1]
        directions = torch.nn.functional.normalize(torch.randn(width, d_out, generator=generator), dim=1)
        self.W_dec = torch.nn.Parameter(directions)
        self.W_enc = torch.nn.Parameter(torch.randn(d_in, width, generator=generator) / d_in**0.5)
        self.b_enc = torch.nn.Parameter(torch.zeros(width))
        self.b_dec = torch.nn.Parameter(bias)
        self.register_buffer("W_skip", skip.T.contiguous())  # not trained: it would take over whatever is nearly linear
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
        return torch.maximum(torch.cat([first, others]), self.raised)

    @torch.no_grad()
    def raise_thresholds(self, x: Float[Tensor, "token d_in"], height: float) -> None:
        """Let every latent count only where it reaches a share of its highest activation on `x`.

        A latent that stands for Texas is excited a little by much else. There is enough accuracy to spare to leave that out.
        """
        highest = torch.stack([self.pre_activations(part).amax(0) for part in x.split(4096)]).amax(0)
        self.raised = height * highest

    def select(self, pre: Float[Tensor, "token latent"], fixed: bool) -> Float[Tensor, "token latent"]:
        """All above the threshold; or of the first latents each token's largest, of the others the batch's."""
        if fixed:
            return pre * (pre > self.threshold)
        first, others = pre.tensor_split([self.config.first], dim=1)
        sample = others.detach()[::8]  # to find where to cut, an eighth of the batch is enough
        lowest = sample.flatten().topk(int(self.config.active * len(sample)), sorted=False).values.min()
        self.highest = torch.maximum(self.highest * 0.998, first.detach().amax(0))
        self.lowest.lerp_(lowest, 0.02 if self.lowest > 0 else 1.0)
        best = first.max(1, keepdim=True)
        return torch.cat(
            [torch.zeros_like(first).scatter(1, best.indices, best.values), others * (others >= lowest)], dim=1
        )

    @torch.no_grad()
    def squared_error(self, data: TrainingSet) -> float:
        """What is left of the (unscaled) outputs, with fixed thresholds, squared and summed over tokens and dimensions."""
        squared = 0.0
        for x, y in data.parts():
            x = x / self.x_scale
            acts = self.select(self.pre_activations(x), fixed=True)
            left = y / self.y_scale - acts @ self.W_dec - x @ self.W_skip.T - self.b_dec
            squared += left.pow(2).sum().item()
        return squared * self.y_scale.item() ** 2

    @torch.no_grad()
    def active(self, x: Float[Tensor, "token d_in"]) -> float:
        """How many latents (unscaled) inputs have on average, with fixed thresholds."""
        fired = sum((self.pre_activations(part / self.x_scale) > self.threshold).sum().item() for part in x.split(4096))
        return fired / len(x)

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

    def export(self, layer: int, kept: Bool[Tensor, " latent"], named: NamedLatents) -> JumpReLUSkipTranscoder:
        """The same function on unscaled inputs and outputs, as SAELens has it: named latents, then those that are `kept`."""
        state = {
            "W_enc": torch.cat([named.W_enc, self.W_enc[:, kept] / self.x_scale * self.y_scale], dim=1),
            "b_enc": torch.cat([named.b_enc, self.b_enc[kept] * self.y_scale]),
            "threshold": torch.cat([named.threshold, self.threshold[kept] * self.y_scale]),
            "W_dec": torch.cat([named.W_dec, self.W_dec[kept]]),
            "b_dec": self.b_dec * self.y_scale,
            "W_skip": self.W_skip / self.x_scale * self.y_scale,
        }
        d_sae, d_out = state["W_dec"].shape
        config = JumpReLUSkipTranscoderConfig(
            d_in=len(self.W_enc),
            d_out=d_out,
            d_sae=d_sae,
            apply_b_dec_to_input=False,
            metadata=SAEMetadata(
                model_name="atlas",
                hook_name=f"blocks.{layer}.mlp.hook_in",
                hook_name_out=f"blocks.{layer}.hook_mlp_out",
            ),
        )
        transcoder = JumpReLUSkipTranscoder(config)
        transcoder.load_state_dict({k: v.detach().clone().contiguous() for k, v in state.items()})
        return transcoder


def train_transcoder(
    data: TrainingSet, config: DictionaryConfig, seed: int, title: str
) -> tuple[SkipTranscoder, NamedLatents]:
    """Train one layer's transcoder: named latents, then on what they leave which others there are, and their thresholds.

    Whatever is trained after the named latents, the skip included, sees only what they leave over: so nothing takes from them what
    they carry.
    """
    generator = torch.Generator().manual_seed(seed)
    named = train_names(data, config, generator, title) if data.names.count else no_names(data)
    left = named.left_over(data)
    transcoder = SkipTranscoder(left, config, generator)
    fixed_from = int(config.steps * (1 - config.threshold_share))
    fit(transcoder, left, range(config.steps), fixed_from, title)
    sharpen(transcoder, left, data.variance, title)
    refit_writes(transcoder, left)
    return transcoder, named


def no_names(data: TrainingSet) -> NamedLatents:
    """Of a layer in which nothing is named."""
    d_in, d_out = data.x.shape[1], data.y.shape[1]
    return NamedLatents(torch.zeros(d_in, 0), torch.zeros(0), torch.zeros(0), torch.zeros(0, d_out))


@torch.no_grad()
def refit_writes(transcoder: SkipTranscoder, data: TrainingSet) -> None:
    """Let latents write what then explains most, and leave alone what they read.

    Raised thresholds cut off what latents wrote where they were excited only a little, and few steps of Adam do not make up
    for it: this leaves a quarter less unexplained.
    """

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in data.parts():
            x, y = x / transcoder.x_scale, y / transcoder.y_scale
            acts = transcoder.select(transcoder.pre_activations(x), fixed=True)
            yield acts, y - acts @ transcoder.W_dec - x @ transcoder.W_skip.T - transcoder.b_dec

    change, bias = ridge(pairs(), transcoder.config.refit_shrinkage)
    norms = (transcoder.W_dec + change).norm(dim=1).clamp_min(1e-6)
    transcoder.raised = transcoder.threshold * norms
    transcoder.lowest.zero_()
    transcoder.highest.zero_()
    transcoder.W_enc.mul_(norms)
    transcoder.b_enc.mul_(norms)
    transcoder.W_dec.add_(change).div_(norms[:, None])
    transcoder.b_dec.add_(bias)


def sharpen(transcoder: SkipTranscoder, data: TrainingSet, variance: float, title: str) -> None:
    """Raise the thresholds round by round, and take the last round back when it leaves too much unexplained.

    A round that begins with too many active latents is never taken back.

    Args:
        variance: of what the MLP writes, named latents' part included, summed over the tokens of `data`.
    """
    config, sample = transcoder.config, TrainingSet(data.x[:50_000], data.y[:50_000], data.names)
    variance = variance * len(sample.x) / len(data.x)
    for height in config.sharpen_heights:
        before = copy.deepcopy(transcoder.state_dict())
        few = transcoder.active(sample.x) <= config.crowded
        transcoder.raise_thresholds(data.x / transcoder.x_scale, height)
        fit(transcoder, data, range(config.sharpen_steps), 0, f"{title}, thresholds at {height}")
        if few and transcoder.squared_error(sample) > config.unexplained * variance:
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
        index = torch.randint(len(data.x), (config.batch_size,), generator=transcoder.generator)
        x, y = data.x[index] / transcoder.x_scale, data.y[index] / transcoder.y_scale
        loss = transcoder.losses(x, y, step >= fixed_from)
        loss.backward()
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

    Layers are trained beside each other, each on one thread: so the weights do not depend on the number of cores.

    Args:
        names: of the layers that have named latents, for the tokens of `activations`.
    """
    nameless = Names(0, torch.full_like(activations.tokens, NOTHING))

    def build(layer: int) -> JumpReLUSkipTranscoder:
        place = folder / f"layer_{layer}"
        if not (place / "cfg.json").exists():
            torch.set_num_threads(1)
            data = TrainingSet(activations.x[layer], activations.y[layer], names.get(layer, nameless))
            trained, named = train_transcoder(data, config, seed + layer, f"transcoder {layer}")
            save_half(trained.export(layer, trained.frequent(data.x), named), place)
        return JumpReLUSkipTranscoder.load_from_disk(place, dtype="float32")

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        found = dict(enumerate(pool.map(build, range(len(activations.x)))))
    torch.set_num_threads(threads)
    return found
