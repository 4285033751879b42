"""Training, with a checkpoint from which it goes on after a break.

(Ameisen et al. 2025, "Circuit Tracing", appendix "Cross-Layer Transcoder training": the sparsity term is raised from 0 in a
straight line over the whole of the training.)
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from solutions.chapter5_cross_layer_transcoders.losses import dead_latent_loss, reconstruction_loss, sparsity_loss
from solutions.chapter5_cross_layer_transcoders.storing import ActivationStore
from solutions.chapter5_cross_layer_transcoders.transcoder import CrossLayerTranscoder
from utils.engine.graph import at_least_float32


@dataclass(frozen=True)
class TrainingConfig:
    """How a cross-layer transcoder is trained.

    Attributes:
        width: latents a layer.
        sparsity: weight of the sparsity loss at the end; it begins at 0.
        sparsity_scale: `scale` of the sparsity loss.
        dead_weight: weight of the loss for dead latents.
        dead_after: a latent that has been silent for more steps than this is dead.
        save_every: steps from one checkpoint to the next.
        cross_layer: False trains per-layer transcoders.
    """

    width: int = 128
    steps: int = 800
    batch_size: int = 512
    learning_rate: float = 3e-3
    sparsity: float = 0.03
    sparsity_scale: float = 4.0
    dead_weight: float = 3e-4
    dead_after: int = 20
    save_every: int = 50
    cross_layer: bool = True
    seed: int = 0


@dataclass
class TrainingState:
    """All that has to be kept to go on with a training.

    Attributes:
        step: how many steps have been done.
        silent: (layer, latent), for how many steps each latent has not fired.
        history: a row for every step.
    """

    clt: CrossLayerTranscoder
    optimizer: torch.optim.Optimizer
    silent: Float[Tensor, "layer latent"]
    step: int
    history: list[dict[str, float]]

    @classmethod
    def start(cls, store: ActivationStore, config: TrainingConfig) -> "TrainingState":
        """A new training. `b_dec` begins at the mean of the outputs."""
        torch.manual_seed(config.seed)
        n_layers, _, d_model = store.inputs.shape
        clt = CrossLayerTranscoder(n_layers, d_model, config.width, cross_layer=config.cross_layer)
        clt.to(store.output_scale)
        with torch.no_grad():
            for b_dec, outputs, scale in zip(clt.b_dec, store.outputs, store.output_scale):
                b_dec.copy_((at_least_float32(outputs) / scale.to(outputs.device)).mean(0))
        optimizer = torch.optim.Adam(clt.parameters(), betas=(0.9, 0.99), lr=config.learning_rate)
        return cls(clt, optimizer, torch.zeros(n_layers, config.width).to(store.output_scale), step=0, history=[])

    def save(self, path: Path, store: ActivationStore, config: TrainingConfig) -> None:
        """Write a checkpoint: beside its place first, so that a half-written one is never seen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        content = {"training": self.training(store, config), "step": self.step, "history": self.history}
        content |= {"clt": self.clt.state_dict(), "optimizer": self.optimizer.state_dict(), "silent": self.silent}
        torch.save(content, part)
        os.replace(part, path)

    @staticmethod
    def training(store: ActivationStore, config: TrainingConfig) -> dict[str, dict[str, float]]:
        """What a checkpoint must have in common with a training that goes on from it."""
        return {"config": asdict(config), "store": {"n_tokens": store.n_tokens, "seed": store.seed}}

    @classmethod
    def load(cls, path: Path, store: ActivationStore, config: TrainingConfig) -> "TrainingState":
        """Read a checkpoint.

        Raises:
            ValueError: it belongs to a training with another configuration, or to a store with another seed or number of tokens.
        """
        content = torch.load(path, weights_only=True, map_location=store.device)
        if content.get("training") != cls.training(store, config):
            raise ValueError(f"{path} is a checkpoint of another training: delete it, or choose another path.")
        state = cls.start(store, config)
        state.clt.load_state_dict(content["clt"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.silent, state.step, state.history = content["silent"], content["step"], content["history"]
        return state


def train_cross_layer_transcoder(
    store: ActivationStore,
    config: TrainingConfig,
    checkpoint: Path | None = None,
    watch: Callable[[list[dict[str, float]]], None] = lambda history: None,
) -> tuple[CrossLayerTranscoder, list[dict[str, float]]]:
    """Train on the normalised activations of a store, from the start or from a checkpoint.

    Step number s (from 0) takes `store.batch(s, config.batch_size)`, and a step of the optimizer on

        reconstruction + config.sparsity * s / config.steps * sparsity + config.dead_weight * dead latents.

    A latent is dead if, before this step, it has been silent for more than `config.dead_after` steps. The learning rate is
    `config.learning_rate * min(1, (s + 1) / 30, 3 * (1 - s / config.steps))`: a warm-up, and a fall to 0 over the last third.

    Args:
        checkpoint: a file. If it exists, training goes on from it; it is written every `config.save_every` steps and at the
            end. None keeps no checkpoint.
        watch: called with the history whenever a checkpoint is due, such as a `utils.plots.cross_layer.LivePlot`.

    Returns:
        The transcoder, for normalised activations; and for every step a row with the numbers "step", "reconstruction" and
        "sparsity" (the two losses, not weighted), "active" (active latents a token, of all layers together) and "dead" (share of
        dead latents).
    """
    resume = checkpoint is not None and checkpoint.exists()
    state = TrainingState.load(checkpoint, store, config) if resume else TrainingState.start(store, config)
    clt, optimizer = state.clt, state.optimizer
    left = range(state.step, config.steps)
    steps = tqdm(left, "training", initial=state.step, total=config.steps, leave=False, disable=None)
    with torch.enable_grad():  # gradients may be switched off outside
        for step in steps:
            # Take the step, bring `state.silent` up to date, and append a row to `state.history`.
            ### BEGIN SOLUTION
            share = step / config.steps
            optimizer.param_groups[0]["lr"] = config.learning_rate * min(1, (step + 1) / 30, 3 * (1 - share))
            inputs, outputs = store.batch(step, config.batch_size)
            pre = torch.stack([clt.pre_activations(layer, x) for layer, x in enumerate(inputs)])
            reconstruction, acts = clt(inputs)
            norms, dead = clt.decoder_norms(), state.silent > config.dead_after
            error = reconstruction_loss(reconstruction, outputs)
            sparsity = sparsity_loss(acts, norms, config.sparsity_scale)
            revival = dead_latent_loss(pre, clt.threshold, norms, dead)
            loss = error + config.sparsity * share * sparsity + config.dead_weight * revival
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            fired = (acts.detach() > 0).any(1)
            state.silent = torch.where(fired, 0.0, state.silent + 1)
            state.history.append(
                {
                    "step": step,
                    "reconstruction": error.item(),
                    "sparsity": sparsity.item(),
                    "active": (acts > 0).sum().item() / config.batch_size,
                    "dead": dead.float().mean().item(),
                }
            )
            ### END SOLUTION
            state.step = step + 1
            if state.step % config.save_every == 0 or state.step == config.steps:
                if checkpoint is not None:
                    state.save(checkpoint, store, config)
                watch(state.history)
    return clt.requires_grad_(False), state.history
