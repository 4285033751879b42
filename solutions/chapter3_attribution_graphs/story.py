"""Testing a graph's story in the real model: silence latents, or give them what they do on another prompt.

Nothing is frozen here: all that comes after a change answers it, attention included. (Circuit Tracing, section 3.3,
"Validating attribution graph hypotheses with interventions". Chapter 4 makes these tests into a method.)
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from solutions.chapter3_attribution_graphs.freezing import TranscoderReplacementHooks
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.engine.hooks import hooked, reading_hook


def without_latents(
    tc_hooks: TranscoderReplacementHooks, tokens: Int[Tensor, "1 seq"], chosen: Sequence[NodeInfo]
) -> Float[Tensor, " d_vocab"]:
    """The logits after the last token when some latents are silent.

    Silent means: whatever a latent would write in this run, it does not. `chosen` says which, by `layer`, `ctx_idx` (the
    position) and `feature` (the latent). The rest of what the MLPs write stays, and everything later answers.

    Args:
        tc_hooks: has the model, the transcoders, and `layer_hooks(layer, replace)`.
    """
    model, transcoders = tc_hooks.model, tc_hooks.transcoders

    # Run `model` without gradients, with hooks (`hooked`) for every layer of `transcoders`.
    ### BEGIN SOLUTION
    def silence(layer, x, mlp_out):
        acts = transcoders[layer].encode(x)
        gone = torch.zeros_like(acts)
        for node in chosen:
            if node.layer == layer:
                gone[0, node.ctx_idx, node.feature] = acts[0, node.ctx_idx, node.feature]
        return mlp_out - (gone @ transcoders[layer].W_dec).to(mlp_out)

    hooks = []
    for layer in transcoders:
        hooks += tc_hooks.layer_hooks(layer, silence)
    with torch.no_grad(), hooked(model, hooks):
        return model(tokens)[0, -1]
    ### END SOLUTION


def controls_for(graph: GraphNodes, chosen: Sequence[int]) -> list[int]:
    """Controls for an ablation: to each chosen latent another one of its layer that is nearest to it in what it writes.

    How much a latent writes is the length of its writing vector. The chosen latents are matched in their order. A control is
    a latent that is not hidden, that is not chosen, and that is not a control already. A chosen latent for which
    nothing is left in its layer gets none.

    Args:
        graph: all nodes of the prompt, pruned or not.
        chosen: indices of latents in `graph.nodes`.

    Returns:
        Indices into `graph.nodes`, at most one for each chosen latent.
    """
    length = graph.writing_vecs.norm(dim=1).tolist()
    candidates = [i for i in graph.indices(NodeType.LATENT) if not graph.hidden[i]]
    ### BEGIN SOLUTION
    controls: list[int] = []
    for latent in chosen:
        layer = graph.nodes[latent].layer
        left = [i for i in candidates if graph.nodes[i].layer == layer and i not in chosen and i not in controls]
        if left:
            controls.append(min(left, key=lambda i: abs(length[i] - length[latent])))
    return controls
    ### END SOLUTION


def swap_latents(
    tc_hooks: TranscoderReplacementHooks,
    tokens: Int[Tensor, "1 seq"],
    layer: int,
    position: int,
    latents: Sequence[int],
    donor_tokens: Int[Tensor, "1 donor_seq"],
    donor_position: int,
) -> Float[Tensor, " d_vocab"]:
    """The logits after the last token when latents take the activations that they have in another prompt.

    In `layer`, at `position`, each of `latents` gets the activation that it has in the unchanged run on `donor_tokens`, at
    `donor_position`. The rest of what the MLP writes stays, and everything later answers.
    """
    model, transcoder = tc_hooks.model, tc_hooks.transcoders[layer]
    latents = sorted(set(latents))
    # Two runs without gradients, each with hooks (`hooked`). The first only looks, at `reading_hook(layer)`; the second has the
    # hooks of `tc_hooks.layer_hooks`.
    ### BEGIN SOLUTION
    donor = {}

    def remember(x, hook):
        donor["acts"] = transcoder.encode(x[0, donor_position])

    def exchange(layer, x, mlp_out):
        change = donor["acts"] - transcoder.encode(x[0, position])
        mlp_out = mlp_out.clone()
        mlp_out[0, position] += (change[latents] @ transcoder.W_dec[latents]).to(mlp_out)
        return mlp_out

    with torch.no_grad(), hooked(model, [(reading_hook(layer), remember)]):
        model(donor_tokens)
    with torch.no_grad(), hooked(model, tc_hooks.layer_hooks(layer, exchange)):
        return model(tokens)[0, -1]
    ### END SOLUTION


def swap_everywhere(
    tc_hooks: TranscoderReplacementHooks,
    tokens: Int[Tensor, "1 seq"],
    donor_tokens: Int[Tensor, "1 donor_seq"],
    score: Callable[[Float[Tensor, " d_vocab"]], Float[Tensor, ""]],
) -> Float[Tensor, "n_layers seq"]:
    """A map of swaps: one layer and one position at a time takes all its latents from the donor, and `score` judges the logits.

    The two prompts may differ in length. Positions are matched from the end: the last with the last, the one before it with the
    one before it, and so on.

    Args:
        score: makes one number of the logits after the last token.

    Returns:
        (n_layers, seq) scores; nan at positions for which the donor has none.
    """
    n_layers, seq_len, donor_len = len(tc_hooks.transcoders), tokens.shape[1], donor_tokens.shape[1]
    latents_of = {layer: range(transcoder.cfg.d_sae) for layer, transcoder in tc_hooks.transcoders.items()}
    scores = torch.full((n_layers, seq_len), torch.nan)
    # `swap_latents` makes one swap; `latents_of[layer]` are all latents of a layer.
    ### BEGIN SOLUTION
    for layer, latents in latents_of.items():
        for from_end in range(1, min(seq_len, donor_len) + 1):
            position, donor_position = seq_len - from_end, donor_len - from_end
            logits = swap_latents(tc_hooks, tokens, layer, position, latents, donor_tokens, donor_position)
            scores[layer, position] = score(logits)
    return scores
    ### END SOLUTION
