"""Ablation with controls, doses, and the comparison of predicted with measured."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter4_interventions import freeze_arguments
from tests.chapter4.shared import (
    ANSWER,
    OTHERS,
    ask,
    expect_list_of_integers,
    freezing_hooks,
    once,
    plain_contrast,
    plain_run,
)
from tests.tiny import PROMPT
from utils.engine.graph import NodeType
from utils.engine.hooks import hooked, reading_hook
from utils.grading import expect, expect_close, expect_equal

N_LAYERS = 3


def changed_contrast(x, new: list, freeze_attention: bool) -> torch.Tensor:
    """The change of the contrast with hooks written plainly; `new` lists latents and their new activations."""
    hooks = freezing_hooks(x.model, x.tokens, "hook_pattern") if freeze_attention else []
    changes = [(0, node.layer, node.ctx_idx, node.feature, value) for node, value in new]
    logits, _ = plain_run(x.model, x.transcoders, x.tokens, changes, hooks)
    return plain_contrast(logits) - plain_contrast(x.base.logits)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SIZES = torch.tensor([5.0, 1.0, 5.2, 9.0, 0.9, 5.1, 3.0, 8.0, 30.0])


def test_the_nearest_control(matched_controls):
    """With one nearest item to draw from, the control is that item."""
    # 0 (5.0) takes 5 (5.1); 2 (5.2) would have taken it too and gets 6 (3.0); 3 (9.0) takes 7; 1 (1.0) takes 4
    found = matched_controls(SIZES, [0, 2, 3, 1], generator(), n_nearest=1)
    expect_list_of_integers(found, "The controls")
    expect_equal(found, [5, 6, 7, 4], "The controls of 0, 2, 3 and 1")


def test_controls_are_others_and_different(matched_controls):
    """Controls are different from one another and from all chosen, one for each."""
    chosen = [0, 1, 2, 3]
    for seed in range(5):
        found = matched_controls(SIZES, chosen, generator(seed))
        expect_list_of_integers(found, "The controls")
        expect(len(found) == 4, "There must be one control for each chosen item.")
        expect(len(set(found)) == 4, "No item may be the control of two.")
        expect(not set(found) & set(chosen), "No chosen item may be a control.")


def test_controls_are_drawn_among_the_nearest(matched_controls):
    """Every one of the nearest items is drawn sometimes, and none that is farther away."""
    sizes = torch.tensor([5.0, 1.0, 5.2, 4.9, 5.1, 9.0])
    drawn = {int(matched_controls(sizes, [0], generator(seed), n_nearest=3)[0]) for seed in range(40)}
    expect_equal(drawn, {2, 3, 4}, "The controls of item 0 over 40 seeds")


def test_the_generator_decides_controls(matched_controls):
    """The same seed gives the same controls."""
    sizes = torch.arange(40.0)
    chosen = list(range(0, 20, 2))
    same = all(
        list(matched_controls(sizes, chosen, generator(seed), 5))
        == list(matched_controls(sizes, chosen, generator(seed), 5))
        for seed in range(3)
    )
    expect(same, "The same seed must give the same controls.")


def test_too_few_controls_are_refused(matched_controls):
    """When there are not enough other items, that is said."""
    with pytest.raises(ValueError):
        matched_controls(SIZES[:5], [0, 1, 2], generator())


def group(x) -> list:
    return [x.result.graph.nodes[i] for i in (x.latent(0, 1), x.latent(0, 4), x.latent(1, 2))]


DOSES = [-2.0, 0.0, 1.0, 1.5]


@pytest.mark.parametrize("freeze_attention", [True, False])
def test_doses_agree_with_plain_hooks(dose_response, traced4, freeze_attention):
    """At every dose the contrast changes as with hooks written plainly."""
    x = traced4("gemma3")

    def work():
        return [
            changed_contrast(x, [(node, dose * node.activation) for node in group(x)], freeze_attention)
            for dose in DOSES
        ]

    expected = once("doses", freeze_attention, work=work)
    found = dose_response(x.model, x.transcoders, ask(x), group(x), DOSES, freeze_attention=freeze_attention)
    expect_close(found, torch.cat(expected), "The change of the contrast at doses -2, 0, 1 and 1.5", 1e-5, 3e-6)


def edges_to_contrast(x) -> torch.Tensor:
    """Every node's edge to the contrast."""

    def work():
        edges = attribute(x.model, x.transcoders, PROMPT, start_posn=0, target_tokens=[ANSWER, *OTHERS])
        answer, *others = edges.adjacency_matrix[edges.graph.indices(NodeType.LOGIT)]
        return answer - sum(others) / len(others)

    return once("edges to the contrast", id(x), work=work)


