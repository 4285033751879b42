"""The weights of a cross-layer transcoder as data: how they are kept on disk, and each layer's part as a plain transcoder.

A latent of layer l reads with a column of `W_enc[l]`, after ln2 of its layer, and writes with one decoder row for each layer
m >= l: `W_dec[l][m - l]`. (Ameisen et al. 2025, "Circuit Tracing", section 2.1, "Architecture".)
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from sae_lens import JumpReLUSkipTranscoder, JumpReLUTranscoder
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.transcoder import JumpReLUSkipTranscoderConfig, JumpReLUTranscoderConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.engine.hooks import mlp_out_hook, reading_hook

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "clt_weights.safetensors"


INTERVENE_INSTEAD = (
    "use run_base_cross_layer and intervene_cross_layer of chapter 5 with the cross-layer transcoder itself"
)


def refuse_cross_layer(transcoders: object, instead: str = INTERVENE_INSTEAD) -> None:
    """Refuse a cross-layer transcoder, and its layers as `CrossLayerWeights.transcoders` gives them, where MLPs are rewritten one
    by one: there all that a latent writes would go into its own layer.

    Args:
        instead: what the reader can do.

    Raises:
        TypeError: `transcoders` is no dict of transcoders.
        ValueError: they are the layers of a cross-layer transcoder.
    """
    if not isinstance(transcoders, dict):
        raise TypeError(
            f"The transcoders must be a dict, layer -> transcoder, not a {type(transcoders).__name__}; {instead} if it is one."
        )
    for transcoder in transcoders.values():
        if getattr(getattr(getattr(transcoder, "cfg", None), "metadata", None), "of_cross_layer", False):
            raise ValueError(
                f"These are the layers of a cross-layer transcoder, whose latents write into several: {instead}."
            )


@dataclass
class CrossLayerWeights:
    """A trained cross-layer transcoder; its inputs and outputs are not normalised.

    Attributes:
        W_enc: encoders.
        b_enc, threshold: a latent is active where `x @ W_enc + b_enc` is above its threshold.
        W_dec: for each layer l, (n_layers - l, latent, d_model): `W_dec[l][k]` is what its latents write into layer l + k.
        b_dec: a constant for each layer.
        W_skip: for each layer (d_out, d_in), as SAELens stores it: its MLP also gets `x @ W_skip[l].T`. None: there is no skip.
    """

    W_enc: Float[Tensor, "layer d_model latent"]
    b_enc: Float[Tensor, "layer latent"]
    threshold: Float[Tensor, "layer latent"]
    W_dec: list[Float[Tensor, "targets latent d_model"]]
    b_dec: Float[Tensor, "layer d_model"]
    W_skip: Float[Tensor, "layer d_model d_model"] | None = None

    @property
    def n_layers(self) -> int:
        return self.W_enc.shape[0]

    def encode(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch latent"]:
        """The activations of one layer's latents."""
        pre = x @ self.W_enc[layer] + self.b_enc[layer]
        return pre * (pre > self.threshold[layer])

    def decode(self, target: int, acts: list[Float[Tensor, "*batch latent"]]) -> Float[Tensor, "*batch d_model"]:
        """What all latents of layers up to `target`, whose activations are given by layer, write into it; without the skip."""
        parts = (acts[source] @ self.W_dec[source][target - source] for source in range(target + 1))
        return self.b_dec[target] + sum(parts)

    def transcoders(self, model_name: str = "") -> dict[int, JumpReLUTranscoder]:
        """Each layer's latents as a transcoder in SAELens' form: they read the same, and `W_dec` is *all* that they write.

        It is the sum of a latent's decoders: what has been added to the residual stream when the last layer is done. Right for
        reading, labels and the tokens a latent raises; wrong as a replacement for one MLP.
        """
        found = {}
        _, d_model, width = self.W_enc.shape
        kind, Config = JumpReLUTranscoder, JumpReLUTranscoderConfig
        if self.W_skip is not None:
            kind, Config = JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig
        for layer in range(self.n_layers):
            metadata = SAEMetadata(
                model_name=model_name, hook_name=reading_hook(layer), hook_name_out=mlp_out_hook(layer)
            )
            metadata.of_cross_layer = True
            dtype = str(self.W_enc.dtype).removeprefix("torch.")
            config = Config(
                d_in=d_model, d_out=d_model, d_sae=width, apply_b_dec_to_input=False, dtype=dtype, metadata=metadata
            )
            transcoder = kind(config).to(self.W_enc.device)
            skip = {} if self.W_skip is None else {"W_skip": self.W_skip[layer].detach().clone()}
            transcoder.load_state_dict(
                skip
                | {
                    "W_enc": self.W_enc[layer].detach().clone(),
                    "b_enc": self.b_enc[layer].detach().clone(),
                    "threshold": self.threshold[layer].detach().clone(),
                    "W_dec": self.W_dec[layer].detach().sum(0),
                    "b_dec": self.b_dec[layer].detach().clone(),
                }
            )
            found[layer] = transcoder.eval().requires_grad_(False)
        return found

    def save(self, folder: Path) -> None:
        """Write `cfg.json` and the weights in float16 into `folder`: a complete folder or none.

        Raises:
            ValueError: it has a skip, for which this form has no place.
        """
        if self.W_skip is not None:
            raise ValueError("A cross-layer transcoder with a skip cannot be written in the course's form.")
        part = folder.with_name(folder.name + ".part")
        part.mkdir(parents=True, exist_ok=True)
        tensors = {"W_enc": self.W_enc, "b_enc": self.b_enc, "threshold": self.threshold, "b_dec": self.b_dec}
        tensors |= {f"W_dec.{layer}": rows for layer, rows in enumerate(self.W_dec)}
        halves = {name: tensor.detach().half().contiguous().clone() for name, tensor in tensors.items()}
        save_file(halves, part / WEIGHTS_FILE)
        n_layers, d_model, width = self.W_enc.shape
        sizes = {"n_layers": n_layers, "d_model": d_model, "width": width}
        (part / CONFIG_FILE).write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
        part.replace(folder)

    @classmethod
    def read(cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> "CrossLayerWeights":
        """Read what `save` wrote.

        Raises:
            ValueError: the sizes in `cfg.json` are not those of the weights.
            OSError, KeyError, SafetensorError: a file is missing or damaged.
        """
        sizes = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = {name: x.to(dtype) for name, x in load_file(folder / WEIGHTS_FILE, device=device).items()}
        n_layers, d_model, width = (sizes[name] for name in ("n_layers", "d_model", "width"))
        weights = cls(
            *(tensors[name] for name in ("W_enc", "b_enc", "threshold")),
            W_dec=[tensors[f"W_dec.{layer}"] for layer in range(n_layers)],
            b_dec=tensors["b_dec"],
        )
        expected = [(n_layers, d_model, width), *[(n_layers, width)] * 2, (n_layers, d_model)]
        expected += [(n_layers - layer, width, d_model) for layer in range(n_layers)]
        given = [weights.W_enc, weights.b_enc, weights.threshold, weights.b_dec, *weights.W_dec]
        if [tuple(x.shape) for x in given] != expected:
            raise ValueError(f"the weights do not have the sizes that {CONFIG_FILE} states")
        return weights
