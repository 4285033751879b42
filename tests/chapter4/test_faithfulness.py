"""Needed, enough, and standing in for each other: held against hooks written plainly, and against areas worked out by hand."""

import pytest
import torch

from solutions.chapter4_interventions import freeze_arguments
from tests.chapter4.shared import ask, encode, freezing_hooks, once, plain_contrast, plain_run
from utils.grading import expect_close

N_LAYERS = 3
SIZES = [4, 0, 6, 1]


def ranked(x) -> list:
    """Latents of all layers at the last positions, where they matter, and not in the order of the graph."""
    return [
        x.result.graph.nodes[x.latent(layer, k)] for layer, k in ((1, -4), (0, -4), (2, -7), (0, -5), (1, -6), (2, -5))
    ]


def without(x, nodes: list, hooks=()) -> torch.Tensor:
    """The contrast when these latents are at 0, with hooks written plainly."""
    changes = [(0, node.layer, node.ctx_idx, node.feature, 0.0) for node in nodes]
    return plain_contrast(plain_run(x.model, x.transcoders, x.tokens, changes, hooks)[0])


def with_only(x, nodes: list, start_posn: int) -> torch.Tensor:
    """The contrast when only these latents write from a position on, with hooks written plainly."""

    def silencing(layer):
        def rewrite(mlp_in, y):
            acts = encode(x.transcoders[layer], mlp_in)
            for position in range(acts.shape[1]):
                for latent in range(acts.shape[2]):
                    kept = any((n.layer, n.ctx_idx, n.feature) == (layer, position, latent) for n in nodes)
                    if position < start_posn or kept:
                        acts[0, position, latent] = 0
            return y - acts @ x.transcoders[layer].W_dec.detach()

        return rewrite

    rewrite = {layer: silencing(layer) for layer in x.transcoders}
    return plain_contrast(plain_run(x.model, x.transcoders, x.tokens, rewrite=rewrite)[0])


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_what_is_left_without_the_first(necessity_curve, traced4, architecture):
    """Without the first k latents the contrast is that of hooks written plainly, for every k."""
    x = traced4(architecture)
    expected = once("without", architecture, work=lambda: torch.cat([without(x, ranked(x)[:k]) for k in SIZES]))
    found = necessity_curve(x.model, x.transcoders, ask(x), ranked(x), SIZES)
    expect_close(found, expected, "The contrast without the first 4, 0, 6 and 1", rtol=1e-5)


def test_size_zero_is_the_unchanged_model(necessity_curve, traced4):
    """Without any latent silenced, the contrast is that of the unchanged model."""
    x = traced4("gpt2")
    found = necessity_curve(x.model, x.transcoders, ask(x), ranked(x), [0])
    expect_close(found, plain_contrast(x.base.logits), "The contrast at size 0", rtol=1e-5)


@pytest.mark.parametrize("start_posn", [0, 2])
def test_what_is_left_with_only_the_first(sufficiency_curve, traced4, start_posn):
    """With only the first k latents the contrast is that of hooks written plainly, for every k."""
    x = traced4("gemma3")
    expected = once(
        "only", start_posn, work=lambda: torch.cat([with_only(x, ranked(x)[:k], start_posn) for k in SIZES])
    )
    found = sufficiency_curve(x.model, x.transcoders, ask(x), ranked(x), SIZES, start_posn)
    expect_close(found, expected, "The contrast with only the first 4, 0, 6 and 1", rtol=1e-5)


def test_with_all_latents_nothing_is_lost(sufficiency_curve, traced4):
    """When all latents of the graph are kept, the contrast is that of the unchanged model."""
    x = traced4("qwen3", skip=False)
    latents = [node for node in x.result.graph.nodes if node.activation]
    found = sufficiency_curve(x.model, x.transcoders, ask(x), latents, [len(latents)], 0)
    expect_close(found, plain_contrast(x.base.logits), "The contrast with all latents", rtol=1e-5)


def test_areas_by_hand(area_under_curve):
    """The areas of a curve of four uneven steps, one of them above the whole model."""
    # faithfulness 0, 0.5, 1.25, 1 at 0, 0.1, 0.5, 1 of the way
    curve = torch.tensor([-2.0, 2.0, 8.0, 6.0], dtype=torch.float64)
    found = area_under_curve([10, 14, 30, 50], curve, 6.0, -2.0)
    expect_close(found.performance_ratio, 0.1 * 0.25 + 0.4 * 0.875 + 0.5 * 1.125, "The area under the curve")
    expect_close(found.model_distance, 0.1 * 0.75 + 0.4 * 0.375 + 0.5 * 0.125, "The area between the curve and 1")


def test_a_straight_line_has_half_the_area(area_under_curve):
    """A curve that rises from the empty to the whole model on a straight line has an area of a half, wherever it is cut."""
    sizes = [0, 1, 2, 7, 30, 41]
    curve = 3.0 + 4.0 * torch.tensor(sizes, dtype=torch.float64) / 41
    found = area_under_curve(sizes, curve, 7.0, 3.0)
    expect_close(found.performance_ratio, 0.5, "The area under the curve")
    expect_close(found.model_distance, 0.5, "The area between the curve and 1")


@pytest.mark.parametrize("sizes", [[3], [0, 5, 5], [0, 9, 4]], ids=["one size", "a size twice", "falling sizes"])
def test_sizes_that_do_not_rise_are_refused(area_under_curve, sizes):
    """An area needs two sizes or more, each larger than the one before."""
    with pytest.raises(ValueError):
        area_under_curve(sizes, torch.linspace(0, 1, len(sizes)), 1.0, 0.0)


def test_a_model_no_better_than_nothing_is_refused(area_under_curve):
    """Where the whole model has the contrast of the empty one, there is no faithfulness."""
    with pytest.raises(ValueError):
        area_under_curve([0, 1], torch.tensor([2.0, 2.0]), 2.0, 2.0)


def couples(x) -> list:
    a, b, c, d, *_ = ranked(x)
    return [(a, b), (b, c), (d, a)]


@pytest.mark.parametrize("freeze_attention", [True, False])
def test_pairs_agree_with_plain_hooks(superadditivity, traced4, freeze_attention):
    """What two latents do together beyond what each does alone is that of hooks written plainly."""
    x = traced4("gemma3")

    def work():
        hooks = freezing_hooks(x.model, x.tokens, "hook_pattern") if freeze_attention else []
        before = plain_contrast(x.base.logits)
        effects = [[without(x, nodes, hooks) - before for nodes in ([a, b], [a], [b])] for a, b in couples(x)]
        return torch.cat([both - first - second for both, first, second in effects])

    expected = once("pairs", freeze_attention, work=work)
    found = superadditivity(x.model, x.transcoders, ask(x), couples(x), freeze_attention=freeze_attention)
    expect_close(found, expected, "The superadditivity of three pairs", rtol=1e-4, atol=1e-9)


def test_in_a_linear_model_effects_add_up(superadditivity, traced4):
    """With all frozen and held, two latents together do exactly what they do one by one."""
    x = traced4("gemma3")
    found = superadditivity(
        x.model, x.transcoders, ask(x), couples(x), **freeze_arguments("nothing (the edge)", N_LAYERS)
    )
    expect_close(found, torch.zeros(3, dtype=torch.float64), "The superadditivity of three pairs", atol=1e-5)
