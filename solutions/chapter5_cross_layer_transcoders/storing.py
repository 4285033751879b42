"""What the MLPs read and write, token by token: shuffled, normalised, and kept on disk.

(Ameisen et al. 2025, "Circuit Tracing", appendix "Cross-Layer Transcoder training".)
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.graph import at_least_float32
from utils.engine.hooks import NO_LOGITS, hooked, mlp_out_hook, reading_hook
from utils.latents.activation_files import ActivationFiles
from utils.latents.scan import Corpus


class ActivationStore:
    """The inputs and outputs of all MLPs on many tokens, and scales that make all layers count alike.

    Attributes:
        inputs, outputs: what each MLP reads (after ln2) and adds to the residual stream, as the model gives it. They may lie on the
            disk (`collect`): take them layer by layer, or some tokens at a time.
        input_scale: (layer,), the root of the mean square of a layer's inputs, over tokens and dimensions.
        output_scale: (layer,), the root of the mean square of a layer's outputs after each dimension's mean has been subtracted.
            (The mean is subtracted for the scale only.)
        seed: decides in which order `batch` goes through the tokens.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "layer token d_model"],
        outputs: Float[Tensor, "layer token d_model"],
        seed: int = 0,
        device: torch.device | str | None = None,
    ):
        """`device` is where batches and scales are wanted; None: where the tensors are."""
        self.inputs, self.outputs, self.seed = inputs, outputs, seed
        self.device = inputs.device if device is None else torch.device(device)
        scales = [self.scales_of(at_least_float32(x), at_least_float32(y)) for x, y in zip(inputs, outputs)]
        self.input_scale, self.output_scale = (torch.stack(kind).to(self.device) for kind in zip(*scales))

    @staticmethod
    def scales_of(
        x: Float[Tensor, "token d_model"], y: Float[Tensor, "token d_model"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """`input_scale` and `output_scale` of one layer, from its inputs and outputs."""
        ### BEGIN SOLUTION
        centred = y - y.mean(0)
        return x.pow(2).mean().sqrt(), centred.pow(2).mean().sqrt()
        ### END SOLUTION

    @classmethod
    @torch.no_grad()
    def collect(
        cls,
        model: TransformerBridge,
        corpus: Corpus,
        folder: Path | None = None,
        batch_size: int = 128,
        seed: int = 0,
    ) -> "ActivationStore":
        """Run the model over a corpus, `batch_size` rows at a time, and store what its MLPs read and add.

        `corpus.used` (row, position) is true for the tokens that count: not for padding, and not for the beginning-of-sequence
        token, whose activations are huge and the same in every row.

        Args:
            folder: where the activations are kept. If the folder has them, the model is not run again; if it has a part of them,
                that is where it goes on. None: a temporary folder.

        Raises:
            ValueError: the folder belongs to another model or corpus.
            OSError: the disk has no room.
        """
        files = ActivationFiles(model, corpus, folder)
        layers = range(model.cfg.n_layers)
        names = {hook(layer) for hook in (reading_hook, mlp_out_hook) for layer in layers}
        left = range(files.n_rows, len(corpus), batch_size)
        for first in tqdm(left, disable=None, leave=False, desc="activations"):
            rows = corpus[first : first + batch_size]
            with hooked(model, [NO_LOGITS]):  # a large vocabulary's would take more memory than all that is kept
                _, cache = model.run_with_cache(rows.tokens, names_filter=names.__contains__)
            inputs: dict[int, Tensor] = {}  # of these rows: layer -> (token, d_model)
            outputs: dict[int, Tensor] = {}
            ### BEGIN SOLUTION
            for layer in layers:
                inputs[layer] = cache[reading_hook(layer)][rows.used]
                outputs[layer] = cache[mlp_out_hook(layer)][rows.used]
            ### END SOLUTION
            files.append(len(rows), inputs, outputs)
        return cls(*files.tensors(), seed=seed, device=model.W_U.device)

    @property
    def n_tokens(self) -> int:
        return self.inputs.shape[1]

    @property
    def n_bytes(self) -> int:
        """How much room the inputs and outputs take together."""
        ### BEGIN SOLUTION
        return sum(kept.numel() * kept.element_size() for kept in (self.inputs, self.outputs))
        ### END SOLUTION

    def take(
        self, index: Int[Tensor, " size"]
    ) -> tuple[Float[Tensor, "layer size d_model"], Float[Tensor, "layer size d_model"]]:
        """Inputs and outputs of some tokens as the model gives them, on `self.device`, in single precision or better."""
        index = index.to(self.inputs.device)
        inputs, outputs = self.inputs[:, index], self.outputs[:, index]
        return at_least_float32(inputs).to(self.device), at_least_float32(outputs).to(self.device)

    def normalize(
        self, inputs: Float[Tensor, "layer size d_model"], outputs: Float[Tensor, "layer size d_model"]
    ) -> tuple[Float[Tensor, "layer size d_model"], Float[Tensor, "layer size d_model"]]:
        """Inputs and outputs of some tokens, divided by the scales of their layers, as new tensors."""
        ### BEGIN SOLUTION
        return inputs / self.input_scale[:, None, None], outputs / self.output_scale[:, None, None]
        ### END SOLUTION

    def denormalize(self, outputs: Float[Tensor, "layer token d_model"]) -> Float[Tensor, "layer token d_model"]:
        """Bring normalised outputs, such as a reconstruction, back to the model's own scale."""
        ### BEGIN SOLUTION
        return outputs * self.output_scale[:, None, None]
        ### END SOLUTION

    def batch(
        self, step: int, size: int
    ) -> tuple[Float[Tensor, "layer size d_model"], Float[Tensor, "layer size d_model"]]:
        """Normalised inputs and outputs of the tokens of training step `step`.

        An epoch is `n_tokens // size` steps, in which no token comes twice; the few that are left over wait for the next epoch.
        Each epoch has an order of its own, `torch.randperm` with a generator of seed `self.seed + epoch`. Which tokens a step
        gets depends on its number alone, so that training can go on after a break exactly where it stopped.
        """
        per_epoch = self.n_tokens // size
        if per_epoch == 0:
            raise ValueError(f"A batch of {size} tokens is more than the store has ({self.n_tokens}).")
        ### BEGIN SOLUTION
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(self.n_tokens, generator=torch.Generator().manual_seed(self.seed + epoch))
        return self.normalize(*self.take(order[place * size : (place + 1) * size]))
        ### END SOLUTION
