"""What the MLPs read and write, token by token: shuffled, normalised, and kept in memory.

(Ameisen et al. 2025, "Circuit Tracing", appendix "Cross-Layer Transcoder training".)
"""

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import mlp_out_hook, reading_hook
from utils.latents.scan import Corpus


class ActivationStore:
    """The inputs and outputs of all MLPs on many tokens, scaled so that all layers count alike.

    Attributes:
        inputs: what each MLP reads (after ln2), divided by `input_scale` of its layer.
        outputs: what each MLP adds to the residual stream, divided by `output_scale` of its layer.
        input_scale: the root of the mean square of a layer's inputs, over tokens and dimensions.
        output_scale: the root of the mean square of a layer's outputs after each dimension's mean has been subtracted. (The mean
            is subtracted for the scale only; `outputs` keep it.)
        seed: decides in which order `batch` goes through the tokens.
    """

    def __init__(
        self, inputs: Float[Tensor, "layer token d_model"], outputs: Float[Tensor, "layer token d_model"], seed: int = 0
    ):
        self.seed = seed
        # Set the four attributes; the scales have shape (layer,).
        ### BEGIN SOLUTION
        self.input_scale = inputs.pow(2).mean((1, 2)).sqrt()
        centred = outputs - outputs.mean(1, keepdim=True)
        self.output_scale = centred.pow(2).mean((1, 2)).sqrt()
        self.inputs = inputs / self.input_scale[:, None, None]
        self.outputs = outputs / self.output_scale[:, None, None]
        ### END SOLUTION

    @classmethod
    @torch.no_grad()
    def collect(
        cls, model: TransformerBridge, corpus: Corpus, batch_size: int = 128, seed: int = 0
    ) -> "ActivationStore":
        """Run the model over a corpus, `batch_size` rows at a time, and store what its MLPs read and add.

        `corpus.used` (row, position) is true for the tokens that count: not for padding, and not for the beginning-of-sequence
        token, whose activations are huge and the same in every row.
        """
        layers = range(model.cfg.n_layers)
        inputs: list[list[Tensor]] = [[] for _ in layers]
        outputs: list[list[Tensor]] = [[] for _ in layers]
        # for each layer a list of parts, each (token, d_model): one part for each batch of rows
        names = {hook(layer) for hook in (reading_hook, mlp_out_hook) for layer in layers}
        for first in tqdm(range(0, len(corpus), batch_size), disable=None, leave=False, desc="activations"):
            rows = corpus[first : first + batch_size]
            _, cache = model.run_with_cache(rows.tokens, names_filter=names.__contains__)
            ### BEGIN SOLUTION
            for layer in layers:
                inputs[layer].append(cache[reading_hook(layer)][rows.used])
                outputs[layer].append(cache[mlp_out_hook(layer)][rows.used])
            ### END SOLUTION
        return cls(*(torch.stack([torch.cat(parts) for parts in kind]) for kind in (inputs, outputs)), seed=seed)

    @property
    def n_tokens(self) -> int:
        return self.inputs.shape[1]

    @property
    def n_bytes(self) -> int:
        """How much memory the inputs and outputs take together."""
        ### BEGIN SOLUTION
        return sum(kept.numel() * kept.element_size() for kept in (self.inputs, self.outputs))
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
        index = order[place * size : (place + 1) * size].to(self.inputs.device)
        return self.inputs[:, index], self.outputs[:, index]
        ### END SOLUTION
