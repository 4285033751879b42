"""What latents stand for: the tokens they raise and lower, how strongly and how often they fire, and on what.

    from utils.latents.examples import describe_latents, kept_latents
    latents = describe_latents("atlas", model, transcoders, kept_latents(result))

Each latent is described in the form of `utils.latents.files`. Raised and lowered tokens come from the model's own weights.
What a latent fires on needs a text to look at: for the bundled model its own corpus, read once and kept in `out/cache`; for
GemmaScope the `examples.safetensors` that lies beside every dictionary on the hub (about 800 MB a layer, so it is only taken from
the disk unless a download is asked for). For other models nothing is known, and the description says so by leaving it out.
"""

import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils import ROOT
from utils.engine.graph import AttributionResult, NodeType
from utils.engine.hooks import Transcoder, hooked, reading_hook
from utils.latents.files import cantor
from utils.models import MODELS, ModelSpec, load, load_clt
from utils.models.registry import ATLAS_FOLDER

CACHE_FOLDER = ROOT / "out" / "cache"
VERSION = 1  # of what is kept there
SENTENCES_PER_FAMILY = 3000  # a few about each city; the whole corpus says the same, more slowly
BATCH = 64  # sentences at once

N_LOGITS = 10
N_BARS, N_CUTS = 30, 100
N_TOP, N_PER_QUARTER = 8, 4
QUARTERS = ("Upper quarter", "Second quarter", "Third quarter", "Lowest quarter")
WINDOW = 16  # tokens to either side of where a latent fires, in texts longer than sentences

Progress = Callable[[int, int], None]
Pair = tuple[int, int]  # (layer, latent)


def kept_latents(result: AttributionResult) -> set[Pair]:
    """(layer, latent) of every latent that pruning kept."""
    return {(node.layer, node.feature) for node in result.kept_nodes if node.node_type is NodeType.LATENT}


def describe_latents(
    name: str | os.PathLike[str],
    model: TransformerBridge,
    transcoders: Mapping[int, Transcoder],
    wanted: Iterable[Pair],
    *,
    kind: str = "transcoders",
    examples: str = "auto",
    progress: Progress | None = None,
) -> dict[Pair, dict[str, Any]]:
    """Everything that is known of some latents, in Anthropic's form (see `utils.latents.files`).

    Args:
        name: what `load` was given for `model` and `transcoders`.
        wanted: (layer, latent) of each.
        kind: "clt" if `transcoders` are the layers of a cross-layer transcoder (`CrossLayerWeights.transcoders`).
        examples: "auto" takes what can be had without a download, "download" fetches GemmaScope's files as well, "none" leaves
            out what latents fire on.
        progress: called with (done, total) while the bundled model's corpus is read; a progress bar when not given.

    Returns:
        A description for each of `wanted`.

    Raises:
        ValueError: another word for `examples`.
        OSError: a download failed.
    """
    if examples not in ("auto", "download", "none"):
        raise ValueError(f"examples must be 'auto', 'download' or 'none', not {examples!r}.")
    wanted = sorted(set(wanted))
    found = {pair: {"index": cantor(*pair), "layer": pair[0], "latent": pair[1]} for pair in wanted}
    for layer in sorted({layer for layer, _ in wanted}):
        latents = [latent for other, latent in wanted if other == layer]
        for latent, logits in zip(latents, logit_effects(model, transcoders[layer].W_dec[latents]), strict=True):
            found[layer, latent] |= logits | {
                "examples_quantiles": [],
                "transcoder_id": f"{model.cfg.model_name}-{layer}",
            }
    if examples != "none" and wanted:
        spec = _spec(name)
        if is_bundled(name):
            firings = corpus_firings(model, transcoders, progress, kind)
            for pair in wanted:
                found[pair] |= firings.describe(pair, model.tokenizer.decode)
        elif spec and spec.release and spec.release.startswith("gemma-scope-2"):
            _add_published(found, spec, examples == "download", model.tokenizer.decode)
    return found


