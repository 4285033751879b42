"""Which scores are the largest that together reach a share of the total, without sorting them all."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# So many scores are looked at together: what is needed beside the scores stays small.
BLOCK = 1 << 21
# Up to so many, sorting is quicker.
FEW = 1 << 16

# The leading bits of a positive number, as an integer, order it. So many bits are dropped: a bin is less than 1/250 wide.
_DROPPED_BITS = {torch.float32: 13, torch.float64: 44}
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def largest_reaching(
    scores: Float[Tensor, "*shape"], threshold: float, rounding: float = 1e-6
) -> Bool[Tensor, "*shape"]:
    """True for a score if all clearly larger ones together hold less than `threshold` of the total.

    These are the smallest set of scores that reaches the threshold. Sorting all scores finds them too, but for the edges of a
    graph it needs ten times the matrix's own memory. Here scores are counted in bins first, and sorted only in the few bins
    where the threshold may be crossed.

    Args:
        scores: at least 0. A score of 0 is never among the largest.
        threshold: share of the total, in [0, 1]. At 1 every score above 0 is among the largest, at 0 none.
        rounding: scores that differ by a smaller share go together, and a share that misses `threshold` by less reaches it.
    """
    if threshold >= 1:
        return scores > 0
    flat = scores.reshape(-1)
    if flat.dtype not in _DROPPED_BITS:
        flat = flat.float()
    if flat.numel() <= FEW:
        return scores >= _lowest_by_sorting(flat[flat > 0].double().sort().values, 0.0, None, threshold, rounding)
    held = _held_by_bins(flat)
    total = float(held.sum())
    if not total > 0 or threshold <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    # what a bin and all above it hold, and what is clearly larger than all of a bin (the next one may touch it)
    from_here = torch.cat([held.flip(0).cumsum(0).flip(0), held.new_zeros(3)])
    larger = from_here[2:]
    kept = from_here / total * (1 + rounding) < threshold
    first_kept = int(kept.nonzero()[0, 0])
    unclear = (larger[:first_kept] / total * (1 + rounding) < threshold).nonzero()[:, 0]
    lowest = _lowest_of_bin(first_kept, flat.dtype)
    if len(unclear):
        crossing = _scores_of_bins(flat, int(unclear[0]), first_kept)
        above = float(from_here[first_kept + 1])
        lowest = min(lowest, _lowest_by_sorting(crossing, above, total, threshold, rounding))
    return scores >= lowest


def _lowest_by_sorting(
    ascending: Float[Tensor, " n"], above: float, total: float | None, threshold: float, rounding: float
) -> float:
    """The smallest of some scores that is among the largest; infinity if none is.

    Args:
        ascending: the scores, in double.
        above: what all scores that are larger than these hold together.
        total: what all scores hold; None if these are all.
    """
    smaller = torch.cat([ascending.new_zeros(1), ascending.cumsum(0)])
    similar = torch.searchsorted(ascending, ascending * (1 + rounding), right=True)
    total = float(smaller[-1]) if total is None else total
    shares = (above + smaller[-1] - smaller[similar]) / total * (1 + rounding)
    reached = ascending[shares < threshold]
    return float(reached[0]) if len(reached) else float("inf")


def _blocks(flat: Float[Tensor, " n"]) -> Iterator[Float[Tensor, " some"]]:
    """The scores above 0, some at a time."""
    for block in flat.split(BLOCK):
        yield block[block > 0]


def _bins(positive: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    bits = positive.view(_INTEGERS[positive.dtype])
    return (bits >> _DROPPED_BITS[positive.dtype]).long()


def _held_by_bins(flat: Float[Tensor, " n"]) -> Float[Tensor, " bins"]:
    """The sum of the scores in each bin. Double: a sum over a million float32 numbers loses the small ones."""
    n_bins = int(_bins(flat.new_tensor([float("inf")]))) + 1
    held = torch.zeros(n_bins, dtype=torch.float64, device=flat.device)
    for block in _blocks(flat):
        held.index_add_(0, _bins(block), block.double())
    return held


def _scores_of_bins(flat: Float[Tensor, " n"], first: int, last: int) -> Float[Tensor, " some"]:
    """The scores in the bins from `first` to `last`, ascending, in double."""
    found = []
    for block in _blocks(flat):
        bins = _bins(block)
        found.append(block[(bins >= first) & (bins <= last)].double())
    return torch.cat(found).sort().values


def _lowest_of_bin(number: int, dtype: torch.dtype) -> float:
    n_bins = int(_bins(torch.tensor([float("inf")], dtype=dtype))) + 1
    if number >= n_bins:
        return float("inf")
    return float(torch.tensor([number << _DROPPED_BITS[dtype]], dtype=_INTEGERS[dtype]).view(dtype))
