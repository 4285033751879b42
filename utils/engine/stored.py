"""Matrices that stay on disk: a dictionary larger than the memory is read where it is needed, and no further.

A prompt activates few latents. So few rows of the decoder are read, and the encoder, all of which is needed, some of its
columns at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from sae_lens.saes.transcoder import Transcoder

BLOCK = 1 << 24  # so many numbers are read together: 64 MB in float32
PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


class Place(NamedTuple):
    """Where a matrix is: in which file of safetensors, by which name there, and whether its transpose is stored."""

    path: Path
    name: str
    is_transposed: bool = False

    def open(self) -> Tensor:
        """The matrix, mapped into memory: what is looked at is read, and let go of together with this tensor."""
        with safe_open(self.path, framework="pt") as file:
            matrix = file.get_tensor(self.name)
        return matrix.T if self.is_transposed else matrix


class StoredMatrix:
    """A matrix in a file, where a tensor could stand.

    `matrix[indices]` reads these rows and `matrix.T[indices]` these columns. `x @ matrix` reads some columns at a time; where
    most of x is zero, only the rows that count. Whatever else is done with it reads the whole matrix.
    """

    def __init__(self, place: Place, dtype: torch.dtype, device: torch.device | str):
        self.place, self.dtype, self.device = place, dtype, torch.device(device)
        self.shape = place.open().shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: object) -> Tensor:
        index = tree_map(lambda part: part.cpu() if isinstance(part, Tensor) else part, index)
        return self.place.open()[index].to(self.device, self.dtype)

    def whole(self) -> Tensor:
        """All of it, as a tensor."""
        return self.place.open().to(self.device, self.dtype)

    @property
    def T(self) -> StoredMatrix:
        place = self.place._replace(is_transposed=not self.place.is_transposed)
        return StoredMatrix(place, self.dtype, self.device)

    def detach(self) -> StoredMatrix:
        return self

    def to(self, *args, **kwargs) -> StoredMatrix:
        """The same matrix, read into another dtype or onto another device; the arguments are those of `Tensor.to`."""
        like = torch.empty(0, dtype=self.dtype, device=self.device).to(*args, **kwargs)
        return StoredMatrix(self.place, like.dtype, like.device)

    def __matmul__(self, other: Tensor) -> Tensor:
        size = max(1, BLOCK // self.shape[1])
        return torch.cat([self[i : i + size] @ other for i in range(0, len(self), size)])

    def product(self, left: Float[Tensor, "*batch rows"]) -> Float[Tensor, "*batch columns"]:
        """`left @ self`."""
        used = (left != 0).reshape(-1, len(self)).any(0).nonzero()[:, 0]
        if 2 * len(used) < len(self):
            return left[..., used] @ self[used]
        size = max(1, BLOCK // len(self))
        return torch.cat([left @ self[:, i : i + size] for i in range(0, self.shape[1], size)], dim=-1)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in PRODUCTS and not isinstance(args[0], cls):
            return args[1].product(args[0])
        args, kwargs = tree_map(lambda x: x.whole() if isinstance(x, cls) else x, (args, kwargs or {}))
        return function(*args, **kwargs)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.whole(), name)


def leave_on_disk(
    transcoder: Transcoder, places: dict[str, Place], dtype: torch.dtype, device: torch.device | str
) -> Transcoder:
    """Put stored matrices in the place of a transcoder's large parameters. All others are copied into memory.

    Args:
        transcoder: loaded on the CPU in the file's own dtype: SAELens has then mapped it into memory, and read nothing.
        places: name of the parameter -> where it is.
        dtype, device: in which form the transcoder is to be used.
    """
    for name, place in places.items():
        delattr(transcoder, name)
        setattr(transcoder, name, StoredMatrix(place, dtype, device))
    for parameter in transcoder.parameters():
        parameter.data = parameter.data.clone()  # a view would keep the whole file in memory
    return transcoder.to(device=device, dtype=dtype)
