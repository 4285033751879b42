"""What becomes of the answer when neurons are set: the real model, nothing frozen, everything behind them answers.

A set of neurons is a mask of shape (layer, seq, d_mlp). A ranking is a list of flat indices into that shape.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions import Question, contrast_of, matched_controls
from utils.engine.hooks import EMBEDDING_HOOK, hooked
from utils.engine.neurons import acts_hook, neuron_weights


@torch.no_grad()
def set_neurons(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    where: Bool[Tensor, "row layer seq d_mlp"],
    values: Float[Tensor, "layer seq d_mlp"] | float = 0.0,
) -> Float[Tensor, "row seq d_vocab"]:
    """The logits when some neurons have given activations. Nothing is frozen.

    Each row is a run of its own on the same prompt, with its own set of neurons.

    Args:
        model: the model.
        tokens: one prompt.
        where: which neurons are set, in each row.
        values: their activations; 0 silences them. Only those under `where` count.
    """
    ### BEGIN SOLUTION
    values = torch.as_tensor(values, device=tokens.device).expand(where.shape[1:])
    hooks = []
    for layer, (here, new) in enumerate(zip(where.unbind(1), values)):
        if not bool(here.any()):
            continue

        def put(acts, hook, here=here, new=new):
            return torch.where(here, new.to(acts), acts)

        hooks.append((acts_hook(layer), put))
    with hooked(model, hooks):
        return model(tokens.repeat(len(where), 1))
    ### END SOLUTION


def removal_curve(
    model: TransformerBridge,
    question: Question,
    ranked: Int[Tensor, " n_ranked"],
    sizes: Sequence[int],
    shape: tuple[int, int, int],
) -> Float[Tensor, " n_sizes"]:
    """The contrast that is left when the first k neurons of a ranking are silenced together, for every k.

    Args:
        model: the model.
        question: one prompt, and what is measured on it.
        ranked: neurons as flat indices into `shape`, those to be silenced first at the front.
        sizes: how many are silenced; 0 is the unchanged model.
        shape: (layer, seq, d_mlp).
    """
    ### BEGIN SOLUTION
    where = torch.zeros(len(sizes), *shape, dtype=torch.bool, device=ranked.device)
    for row, size in enumerate(sizes):
        where[row].view(-1)[ranked[:size]] = True
    return contrast_of(set_neurons(model, question.tokens, where), question)
    ### END SOLUTION


def gradient_attributions(model: TransformerBridge, question: Question) -> Float[Tensor, "layer seq d_mlp"]:
    """Activation times gradient of the contrast, in the model as it is: nothing is frozen and no rule replaces a derivative.

    This is attribution patching with zeros in the place of another prompt's activations: a first guess at what
    silencing each neuron would take away.

    Args:
        model: the model. None of its parameters needs a gradient.
        question: one prompt, and what is measured on it.
    """
    ### BEGIN SOLUTION
    acts = {}
    places = list(map(acts_hook, range(model.cfg.n_layers)))

    def begin(residual, hook):
        return residual.detach().requires_grad_()

    def note(activations, hook):
        acts[hook.name] = activations

    hooks = [(EMBEDDING_HOOK, begin), *((place, note) for place in places)]
    with hooked(model, hooks), torch.enable_grad():
        contrast = contrast_of(model(question.tokens), question).sum()
    live = [acts[place] for place in places]
    slopes = torch.autograd.grad(contrast, live)
    return torch.stack([(act * gradient)[0].detach() for act, gradient in zip(live, slopes)])
    ### END SOLUTION


def strongest_first(scores: Float[Tensor, "layer seq d_mlp"], n: int, start_posn: int = 1) -> Int[Tensor, " n"]:
    """The `n` neurons that raise the target most, strongest first, as flat indices; none before `start_posn`."""
    scores = scores.clone()
    scores[:, :start_posn] = -torch.inf
    return scores.flatten().topk(n).indices


@torch.no_grad()
def written_lengths(model: TransformerBridge, tokens: Int[Tensor, "1 seq"]) -> Float[Tensor, "layer seq d_mlp"]:
    """How long a vector each neuron writes: the absolute activation times the length of its row of `W_out`."""
    acts: list[Tensor] = []
    layers = range(model.cfg.n_layers)
    with hooked(model, [(acts_hook(layer), lambda value, hook: acts.append(value[0])) for layer in layers]):
        model(tokens)
    return torch.stack([a.abs() * neuron_weights(model, layer).W_out.norm(dim=1) for layer, a in enumerate(acts)])


def alike_at_random(
    lengths: Float[Tensor, "layer seq d_mlp"],
    ranked: Int[Tensor, " n"],
    generator: torch.Generator,
    start_posn: int = 1,
) -> Int[Tensor, " n"]:
    """For each neuron of a ranking a random other one that writes about as long a vector (`matched_controls` of chapter 4).

    They are drawn from the 20,000 neurons that write the longest vectors, from `start_posn` on.
    """
    lengths = lengths.clone()
    lengths[:, :start_posn] = 0
    lengths = lengths.flatten()
    others = lengths.clone()
    others[ranked] = 0
    pool = torch.cat([ranked, others.topk(min(20_000, int((others > 0).sum()))).indices])
    return pool[matched_controls(lengths[pool], range(len(ranked)), generator)]
