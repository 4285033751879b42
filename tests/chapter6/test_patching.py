"""A state put into another prompt, and massive activations."""

import pytest
import torch

from solutions.chapter6_real_models import states_at
from utils.grading import expect_close, expect_equal

TOKENS = torch.tensor([[1, 3, 4, 5, 6, 7], [1, 3, 8, 5, 9, 7], [1, 10, 4, 5, 11, 12]])
POSITIONS = torch.tensor([2, 4, 1])


@pytest.fixture(scope="module")
def patch(tiny):
    """A tiny gated model, and a random state for each of three prompts."""
    model, _ = tiny("llama")
    generator = torch.Generator().manual_seed(6)
    return model, torch.randn(3, model.cfg.d_model, generator=generator, dtype=torch.float64)


def by_hand(model, layer: int, states: torch.Tensor) -> torch.Tensor:
    found = []
    for row, position in enumerate(POSITIONS.tolist()):

        def put(value, hook, row=row, position=position):
            value = value.clone()
            value[0, position] = states[row]
            return value

        with torch.no_grad(), model.hooks([(f"blocks.{layer}.hook_in", put)]):
            found.append(model(TOKENS[row : row + 1])[0, -1])
    return torch.stack(found)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_each_prompt_gets_its_state_at_its_place(patch_states, patch, layer):
    """Each prompt's stream is replaced at its own position, in front of the layer that was asked for."""
    model, states = patch
    found = patch_states(model, TOKENS, POSITIONS, layer, states)
    expect_close(
        found, by_hand(model, layer, states), f"The logits with states put in front of layer {layer}", 1e-6, 1e-8
    )


def test_its_own_state_changes_nothing(patch_states, patch):
    """A prompt that gets its own state back answers as before."""
    model, _ = patch
    states = states_at(model, TOKENS, POSITIONS)
    with torch.no_grad():
        expected = model(TOKENS)[:, -1]
    expect_close(patch_states(model, TOKENS, POSITIONS, 1, states[:, 1]), expected, "The logits", 1e-6, 1e-8)


def test_the_model_is_as_before_patching(patch_states, patch):
    """After patching the model answers as before: no hook is left behind."""
    model, states = patch
    with torch.no_grad():
        before = model(TOKENS)
        patch_states(model, TOKENS, POSITIONS, 1, states)
        expect_close(model(TOKENS), before, "The logits of the next run", 1e-9, 1e-12)


def states_with_spikes() -> torch.Tensor:
    """Two layers, four positions, nine dimensions. The median sizes are 0.05 and 0.2."""
    states = torch.full((2, 4, 9), 0.05)
    states[1] = 0.2
    states[:, :, ::2] *= -1
    states[0, 0, 3] = 120.0  # large enough: 2400 medians
    states[0, 1, 4] = -130.0  # the sign does not count
    states[0, 2, 5] = 99.0  # many medians, but below 100
    states[1, 0, 3] = 250.0  # 1250 medians
    states[0, 3] = 60.0  # a long vector, but none of its numbers reaches 100
    states[1, 3, 6] = 150.0  # above 100, but only 750 medians
    states[1, 1] = -30.0  # all of a position is large: its own median is not that of the layer
    states[1, 1, 2] = 260.0
    return states


def test_both_conditions_count(massive_positions):
    """An activation is massive if it is large in itself and large against its layer's median, whatever its sign."""
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]]).bool()
    expect_equal(massive_positions(states_with_spikes()), expected, "Where massive activations stand")


def test_the_limits_are_arguments(massive_positions):
    """Other limits find other positions, and a limit that is reached exactly is enough."""
    found = massive_positions(states_with_spikes(), smallest=99.0, ratio=700.0)
    expect_equal(found.tolist(), [[True, True, True, False], [True, True, False, True]], "With limits of 99 and 700")
    found = massive_positions(states_with_spikes(), smallest=120.0, ratio=1.0)
    expect_equal(found.tolist(), [[True, True, False, False], [True, True, False, True]], "With limits of 120 and 1")
