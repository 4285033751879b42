"""Three numbers for one latent: the edge, the sum over paths, and the measured change.

The edge says what a latent does by itself, all others held. The sum over paths adds what it does through other latents, as
long as they stay active and everything else stays frozen. Only the model knows the third number.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import read_targets
from solutions.chapter4_interventions.interventions import BaseRun, Edit, intervene
from utils.engine.graph import AttributionResult
from utils.engine.hooks import Transcoder

# What answers to an edit, one thing more on every step. The first is the edge; on the last nothing is frozen.
FREEZE_LEVELS: dict[str, dict] = {
    "nothing (the edge)": {"freeze_attention": True, "freeze_norms": True, "freeze_errors": True, "hold_all": True},
    "latents": {"freeze_attention": True, "freeze_norms": True, "freeze_errors": True},
    "+ errors": {"freeze_attention": True, "freeze_norms": True},
    "+ norms": {"freeze_attention": True},
    "+ attention": {"freeze_attention": False},
}


def freeze_arguments(level: str, n_layers: int) -> dict:
    """The arguments of `intervene` for one of `FREEZE_LEVELS`."""
    arguments = dict(FREEZE_LEVELS[level])
    return arguments | {"constrained_layers": range(n_layers) if arguments.pop("hold_all", False) else ()}


def direct_effects(result: AttributionResult, source: int, factor: float) -> Float[Tensor, " n_nodes"]:
    """By the edges alone: how much every node's reading changes when a source writes `factor` times as much.

    Args:
        result: a traced prompt; its unpruned matrix counts.
        source: index of the source into `result.graph.nodes`.
        factor: what the source's activation is multiplied by; 1 changes nothing, 0 silences it.

    Returns:
        (n_nodes,) changes, in units of pre-activations and demeaned logits.
    """
    ### BEGIN SOLUTION
    return (factor - 1) * result.adjacency_matrix[:, source]
    ### END SOLUTION


def total_effects(result: AttributionResult, source: int, factor: float) -> Float[Tensor, " n_nodes"]:
    """By all paths of the graph: how much every node's reading changes when a source writes `factor` times as much.

    An active latent's activation equals its pre-activation. When that changes by a share r of the activation, the latent
    writes (1 + r) times as much, and so on along the path. Embeddings and errors do not read, so no path passes them.

    Args:
        result: a traced prompt; its unpruned matrix counts.
        source: index of the source into `result.graph.nodes`.
        factor: what the source's activation is multiplied by.

    Returns:
        (n_nodes,) changes of the readings, summed over all paths of one edge, two edges, ... Linear in `factor - 1`, and exact
        as long as no latent crosses its threshold and errors, norms and attention stay frozen.
    """
    ### BEGIN SOLUTION
    matrix = result.adjacency_matrix
    # 0 for all but latents
    acts = matrix.new_tensor([node.activation for node in result.graph.nodes])
    share = torch.zeros_like(acts)
    share[source] = factor - 1
    total = torch.zeros_like(acts)
    for _ in range(result.graph.n_layers + 1):
        change = matrix @ share
        total += change
        share = torch.where(acts > 0, change / acts, 0)
    return total
    ### END SOLUTION


def measured_effects(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    base: BaseRun,
    result: AttributionResult,
    source: int,
    factor: float,
    **frozen,
) -> Float[Tensor, " n_nodes"]:
    """In the model: how much every node's reading changes when a latent's activation is multiplied by `factor`.

    Args:
        model, transcoders, base: as for `intervene`; `base` is the unchanged run of the traced prompt alone.
        result: the traced prompt.
        source: index of a latent into `result.graph.nodes`.
        factor: what its activation is multiplied by.
        frozen: arguments of `intervene` that say what is frozen and held.

    Returns:
        (n_nodes,) changes of the readings against `result.values`.
    """
    ### BEGIN SOLUTION
    node = result.graph.nodes[source]
    edit = Edit(node.layer, node.ctx_idx, node.feature, factor, "scale")
    reads = intervene(model, transcoders, base, (edit,), **frozen).reads
    return read_targets(result.graph, reads) - result.values
    ### END SOLUTION