def is_bundled(name: str | os.PathLike[str]) -> bool:
    """Whether `load(name)` gives the bundled model, whose corpus is known."""
    spec = _spec(name)
    return spec is not None and spec.hub_id is None


def _spec(name: str | os.PathLike[str]) -> ModelSpec | None:
    text = os.fspath(name).lower()
    return next((spec for spec in MODELS.values() if text in (spec.name, (spec.hub_id or "").lower())), None)


# ---------------------------------------------------------------------------------------------------------------------
# What a latent writes, seen from the output
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def logit_effects(model: TransformerBridge, vectors: Float[Tensor, "latent d_model"]) -> list[dict[str, list]]:
    """The tokens that each vector, written into the last residual stream, raises and lowers most, with values.

    A value is the change of the logit against the mean of all logits for one unit of activation, with the final norm's weight but
    before its scale, which depends on the prompt.
    """
    vectors = vectors.detach().float()
    weight, centres = _final_norm(model, vectors.device)
    if centres:
        vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    W_U = model.W_U.detach().float()
    effects = (vectors * weight) @ (W_U - W_U.mean(dim=-1, keepdim=True))
    k = min(N_LOGITS, effects.shape[1])
    described = []
    for row in effects:
        top, bottom = row.topk(k), row.topk(k, largest=False)
        described.append(
            {
                "top_logits": [model.tokenizer.decode([i]) for i in top.indices.tolist()],
                "top_logit_values": top.values.tolist(),
                "bottom_logits": [model.tokenizer.decode([i]) for i in bottom.indices.tolist()],
                "bottom_logit_values": bottom.values.tolist(),
            }
        )
    return described


@torch.no_grad()
def _final_norm(model: TransformerBridge, device: torch.device) -> tuple[Float[Tensor, " d_model"], bool]:
    """What the final norm multiplies each direction by, its scale aside, and whether it takes the mean away first.

    Asked of the norm itself, since Gemma's weight is 1 + what it stores. A vector of plus and minus ones has mean square 1, and mean 0
    for an even size: its scale is 1 in either kind of norm. Of a vector of ones LayerNorm leaves nothing.
    """

    def without_bias(x: Tensor) -> Tensor:
        x = x.to(model.W_U.dtype)[None, None]
        return ((model.ln_final(x) - model.ln_final(-x)) / 2)[0, 0].float()

    ones = torch.ones(model.cfg.d_model, device=device)
    signs = ones.clone()
    signs[1::2] = -1
    weight = without_bias(signs) * signs
    return weight, bool(without_bias(ones).norm() < 0.01 * weight.norm())


# ---------------------------------------------------------------------------------------------------------------------
# What a latent fires on
# ---------------------------------------------------------------------------------------------------------------------


class Firings(NamedTuple):
    """Where one latent fires, the strongest first: row of a text, position in it, activation."""

    row: Int[Tensor, " firing"]
    position: Int[Tensor, " firing"]
    activation: Float[Tensor, " firing"]


def describe_firings(
    firings: Firings, text: Callable[[int], list[int]], decode: Callable[[list[int]], str], window: int | None = None
) -> dict[str, Any]:
    """Histogram, percentiles and examples of a latent.

    Args:
        firings: where it fires.
        text: token ids of a row.
        decode: a token's text from a list of one id.
        window: tokens to show to either side; None shows whole rows.
    """
    acts = firings.activation.float()
    if not len(acts):
        return {"examples_quantiles": [], "histogram": [], "quantile_values": [], "act_min": 0.0, "act_max": 0.0}
    low, high = acts[-1].item(), acts[0].item()
    bars = torch.histc(acts, N_BARS, low, high) if high > low else torch.tensor([float(len(acts))])
    # linspace over the sorted activations: torch.quantile refuses more than 16 million
    cuts = acts.flip(0)[torch.linspace(0, len(acts) - 1, N_CUTS).round().long()]
    quantiles = []
    for name, chosen in _choose(firings, text).items():
        rows = [_example(firings, k, text, decode, window) for k in chosen]
        quantiles.append({"quantile_name": name, "examples": rows})
    return {
        "examples_quantiles": quantiles,
        "histogram": bars.tolist(),
        "quantile_values": cuts.tolist(),
        "act_min": low,
        "act_max": high,
    }


