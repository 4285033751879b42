"""What the MLPs of a model read and write on many tokens, kept on disk: for more tokens than memory holds.

Two files hold one token after the other, and of each token all layers. They are opened as tensors that stay on the disk: the system
reads what is asked for, and lets go of it when memory runs short.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.latents.scan import Corpus

INPUTS, OUTPUTS, STATE = "inputs.bin", "outputs.bin", "state.json"


class ActivationFiles:
    """The activations of one model on one corpus, in a folder, with a note of how far they go.

    Attributes:
        folder: that which was given, or a temporary one.
        n_rows: how many rows of the corpus are in the files.
        n_tokens: how many tokens these are.
    """

    def __init__(self, model: TransformerBridge, corpus: Corpus, folder: Path | None = None):
        """Open a folder, to go on where an earlier run stopped.

        Args:
            folder: where the files are or will be. None: a temporary folder, which is deleted with this object; tensors of it stay.

        Raises:
            ValueError: the folder holds activations of another model or corpus, or something else.
            OSError: the disk has not enough room for the corpus.
        """
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="activations-", ignore_cleanup_errors=True)
            folder = Path(self._temporary.name)
        self.folder, self._dtype = Path(folder), model.W_U.dtype
        self._shape = (model.cfg.n_layers, model.cfg.d_model)
        self._made_from = _fingerprint(model, corpus)
        self.n_rows, self.n_tokens = self._read_state()
        self._check_room(int(corpus.used.sum()))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_state()
        for name in (INPUTS, OUTPUTS):  # a stop may have left a part of a batch behind
            with open(self.folder / name, "ab") as file:
                file.truncate(self.n_tokens * self._bytes_a_token)

    def append(
        self,
        n_rows: int,
        inputs: Mapping[int, Float[Tensor, "token d_model"]],
        outputs: Mapping[int, Float[Tensor, "token d_model"]],
    ) -> None:
        """Add what the MLP of each layer reads and writes on the tokens of the next `n_rows` rows."""
        for name, by_layer in ((INPUTS, inputs), (OUTPUTS, outputs)):
            rows = torch.stack([by_layer[layer] for layer in range(self._shape[0])], dim=1)
            with open(self.folder / name, "ab") as file:
                file.write(rows.to(self._dtype).cpu().contiguous().view(torch.uint8).numpy())
        self.n_rows, self.n_tokens = self.n_rows + n_rows, self.n_tokens + len(rows)
        self._write_state()

    def tensors(self) -> tuple[Float[Tensor, "layer token d_model"], Float[Tensor, "layer token d_model"]]:
        """Inputs and outputs, as the model gave them. They lie on the disk; what is done to them does not reach the files.

        Raises:
            ValueError: there is no token.
        """
        if self.n_tokens == 0:
            raise ValueError("No token of the corpus counts: `corpus.used` is false everywhere.")
        shape = (self.n_tokens, *self._shape)
        size = self.n_tokens * self._shape[0] * self._shape[1]
        found = [
            torch.from_file(str(self.folder / name), shared=False, size=size, dtype=self._dtype)
            for name in (INPUTS, OUTPUTS)
        ]
        return found[0].view(shape).transpose(0, 1), found[1].view(shape).transpose(0, 1)

    @property
    def _bytes_a_token(self) -> int:
        """In each of the two files."""
        return self._shape[0] * self._shape[1] * self._dtype.itemsize

    def _read_state(self) -> tuple[int, int]:
        """How many rows and tokens an earlier run has left."""
        path = self.folder / STATE
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise ValueError(f"{self.folder} holds other files: choose a new or empty folder for the activations.")
            return 0, 0
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            rows, tokens, made_from = int(state["rows"]), int(state["tokens"]), state["made_from"]
            sizes = [(self.folder / name).stat().st_size for name in (INPUTS, OUTPUTS)]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"{self.folder} is damaged: delete it, and the activations are collected anew.") from None
        if made_from != self._made_from:
            raise ValueError(
                f"{self.folder} holds activations of another model or corpus: delete it, or choose another folder."
            )
        if min(sizes) < tokens * self._bytes_a_token:
            raise ValueError(f"{self.folder} is damaged: delete it, and the activations are collected anew.")
        return rows, tokens

    def _write_state(self) -> None:
        """Beside its place first: a stop leaves the old note or the new one."""
        part = self.folder / f"{STATE}.part"
        state = {"rows": self.n_rows, "tokens": self.n_tokens, "made_from": self._made_from}
        part.write_text(json.dumps(state), encoding="utf-8")
        os.replace(part, self.folder / STATE)

    def _check_room(self, n_tokens: int) -> None:
        needed = 2 * (n_tokens - self.n_tokens) * self._bytes_a_token
        there = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise OSError(
                f"The activations take {needed / 1e9:.1f} GB, and the disk of {self.folder} has {free / 1e9:.1f} GB left: "
                "take fewer sentences, or a folder on another disk."
            )


def _fingerprint(model: TransformerBridge, corpus: Corpus) -> str:
    """Differs where the model, its precision, or the corpus does."""
    found = hashlib.sha256(f"{model.cfg.model_name} {model.W_U.dtype} {model.cfg.n_layers}".encode())
    tensors = [*model.blocks[-1].mlp.parameters(), corpus.tokens, corpus.used]
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return found.hexdigest()
