"""What is shown of a latent's firings: how strong and how many they are, and a few examples, chosen and in Anthropic's form."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from utils.latents.firings import Firings

N_BARS, N_CUTS = 30, 20
ONE_VALUE = (
    2**-11
)  # activations this near to each other, as a part of the strongest, differ by rounding: no histogram of them
N_TOP, N_PER_QUARTER = 8, 4
GROUPS = ("Strongest", "Upper quarter", "Second quarter", "Third quarter", "Lowest quarter")
FAR_ENOUGH = 5000  # firings of one beginning follow each other; this far down the list nothing is "strongest"


class Example(NamedTuple):
    """A text in which a latent fires.

    Attributes:
        row: the text's number.
        positions: where in it the latent fires, rising.
        activations: there.
        centre: the position that the example is about.
    """

    row: int
    positions: list[int]
    activations: list[float]
    centre: int


@dataclass
class Summary:
    """A latent's firings in short. One that never fires has no bars, cuts or examples.

    Attributes:
        count: how many firings there are.
        low, high: the weakest and the strongest.
        bars: how many firings lie in each of `N_BARS` equal parts from `low` to `high`; one bar where these are one value.
        cuts: `N_CUTS` firings at equal distances in the order of their strength, the weakest first and the strongest last.
        groups: the examples of each of `GROUPS`.
    """

    count: int
    low: float
    high: float
    bars: list[float]
    cuts: list[float]
    groups: list[list[Example]]

    def describe(
        self, text: Callable[[int], list[int]], decode: Callable[[list[int]], str], window: int | None = None
    ) -> dict[str, Any]:
        """In Anthropic's form (see `utils.latents.files`).

        Args:
            text: token ids of a row.
            decode: a token's text from a list of one id.
            window: tokens to show to either side of where an example is about; None shows whole rows.
        """
        return {
            "examples_quantiles": [
                {
                    "quantile_name": name,
                    "examples": [_shown(example, text(example.row), decode, window) for example in group],
                }
                for name, group in zip(GROUPS, self.groups, strict=True)
                if group
            ],
            "histogram": self.bars,
            "quantile_values": self.cuts,
            "act_min": self.low,
            "act_max": self.high,
        }


def summarize(firings: Firings, beginning: Callable[[int, int], Hashable]) -> Summary:
    """Histogram, percentiles and examples of a latent.

    Args:
        firings: where it fires.
        beginning: of a row and a position: something that is equal for two rows that are the same up to there.
    """
    acts = firings.activation
    if not len(acts):
        return Summary(0, 0.0, 0.0, [], [], [[] for _ in GROUPS])
    low, high = float(acts[-1]), float(acts[0])
    cuts = acts[::-1][np.linspace(0, len(acts) - 1, N_CUTS).round().astype(int)]
    groups = [[_example(firings, k) for k in ranks] for ranks in _choose(firings, beginning)]
    return Summary(len(acts), low, high, _bars(acts, low, high), cuts.tolist(), groups)


def is_one_value(low: float, high: float) -> bool:
    """Whether a latent's activations differ by no more than rounding."""
    return high - low <= ONE_VALUE * high


def _bars(acts: np.ndarray, low: float, high: float) -> list[float]:
    if is_one_value(low, high):
        return [float(len(acts))]
    places = ((acts.astype(float) - low) / (high - low) * N_BARS).astype(int)
    return np.bincount(np.minimum(places, N_BARS - 1), minlength=N_BARS).astype(float).tolist()


def _choose(firings: Firings, beginning: Callable[[int, int], Hashable]) -> list[list[int]]:
    """The ranks of the firings to show: the strongest, and a few of every quarter of all, by rank.

    A model that reads from left to right gives the same activation for the same beginning: it is shown once. So is a row.
    """
    beginnings: set[Hashable] = set()
    rows: set[int] = set()

    def take(ranks: Iterable[int], most: int) -> list[int]:
        taken: list[int] = []
        for k in ranks:
            if len(taken) == most:
                break
            row, here = int(firings.row[k]), beginning(firings.row[k], firings.position[k])
            if row not in rows and here not in beginnings:
                rows.add(row)
                beginnings.add(here)
                taken.append(k)
        return taken

    n = len(firings.activation)
    chosen = [take(range(min(n, FAR_ENOUGH)), N_TOP)]
    for quarter in range(4):
        start, end = quarter * n // 4, (quarter + 1) * n // 4
        spaced = np.linspace(start, max(start, end - 1), min(end - start, 12 * N_PER_QUARTER)).astype(int).tolist()
        widely = [spaced[i] for i in sorted(range(len(spaced)), key=lambda i: (i % 12, i))]
        chosen.append(sorted(take(widely, N_PER_QUARTER)))
    return chosen


def _example(firings: Firings, k: int) -> Example:
    """The firing of rank k with all others in its row."""
    same = np.flatnonzero(firings.row == firings.row[k])
    same = same[firings.position[same].argsort()]
    positions, activations = firings.position[same].tolist(), firings.activation[same].tolist()
    return Example(int(firings.row[k]), positions, activations, int(firings.position[k]))


def _shown(example: Example, ids: list[int], decode: Callable[[list[int]], str], window: int | None) -> dict[str, Any]:
    """One example: tokens with their activations, and the position that it is about."""
    acts = dict(zip(example.positions, example.activations, strict=True))
    centre = example.centre
    start, end = (0, len(ids)) if window is None else (max(0, centre - window), centre + window + 1)
    shown = ids[start:end]
    return {
        "tokens": [decode([i]) for i in shown],
        "tokens_acts_list": [acts.get(start + n, 0.0) for n in range(len(shown))],
        "train_token_ind": centre - start,
        "is_repeated_datapoint": False,
    }
