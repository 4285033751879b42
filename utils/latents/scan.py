"""What MLPs read and write, and where latents fire, on sentences that are run once."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import Transcoder, mlp_out_hook, reading_hook
from utils.engine.mlp import thresholds


@dataclass
class Corpus:
    """Sentences as token rows, padded on the right.

    Attributes:
        sentences: one for each row; they know what they are about (`utils.atlas.corpus.Sentence`).
        tokens: the ids.
        used: true for tokens of the sentence; false for padding and for a beginning-of-sequence token.
        counted: true where the next token is part of the answer (or the full stop behind it): what can be predicted.
    """

    sentences: list[Any]
    tokens: Int[Tensor, "row position"]
    used: Bool[Tensor, "row position"]
    counted: Bool[Tensor, "row position"]

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, rows: slice) -> "Corpus":
        return Corpus(self.sentences[rows], self.tokens[rows], self.used[rows], self.counted[rows])


class Scan:
    """What the MLPs read and write on a corpus. The model is run over it once, with a progress bar, and the result is kept."""

    def __init__(
        self,
        model: TransformerBridge,
        transcoders: dict[int, Transcoder],
        corpus: Corpus,
        batch_size: int = 256,
        names: Set[str] | None = None,
    ):
        """`names` are the hooks that the first run keeps: by default inputs and outputs of all MLPs, and norms' scales."""
        self.model, self.transcoders, self.corpus, self.batch_size = model, transcoders, corpus, batch_size
        self._names = self._usual_names() if names is None else names
        self._kept: dict[str, Float[Tensor, "row position d"]] = {}

    @torch.no_grad()
    def cached(self, name: str) -> Float[Tensor, "row position d"]:
        """The activation at one hook, for every token of the corpus."""
        if name not in self._kept:
            names = {name} if self._kept else {name, *self._names}
            found: dict[str, list[Tensor]] = {name: [] for name in names}
            for rows in tqdm(self.corpus.tokens.split(self.batch_size), desc="corpus", leave=False, disable=None):
                _, cache = self.model.run_with_cache(rows, names_filter=lambda hook: hook in names)
                for key, parts in found.items():
                    parts.append(cache[key])
            self._kept |= {key: torch.cat(parts) for key, parts in found.items()}
        return self._kept[name]

    def _usual_names(self) -> set[str]:
        names = {"ln_final.hook_scale"}
        for layer in self.transcoders:
            names |= {reading_hook(layer), mlp_out_hook(layer)}
            names |= {f"blocks.{layer}.{norm}.hook_scale" for norm in ("ln1", "ln2")}
        return names

    def reads(self, layer: int) -> Float[Tensor, "token d_model"]:
        """What the MLP reads, after ln2: one row for every used token."""
        return self.cached(reading_hook(layer))[self.corpus.used]

    def writes(self, layer: int) -> Float[Tensor, "token d_model"]:
        """What the MLP adds to the residual stream, token by token as in `reads`."""
        return self.cached(mlp_out_hook(layer))[self.corpus.used]

    @torch.no_grad()
    def activations(self, layer: int, latent: int) -> Float[Tensor, "row position"]:
        """One latent on every token; 0 where the corpus has no used token."""
        x, transcoder = self.cached(reading_hook(layer)), self.transcoders[layer]
        pre = x @ transcoder.W_enc[:, latent] + transcoder.b_enc[latent]
        return pre.relu() * (pre > thresholds(transcoder)[latent]) * self.corpus.used

    @torch.no_grad()
    def fires(self, layer: int, transcoder: Transcoder | None = None) -> Bool[Tensor, "row latent"]:
        """Whether each latent of a layer (of its own transcoder or of another one) is active anywhere in each sentence."""
        transcoder, used = transcoder or self.transcoders[layer], self.corpus.used
        fires = torch.zeros(len(used), transcoder.W_enc.shape[1], device=used.device)
        rows = used.nonzero()[:, 0]
        for x, row in zip(self.reads(layer).split(4096), rows.split(4096)):
            fires.index_add_(0, row, (transcoder.encode(x) > 0).float())
        return fires > 0

    @torch.no_grad()
    def mean_scale(self, name: str) -> float:
        """The mean over the used tokens of a norm's scale, e.g. `blocks.3.ln2`: what it divides by on a typical token."""
        return self.cached(f"{name}.hook_scale").squeeze(-1)[self.corpus.used].mean().item()

    def text(self, row: int, position: int) -> str:
        """One token as text."""
        return self.model.tokenizer.decode([int(self.corpus.tokens[row, position])])
