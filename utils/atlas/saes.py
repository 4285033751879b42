"""Sparse autoencoders on the residual stream after every layer: collect it, train, save in SAELens' form.

An SAE explains the residual stream `r` at `blocks.{layer}.hook_out` by few of its latents:
`r ≈ JumpReLU(r @ W_enc + b_enc) @ W_dec + b_dec`. Training is SAELens' own: BatchTopK (Bussmann et al. 2024), saved as JumpReLU
with a fixed threshold. The weights are stored in float16, which costs them nothing that can be measured and halves their size.
"""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.atlas.language_model import Rows, batches
from utils.atlas.tokenizer import BOS_ID, EOS_ID, PAD_ID


@dataclass(frozen=True)
class SaeConfig:
    """Size of one layer's SAE and how it is trained."""

    width: int = 1024
    active: float = 16.0  # latents a token has, on average over a batch
    steps: int = 900
    batch_size: int = 1024
    learning_rate: float = 1.5e-3
    dead_after: int = 60  # a latent is dead, and is given the error to explain, when silent for so many batches


@dataclass
class Residuals:
    """The residual stream after every layer, padding and `<eos>` left out."""

    values: list[Float[Tensor, "token d_model"]]
    tokens: Int[Tensor, " token"]


@torch.no_grad()
def collect_residuals(
    model: TransformerBridge, tokens: Int[Tensor, "row position"], batch_size: int = 256
) -> Residuals:
    """Run the model over token rows and keep what every block leaves in the residual stream."""
    names = [f"blocks.{layer}.hook_out" for layer in range(model.cfg.n_layers)]
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    tokens_read = []
    for rows in tqdm(tokens.split(batch_size), desc="residual stream", leave=False, disable=None):
        rows = rows[:, : int((rows != PAD_ID).sum(1).max())]
        used = (rows != PAD_ID) & (rows != EOS_ID)
        _, cache = model.run_with_cache(rows, names_filter=names.__contains__)
        for name in names:
            kept[name].append(cache[name][used])
        tokens_read.append(rows[used])
    return Residuals([torch.cat(kept[name]) for name in names], torch.cat(tokens_read))


def random_batches(x: Float[Tensor, "token d_model"], size: int, seed: int) -> Iterator[Float[Tensor, "batch d_model"]]:
    """Endless batches, drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield x[torch.randint(x.shape[0], (size,), generator=generator)]


def train_sae(x: Float[Tensor, "token d_model"], config: SaeConfig, layer: int, seed: int) -> BatchTopKTrainingSAE:
    """Train one layer's SAE with SAELens' trainer, which shows a progress bar."""
    torch.manual_seed(seed)
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=x.shape[1],
            d_sae=config.width,
            k=config.active,
            apply_b_dec_to_input=False,
            # scales the residual stream for training; SAELens folds the factor into the weights at the end
            normalize_activations="expected_average_only_in",
            metadata=SAEMetadata(model_name="atlas", hook_name=f"blocks.{layer}.hook_out"),
        )
    )
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=config.steps * config.batch_size,
            train_batch_size_samples=config.batch_size,
            lr=config.learning_rate,
            lr_warm_up_steps=min(50, config.steps // 10),
            lr_decay_steps=config.steps // 3,
            lr_end=config.learning_rate / 100,
            dead_feature_window=config.dead_after,
            n_batches_for_norm_estimate=10,
        ),
        sae=sae,
        data_provider=random_batches(x, config.batch_size, seed),
    )
    return trainer.fit()


def save_sae(sae: BatchTopKTrainingSAE, folder: Path) -> None:
    """Save in the form that `SAE.load_from_disk` reads: a JumpReLU SAE in float16; a complete folder or none."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    sae.save_inference_model(part)
    half = SAE.load_from_disk(part, dtype="float16")
    shutil.rmtree(part)
    half.save_model(part)
    part.replace(folder)


def train_saes(residuals: Residuals, config: SaeConfig, folder: Path, seed: int) -> dict[int, SAE]:
    """Train or, where `folder` holds them already, read the SAEs of all layers. `<bos>` is learnt like any other token.

    On one thread: the matrices are small, and the weights do not depend on the number of cores.
    """
    saes, threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)
    logging.getLogger("sae_lens").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    for layer, values in enumerate(residuals.values):
        place = folder / f"layer_{layer}"
        if not (place / "cfg.json").exists():
            save_sae(train_sae(values, config, layer, seed + layer), place)
        saes[layer] = SAE.load_from_disk(place, dtype="float32").requires_grad_(False).eval()
    torch.set_num_threads(threads)
    return saes


@torch.no_grad()
def sae_quality(saes: dict[int, SAE], residuals: Residuals) -> list[dict[str, float]]:
    """Unexplained variance, active latents a token and the share of dead latents, layer by layer; `<bos>` is left out.

    Args:
        residuals: of sentences that the SAEs were not trained on.
    """
    rows = []
    used = residuals.tokens != BOS_ID
    for layer, sae in saes.items():
        x = residuals.values[layer][used]
        squared = active = 0.0
        fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
        for part in x.split(8192):
            acts = sae.encode(part)
            squared += (part - sae.decode(acts)).pow(2).sum().item()
            active += (acts > 0).sum().item()
            fired |= (acts > 0).any(0)
        rows.append(
            {
                "layer": layer,
                "unexplained": squared / (x - x.mean(0)).pow(2).sum().item(),
                "active": active / len(x),
                "dead": 1 - fired.float().mean().item(),
            }
        )
    return rows


def build_saes(
    model: TransformerBridge, rows: dict[str, Rows], count: int, config: SaeConfig, folder: Path, seed: int
) -> tuple[dict[int, SAE], list[dict[str, float]]]:
    """The whole stage: train on `count` sentences (or read what is there), measure on a tenth as many others."""
    stream = batches(rows, count, seed + 2, 0)
    training, testing = next(stream).tokens, next(stream).tokens[: max(100, count // 10)]
    saes = train_saes(collect_residuals(model, training), config, folder, seed)
    return saes, sae_quality(saes, collect_residuals(model, testing))
