"""A few things that hold in the real model, and that a right answer must find there."""

import torch

from solutions.chapter6_real_models import run_prompts, states_at
from utils.grading import expect_equal

LANGUAGE = "The official language of the country whose capital is {} is"


def prompts(model, *names: str) -> torch.Tensor:
    return torch.cat([model.to_tokens(LANGUAGE.format(name)) for name in names])


def test_paris_becomes_berlin(exchange_neurons, smollm):
    """In the real model, the first five layers' neurons at the name bring the other language, in every row of a batch."""
    tokens = prompts(smollm, "Paris", "Berlin")
    name, answers = tokens.shape[1] - 2, torch.tensor([smollm.to_single_token(word) for word in (" French", " German")])
    acts = run_prompts(smollm, tokens, [name], answers).acts
    chosen = torch.zeros(acts.shape, dtype=torch.bool)
    chosen[:, :5] = True
    said = exchange_neurons(smollm, tokens, [name], chosen, acts.flip(0)).argmax(-1)
    expect_equal(said.tolist(), answers.flip(0).tolist(), "What is said about Paris and Berlin after the exchange")


def test_the_first_position_is_massive(massive_positions, smollm):
    """In the real model the first position holds a massive activation, and no other position of this prompt does."""
    tokens = prompts(smollm, "Paris")
    positions = torch.arange(tokens.shape[1])
    states = states_at(smollm, tokens.repeat(len(positions), 1), positions).transpose(0, 1)
    found = massive_positions(states).any(0).nonzero().flatten().tolist()
    expect_equal(found, [0], "Positions with a massive activation in some layer")
