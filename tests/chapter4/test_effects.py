"""Three numbers for one latent: the edge, the sum over paths, the measured change."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import read_targets
from solutions.chapter4_interventions import Edit, freeze_arguments, intervene
from tests.chapter4.shared import chain, plain_run, tower
from utils.grading import expect_close

N_LAYERS = 3


def test_a_direct_effect_is_the_edge_times_the_change(direct_effects):
    """A direct effect is the edge times the change: nothing at 1, minus the edge at 0."""
    column = torch.tensor([0, 0, -3.0, 0, 1.5], dtype=torch.float64)
    for factor, change in ((2.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-2.0, -3.0)):
        expect_close(
            direct_effects(chain(), 1, factor), change * column, f"The effects of factor {factor:g}", rtol=1e-9
        )


def test_direct_effects_are_those_of_the_held_model(direct_effects, traced4):
    """Direct effects are what a model with all frozen and held does."""
    x = traced4("gemma3")
    source = x.latent(0, 2)
    node = x.result.graph.nodes[source]
    edit = Edit(node.layer, node.ctx_idx, node.feature, 3.0, "scale")
    outcome = intervene(x.model, x.transcoders, x.base, [edit], **freeze_arguments("nothing (the edge)", N_LAYERS))
    change = read_targets(x.result.graph, outcome.reads) - x.result.values
    expect_close(direct_effects(x.result, source, 3.0), change, "The direct effects", 1e-6, 1e-9)


def test_paths_of_a_graph_worked_by_hand(total_effects):
    """The sum over paths of a graph small enough to work out by hand."""
    # latent 1 doubled: it writes 1 more of itself; latent 2 reads -3 more, -3/4 of its activation, and passes that on
    expected = torch.tensor([0, 0, -3.0, 0, 1.5 - 0.75 * 8.0], dtype=torch.float64)
    expect_close(total_effects(chain(), 1, 2.0), expected, "Doubling latent 1", rtol=1e-9)
    expect_close(
        total_effects(chain(), 2, 0.5), torch.tensor([0, 0, 0, 0, -4.0]).double(), "Halving latent 2", rtol=1e-9
    )


def test_paths_know_no_thresholds(total_effects):
    """The sum over paths is linear: on paper a latent may fall below zero."""
    # latent 1 times 5: latent 2 reads -12 more, -3 times its activation
    expected = torch.tensor([0, 0, -12.0, 0, 4 * 1.5 - 3 * 8.0], dtype=torch.float64)
    expect_close(total_effects(chain(), 1, 5.0), expected, "Five times latent 1", rtol=1e-9)


def test_the_longest_path_counts(total_effects):
    """From an embedding, the longest path has one edge more than the graph has layers."""
    # embedding doubled: latent 1 reads 1 more, half its activation; latent 2 reads 0.5 - 3 / 2 = -1 more, a quarter of its own
    expected = torch.tensor([0, 1.0, -1.0, 0, 0.25 + 0.5 * 1.5 - 0.25 * 8.0], dtype=torch.float64)
    expect_close(total_effects(chain(), 0, 2.0), expected, "Doubling the embedding", rtol=1e-9)
    change = total_effects(tower(9), 0, 2.0)[-1]
    expect_close(change, 2 / 2**9, "The change of the logit at the end of a path of ten edges", rtol=1e-9)


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_paths_are_those_of_the_model_whose_latents_answer(total_effects, traced4, architecture):
    """As long as no latent crosses its threshold, the sum over paths is what the frozen model does."""
    x = traced4(architecture)
    factor = 1 + 1e-4
    for source in (x.latent(0, 0), x.latent(0, 5), x.latent(1, 2)):
        node = x.result.graph.nodes[source]
        edit = Edit(node.layer, node.ctx_idx, node.feature, factor, "scale")
        outcome = intervene(x.model, x.transcoders, x.base, [edit], **freeze_arguments("latents", N_LAYERS))
        change = read_targets(x.result.graph, outcome.reads) - x.result.values
        expect_close(total_effects(x.result, source, factor) * 1e4, change * 1e4, "The total effects", 1e-5, 1e-6)


@pytest.mark.parametrize("factor", [0.0, 2.5, -1.5])
def test_measured_effects_agree_with_plain_hooks(measured_effects, traced4, factor):
    """Measured effects agree with hooks written plainly when nothing is frozen."""
    x = traced4("gemma3")
    source = x.latent(0, 3)
    node = x.result.graph.nodes[source]
    change = (0, node.layer, node.ctx_idx, node.feature, factor * node.activation)
    _, reads = plain_run(x.model, x.transcoders, x.tokens, [change])
    expected = read_targets(x.result.graph, reads) - x.result.values
    measured = measured_effects(x.model, x.transcoders, x.base, x.result, source, factor, freeze_attention=False)
    expect_close(measured, expected, f"The measured effects of factor {factor:g}", rtol=1e-5, atol=1e-6)


def test_measured_effects_are_the_edges_when_all_is_held(measured_effects, traced4):
    """With all frozen and held, measured effects are the edges."""
    x = traced4("qwen3")
    for source in (x.latent(0, 1), x.latent(1, 2)):
        frozen = freeze_arguments("nothing (the edge)", N_LAYERS)
        measured = measured_effects(x.model, x.transcoders, x.base, x.result, source, 3.0, **frozen)
        expect_close(measured, 2 * x.result.adjacency_matrix[:, source], "The measured effects", 1e-6, 1e-9)
