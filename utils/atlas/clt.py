"""A cross-layer transcoder of the bundled model: train, save, measure.

A latent of layer l reads there, after ln2, and writes into layer l and all later ones (Ameisen et al. 2025). Trained with a JumpReLU
whose thresholds learn through a straight-through gradient, and a tanh sparsity loss; `<bos>` is left out. Chapter 5 teaches all of
it. The weights are stored in float16.
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.card import name_all, probe_sentences
from utils.atlas.corpus import Sentence
from utils.atlas.dictionaries import Activations, ridge
from utils.atlas.evaluate import answers_kept, answers_kept_under, encode_prompts, latents_of, replacement_hooks
from utils.atlas.interchange import Step
from utils.atlas.necessity import measure_steps
from utils.atlas.tokenizer import BOS_ID, EOS_ID, PAD_ID
from utils.engine.cross_layer import CrossLayerWeights
from utils.engine.hooks import Hook, mlp_out_hook, reading_hook
from utils.latents.labelling import label_latents


@dataclass(frozen=True)
class CltConfig:
    """Size of the cross-layer transcoder and how it is trained."""

    width: int = 512  # latents a layer
    steps: int = 1200
    batch_size: int = 1024
    learning_rate: float = 3e-3
    sparsity: float = 0.03  # weight of the sparsity loss at the end; it begins at 0
    sparsity_scale: float = 4.0  # how soon a latent's tanh is near 1
    threshold: float = 0.03  # of all latents at the start
    bandwidth: float = 1.0  # of the straight-through gradient
    dead_weight: float = 3e-4
    dead_after: int = 20  # a latent is dead when it has been silent for more steps than this
    refit_shrinkage: float = 1e-3  # keeps what latents write near what they wrote, see `dictionaries.ridge`
    save_every: int = 150  # steps from one checkpoint to the next


class _JumpReLU(torch.autograd.Function):
    """`pre` where it is above the threshold; the threshold's gradient takes the jump for a ramp (Rajamanoharan et al. 2024)."""

    @staticmethod
    def forward(ctx, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        near = (pre - threshold).abs() < ctx.bandwidth / 2
        return grad * (pre > threshold), -(grad * near).sum(1, keepdim=True) * threshold / ctx.bandwidth, None


class CrossLayerTraining(torch.nn.Module):
    """A cross-layer transcoder in training: inputs and outputs of every layer scaled to mean square 1."""

    def __init__(self, activations: Activations, used: Int[Tensor, " token"], config: CltConfig):
        super().__init__()
        self.config = config
        self.x_scale = torch.stack([x[used].pow(2).mean().sqrt() for x in activations.x])
        means = torch.stack([y[used].mean(0) for y in activations.y])
        spread = [(y[used] - mean).pow(2).mean().sqrt() for y, mean in zip(activations.y, means, strict=True)]
        self.y_scale = torch.stack(spread)
        n_layers, d_model, width = len(activations.x), means.shape[1], config.width
        self.W_enc = torch.nn.Parameter(torch.randn(n_layers, d_model, width) / d_model**0.5)
        self.b_enc = torch.nn.Parameter(torch.zeros(n_layers, 1, width))
        self.log_threshold = torch.nn.Parameter(torch.full((n_layers, 1, width), config.threshold).log())
        own = torch.nn.functional.normalize(torch.randn(n_layers, 1, width, d_model), dim=-1)
        self.W_dec = torch.nn.ParameterList(
            torch.cat([own[layer], torch.zeros(n_layers - layer - 1, width, d_model)]) for layer in range(n_layers)
        )
        self.b_dec = torch.nn.Parameter(means / self.y_scale[:, None])
        self.register_buffer("silent", torch.zeros(n_layers, width))

    def loss(
        self, x: Float[Tensor, "layer token d_model"], y: Float[Tensor, "layer token d_model"], share: float
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss when `share` of the training is done, and what the progress bar says."""
        config, threshold = self.config, self.log_threshold.exp()
        with torch.autocast("cpu", torch.bfloat16):
            pre = torch.bmm(x, self.W_enc) + self.b_enc
            acts = _JumpReLU.apply(pre, threshold, config.bandwidth)
            written = [
                sum(acts[source] @ self.W_dec[source][target - source] for source in range(target + 1))
                for target in range(len(y))
            ]
        error = (y - self.b_dec[:, None] - torch.stack(written).float()).pow(2).mean((1, 2)).sum()
        norms = torch.stack([rows.pow(2).sum((0, 2)) + 1e-12 for rows in self.W_dec]).sqrt()[:, None]
        sparsity = torch.tanh(config.sparsity_scale * norms * acts).sum((0, 2)).mean()
        dead = (self.silent > config.dead_after)[:, None]
        revival = ((threshold - pre).relu() * norms * dead).sum((0, 2)).mean()
        fired = (acts.detach() > 0).any(1)
        self.silent = torch.where(fired, 0.0, self.silent + 1)
        said = {"unexplained": error.item() / len(y), "active": (acts > 0).sum().item() / x.shape[1]}
        return error + config.sparsity * share * sparsity + config.dead_weight * revival, said

    @torch.no_grad()
    def export(self) -> CrossLayerWeights:
        """The same function on unscaled inputs and outputs, its latents' decoders (all taken together) of length 1."""
        decoders = [rows * self.y_scale[layer:, None, None] for layer, rows in enumerate(self.W_dec)]
        norms = torch.stack([rows.pow(2).sum((0, 2)).sqrt() for rows in decoders]).clamp_min(1e-6)
        return CrossLayerWeights(
            W_enc=self.W_enc / self.x_scale[:, None, None] * norms[:, None],
            b_enc=self.b_enc[:, 0] * norms,
            threshold=self.log_threshold.exp()[:, 0] * norms,
            W_dec=[rows / norm[:, None] for rows, norm in zip(decoders, norms, strict=True)],
            b_dec=self.b_dec * self.y_scale[:, None],
        )


def train_clt(activations: Activations, config: CltConfig, folder: Path, seed: int) -> CrossLayerWeights:
    """Train or, where `folder` holds it already, read the cross-layer transcoder. A training that was stopped goes on."""
    if not (folder / "cfg.json").exists():
        checkpoint = folder.with_name(folder.name + "_checkpoint.pt")
        weights = fit(activations, config, checkpoint, seed).export()
        refit_writes(weights, activations, config.refit_shrinkage)
        weights.save(folder)
        checkpoint.unlink(missing_ok=True)
    return CrossLayerWeights.read(folder)


@torch.no_grad()
def refit_writes(weights: CrossLayerWeights, activations: Activations, shrinkage: float) -> None:
    """Let latents write into each layer what then explains most; what they read stays. In place; `<bos>` is left out.

    In the end the decoders of a latent, all taken together, have length 1 again.
    """
    used, width = activations.tokens != BOS_ID, weights.W_enc.shape[2]
    xs, ys = ([kept[used].split(8192) for kept in kind] for kind in (activations.x, activations.y))
    for target in range(weights.n_layers):

        def pairs(target: int = target) -> Iterator[tuple[Tensor, Tensor]]:
            for *read, written in zip(*xs[: target + 1], ys[target], strict=True):
                acts = [weights.encode(layer, x) for layer, x in enumerate(read)]
                yield torch.cat(acts, dim=1), written - weights.decode(target, acts)

        change, bias = ridge(pairs(), shrinkage)
        for source, rows in enumerate(change.split(width)):
            weights.W_dec[source][target - source] += rows
        weights.b_dec[target] += bias
    norms = torch.stack([rows.pow(2).sum((0, 2)).sqrt() for rows in weights.W_dec]).clamp_min(1e-6)
    for rows, norm in zip(weights.W_dec, norms, strict=True):
        rows /= norm[:, None]
    weights.W_enc *= norms[:, None]
    weights.b_enc *= norms
    weights.threshold *= norms


def fit(activations: Activations, config: CltConfig, checkpoint: Path, seed: int) -> CrossLayerTraining:
    """Adam with a short warm-up, and a fall to 0 over the last third; a checkpoint is written now and then.

    Raises:
        ValueError: the checkpoint belongs to another training.
    """
    torch.manual_seed(seed)
    used = (activations.tokens != BOS_ID).nonzero()[:, 0]
    training = CrossLayerTraining(activations, used, config)
    optimizer = torch.optim.Adam(training.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    first = 0
    if checkpoint.exists():
        content = torch.load(checkpoint, weights_only=True)
        if content["config"] != asdict(config):
            raise ValueError(f"{checkpoint} belongs to another training: delete it, or choose another work folder.")
        training.load_state_dict(content["training"])
        optimizer.load_state_dict(content["optimizer"])
        first = content["step"]
    bar = tqdm(range(first, config.steps), desc="CLT", initial=first, total=config.steps, leave=False, disable=None)
    for step in bar:
        share = step / config.steps
        optimizer.param_groups[0]["lr"] = config.learning_rate * min(1.0, (step + 1) / 30, 3 * (1 - share))
        chosen = torch.randint(len(used), (config.batch_size,), generator=torch.Generator().manual_seed(seed + step))
        index = used[chosen]
        x = torch.stack([x[index] for x in activations.x]) / training.x_scale[:, None, None]
        y = torch.stack([y[index] for y in activations.y]) / training.y_scale[:, None, None]
        loss, said = training.loss(x, y, share)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            bar.set_postfix(unexplained=f"{said['unexplained']:.3f}", active=f"{said['active']:.1f}")
        if (step + 1) % config.save_every == 0:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            part = checkpoint.with_name(checkpoint.name + ".part")
            content = {"config": asdict(config), "training": training.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(content | {"step": step + 1}, part)
            os.replace(part, checkpoint)
    return training


def clt_hooks(weights: CrossLayerWeights) -> list[Hook]:
    """Hooks that put the cross-layer transcoder in the place of all MLPs, without error terms."""
    acts: list[Tensor | None] = [None] * weights.n_layers

    def hooks_of(layer: int) -> list[Hook]:
        def read(x: Tensor, hook) -> None:
            acts[layer] = weights.encode(layer, x)

        return [(reading_hook(layer), read), (mlp_out_hook(layer), lambda y, hook: weights.decode(layer, acts))]

    return [hook for layer in range(weights.n_layers) for hook in hooks_of(layer)]


@torch.no_grad()
def clt_quality(weights: CrossLayerWeights, activations: Activations) -> list[dict[str, float]]:
    """Unexplained variance, active latents a token and the share of dead latents, layer by layer; `<bos>` is left out.

    Args:
        activations: of sentences that it was not trained on.
    """
    used = activations.tokens != BOS_ID
    x, y = ([kept[used] for kept in kind] for kind in (activations.x, activations.y))
    squared, active = torch.zeros(weights.n_layers), torch.zeros(weights.n_layers)
    fired = torch.zeros(weights.n_layers, weights.W_enc.shape[2], dtype=torch.bool)
    for start in range(0, len(x[0]), 8192):
        part = slice(start, start + 8192)
        acts = [weights.encode(layer, x[layer][part]) for layer in range(weights.n_layers)]
        for layer in range(weights.n_layers):
            squared[layer] += (y[layer][part] - weights.decode(layer, acts)).pow(2).sum()
            active[layer] += (acts[layer] > 0).sum()
            fired[layer] |= (acts[layer] > 0).any(0)
    total = torch.stack([(kept - kept.mean(0)).pow(2).sum() for kept in y])
    columns = (squared / total).tolist(), (active / len(x[0])).tolist(), (1 - fired.float().mean(1)).tolist()
    return [
        {"layer": layer, "unexplained": left, "active": count, "dead": dead}
        for layer, (left, count, dead) in enumerate(zip(*columns, strict=True))
    ]


@torch.no_grad()
def same_top_token(model: TransformerBridge, rows: Int[Tensor, "row position"], hooks: list[Hook]) -> float:
    """Share of the tokens after which the changed model has the same most probable next token as the unchanged one."""
    same, count = 0, 0
    for part in rows.split(256):
        used = (part != PAD_ID) & (part != EOS_ID) & (part != BOS_ID)
        wanted = model(part).argmax(-1)
        with model.hooks(fwd_hooks=hooks):
            found = model(part).argmax(-1)
        same, count = same + int((wanted == found)[used].sum()), count + int(used.sum())
    return same / count


def measure_clt(
    model: TransformerBridge,
    weights: CrossLayerWeights,
    transcoders: dict,
    sentences: list[Sentence],
    activations: Activations,
    rows: Int[Tensor, "row position"],
    questions: int,
    seed: int,
) -> dict:
    """The model card's numbers on the cross-layer transcoder, and the per-layer ones' top-1 agreement beside them.

    Args:
        rows: tokens of sentences for the agreement.
        questions: how many are asked to count the answers kept.
    """
    rng = random.Random(seed)
    two_hop = [s for s in sentences if s.family == "two-hop"]
    asked = rng.sample(two_hop, min(questions, len(two_hop))), rng.sample(sentences, questions)
    hooks = clt_hooks(weights)
    per_layer = [hook for transcoder in transcoders.values() for hook in replacement_hooks(transcoder)]
    return {
        "layers": clt_quality(weights, activations),
        "width": weights.W_enc.shape[2],
        "same_top_token": same_top_token(model, rows, hooks),
        "same_top_token_per_layer": same_top_token(model, rows, per_layer),
        "kept_two_hop": answers_kept_under(model, model.tokenizer, hooks, asked[0]),
        "kept_all": answers_kept_under(model, model.tokenizer, hooks, asked[1]),
        "kept_all_per_layer": answers_kept(model, model.tokenizer, transcoders, asked[1]),
    }


def label_clt(
    model: TransformerBridge,
    weights: CrossLayerWeights,
    sentences: list[Sentence],
    seen: set[str],
    activations: Activations,
    steps: Sequence[Step],
    seed: int,
) -> tuple[dict[str, dict[str, str]], list[dict]]:
    """A label for every latent that fires, as the per-layer transcoders' latents have, and what its latents do for each step.

    Args:
        seen: prompts that it was trained on.
        activations: of sentences that it was not trained on.
        steps: of a question, see `utils.atlas.interchange`.
    """
    layers = weights.transcoders("atlas")
    groups = probe_sentences(sentences, seen, random.Random(seed))
    found = tuple((latents_of(model, layers, encode_prompts(group, model.tokenizer)), group) for group in groups)
    tokens = [model.tokenizer.decode([token]) for token in activations.tokens.tolist()]
    labels = label_latents(layers, tokens, activations.x, name_all(*found)[1])
    return labels, measure_steps(model, weights, steps, sentences, found)
