"""Activations of many latents, nearly all of them 0: only the others are kept."""

from collections.abc import Iterator, MutableMapping

from jaxtyping import Float
from torch import Tensor


class SparseActs(MutableMapping[int, Tensor]):
    """Layer -> activations of its latents. In memory are those that are not 0, of every layer.

    What is read is a dense tensor that is made for the occasion. Whoever writes into it changes nothing here.
    """

    def __init__(self):
        self._kept: dict[int, Tensor] = {}

    def __setitem__(self, layer: int, acts: Float[Tensor, "batch seq d_latents"]) -> None:
        self._kept[layer] = acts.detach().to_sparse()

    def __getitem__(self, layer: int) -> Float[Tensor, "batch seq d_latents"]:
        return self._kept[layer].to_dense()

    def __delitem__(self, layer: int) -> None:
        del self._kept[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
