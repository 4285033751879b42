"""What the latents of a model in a folder fire on: one small file beside the labels, which is only read when a prompt is traced.

`examples.npz` describes the per-layer transcoders, `clt/examples.npz` the cross-layer transcoder. Such a file needs no corpus: the
texts of its examples are in it as token ids. Columns, with `LEVELS` = 100 and one entry for

- the file: `weights` (see `weights_key`), `corpus` (a hash of the sentences), `n_sentences`, `n_tokens`;
- each layer: `layer`, `width` (how many latents it has);
- each latent: `count` (of its firings), `low` and `high` (weakest and strongest, to 4 digits), `bars` (the root of each bar of its
  histogram, in hundredths of the highest one's), `cuts` (percentiles, in hundredths of `high`), `shown` (how many examples each group has);
- each example: `row` (its text), `active` (how many of its tokens the latent fires on), `centre` (which of these it is about);
- each token that a latent fires on in an example: `gap` (from the one before it), `level` (the activation, in hundredths of `high`);
- each text: `length`; and each of their tokens: `token` (its id).
"""

import hashlib
import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from utils.latents.files import LEVELS
from utils.latents.firings import PADDING, CorpusFirings, Pair, number_of
from utils.latents.summary import GROUPS, N_BARS, N_CUTS, Example, Summary, is_one_value, summarize
from utils.models import registry
from utils.models.errors import first_line, restore_advice

FILE = "examples.npz"
VERSION = 1  # of this form
MAKE = "python -m utils.atlas.examples"  # the maintainers' command that writes the file


def examples_file(folder: Path, kind: str = "transcoders") -> Path:
    """Where a folder laid out like the bundled one has what the latents of a dictionary ("transcoders" or "clt") fire on."""
    return folder / "clt" / FILE if kind == "clt" else folder / FILE


def weights_key(folder: Path, kind: str = "transcoders") -> str:
    """A hash that changes when the model in `folder`, its tokenizer or one of its dictionaries ("transcoders" or "clt") does."""
    patterns = ("model/*.safetensors", "model/tokenizer.json", *(f"{kind}/{deeper}" for deeper in _WEIGHTS[kind]))
    digest = hashlib.sha256(str(VERSION).encode())
    for path in sorted(chain.from_iterable(folder.glob(pattern) for pattern in patterns)):
        content = path.read_bytes()
        if path.suffix == ".json":
            content = content.replace(b"\r\n", b"\n")  # git may write it so on Windows
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


_WEIGHTS = {"transcoders": ("*/cfg.json", "*/*.safetensors"), "clt": ("cfg.json", "*.safetensors")}


def problem_with(folder: Path, kind: str = "transcoders") -> str:
    """Why a folder's file is not used, in one sentence that says how to make it; "" if it fits, or if a user's own folder has none.

    Raises:
        ValueError: the file is damaged.
    """
    path, bundled = examples_file(folder, kind), folder == registry.ATLAS_FOLDER
    make = f"`{MAKE}`" if bundled else f"`{MAKE} --folder {folder}`"
    if not path.is_file():
        return f"What latents fire on is left out: {path} is missing; {make} makes it." if bundled else ""
    if ShippedExamples.read(path).weights != weights_key(folder, kind):
        return f"What latents fire on is left out: {path} was made from other weights; {make} makes it again."
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


def write_examples(path: Path, firings: CorpusFirings, weights: str, corpus: str) -> None:
    """Choose what to show of every latent and write it, with progress bars; a whole file or none.

    Args:
        weights, corpus: hashes of what the firings were recorded from.
    """
    beginnings = firings.beginnings
    numbers = tqdm(range(sum(firings.widths.values())), desc="choosing examples", leave=False, disable=None)
    summaries = [summarize(firings.latent(number), lambda *place: beginnings[place]) for number in numbers]
    columns = _pack(summaries)
    columns["row"], columns["length"], columns["token"] = _texts(np.array(columns["row"], dtype=int), firings.tokens)
    columns |= {"layer": list(firings.widths), "width": list(firings.widths.values())}
    columns |= {"n_sentences": len(firings.tokens), "n_tokens": int((firings.tokens != PADDING).sum())}
    arrays = {name: _smallest(np.asarray(column)) for name, column in columns.items()}
    arrays |= {"weights": np.array(weights), "corpus": np.array(corpus)}
    part = path.with_name(f".{path.name}")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _pack(summaries: Iterable[Summary]) -> dict[str, Any]:
    """The columns about latents, their examples and their tokens. Rows are still those of the corpus."""
    columns: dict[str, Any] = defaultdict(list)
    for summary in summaries:
        columns["count"].append(summary.count)
        columns["low"].append(summary.low)
        columns["high"].append(summary.high)
        columns["bars"].append(_in_hundredths(np.sqrt(summary.bars), N_BARS))
        columns["cuts"].append(_in_hundredths(np.array(summary.cuts), N_CUTS))
        columns["shown"].append([len(group) for group in summary.groups])
        for example in chain.from_iterable(summary.groups):
            columns["row"].append(example.row)
            columns["active"].append(len(example.positions))
            columns["centre"].append(example.positions.index(example.centre))
            columns["gap"] += [after - before for before, after in pairwise([0, *example.positions])]
            columns["level"] += [max(1, round(LEVELS * act / summary.high)) for act in example.activations]
    for name in ("low", "high"):
        columns[name] = _to_four_digits(np.array(columns[name], dtype=np.float32))
    return dict(columns)


