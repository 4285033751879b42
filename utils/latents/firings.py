"""Where latents fire: a model is run over sentences, and every active latent is noted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import Transcoder, hooked, reading_hook

BATCH = 64  # sentences at once
PADDING = -1

Pair = tuple[int, int]  # (layer, latent)


class Firings(NamedTuple):
    """Where one latent fires, the strongest first: row of a text, position in it, activation."""

    row: Int[np.ndarray, " firing"]
    position: Int[np.ndarray, " firing"]
    activation: Float[np.ndarray, " firing"]


@dataclass
class CorpusFirings:
    """Every activation of every latent on some sentences, ordered by latent and falling activation.

    Attributes:
        tokens: the sentences, padded on the right.
        widths: how many latents each layer has; latents are counted through all layers, in this order.
        start: where each latent's firings begin, and where the last one's end.
        row, position, activation: the firings.
    """

    tokens: Int[np.ndarray, "row position"]
    widths: dict[int, int]
    start: Int[np.ndarray, " latent_and_one"]
    row: Int[np.ndarray, " firing"]
    position: Int[np.ndarray, " firing"]
    activation: Float[np.ndarray, " firing"]

    def latent(self, number: int) -> Firings:
        """The firings of one latent."""
        part = slice(self.start[number], self.start[number + 1])
        return Firings(self.row[part], self.position[part], self.activation[part])

    @cached_property
    def beginnings(self) -> Int[np.ndarray, "row position"]:
        """A number for what stands up to each position: the same number where two sentences begin in the same way."""
        numbers = np.zeros(self.tokens.shape, dtype=np.int64)
        before = np.zeros(len(self.tokens), dtype=np.int64)
        beyond = self.tokens.max(initial=0) + 1
        for position in range(self.tokens.shape[1]):
            pairs = before * (beyond - PADDING) + self.tokens[:, position] - PADDING
            before = np.unique(pairs, return_inverse=True)[1].reshape(-1)
            numbers[:, position] = before + position * len(self.tokens)
        return numbers


def number_of(pair: Pair, widths: Mapping[int, int]) -> int:
    """The number of a latent when latents are counted through all layers."""
    layer, latent = pair
    return sum(width for other, width in widths.items() if other < layer) + latent


@torch.no_grad()
def record_firings(
    model: TransformerBridge, transcoders: Mapping[int, Transcoder], sentences: list[str]
) -> CorpusFirings:
    """Run the model on sentences and note every active latent, with a progress bar."""
    widths = {layer: transcoders[layer].cfg.d_sae for layer in sorted(transcoders)}
    encoded = [model.tokenizer(text)["input_ids"] for text in sentences]
    tokens = torch.full((len(encoded), max(map(len, encoded))), PADDING, dtype=torch.int32)
    for row, ids in enumerate(encoded):
        tokens[row, : len(ids)] = torch.tensor(ids)
    parts: list[tuple[Tensor, ...]] = []
    for begin in tqdm(range(0, len(encoded), BATCH), desc="what latents fire on", leave=False, disable=None):
        width = max(map(len, encoded[begin : begin + BATCH]))
        parts += _record_batch(model, transcoders, widths, tokens[begin : begin + BATCH, :width], begin)
    latent, row, position, activation = (torch.cat(column) for column in zip(*parts, strict=True))
    order = activation.argsort(descending=True, stable=True)
    order = order[latent[order].argsort(stable=True)]
    counts = torch.bincount(latent, minlength=sum(widths.values()))
    return CorpusFirings(
        tokens=tokens.numpy(),
        widths=widths,
        start=torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)]).numpy(),
        row=row[order].numpy(),
        position=position[order].numpy(),
        activation=activation[order].numpy(),
    )


def _record_batch(
    model: TransformerBridge,
    transcoders: Mapping[int, Transcoder],
    widths: Mapping[int, int],
    tokens: Int[Tensor, "row position"],
    first_row: int,
) -> list[tuple[Tensor, ...]]:
    """(latent, row, position, activation) of what fires in some rows, layer by layer."""
    parts = []

    def note(x: Tensor, hook: Any, layer: int) -> None:
        active = transcoders[layer].encode(x).cpu()
        active[tokens == PADDING] = 0
        row, position, latent = active.nonzero(as_tuple=True)
        acts = active[row, position, latent].float()
        parts.append(((latent + number_of((layer, 0), widths)).int(), (row + first_row).int(), position.short(), acts))

    device = transcoders[min(widths)].W_enc.device
    with hooked(model, [(reading_hook(layer), partial(note, layer=layer)) for layer in widths]):
        model(tokens.clamp_min(0).long().to(device), stop_at_layer=max(widths) + 1)
    return parts
