"""The toy graph: one edge worked out on paper, and all of them by autograd."""

import torch
from torch import Tensor

from utils.grading import expect, expect_close, expect_equal

place, state, question, answer = torch.eye(4)


def toy() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and writes of the page's toy model."""
    w = {"Dallas": 4 * place, "capital": 4 * question, "Texas": 3 * state, "error": state.clone(), "say": 12 * answer}
    for vector in w.values():
        vector.requires_grad_()
    at_dallas = w["Dallas"] + w["Texas"] + w["error"]
    at_capital = w["capital"] + 0.75 * (at_dallas @ state) * state
    values = {
        "Texas": w["Dallas"] / 2 @ (2 * place) - 1,
        "say": at_capital / 2.5 @ (5 * state + 2.5 * question) - 4,
        "Austin": (at_capital + w["say"]) / 6.5 @ (6.5 * state - 1.625 * question + 6.5 * answer),
    }
    return values, w


STATE = 0.75 * state  # what attention copies
AUSTIN = state - 0.25 * question + answer  # 6.5 · state − 1.625 · question + 6.5 · answer, divided by 6.5
GRADIENTS = {
    "Texas": {"Dallas": place},
    "say Austin": {"capital": 2 * state + question} | dict.fromkeys(["Dallas", "Texas", "error"], 2 * STATE),
    "Austin": {"capital": AUSTIN, "say Austin": AUSTIN} | dict.fromkeys(["Dallas", "Texas", "error"], STATE),
}
TOY_BIAS = {"Texas": -1.0, "say Austin": -4.0, "Austin": 0.0}
TOY = torch.tensor([[4.0, 0, 0, 0, 0], [0, 4, 4.5, 1.5, 0], [0, -1, 2.25, 0.75, 12]])


def test_the_blank_is_filled(blank_edge):
    """The edge is the gradient, 0.75 · 5 / 2.5, times the 3 that Texas writes."""
    expect_close(float(blank_edge()), 4.5, "The edge from Texas to say Austin")


def toy_writes() -> dict[str, Tensor]:
    """What the sources of the page's table write."""
    return {
        "Dallas": 4 * place, "capital": 4 * question, "Texas": 3 * state, "error": 1 * state, "say Austin": 12 * answer
    }  # fmt: skip


def test_the_readings_of_the_table(toy_model):
    """The targets read 3, 6 and 14, as in the table."""
    found = toy_model(toy_writes())
    expect_equal(set(found), set(GRADIENTS), "The targets")
    for name, expected in (("Texas", 3.0), ("say Austin", 6.0), ("Austin", 14.0)):
        expect_close(float(found[name]), expected, f"What {name} reads")


def test_other_writes(toy_model):
    """Norms and attention keep their numbers whatever the sources write, in any direction."""
    writes = {name: torch.randn(4) for name in toy_writes()}
    found = toy_model(writes)
    for name, gradients in GRADIENTS.items():
        expected = sum(gradient @ writes[source] for source, gradient in gradients.items()) + TOY_BIAS[name]
        expect_close(float(found[name]), float(expected), f"What {name} reads", rtol=1e-4, atol=1e-4)


def test_gradients_of_the_table(toy_model):
    """autograd finds the gradients of the table."""
    writes = {name: vector.requires_grad_() for name, vector in toy_writes().items()}
    found = toy_model(writes)
    for name, gradients in GRADIENTS.items():
        for source, expected in gradients.items():
            (gradient,) = torch.autograd.grad(found[name], writes[source], retain_graph=True)
            expect_close(gradient, expected, f"The gradient of {name} by {source}")


def test_the_toy_graph(edges_by_autograd):
    """The edges of the toy model are those of the table."""
    expect_close(edges_by_autograd(*toy()), TOY, "The edges, [target, source]")


def test_edges_are_plain_numbers(edges_by_autograd):
    """The edges are without gradients, and no gradient is collected in the sources."""
    values, writes = toy()
    found = edges_by_autograd(values, writes)
    expect(not found.requires_grad, "The edges must be plain numbers, without gradients.")
    expect(all(vector.grad is None for vector in writes.values()), "No gradient may be collected in the sources.")


def test_any_linear_model(edges_by_autograd):
    """In any linear model an edge is what a target loses when a source writes nothing."""
    maps = torch.randn(3, 4, 5, dtype=torch.float64)  # target, source, d_model
    writes = {str(i): torch.randn(5, dtype=torch.float64, requires_grad=True) for i in range(4)}

    def read(w, t):
        return sum(maps[t, int(i)] @ vector for i, vector in w.items() if (t, i) != (1, "2"))

    expected = torch.zeros(3, 4, dtype=torch.float64)
    with torch.no_grad():
        for t in range(3):
            for i in writes:
                silent = writes | {i: torch.zeros(5, dtype=torch.float64)}
                expected[t, int(i)] = read(writes, t) - read(silent, t)
    found = edges_by_autograd({str(t): read(writes, t) for t in range(3)}, writes)
    expect_close(found.double(), expected, "The edges, [target, source]", rtol=1e-5, atol=1e-6)