def _in_hundredths(values: np.ndarray, length: int) -> np.ndarray:
    """Parts of the largest value, 0 only for 0, with zeros behind up to `length`."""
    largest = values.max(initial=0.0)
    parts = np.maximum(np.round(LEVELS * values / largest), values > 0) if largest > 0 else values
    return np.pad(parts.astype(np.uint8), (0, length - len(values)))


def _to_four_digits(values: np.ndarray) -> np.ndarray:
    """float32 with 12 significant bits: what follows is noise that does not compress."""
    return ((values.view(np.uint32) + 0x800) & np.uint32(0xFFFFF000)).view(np.float32)


def _texts(rows: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows numbered anew, and lengths and ids of those that occur, in the order of their ids: alike texts compress well."""
    used = np.unique(rows)
    used = used[np.lexsort(tokens[used].T[::-1])]
    number = np.zeros(len(tokens), dtype=int)
    number[used] = np.arange(len(used))
    texts = tokens[used]
    return number[rows], (texts != PADDING).sum(1), texts[texts != PADDING]


def _smallest(values: np.ndarray) -> np.ndarray:
    """In the smallest type of non-negative integers that holds them; other numbers as they are."""
    return values.astype(np.min_scalar_type(values.max(initial=0))) if values.dtype.kind in "iu" else values


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


class ShippedExamples:
    """An open file of examples."""

    def __init__(self, columns: dict[str, np.ndarray]):
        self._columns = columns
        self.weights, self.corpus = str(columns["weights"]), str(columns["corpus"])
        self.widths = dict(zip(columns["layer"].tolist(), columns["width"].tolist(), strict=True))
        shown = columns["shown"].sum(1)
        # where each latent's examples, each example's tokens and each text's tokens begin, and where the last one's end
        self._examples, self._active, self._texts = map(_starts, (shown, columns["active"], columns["length"]))
        self._check(len(shown))

    @classmethod
    def read(cls, path: Path) -> "ShippedExamples":
        """Read a file.

        Raises:
            ValueError: it is damaged, or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files})
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ValueError(f"{path} is damaged ({first_line(error)}): {_advice(path)}.") from None

    def _check(self, n_latents: int) -> None:
        columns = self._columns
        lengths = {
            "count": n_latents, "low": n_latents, "high": n_latents, "bars": n_latents, "cuts": n_latents,
            "row": self._examples[-1], "active": self._examples[-1], "centre": self._examples[-1],
            "gap": self._active[-1], "level": self._active[-1], "token": self._texts[-1],
        }  # fmt: skip
        wrong = [name for name, length in lengths.items() if len(columns[name]) != length]
        if n_latents != sum(self.widths.values()) or columns["shown"].shape[1] != len(GROUPS):
            wrong.append("shown")
        if (columns["row"] >= len(columns["length"])).any() or (columns["centre"] >= columns["active"]).any():
            wrong.append("row")
        if wrong:
            raise ValueError(f"its column {wrong[0]!r} does not fit the others")

    def describe(self, pair: Pair, decode: Callable[[list[int]], str]) -> dict[str, Any]:
        """What one latent fires on, in Anthropic's form."""
        summary = self.summary(pair)
        n_sentences, n_tokens = int(self._columns["n_sentences"]), int(self._columns["n_tokens"])
        return summary.describe(self.text, decode) | {
            "activation_frequency": summary.count / n_tokens,
            "source": f"From {n_sentences:,} sentences ({n_tokens:,} tokens) of the model's own corpus.",
        }

    def text(self, row: int) -> list[int]:
        """The token ids of a text."""
        return self._columns["token"][self._texts[row] : self._texts[row + 1]].tolist()

    def summary(self, pair: Pair) -> Summary:
        """What is known of one latent, to a hundredth of its strongest activation."""
        number = number_of(pair, self.widths)
        count, low, high = (self._columns[name][number].item() for name in ("count", "low", "high"))
        groups = list(self._groups(number, high))
        if not count:
            return Summary(0, 0.0, 0.0, [], [], groups)
        bars = self._columns["bars"][number].astype(float) ** 2
        bars = [float(count)] if is_one_value(low, high) else np.ceil(bars * count / bars.sum()).tolist()
        cuts = np.clip(self._columns["cuts"][number] * (high / LEVELS), low, high)
        return Summary(count, low, high, bars, cuts.tolist(), groups)

    def _groups(self, number: int, high: float) -> Iterator[list[Example]]:
        bounds = accumulate(self._columns["shown"][number].tolist(), initial=int(self._examples[number]))
        for start, end in pairwise(bounds):
            yield [self._example(k, high) for k in range(start, end)]

    def _example(self, k: int, high: float) -> Example:
        part = slice(self._active[k], self._active[k + 1])
        positions = self._columns["gap"][part].cumsum(dtype=int).tolist()
        activations = (self._columns["level"][part] * (high / LEVELS)).tolist()
        return Example(int(self._columns["row"][k]), positions, activations, positions[self._columns["centre"][k]])


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], lengths.cumsum(dtype=int)])


def _advice(path: Path) -> str:
    if path.is_relative_to(registry.ATLAS_FOLDER):
        return restore_advice(path.parent)
    return f"delete it, or make it again with `{MAKE} --folder DIR`"
