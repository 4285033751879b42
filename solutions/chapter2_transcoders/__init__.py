"""Chapter 2: transcoders. Read `comparing`, `replacing`, `skipping`, `reading`, `explaining`, `training`, in this order."""

from solutions.chapter2_transcoders.comparing import (
    DictionaryScore,
    MlpParts,
    compare_dictionaries,
    input_gradients,
    split_mlp_output,
    unexplained_variance,
)
from solutions.chapter2_transcoders.explaining import Example, F1Score, case_study, hypothesis_f1, top_examples
from solutions.chapter2_transcoders.reading import (
    deembedding,
    extended_embedding,
    head_pullback,
    latent_pullback,
    logit_lens,
    pull_through_norm,
    token_embeddings,
)
from solutions.chapter2_transcoders.replacing import (
    ReplacementScores,
    constant_hooks,
    replacement_scores,
    run_with_transcoders,
    transcoder_errors,
    transcoder_hooks,
)
from solutions.chapter2_transcoders.skipping import fit_linear, orient_skip
from solutions.chapter2_transcoders.training import SkipTranscoder, TrainingConfig, batch_topk, train_transcoder

__all__ = [
    "DictionaryScore",
    "Example",
    "F1Score",
    "MlpParts",
    "ReplacementScores",
    "SkipTranscoder",
    "TrainingConfig",
    "batch_topk",
    "case_study",
    "compare_dictionaries",
    "constant_hooks",
    "deembedding",
    "extended_embedding",
    "fit_linear",
    "head_pullback",
    "hypothesis_f1",
    "input_gradients",
    "latent_pullback",
    "logit_lens",
    "orient_skip",
    "pull_through_norm",
    "replacement_scores",
    "run_with_transcoders",
    "split_mlp_output",
    "token_embeddings",
    "top_examples",
    "train_transcoder",
    "transcoder_errors",
    "transcoder_hooks",
    "unexplained_variance",
]
