"""Exchange: which neurons are chosen, their controls, and what the model says with other activations."""

import pytest
import torch

from solutions.chapter6_real_models import PromptRuns, run_prompts
from utils.engine.neurons import acts_hook
from utils.grading import expect_close, expect_equal


def runs(acts: list, gradients: list) -> PromptRuns:
    """Prompts whose neurons stand in a list: one layer, one place."""
    shape = (len(acts), 2, 1, len(acts[0]) // 2)
    acts, gradients = torch.tensor(acts).view(shape), torch.tensor(gradients).view(shape)
    return PromptRuns(acts, gradients, torch.zeros(len(acts), 3))


# two pairs, two layers of three neurons. Scores of the first pair: 6, -8, 1, 5, 0, 2; of the second: 30, 1, -2, 20, 10, 0
OWN = runs(
    [[0.0, 1.0, 2.0, 3.0, 4.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 5.0]],
    [[-1.0, 1.0, 0.0, 0.0, 9.0, -1.0], [0.0, 0.0, 1.0, 0.0, -5.0, 7.0]],
)
OTHER = runs(
    [[2.0, 5.0, 3.0, 4.0, 4.0, 2.0], [3.0, 1.0, 1.0, 2.0, 1.0, 5.0]],
    [[2.0, -1.0, 1.0, 5.0, -9.0, 1.0], [10.0, 1.0, -1.0, 10.0, 5.0, 9.0]],
)


def chosen_by_pair(mask: torch.Tensor) -> list[list[int]]:
    return [row.flatten().nonzero().flatten().tolist() for row in mask]


def test_the_best_neurons_of_every_pair(choose_by_change):
    """Every pair has neurons of its own: those with the largest change times difference of gradients."""
    mask = choose_by_change(OWN, OTHER, 3)
    expect_equal(tuple(mask.shape), (2, 2, 1, 3), "The shape of the mask")
    expect_equal(mask.dtype, torch.bool, "The type of the mask")
    expect_equal(chosen_by_pair(mask), [[0, 3, 5], [0, 3, 4]], "The neurons of two pairs for k = 3")
    expect_equal(chosen_by_pair(choose_by_change(OWN, OTHER, 1)), [[0], [0]], "The neurons of two pairs for k = 1")


def test_no_neuron_against_the_other_answer(choose_by_change):
    """A neuron whose exchange would not help is never chosen, even if fewer than k are left."""
    expect_equal(chosen_by_pair(choose_by_change(OWN, OTHER, 6)), [[0, 2, 3, 5], [0, 1, 3, 4]], "The neurons for k = 6")


def test_the_choice_is_not_symmetric_in_sign(choose_by_change):
    """The way back has the same scores: change and difference of gradients both turn round."""
    expect_equal(chosen_by_pair(choose_by_change(OTHER, OWN, 3)), [[0, 3, 5], [0, 3, 4]], "The neurons of the way back")


@pytest.fixture(scope="module")
def exchange(tiny):
    """Two prompts of a tiny gated model, and what an exchange at two positions needs."""
    model, _ = tiny("llama")
    generator = torch.Generator().manual_seed(5)
    tokens = torch.tensor([[1, 3, 4, 5, 6, 7], [1, 3, 8, 5, 9, 7], [1, 10, 4, 5, 11, 12]])
    positions = [2, 4]
    acts = run_prompts(model, tokens, positions, torch.tensor([5, 6, 7])).acts
    values = acts.flip(0) + torch.randn(acts.shape, generator=generator, dtype=torch.float64)
    chosen = torch.rand(acts.shape, generator=generator) < 0.3
    return model, tokens, positions, chosen, values


def by_hand(model, tokens, positions, chosen, values) -> torch.Tensor:
    """The same, one prompt at a time."""
    found = []
    for row in range(len(tokens)):

        def put(acts, hook, row=row):
            layer, acts = int(hook.name.split(".")[1]), acts.clone()
            for place, position in enumerate(positions):
                for neuron in chosen[row, layer, place].nonzero().flatten().tolist():
                    acts[0, position, neuron] = values[row, layer, place, neuron]
            return acts

        with torch.no_grad(), model.hooks([(acts_hook(layer), put) for layer in range(model.cfg.n_layers)]):
            found.append(model(tokens[row : row + 1])[0, -1])
    return torch.stack(found)


def test_every_prompt_gets_its_own_exchange(exchange_neurons, exchange):
    """Each prompt's chosen neurons have their new activations, at their positions, and all others answer."""
    expect_close(
        exchange_neurons(*exchange), by_hand(*exchange), "The logits of three prompts after an exchange", 1e-6, 1e-8
    )


def test_nothing_chosen_changes_nothing(exchange_neurons, exchange):
    """Without chosen neurons the logits are those of the unchanged model, whatever the values are."""
    model, tokens, positions, chosen, values = exchange
    found = exchange_neurons(model, tokens, positions, torch.zeros_like(chosen), values)
    with torch.no_grad():
        expect_close(found, model(tokens)[:, -1], "The logits without an exchange", 1e-6, 1e-8)


def test_the_model_is_as_before(exchange_neurons, exchange):
    """After an exchange the model answers as before: no hook is left behind."""
    model, tokens, *_ = exchange
    with torch.no_grad():
        before = model(tokens)
        exchange_neurons(*exchange)
        expect_close(model(tokens), before, "The logits of the next run without an exchange", 1e-9, 1e-12)