def test_held_doses_lie_on_a_line(dose_response, traced4):
    """With all frozen and held, the response is a straight line whose slope is the sum of the edges."""
    x = traced4("qwen3")
    slope = sum(edges_to_contrast(x)[i] for i in (x.latent(0, 1), x.latent(0, 4), x.latent(1, 2)))
    frozen = freeze_arguments("nothing (the edge)", N_LAYERS)
    found = dose_response(x.model, x.transcoders, ask(x), group(x), DOSES, **frozen)
    expected = slope * (torch.tensor(DOSES, dtype=torch.float64) - 1)
    expect_close(found, expected, "The change of the contrast at doses -2, 0, 1 and 1.5", rtol=1e-4, atol=1e-5)


def test_each_ablation_agrees_with_plain_hooks(ablate_each, traced4):
    """Each latent alone is silenced, as with hooks written plainly."""
    x = traced4("gemma3")
    nodes = [x.result.graph.nodes[x.latent(layer, k)] for layer in (0, 1) for k in (0, 2, 5)]
    expected = once("each", work=lambda: [changed_contrast(x, [(node, 0.0)], False) for node in nodes])
    found = ablate_each(x.model, x.transcoders, ask(x), nodes, freeze_attention=False)
    expect_close(found, torch.cat(expected), "The effects of six ablations", rtol=1e-5)


def test_held_ablations_are_the_edges(ablate_each, traced4):
    """With all frozen and held, to silence a latent takes away its edge to the contrast."""
    x = traced4("qwen3")
    chosen = [x.latent(0, 1), x.latent(1, 4)]
    nodes, frozen = [x.result.graph.nodes[i] for i in chosen], freeze_arguments("nothing (the edge)", N_LAYERS)
    # one row at a time: an answer that mixes rows up shows here what else is wrong with it
    found = ablate_each(x.model, x.transcoders, ask(x), nodes, batch_size=1, **frozen)
    expect_close(found, -edges_to_contrast(x)[chosen], "The effects of two ablations with all held", 1e-4, 1e-6)


def test_the_size_of_batches_does_not_matter(ablate_each, traced4):
    """Ablations in small batches, the last one smaller, are all there, and no batch is larger than asked for."""
    x = traced4("gemma3")
    nodes = [x.result.graph.nodes[x.latent(0, k)] for k in range(5)]
    expected = once("five", work=lambda: [changed_contrast(x, [(node, 0.0)], True) for node in nodes])
    rows: list[int] = []
    with hooked(x.model, [(reading_hook(0), lambda value, hook: rows.append(len(value)))]):
        found = ablate_each(x.model, x.transcoders, ask(x), nodes, batch_size=2)
    expect(max(rows) <= 2, "With batch_size=2 at most two rows may run together.", got=f"a batch of {max(rows)} rows")
    expect_close(found, torch.cat(expected), "The effects of five ablations in batches of two", 1e-5, 3e-6)


def test_rank_correlation_looks_at_order_alone(rank_correlation):
    """Any rising function gives 1, any falling one -1."""
    x = torch.tensor([0.3, -2.0, 5.0, 1.0, 0.1])
    expect_close(rank_correlation(x, x.exp()), 1.0, "The correlation with exp(x)")
    expect_close(rank_correlation(x, -(x**3)), -1.0, "The correlation with -x³")


def test_rank_correlation_without_ties(rank_correlation):
    """Without equal values it is 1 - 6 Σd² / (n (n² - 1))."""
    g = generator(1)
    a, b = torch.randn(12, generator=g), torch.randn(12, generator=g)
    difference = (a.argsort().argsort() - b.argsort().argsort()).double()
    expected = 1 - 6 * float(difference @ difference) / (12 * (144 - 1))
    expect_close(rank_correlation(a, b), expected, "The correlation of twelve random pairs")


def test_rank_correlation_with_ties(rank_correlation):
    """Equal values share the mean of their ranks."""
    # ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4: covariance 4 - 0.25..., worked out below
    a, b = torch.tensor([0.0, 1.0, 1.0, 7.0]), torch.tensor([2.0, 1.0, 3.0, 9.0])
    ranks_a, ranks_b = torch.tensor([-1.5, 0.0, 0.0, 1.5]), torch.tensor([-0.5, -1.5, 0.5, 1.5])
    expected = float(ranks_a @ ranks_b / (ranks_a.norm() * ranks_b.norm()))
    expect_close(rank_correlation(a, b), expected, "The correlation with two equal values")


def test_rank_correlation_of_a_constant(rank_correlation):
    """What does not vary has no order: 0."""
    expect_close(rank_correlation(torch.zeros(4), torch.arange(4.0)), 0.0, "The correlation of a constant", atol=1e-9)