def _choose(firings: Firings, text: Callable[[int], list[int]]) -> dict[str, list[int]]:
    """Which firings to show: the strongest, and a few of every quarter of the rest, by rank.

    A model that reads from left to right gives the same activation for the same beginning: it is shown once. So is a row.
    """
    beginnings: set[tuple[int, ...]] = set()
    rows: set[int] = set()

    def take(ranks: Iterable[int], most: int) -> list[int]:
        taken: list[int] = []
        for k in ranks:
            if len(taken) == most:
                break
            row, position = int(firings.row[k]), int(firings.position[k])
            beginning = tuple(text(row)[: position + 1])
            if row not in rows and beginning not in beginnings:
                rows.add(row)
                beginnings.add(beginning)
                taken.append(k)
        return taken

    n = len(firings.activation)
    # firings of one beginning follow each other; far down the list there is nothing "strongest" left
    chosen = {"Strongest": take(range(min(n, 5000)), N_TOP)}
    for quarter, name in enumerate(QUARTERS):
        start, end = quarter * n // 4, (quarter + 1) * n // 4
        spaced = torch.linspace(start, max(start, end - 1), min(end - start, 12 * N_PER_QUARTER)).long().tolist()
        picked = take(sorted(spaced, key=lambda k: (spaced.index(k) % 12, k)), N_PER_QUARTER)
        chosen[name] = sorted(picked)
    return {name: ranks for name, ranks in chosen.items() if ranks}


def _example(
    firings: Firings,
    k: int,
    text: Callable[[int], list[int]],
    decode: Callable[[list[int]], str],
    window: int | None,
) -> dict[str, Any]:
    """One example: tokens with their activations, and the position that it is about."""
    row, centre = int(firings.row[k]), int(firings.position[k])
    ids = text(row)
    same = firings.row == row
    acts = dict(zip(firings.position[same].tolist(), firings.activation[same].tolist(), strict=True))
    start, end = (0, len(ids)) if window is None else (max(0, centre - window), centre + window + 1)
    shown = ids[start:end]
    return {
        "tokens": [decode([i]) for i in shown],
        "tokens_acts_list": [acts.get(start + n, 0.0) for n in range(len(shown))],
        "train_token_ind": centre - start,
        "is_repeated_datapoint": False,
    }


# ---------------------------------------------------------------------------------------------------------------------
# The bundled model's corpus
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class CorpusFirings:
    """Every activation of every latent on a part of the corpus, ordered by latent and falling activation.

    Attributes:
        tokens: the sentences, padded with -1 on the right.
        start: where each latent's firings begin, and where the last one's end; latents are counted through all layers.
        row, position, activation: the firings.
        first: the number of each layer's first latent.
    """

    tokens: Int[Tensor, "row position"]
    start: Int[Tensor, " latent_and_one"]
    row: Int[Tensor, " firing"]
    position: Int[Tensor, " firing"]
    activation: Float[Tensor, " firing"]
    first: Int[Tensor, " layer"]

    def describe(self, pair: Pair, decode: Callable[[list[int]], str]) -> dict[str, Any]:
        """What one latent fires on, in Anthropic's form."""
        number = int(self.first[pair[0]]) + pair[1]
        part = slice(int(self.start[number]), int(self.start[number + 1]))
        firings = Firings(self.row[part].long(), self.position[part].long(), self.activation[part].float())
        n_tokens = int((self.tokens >= 0).sum())
        described = describe_firings(firings, cache(self.text), decode)
        return described | {
            "activation_frequency": len(firings.activation) / n_tokens,
            "source": f"From {len(self.tokens):,} sentences ({n_tokens:,} tokens) of the model's own corpus.",
        }

    def text(self, row: int) -> list[int]:
        """The ids of a sentence."""
        return [i for i in self.tokens[row].tolist() if i >= 0]


