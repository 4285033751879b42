"""A small MLP: everything by hand, and completeness for random ones."""

import torch

from utils.grading import expect_close

# two inputs, three hidden units, one output; the second hidden unit stays silent
W1 = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [0.5, -1.0]])
B1 = torch.tensor([0.5, 1.0, 2.0])
W2 = torch.tensor([[2.0, 5.0, -3.0]])
B2 = torch.tensor([-1.0])
X = torch.tensor([3.0, -1.0])


def test_a_network_by_hand(attribute_mlp):
    """Two inputs, three hidden units, one output: every edge, every bias, every value."""
    graph = attribute_mlp([W1, W2], [B1, B2], X)
    expected = torch.zeros(6, 6)
    expected[2, :2] = torch.tensor([3.0, -2.0])
    expected[3, :2] = torch.tensor([-3.0, 0.0])
    expected[4, :2] = torch.tensor([1.5, 1.0])
    # hidden values 1.5, -2, 4.5: what is written is 1.5, 0, 4.5
    expected[5, 2:5] = torch.tensor([3.0, 0.0, -13.5])
    expect_close(graph.adjacency, expected, "The edges", rtol=1e-5)
    expect_close(graph.bias, torch.tensor([0, 0, 0.5, 1.0, 2.0, -1.0]), "The biases", rtol=1e-5)
    expect_close(graph.values, torch.tensor([0, 0, 1.5, -2.0, 4.5, -11.5]), "The values", rtol=1e-5)


def random_mlp(*sizes):
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(b, a, generator=generator) for a, b in zip(sizes, sizes[1:])]
    biases = [torch.randn(b, generator=generator) for b in sizes[1:]]
    return weights, biases, torch.randn(sizes[0], generator=generator)


def test_edges_and_bias_add_up(attribute_mlp):
    """Completeness in four layers: edges and bias of a unit add up to what it reads, and the outputs are the network's."""
    weights, biases, x = random_mlp(4, 6, 5, 7, 3)
    graph = attribute_mlp(weights, biases, x)
    a, read = x, [torch.zeros(4)]
    for weight, bias in zip(weights, biases):
        read.append(weight @ a + bias)
        a = read[-1].clamp_min(0)
    values = torch.cat(read)
    expect_close(graph.values, values, "The values", rtol=1e-4, atol=1e-5)
    expect_close(graph.adjacency.sum(1) + graph.bias, values, "Edges and bias, added up", rtol=1e-4, atol=1e-5)


def test_edges_are_derivatives_times_what_is_written(attribute_mlp):
    """An edge is a derivative times what the source writes; units that do not touch have none."""
    weights, biases, x = random_mlp(3, 4, 6, 2)
    graph = attribute_mlp(weights, biases, x)
    hidden = (weights[0] @ x + biases[0]).relu().requires_grad_()
    read = weights[1] @ hidden + biases[1]
    expected = torch.zeros(15, 15)
    expected[3:7, :3] = weights[0] * x
    for unit in range(6):
        (slope,) = torch.autograd.grad(read[unit], hidden, retain_graph=True)
        expected[7 + unit, 3:7] = slope * hidden.detach()
    expected[13:, 7:13] = weights[2] * read.detach().relu()
    expect_close(graph.adjacency, expected, "The edges", rtol=1e-4, atol=1e-5)
