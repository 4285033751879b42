"""Chapter 5: cross-layer transcoders. Read `storing`, `jumping`, `transcoder`, `losses`, `training`, `replacing`, `tracing`, `measuring`,
`small_mlp`, in this order."""

from solutions.chapter5_cross_layer_transcoders.intervening import intervene_cross_layer, run_base_cross_layer
from solutions.chapter5_cross_layer_transcoders.jumping import (
    JumpReLU,
)
from solutions.chapter5_cross_layer_transcoders.losses import (
    dead_latent_loss,
    reconstruction_loss,
    sparsity_loss,
)
from solutions.chapter5_cross_layer_transcoders.measuring import (
    mean_path_length,
    nodes_at_influence,
    path_lengths,
)
from solutions.chapter5_cross_layer_transcoders.replacing import (
    choose_cutoff,
    cross_layer_hooks,
    mlp_inputs,
    per_layer_hooks,
    run_with_dictionary,
    strengths_of,
    without_weak,
)
from solutions.chapter5_cross_layer_transcoders.small_mlp import (
    MlpGraph,
    attribute_mlp,
)
from solutions.chapter5_cross_layer_transcoders.storing import (
    ActivationStore,
)
from solutions.chapter5_cross_layer_transcoders.tracing import (
    PlaceSources,
    attribute_cross_layer,
    check_fits,
    collect_sources,
    compute_cross_layer_edges,
    latents_of_layer,
)
from solutions.chapter5_cross_layer_transcoders.training import (
    TrainingConfig,
    TrainingState,
    train_cross_layer_transcoder,
)
from solutions.chapter5_cross_layer_transcoders.transcoder import (
    CrossLayerTranscoder,
)

__all__ = [
    "ActivationStore",
    "CrossLayerTranscoder",
    "JumpReLU",
    "MlpGraph",
    "PlaceSources",
    "TrainingConfig",
    "TrainingState",
    "attribute_cross_layer",
    "attribute_mlp",
    "check_fits",
    "choose_cutoff",
    "collect_sources",
    "compute_cross_layer_edges",
    "cross_layer_hooks",
    "dead_latent_loss",
    "intervene_cross_layer",
    "latents_of_layer",
    "mean_path_length",
    "mlp_inputs",
    "nodes_at_influence",
    "path_lengths",
    "per_layer_hooks",
    "reconstruction_loss",
    "run_base_cross_layer",
    "run_with_dictionary",
    "sparsity_loss",
    "strengths_of",
    "train_cross_layer_transcoder",
    "without_weak",
]
