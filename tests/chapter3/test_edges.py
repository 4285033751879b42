"""The four exercises on edges: one recorded run, batches of targets, the matrix, and the identity that it must satisfy."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from solutions.chapter3_attribution_graphs import prepare_backward_batches as batches_of
from tests.chapter3.shared import TOLERANCE
from tests.tiny import ARCHITECTURES, D_MODEL
from tests.tracing import Traced, changes_by, readings_after, state_of
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.grading import expect, expect_close, expect_equal

MUST_STAY = {
    "hooks": "No hook may stay behind on the model.",
    "grad_mode": "The gradient mode must be as it was before.",
    "requires_grad": "`requires_grad` of the model's parameters must be as it was before.",
    "grads": "No gradient may be collected in the model's parameters.",
}


def expect_unchanged(before, after, when: str) -> None:
    for field, sentence in MUST_STAY.items():
        expect(getattr(before, field) == getattr(after, field), f"{sentence} ({when})")


@contextmanager
def weights_that_ask(model, asks: bool) -> Iterator[None]:
    """All weights ask for gradients, or none does."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in flags:
            parameter.requires_grad_(asks)
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def places(n_layers: int) -> tuple[set, set]:
    """Where is written, and where is read."""
    return {"E", *range(n_layers)}, {*range(n_layers), "L"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_recorded(setup_attribution, traced, architecture):
    """Recorded are the residual stream where sources write, and what targets read: after ln2, and after ln_final."""
    x = traced(architecture)
    run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
    writes, reads = places(x.model.cfg.n_layers)
    expect_equal(set(run.writes), writes, "The keys of `writes`")
    expect_equal(set(run.reads), reads, "The keys of `reads`")
    expect_close(run.writes["E"], x.cache["blocks.0.hook_in"], "The embedding in `writes`")
    expect_close(run.reads["L"], x.cache["ln_final.hook_out"], "What the logits read")
    for layer in range(x.model.cfg.n_layers):
        expect_close(run.writes[layer], x.cache[f"blocks.{layer}.hook_out"], f"The residual stream after block {layer}")
        expect_close(
            run.reads[layer], x.cache[f"blocks.{layer}.mlp.hook_in"], f"What the latents of layer {layer} read"
        )


@pytest.mark.parametrize("place", ["E", 0, 1])
def test_gradients_are_effects(setup_attribution, traced, place):
    """A vector added where a source writes changes what is read by exactly the recorded gradient times the vector."""
    x = traced("gemma3")
    run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
    position, vector = 2, torch.randn(D_MODEL, dtype=torch.float64)
    before, after = (readings_after(x, place, position, vector * size) for size in (0, 1))
    for layer in (2, "L"):
        direction = torch.randn(x.tokens.shape[1], D_MODEL, dtype=torch.float64)
        reading = (run.reads[layer][0] * direction).sum()
        expect(reading.requires_grad, "What is recorded must still know how it was computed.")
        (grad,) = torch.autograd.grad(reading, run.writes[place], retain_graph=True)
        expected = ((after[layer] - before[layer]) * direction).sum()
        expect_close(
            grad[0, position] @ vector, expected, f"The effect of {place!r} on {layer!r} by the gradient", 1e-6
        )


@pytest.mark.parametrize("asks", [True, False], ids=["weights that ask for gradients", "weights that do not"])
def test_the_gradient_stops_at_the_embedding(setup_attribution, traced, asks):
    """The gradient goes back to the embedding and no further, whether or not the weights ask for gradients."""
    x = traced("qwen3")
    with weights_that_ask(x.model, asks):
        run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
    expect(run.reads["L"].requires_grad, "The gradient must start at the embedding even if no weight asks for one.")
    expect(run.writes["E"].is_leaf, "The embedding that is kept must be a detached copy, on which the model goes on.")
    (grad,) = torch.autograd.grad(run.reads["L"].sum(), run.writes["E"], retain_graph=True)
    expect(bool(grad.abs().max() > 0), "A gradient must arrive at the embedding.")


@pytest.mark.parametrize("grad_mode", [True, False])
def test_nothing_leaks(setup_attribution, traced, grad_mode):
    """Gradients are recorded in any gradient mode, and hooks, gradient mode and parameters are left as they were."""
    x = traced("gemma3")
    with torch.set_grad_enabled(grad_mode):
        before = state_of(x.model, x.transcoders)
        run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
        expect_unchanged(before, state_of(x.model, x.transcoders), "after a run")
        expect(run.reads["L"].requires_grad, f"Gradients must be recorded; gradient mode before was {grad_mode}.")


def test_nothing_leaks_from_a_failure(setup_attribution, traced):
    """Hooks and gradient mode are as before also when the run fails midway."""
    x = traced("gemma3")

    def fail(value, hook):
        raise RuntimeError("midway")

    x.model.add_hook("blocks.1.hook_out", fail)
    try:
        with torch.no_grad():
            before = state_of(x.model, x.transcoders)
            with pytest.raises(RuntimeError, match="midway"):
                setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
            expect_unchanged(before, state_of(x.model, x.transcoders), "after a failure")
    finally:
        x.model.hook_dict["blocks.1.hook_out"].remove_hooks()


def test_the_recorded_run_of_the_model(setup_attribution, traced_chosen, tolerance):
    """On the model, the recorded run has the values of the frozen model."""
    x = traced_chosen
    run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
    expected = x.cache["ln_final.hook_out"]
    expect_close(
        run.reads.get("L"), expected, "What the logits read", tolerance, tolerance * float(expected.abs().max())
    )
    expect(run.writes["E"].requires_grad, "The embedding must ask for a gradient.")


def small_graph() -> GraphNodes:
    """Two positions, three layers (the second without latents), two logits; 5 + 0 + 2 latents."""
    positions = {"E": [0, 1], 0: [0, 0, 1, 1, 1], 1: [], 2: [1, 0], "L": [1, 1]}
    graph = GraphNodes(seq_len=2, n_layers=3)
    for layer, at in positions.items():
        start = len(graph.nodes)
        kind = {"E": NodeType.EMBEDDING, "L": NodeType.LOGIT}.get(layer, NodeType.LATENT)
        graph.nodes += [NodeInfo(kind, layer, position, 10 * i) for i, position in enumerate(at)]
        if isinstance(layer, int):
            graph.nodes += [NodeInfo(NodeType.MLP_ERROR, layer, position, 0) for position in range(2)]
        graph.node_range_dict[layer] = (start, len(graph.nodes))
    graph.writing_vecs, graph.reading_vecs = torch.randn(2, len(graph), 3)
    return graph


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_batches_hold_every_target_once(prepare_backward_batches, size):
    """Latents and logits are each in one batch, in order; no batch is too large or mixes layers."""
    batches = prepare_backward_batches(small_graph(), size)
    first = {1: [2, 3, 4, 5, 6, 11, 12, 15, 16], 2: [2, 4, 6, 11, 15]}.get(size, [2, 11, 15])
    lengths = {1: [1] * 9, 2: [2, 2, 1, 2, 2]}.get(size, [5, 2, 2])
    expect_equal([batch.global_start_idx for batch in batches], first, "The indices of the batches' first nodes")
    expect_equal([len(batch.nodes) for batch in batches], lengths, "The lengths of the batches")


def test_batches_know_their_nodes(prepare_backward_batches):
    """A batch has its nodes' reading vectors, positions and layers."""
    graph = small_graph()
    for batch in prepare_backward_batches(graph, 2):
        start = batch.global_start_idx
        nodes = graph.nodes[start : start + len(batch.nodes)]
        expect_equal([node.node_id for node in batch.nodes], [node.node_id for node in nodes], "The nodes of a batch")
        vectors = graph.reading_vecs[start : start + len(nodes)]
        expect_close(batch.reading_vecs, vectors, "The reading vectors of a batch")
        expect(isinstance(batch.positions, Tensor), "`positions` must be a tensor.", batch.positions)
        expect_equal(batch.positions, torch.tensor([node.ctx_idx for node in nodes]), "The positions of a batch")
        expect_equal(batch.layers, [node.layer for node in nodes], "The layers of a batch")


def test_batches_of_the_model(prepare_backward_batches, traced_chosen):
    """On the model, the batches hold all latents and logits."""
    graph = traced_chosen.graph
    batches = prepare_backward_batches(graph)
    targets = [batch.global_start_idx + i for batch in batches for i in range(len(batch.nodes))]
    expect_equal(targets, graph.indices(NodeType.LATENT, NodeType.LOGIT), "The targets")
    expect(max(len(batch.nodes) for batch in batches) <= 128, "Without a size, no batch has more than 128 targets.")


def matrix_of(compute_adjacency_matrix, x: Traced, size: int = 50) -> Tensor:
    return compute_adjacency_matrix(x.model, x.tokens, x.graph, x.freeze, x.tc_hooks, batches_of(x.graph, size), x.run)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_edges_and_bias_add_up_to_the_value(compute_adjacency_matrix, traced, architecture):
    """The edges of every target and its bias add up to what it reads."""
    x = traced(architecture)
    adjacency = matrix_of(compute_adjacency_matrix, x)
    expect_equal(tuple(adjacency.shape), (len(x.graph), len(x.graph)), "The shape of the matrix")
    expect_close(adjacency.sum(1) + x.bias, x.values, "Edges plus bias", rtol=1e-6)


@pytest.mark.parametrize(("architecture", "skip"), [("gemma3", True), ("gemma3", False), ("gpt2", True)])
def test_an_intervention_finds_the_same_edges(compute_adjacency_matrix, traced, architecture, skip):
    """Adding a source's writing vector in the linear model changes every target's reading by exactly its edge."""
    x = traced(architecture, skip=skip)
    adjacency = matrix_of(compute_adjacency_matrix, x)
    sources = [x.graph.indices(kind)[number] for kind in list(NodeType)[:3] for number in (1, 5)]
    for source in sources:
        what = f"The effects of source {x.graph.nodes[source].node_id}"
        expect_close(adjacency[:, source], changes_by(x, source), what, rtol=1e-6)


def test_small_batches_give_the_same_matrix(compute_adjacency_matrix, traced):
    """The size of the batches changes nothing."""
    x = traced("qwen3", top_k=2)
    expect_close(matrix_of(compute_adjacency_matrix, x, size=7), x.adjacency, "The matrix by batches of 7", rtol=1e-6)


def test_half_precision_is_summed_in_float32(compute_adjacency_matrix, traced):
    """On a model in half precision the matrix is in float32, and edges and bias still add up."""
    x = traced("gemma3", dtype=torch.bfloat16, top_k=1)
    adjacency = matrix_of(compute_adjacency_matrix, x)
    expect_equal(str(adjacency.dtype), "torch.float32", "The dtype of the matrix")
    expect_close(adjacency.sum(1) + x.bias, x.values, "Edges plus bias", rtol=0.1, atol=0.1)


class Counting(TorchDispatchMode):
    """Counts the operations on tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_no_loop_over_nodes(compute_adjacency_matrix, traced):
    """The number of tensor operations does not grow with the number of sources and targets."""
    counts = []
    for top_k in (1, None):
        x = traced("gpt2", top_k=top_k)
        with Counting() as counting:
            matrix_of(compute_adjacency_matrix, x, size=1000)
        counts.append(counting.count)
    expect(counts[1] < 1.5 * counts[0], "With more nodes there must not be more operations: do not loop over nodes.")


def test_edges_of_the_model(compute_adjacency_matrix, traced_chosen, tolerance):
    """On the model, the edges and the bias add up, up to rounding."""
    x = traced_chosen
    adjacency = matrix_of(compute_adjacency_matrix, x, 128)
    scale = adjacency.abs().sum(1) + x.bias.abs() + x.values.abs() + 1e-9
    gap = (adjacency.sum(1) + x.bias - x.values).abs() / scale
    expect(float(gap.max()) <= tolerance, "Edges plus bias must be the value.", float(gap.max()))
    expect_close(adjacency, x.adjacency, "The matrix", tolerance, tolerance * float(x.adjacency.abs().max()))


#                  reads nothing       exact               a tenth too much    negative value      nearly cancels
EDGES = [
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [2.0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0],
    [0, -3, -1.0, 0, 0],
    [1000, -3000.5, 2000, 0, 0],
]
BIAS = [0.0, -0.5, 0.2, 1.0, 0.0]
VALUES = [0.0, 1.5, 2.0, -4.0, 0.0]
GAPS = [0.0, 0.0, 0.1, 0.25, 0.5 / 6.0005]


def numbers(*lists: list) -> list[Tensor]:
    return [torch.tensor(numbers, dtype=torch.float64) for numbers in lists]


def test_the_gap_is_relative(completeness_gap):
    """The gap is the error of edges plus bias, relative to the absolute value."""
    adjacency, bias, values, gaps = numbers(EDGES, BIAS, VALUES, GAPS)
    expect_close(completeness_gap(adjacency, bias, values)[2:4], gaps[2:4], "The gaps", rtol=1e-9)


def test_no_gap_is_zero(completeness_gap):
    """Where nothing is missing the gap is 0, also for nodes that read nothing."""
    adjacency, bias, values, _ = numbers(EDGES, BIAS, VALUES, GAPS)
    expect_close(completeness_gap(adjacency, bias, values)[:2], torch.zeros(2), "The gaps")


def test_terms_that_nearly_cancel(completeness_gap):
    """Where the terms nearly cancel, the gap is relative to a thousandth of their sizes."""
    adjacency, bias, values, gaps = numbers(EDGES, BIAS, VALUES, GAPS)
    expect_close(completeness_gap(adjacency, bias, values)[4], gaps[4], "The gap", rtol=1e-9)
    expect_close(completeness_gap(-adjacency, -bias, -values)[4], gaps[4], "The gap of the opposite", rtol=1e-9)


def test_the_gap_finds_a_missing_edge(completeness_gap, traced):
    """On a real graph the gap is nearly 0, and it shows which target an edge was taken from."""
    x = traced("gemma3")
    expect_close(completeness_gap(x.adjacency, x.bias, x.values), torch.zeros_like(x.values), "The gaps", atol=1e-6)
    target = x.graph.indices(NodeType.LOGIT)[0]
    source = int(x.adjacency[target].abs().argmax())
    broken = x.adjacency.clone()
    broken[target, source] = 0
    gaps = completeness_gap(broken, x.bias, x.values)
    expected = x.adjacency[target, source].abs() / x.values[target].abs()
    expect_equal(int(gaps.argmax()), target, "The target with the largest gap")
    expect_close(gaps[target], expected, "Its gap")


def test_the_gap_of_the_model(completeness_gap, traced_chosen):
    """On the model the gap is small."""
    x = traced_chosen
    gap = completeness_gap(x.adjacency, x.bias, x.values).max()
    limit = TOLERANCE[x.model.W_U.dtype]
    expect(float(gap) <= limit, f"The largest gap of a right graph must be below {limit}.", float(gap))
