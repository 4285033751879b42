"""What does a neuron stand for? What it writes, where it fires, and how well a description of it predicts that.

A neuron of a gated MLP has two signs: it may write its row of `W_out` or the opposite of it. Say which sign you mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.hooks import hooked
from utils.engine.mlp import norm_weight
from utils.engine.neurons import acts_hook


@torch.no_grad()
def centred_logit_lens(model: TransformerBridge, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
    """What vectors in the residual stream would do to every logit if the unembedding read them at once.

    The final norm's weight counts, its scale does not: it depends on the prompt. A logit counts against the mean of all
    logits, because the softmax does not see what all tokens share. (nostalgebraist 2020, "interpreting GPT: the logit lens".)

    Args:
        model: a model whose final norm is an RMSNorm.
        vectors: for example rows of `W_out`.
    """
    ### BEGIN SOLUTION
    weight = norm_weight(model.ln_final, model.cfg.d_model).to(vectors)
    logits = (vectors * weight) @ model.W_U.detach().to(vectors)
    return logits - logits.mean(dim=-1, keepdim=True)
    ### END SOLUTION


class Sentences(NamedTuple):
    """Sentences as token rows, padded on the right.

    Attributes:
        texts: the sentences.
        tokens: ids, each row beginning with the beginning-of-sequence token.
        used: True for tokens of the sentence; False for padding and for the first position.
    """

    texts: list[str]
    tokens: Int[Tensor, "row position"]
    used: Bool[Tensor, "row position"]


def encode_sentences(model: TransformerBridge, texts: Sequence[str]) -> Sentences:
    """Tokenise sentences. The first position is not used: huge activations stand there in every sentence."""
    ids = [
        [model.tokenizer.bos_token_id, *row] for row in model.tokenizer(list(texts), add_special_tokens=False).input_ids
    ]
    longest = max(map(len, ids))
    tokens = torch.tensor([row + [model.tokenizer.eos_token_id] * (longest - len(row)) for row in ids])
    lengths = torch.tensor([len(row) for row in ids])
    position = torch.arange(longest)
    return Sentences(list(texts), tokens, (position < lengths[:, None]) & (position > 0))


@torch.no_grad()
def neuron_on_sentences(
    model: TransformerBridge, sentences: Sentences, neurons: Sequence[tuple[int, int]], batch_size: int = 64
) -> Float[Tensor, "neuron row position"]:
    """The activations of some (layer, neuron) on every token, with a progress bar."""
    found: list[Tensor] = []
    acts: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: HookPoint) -> None:
        acts[hook.name] = value

    layers = sorted({layer for layer, _ in neurons})
    with hooked(model, [(acts_hook(layer), keep) for layer in layers]):
        for tokens in tqdm(sentences.tokens.split(batch_size), desc="sentences", leave=False, disable=None):
            model(tokens, stop_at_layer=layers[-1] + 1)
            found.append(torch.stack([acts[acts_hook(layer)][:, :, neuron] for layer, neuron in neurons]))
    return torch.cat(found, dim=1)


class Firing(NamedTuple):
    """One place where a neuron is active.

    Attributes:
        row: which sentence.
        position: which of its tokens.
        activation: of the neuron, times the sign that was asked for.
    """

    row: int
    position: int
    activation: float


def top_firings(
    acts: Float[Tensor, "row position"], used: Bool[Tensor, "row position"], n: int, sign: int = 1
) -> list[Firing]:
    """The `n` sentences in which a neuron fires most strongly, and where in each.

    Args:
        acts: one neuron on every token.
        used: True where a token counts; padding and the first position do not.
        n: how many sentences at most.
        sign: 1 for the positive side of the neuron, -1 for the negative side.

    Returns:
        At most one firing for each sentence, its strongest, the strongest sentence first; only activations above 0 after
        they were multiplied by `sign`.
    """
    signed = (sign * acts).masked_fill(~used, -torch.inf)
    strongest, where = signed.max(dim=1)
    order = strongest.argsort(descending=True)[:n].tolist()
    return [Firing(row, int(where[row]), float(strongest[row])) for row in order if strongest[row] > 0]


def detection_score(predicted: Bool[Tensor, " n"], fires: Bool[Tensor, " n"]) -> float:
    """How well a description tells the sentences on which a neuron fires: balanced accuracy.

    The mean of two shares: of the sentences with a firing, those that the description predicts; of the sentences without,
    those that it rules out. 0.5 is what guessing gets, however rare the firings are.
    ("Detection" of Paulo et al. 2024, arXiv 2410.13928.)

    Args:
        predicted: what the description says, sentence by sentence.
        fires: what the neuron does.

    Raises:
        ValueError: the neuron fires on all sentences or on none, so that one of the shares does not exist.
    """
    ### BEGIN SOLUTION
    if bool(fires.all()) or not bool(fires.any()):
        raise ValueError(
            "A score needs both kinds of sentences, with a firing and without: choose another threshold or other sentences."
        )
    found = predicted[fires].float().mean()
    ruled_out = (~predicted[~fires]).float().mean()
    return float((found + ruled_out) / 2)
    ### END SOLUTION