def corpus_firings(
    model: TransformerBridge,
    transcoders: Mapping[int, Transcoder],
    progress: Progress | None = None,
    kind: str = "transcoders",
) -> CorpusFirings:
    """What the bundled model's latents fire on: from the cache, or computed (about a minute) and put there."""
    prefix = "clt-latents" if kind == "clt" else "latents"
    path = CACHE_FOLDER / f"{prefix}-{bundle_key(kind)}.safetensors"
    if path.is_file():
        try:
            return CorpusFirings(**load_file(path))
        except (SafetensorError, TypeError, OSError):
            pass  # damaged: it is made again
    found = record_firings(model, transcoders, corpus_sentences(), progress)
    _keep(found, path)
    return found


def bundled_latents(wanted: Iterable[Pair], kind: str = "transcoders") -> dict[Pair, dict[str, Any]]:
    """`describe_latents` of the bundled model, which is loaded for it."""
    model, transcoders = load("atlas")
    if kind == "clt":
        transcoders = load_clt("atlas").transcoders("atlas")
    return describe_latents("atlas", model, transcoders, wanted, kind=kind)


def bundle_key(kind: str = "transcoders") -> str:
    """A name that changes when the bundled model, its dictionaries (`kind`: "transcoders" or "clt") or its corpus do."""
    weights = "clt/clt_weights.safetensors" if kind == "clt" else "transcoders/*/*"
    files = [*ATLAS_FOLDER.glob("model/*.safetensors"), *ATLAS_FOLDER.glob(weights)]
    files += [*ATLAS_FOLDER.glob("model/tokenizer.json"), *ATLAS_FOLDER.parent.glob("facts/*.json")]
    files += [ATLAS_FOLDER.parent / "corpus.py", ATLAS_FOLDER.parent / "world.py"]
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(files))
    return _hash_files(stamps)


