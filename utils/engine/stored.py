"""Transcoders whose encoders and decoders stay on disk: one layer's are in memory at a time, for as long as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from sae_lens.saes.transcoder import Transcoder

LARGE = ("W_enc", "W_dec")


class Shelf:
    """Where the layers of a dictionary are fetched from; the one that was fetched last is kept, and no other."""

    def __init__(self, load_layer: Callable[[int], Transcoder]):
        self._load_layer = load_layer
        self._layer: int | None = None
        self._transcoder: Transcoder | None = None

    def fetch(self, layer: int) -> Transcoder:
        """The whole transcoder of one layer."""
        if self._layer != layer:
            self._transcoder = None  # its memory is free before the next one is read
            self._transcoder, self._layer = self._load_layer(layer), layer
        return self._transcoder

    def clear(self) -> None:
        """Keep none."""
        self._layer = self._transcoder = None


class StoredTranscoder:
    """One layer's transcoder. Configuration, biases, thresholds and skip are in memory; all else is fetched when it is asked for.

    It has the attributes and methods of SAELens' transcoder that it stands for: whatever is not kept is that one's own.
    """

    def __init__(self, shelf: Shelf, layer: int):
        whole = shelf.fetch(layer)
        self.cfg = whole.cfg
        self._shelf, self._layer = shelf, layer
        # not every kind has these; None says so without a look at the disk
        self.W_skip = self.threshold = None
        for name, weight in whole.named_parameters():
            if name not in LARGE:
                # a copy: a view would keep the whole file in memory
                setattr(self, name, weight.detach().clone())

    def __getattr__(self, name: str):
        if name.startswith("_") or name == "cfg":
            raise AttributeError(name)
        return getattr(self._shelf.fetch(self._layer), name)

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self._shelf.fetch(self._layer)(x)
