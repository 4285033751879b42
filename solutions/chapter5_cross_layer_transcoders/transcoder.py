"""The cross-layer transcoder: one encoder a layer, one decoder for each layer and each layer from there on.

(Ameisen et al. 2025, "Circuit Tracing", section 2.1, "Architecture".)
"""

import torch
from jaxtyping import Float
from torch import Tensor

from solutions.chapter5_cross_layer_transcoders.jumping import JumpReLU
from utils.engine.cross_layer import CrossLayerWeights


class CrossLayerTranscoder(torch.nn.Module):
    """Latents that read at one layer and write into this and all later layers.

    Attributes:
        W_enc: (layer, d_model, latent), random columns of length about 1.
        b_enc: (layer, latent), zeros.
        log_threshold: (layer, latent); the threshold is its exponential, so that it stays positive.
        W_dec: a `torch.nn.ParameterList`: `W_dec[l]` has shape (n_layers - l, latent, d_model), and `W_dec[l][k]` is what the latents
            of layer l write into layer l + k. At the start a latent writes a random vector of length 1 into its own layer, and
            nothing into later ones.
        b_dec: (layer, d_model), zeros.
        W_skip: None; for some that others have published (layer, d_out, d_in), a skip for each MLP, as in chapter 3.
    """

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        width: int,
        *,
        threshold: float = 0.03,
        bandwidth: float = 1.0,
        cross_layer: bool = True,
    ):
        """`cross_layer=False` makes a set of per-layer transcoders: the decoders into later layers are left out of the sum."""
        super().__init__()
        self.n_layers, self.bandwidth, self.cross_layer = n_layers, bandwidth, cross_layer
        # W_enc and the first decoders of all layers are drawn in this order, so that a seed gives the same start to all answers.
        W_enc = torch.randn(n_layers, d_model, width) / d_model**0.5
        own_layer = torch.nn.functional.normalize(torch.randn(n_layers, width, d_model), dim=-1)
        self.W_enc = torch.nn.Parameter(W_enc)
        self.register_buffer("W_skip", None)
        # Set the other four parameters.
        ### BEGIN SOLUTION
        self.b_enc = torch.nn.Parameter(torch.zeros(n_layers, width))
        self.log_threshold = torch.nn.Parameter(torch.full((n_layers, width), threshold).log())
        self.b_dec = torch.nn.Parameter(torch.zeros(n_layers, d_model))
        self.W_dec = torch.nn.ParameterList()
        for layer, own in enumerate(own_layer):
            later = torch.zeros(n_layers - layer - 1, width, d_model)
            self.W_dec.append(torch.nn.Parameter(torch.cat([own[None], later])))
        ### END SOLUTION

    @property
    def threshold(self) -> Float[Tensor, "layer latent"]:
        return self.log_threshold.exp()

    def pre_activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch latent"]:
        """What one layer's latents read from its MLP's input."""
        ### BEGIN SOLUTION
        return x @ self.W_enc[layer] + self.b_enc[layer]
        ### END SOLUTION

    def encode(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch latent"]:
        """The activations of one layer's latents: a JumpReLU with the layer's thresholds and `self.bandwidth`."""
        ### BEGIN SOLUTION
        return JumpReLU.apply(self.pre_activations(layer, x), self.threshold[layer], self.bandwidth)
        ### END SOLUTION

    def skip(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the MLP of a layer writes besides its latents: the skip of its input, or zeros where there is no skip."""
        return torch.zeros_like(x) if self.W_skip is None else x @ self.W_skip[layer].to(x).T

    def sources_of(self, target: int) -> range:
        """The layers whose latents write into layer `target`."""
        return range(target + 1) if self.cross_layer else range(target, target + 1)

    def decode(self, target: int, acts: dict[int, Float[Tensor, "*batch latent"]]) -> Float[Tensor, "*batch d_model"]:
        """What is reconstructed of the MLP of layer `target`: `b_dec`, and what the latents of `self.sources_of(target)` write. The
        skip, if there is one, comes on top.

        Args:
            acts: layer -> activations; at least of those layers.
        """
        ### BEGIN SOLUTION
        written = (acts[source] @ self.W_dec[source][target - source] for source in self.sources_of(target))
        return self.b_dec[target] + sum(written)
        ### END SOLUTION

    def forward(
        self, inputs: Float[Tensor, "layer *batch d_model"]
    ) -> tuple[Float[Tensor, "layer *batch d_model"], Float[Tensor, "layer *batch latent"]]:
        """The reconstructions of all MLPs, and the activations of all latents."""
        acts = {layer: self.encode(layer, inputs[layer]) for layer in range(self.n_layers)}
        outputs = [self.decode(layer, acts) + self.skip(layer, inputs[layer]) for layer in range(self.n_layers)]
        return torch.stack(outputs), torch.stack(list(acts.values()))

    def decoder_norms(self) -> Float[Tensor, "layer latent"]:
        """The length of each latent's decoders into all the layers it writes to, taken as one long vector.

        With `cross_layer=False` a latent writes into its own layer only, so that only `W_dec[l][0]` counts. The norms are trained
        with: gradients pass through them.
        """
        ### BEGIN SOLUTION
        n_targets = range(self.n_layers, 0, -1) if self.cross_layer else [1] * self.n_layers
        squares = [W[:n].pow(2).sum((0, 2)) for W, n in zip(self.W_dec, n_targets, strict=True)]
        # a tiny constant, because the slope of a root at 0 is infinite
        return (torch.stack(squares) + 1e-12).sqrt()
        ### END SOLUTION

    @torch.no_grad()
    def fold_scales(
        self, input_scale: Float[Tensor, " layer"], output_scale: Float[Tensor, " layer"]
    ) -> "CrossLayerTranscoder":
        """The same function for inputs and outputs that are not normalised, as a new transcoder.

        Activations and thresholds stay what they are: only `W_enc`, `W_dec` and `b_dec` change.

        Args:
            input_scale, output_scale: what inputs and outputs were divided by, layer by layer.
        """
        n_layers, d_model, width = self.W_enc.shape
        folded = CrossLayerTranscoder(n_layers, d_model, width, bandwidth=self.bandwidth, cross_layer=self.cross_layer)
        folded.to(self.W_enc).load_state_dict(self.state_dict())
        # Change the weights of `folded`, in place (`Tensor.mul_`, `Tensor.div_`).
        ### BEGIN SOLUTION
        folded.W_enc.div_(input_scale[:, None, None])
        folded.b_dec.mul_(output_scale[:, None])
        for layer, decoders in enumerate(folded.W_dec):
            decoders.mul_(output_scale[layer:, None, None])
        ### END SOLUTION
        return folded.requires_grad_(False)

    @classmethod
    def from_weights(cls, weights: CrossLayerWeights) -> "CrossLayerTranscoder":
        """A trained cross-layer transcoder, such as the bundled one: `from_weights(load_clt("atlas"))`."""
        clt = cls(*weights.W_enc.shape).to(weights.W_enc)
        clt.load_state_dict(
            {"W_enc": weights.W_enc, "b_enc": weights.b_enc, "b_dec": weights.b_dec}
            | {"log_threshold": weights.threshold.log()}
            | {f"W_dec.{layer}": rows for layer, rows in enumerate(weights.W_dec)}
        )
        clt.W_skip = weights.W_skip
        return clt.requires_grad_(False)

    def weights(self) -> CrossLayerWeights:
        """The weights as data. Decoders that are left out of the sum are zero."""
        W_dec = [W.detach() for W in self.W_dec]
        if not self.cross_layer:
            W_dec = [torch.cat([W[:1], torch.zeros_like(W[1:])]) for W in W_dec]
        return CrossLayerWeights(
            self.W_enc.detach(), self.b_enc.detach(), self.threshold.detach(), W_dec, self.b_dec.detach(), self.W_skip
        )