@cache
def _hash_files(stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256(f"{VERSION} {SENTENCES_PER_FAMILY}".encode())
    for path, _, _ in stamps:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _keep(found: CorpusFirings, path: Path) -> None:
    """Write the cache, and take away what an earlier model left. A disk that cannot be written is no reason to stop."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".latents-", delete=False) as file:
            temporary = Path(file.name)
        try:
            save_file({name: x.contiguous() for name, x in vars(found).items()}, temporary)
            for old in path.parent.glob(f"{path.name.rpartition('-')[0]}-*.safetensors"):
                old.unlink()
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError):
        pass


def corpus_sentences() -> list[str]:
    """Sentences of every family that the bundled model was trained on, at most so many of each, in a fixed order."""
    from utils.atlas.corpus import all_sentences
    from utils.atlas.world import load_world

    families: dict[str, list[str]] = {}
    for sentence in all_sentences(load_world(), drawn=SENTENCES_PER_FAMILY):
        if not sentence.held_out:
            families.setdefault(sentence.family, []).append(sentence.text)
    rng = random.Random(0)
    chosen = [text for group in families.values() for text in rng.sample(group, min(len(group), SENTENCES_PER_FAMILY))]
    # rows of a batch are about as long as each other; the longest first, so that memory freed by one batch fits the next
    return sorted(dict.fromkeys(chosen), key=len, reverse=True)


@torch.no_grad()
def record_firings(
    model: TransformerBridge,
    transcoders: Mapping[int, Transcoder],
    sentences: list[str],
    progress: Progress | None = None,
) -> CorpusFirings:
    """Run the model on sentences and note every active latent."""
    layers = sorted(transcoders)
    widths = [transcoders[layer].cfg.d_sae for layer in layers]
    first = torch.tensor([sum(widths[:k]) for k in range(len(layers))])
    encoded = [model.tokenizer(text)["input_ids"] for text in sentences]
    tokens = torch.full((len(encoded), max(map(len, encoded))), -1, dtype=torch.int32)
    for row, ids in enumerate(encoded):
        tokens[row, : len(ids)] = torch.tensor(ids)
    device = next(iter(transcoders.values())).W_enc.device
    parts = []
    batches = range(0, len(encoded), BATCH)
    bar = None if progress else tqdm(total=len(batches), desc="what latents fire on (once)", leave=False, disable=None)
    for done, begin in enumerate(batches, start=1):
        width = max(map(len, encoded[begin : begin + BATCH]))
        batch = tokens[begin : begin + BATCH, :width]

        def note(x: Tensor, hook: Any, k: int, batch: Tensor = batch, begin: int = begin) -> None:
            active = transcoders[layers[k]].encode(x).cpu()
            active[batch < 0] = 0
            row, position, latent = active.nonzero(as_tuple=True)
            acts = active[row, position, latent].float()
            parts.append(((latent + first[k]).int(), (row + begin).int(), position.short(), acts))

        with hooked(model, [(reading_hook(layer), partial(note, k=k)) for k, layer in enumerate(layers)]):
            model(batch.clamp_min(0).long().to(device))
        if progress:
            progress(done, len(batches))
        else:
            bar.update()
    if bar is not None:
        bar.close()
    latent, row, position, activation = (torch.cat(column) for column in zip(*parts, strict=True))
    order = activation.argsort(descending=True, stable=True)
    order = order[latent[order].argsort(stable=True)]
    counts = torch.bincount(latent, minlength=sum(widths))
    return CorpusFirings(
        tokens=tokens,
        start=torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)]),
        row=row[order],
        position=position[order],
        activation=activation[order],
        first=first,
    )


# ---------------------------------------------------------------------------------------------------------------------
# GemmaScope's own files
# ---------------------------------------------------------------------------------------------------------------------


def _add_published(
    found: dict[Pair, dict[str, Any]], spec: ModelSpec, download: bool, decode: Callable[[list[int]], str]
) -> None:
    """Add what GemmaScope publishes about latents, for the layers whose file is on the disk or may be fetched."""
    for layer in sorted({layer for layer, _ in found}):
        path = _published_file(spec, layer, download)
        if path is not None:
            with safe_open(path, framework="pt") as file:
                for pair in found:
                    if pair[0] == layer:
                        found[pair] |= describe_published(file, pair[1], decode)


def _published_file(spec: ModelSpec, layer: int, download: bool) -> str | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    release = get_pretrained_saes_directory()[spec.release]
    name = f"{release.saes_map[spec.sae_id.format(layer=layer)]}/examples.safetensors"
    if download:
        return hf_hub_download(release.repo_id, name)
    path = try_to_load_from_cache(release.repo_id, name)
    return path if isinstance(path, str) else None


def describe_published(file: Any, latent: int, decode: Callable[[list[int]], str]) -> dict[str, Any]:
    """What an open `examples.safetensors` says of one latent. Only its own rows are read.

    The file holds `activations`, `seq_ids` and `positions` (latent, 1000) of the strongest firings, the texts as `tokens` (text,
    position), and `feature_frequencies` (latent,). Of other positions nothing is known, so they stay uncoloured.
    """
    acts = file.get_slice("activations")[latent].float()
    rows = file.get_slice("seq_ids")[latent].long()
    positions = file.get_slice("positions")[latent].long()
    texts = file.get_slice("tokens")
    n_texts, length = texts.get_shape()
    used = (acts > 0) & (rows >= 0) & (rows < n_texts) & (positions >= 0) & (positions < length)
    order = acts[used].argsort(descending=True, stable=True)
    firings = Firings(rows[used][order], positions[used][order], acts[used][order])
    described = describe_firings(firings, cache(lambda row: texts[row].tolist()), decode, WINDOW)
    often = float(file.get_slice("feature_frequencies")[latent : latent + 1])
    return described | {
        "activation_frequency": often if 0 <= often <= 1 else None,
        "source": f"From GemmaScope's own file: the {len(order):,} strongest activations; weaker ones are not in the histogram.",
    }
