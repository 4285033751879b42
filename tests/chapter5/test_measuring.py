"""Path lengths, and how many nodes it takes."""

import torch

from utils.grading import expect_close


def small_graph():
    """Embedding 0, error 1; latents 2 (layer 0) and 3 (layer 1); logits 4 and 5."""
    matrix = torch.zeros(6, 6)
    matrix[2, 0] = -4.0
    matrix[3, 0], matrix[3, 1], matrix[3, 2] = 1.0, 1.0, -2.0
    matrix[4, 0], matrix[4, 3] = 1.0, 3.0
    matrix[5, 1], matrix[5, 2] = -1.0, 1.0
    return matrix, torch.tensor([0.75, 0.25])


def test_path_lengths_by_hand(path_lengths):
    """The paths of a small graph, one by one."""
    # one edge: 0>4 (0.75/4), 1>5 (0.25/2); two: 0>3>4 and 1>3>4 (0.75 * 0.75/4 each), 0>2>5 (0.25/2); three: 0>2>3>4
    one, two, three = 0.75 / 4 + 0.125, 2 * 0.75 * 0.75 / 4 + 0.125, 0.75 * 0.75 / 2
    expect_close(path_lengths(*small_graph(), 2), torch.tensor([one, two, three]), "The shares", rtol=1e-5)


def test_shares_add_up_to_one(path_lengths):
    """The shares add up to 1, also where the weights do not."""
    matrix, weights = small_graph()
    expect_close(path_lengths(matrix, weights / 3, 2).sum(), torch.tensor(1.0), "The sum of the shares", rtol=1e-5)


def test_a_chain_has_one_length(path_lengths):
    """A chain through all layers has one path, of one edge more than there are layers."""
    matrix = torch.zeros(5, 5)
    for target, weight in enumerate((2.0, -3.0, 0.5, 8.0), start=1):
        matrix[target, target - 1] = weight
    expect_close(path_lengths(matrix, torch.tensor([0.4]), 3), torch.tensor([0, 0, 0, 1.0]), "The shares", rtol=1e-5)
