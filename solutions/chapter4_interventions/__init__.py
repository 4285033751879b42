"""Chapter 4: circuits and interventions. Read `interventions`, `effects`, `ablation`, `faithfulness`, `supernodes`, `swaps`, `quality`, `generation`."""

from solutions.chapter4_interventions.ablation import (
    Question,
    ablate_each,
    contrast_of,
    dose_response,
    matched_controls,
    rank_correlation,
)
from solutions.chapter4_interventions.continuing import continue_text
from solutions.chapter4_interventions.effects import (
    FREEZE_LEVELS,
    direct_effects,
    freeze_arguments,
    measured_effects,
    total_effects,
)
from solutions.chapter4_interventions.faithfulness import (
    Areas,
    area_under_curve,
    necessity_curve,
    sufficiency_curve,
    superadditivity,
)
from solutions.chapter4_interventions.generation import as_edits, extend_edits, generate
from solutions.chapter4_interventions.interventions import (
    BaseRun,
    Edit,
    LayerEdits,
    LayerRun,
    Outcome,
    check_edits,
    check_room_for_latents,
    intervene,
    linear_part,
    resolve_edits,
    rewrite_mlp,
    run_base,
)
from solutions.chapter4_interventions.quality import fold_into_errors, scores_by_size
from solutions.chapter4_interventions.supernodes import Member, build_supernodes, firing_rates, supernode_fraction
from solutions.chapter4_interventions.swaps import Span, align_positions, overlap, swap_edits, swap_rate

__all__ = [
    "FREEZE_LEVELS",
    "Areas",
    "BaseRun",
    "Edit",
    "LayerEdits",
    "LayerRun",
    "Member",
    "Outcome",
    "Question",
    "Span",
    "ablate_each",
    "align_positions",
    "area_under_curve",
    "as_edits",
    "build_supernodes",
    "check_edits",
    "check_room_for_latents",
    "continue_text",
    "contrast_of",
    "direct_effects",
    "dose_response",
    "extend_edits",
    "firing_rates",
    "fold_into_errors",
    "freeze_arguments",
    "generate",
    "intervene",
    "linear_part",
    "matched_controls",
    "measured_effects",
    "necessity_curve",
    "overlap",
    "rank_correlation",
    "resolve_edits",
    "rewrite_mlp",
    "run_base",
    "scores_by_size",
    "sufficiency_curve",
    "superadditivity",
    "supernode_fraction",
    "swap_edits",
    "swap_rate",
    "total_effects",
]
