"""The exercises on edges: one recorded run, the walk back, the matrix, and the identity that it must satisfy."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from solutions.chapter3_attribution_graphs import prepare_backward_batches as batches_of
from solutions.chapter3_attribution_graphs import setup_attribution as recorded
from solutions.chapter3_attribution_graphs import walk_back_one as slowly
from tests.chapter3.shared import TOLERANCE
from tests.tiny import ARCHITECTURES, D_MODEL
from tests.tracing import READS, Traced, changes_by, linear_hooks, readings_after, state_of
from utils.engine.graph import GraphNodes, NodeType
from utils.engine.hooks import hooked
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
    before, after = readings_after(x, "E", 0, 0 * vector), readings_after(x, place, position, vector)
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

    point = x.model.get_hook_point("blocks.1.hook_out")
    point.add_hook(fail, level=99)
    try:
        with torch.no_grad():
            before = state_of(x.model, x.transcoders)
            with pytest.raises(RuntimeError, match="midway"):
                setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
            expect_unchanged(before, state_of(x.model, x.transcoders), "after a failure")
    finally:
        point.remove_hooks(level=99)


def test_the_recorded_run_of_the_model(setup_attribution, traced_chosen, tolerance):
    """On the model, the recorded run has the values of the frozen model."""
    x = traced_chosen
    run = setup_attribution(x.model, x.tokens, x.freeze, x.tc_hooks)
    expected = x.cache["ln_final.hook_out"]
    expect_close(
        run.reads.get("L"), expected, "What the logits read", tolerance, tolerance * float(expected.abs().max())
    )
    expect(run.writes["E"].requires_grad, "The embedding must ask for a gradient.")


def fresh_run(x: Traced):
    """A run of its own: a walk that frees it spoils no other test."""
    return recorded(x.model, x.tokens, x.freeze, x.tc_hooks)


def places_before(x: Traced, layer: int | str) -> list[int | str]:
    """From the last place before a layer down to the embedding."""
    n_layers = x.model.cfg.n_layers
    return [*reversed(range(n_layers if layer == "L" else layer)), "E"]


@pytest.mark.parametrize(("architecture", "layer"), [("gemma3", 2), ("gemma3", "L"), ("gpt2", "L"), ("qwen3", 1)])
def test_one_gradient_at_every_place(walk_back_one, traced, architecture, layer):
    """The gradients stand at every place before the target, and each is the effect of what is added there."""
    x = traced(architecture)
    position, reading_vec = x.tokens.shape[1] - 2, torch.randn(D_MODEL, dtype=torch.float64)
    found = walk_back_one(fresh_run(x), reading_vec, position, layer)
    expect_equal(set(found), set(places_before(x, layer)), f"The places before {layer!r}")
    before = readings_after(x, "E", 0, torch.zeros(D_MODEL, dtype=torch.float64))[layer][position]
    for place in places_before(x, layer):
        at, vector = 3, torch.randn(D_MODEL, dtype=torch.float64)
        after = readings_after(x, place, at, vector)[layer][position]
        expect_equal(tuple(found[place].shape), tuple(x.cache["blocks.0.hook_in"][0].shape), "The shape of a gradient")
        expect_close(found[place][at] @ vector, (after - before) @ reading_vec, f"The effect at {place!r}", rtol=1e-6)


def test_the_run_can_be_walked_again(walk_back_one, traced):
    """A run can be walked back more than once, with the same gradients."""
    x = traced("gemma3")
    run, reading_vec = fresh_run(x), torch.randn(D_MODEL, dtype=torch.float64)
    first, second = (walk_back_one(run, reading_vec, 4, "L") for _ in range(2))
    expect_close(second["E"], first["E"], "The second walk's gradient at the embedding")


def some_targets(x: Traced) -> list[int]:
    """A logit, a latent of the last layer, and one of a middle layer."""
    latents = x.graph.indices(NodeType.LATENT)
    return [x.graph.indices(NodeType.LOGIT)[1], latents[-1], latents[len(latents) // 2]]


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_one_row_adds_up(edges_into, traced, architecture):
    """A target's edges and its bias add up to what it reads."""
    x = traced(architecture)
    run = fresh_run(x)
    for target in some_targets(x):
        row = edges_into(run, x.graph, target)
        expect_equal(tuple(row.shape), (len(x.graph),), "The shape of a row")
        what = f"The edges into {x.graph.nodes[target].node_id}, with its bias"
        expect_close(row.sum() + x.bias[target], x.values[target], what, rtol=1e-6)


def test_one_row_by_interventions(edges_into, traced):
    """Each edge into a target is what adding its source's writing vector changes."""
    x = traced("gemma3")
    run, target = fresh_run(x), x.graph.indices(NodeType.LOGIT)[0]
    row = edges_into(run, x.graph, target)
    for source in (x.graph.indices(kind)[number] for kind in list(NodeType)[:3] for number in (2, 6)):
        expected = changes_by(x, source)[target]
        expect_close(row[source], expected, f"The edge from {x.graph.nodes[source].node_id}", rtol=1e-6)


def walked(walk_back, run, x: Traced, layer: int | str, positions: list[int]) -> tuple[Tensor, dict]:
    vectors = torch.randn(len(positions), D_MODEL, dtype=torch.float64)
    run.until(max(positions))  # for so few targets a shorter run is not recorded, but used where there is one
    return vectors, list(walk_back(run, vectors, torch.tensor(positions), layer))


@pytest.mark.parametrize(("layer", "positions"), [("L", [6, 3, 6]), (2, [5, 1, 4, 2]), (1, [3]), (2, [7, 0])])
def test_a_batch_is_the_slow_walk(walk_back, traced, layer, positions):
    """Together the targets have the gradients that each has alone, at the same places, the last one first."""
    x = traced("gemma3")
    vectors, found = walked(walk_back, fresh_run(x), x, layer, positions)
    expect_equal([place for place, _ in found], places_before(x, layer), f"The places before {layer!r}, in order")
    run = fresh_run(x)
    for number, position in enumerate(positions):
        expected = slowly(run, vectors[number], position, layer)
        for place, grad in found:
            shape = (len(positions), *x.cache["blocks.0.hook_in"].shape[1:])
            expect_equal(tuple(grad.shape), shape, "The shape of the gradients at a place")
            expect_close(grad[number], expected[place], f"The gradient of target {number} at {place!r}", rtol=1e-9)


def test_one_call_a_block(walk_back, traced, monkeypatch):
    """However many targets there are, autograd is asked once a place."""
    x, calls, grad = traced("qwen3"), [], torch.autograd.grad

    def counted(*arguments, **named):
        calls.append(1)
        with (
            monkeypatch.context() as inside
        ):  # under a default device, torch calls `torch.autograd.grad` again by its name
            inside.setattr(torch.autograd, "grad", grad)
            return grad(*arguments, **named)

    run = fresh_run(x)
    monkeypatch.setattr(torch.autograd, "grad", counted)
    walked(walk_back, run, x, "L", [6] * 5)
    expect_equal(len(calls), x.model.cfg.n_layers + 1, "How often autograd was asked")


def rows_of(graph: GraphNodes, place: int | str) -> list[list[int]]:
    """The sources of a place at each position, in the order of the nodes."""
    start, end = graph.node_range_dict[place]
    return [[i for i in range(start, end) if graph.nodes[i].ctx_idx == at] for at in range(graph.seq_len)]


def test_a_row_for_each_position(tabulate_sources, traced):
    """A row holds the sources of its position, and short rows are filled up."""
    graph = traced("gemma3", start_posn=3).graph
    tables = tabulate_sources(graph)
    expect_equal(set(tables), {"E", *range(graph.n_layers)}, "The places that have a table")
    for place, (_, columns) in tables.items():
        rows = rows_of(graph, place)
        width = max(len(row) for row in rows)
        expect_equal(tuple(columns.shape), (graph.seq_len, width), f"The shape of the columns of {place!r}")
        expected = [row + [len(graph)] * (width - len(row)) for row in rows]
        expect_equal(columns.tolist(), expected, f"The columns of {place!r}")


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_a_product_with_the_tables(tabulate_sources, traced, architecture):
    """A gradient times the tables gives what it gives with each source's writing vector, and 0 for fillers."""
    graph = traced(architecture, start_posn=2).graph
    for place, (vectors, columns) in tabulate_sources(graph).items():
        gradient = torch.randn(graph.seq_len, D_MODEL, dtype=torch.float64)
        products = torch.einsum("sd,swd->sw", gradient, vectors.double())
        found, expected = torch.zeros(2, len(graph) + 1, dtype=torch.float64)
        found[columns.flatten()] = products.flatten()
        for at, row in enumerate(rows_of(graph, place)):
            for source in row:
                expected[source] = gradient[at] @ graph.writing_vecs[source]
        expect_close(found, expected, f"The products at {place!r}")


def test_tables_are_as_precise_as_the_graph(tabulate_sources, traced):
    """The vectors in a table are those of the graph, in its dtype."""
    graph = traced("gemma3", top_k=1).graph
    for place, (vectors, columns) in tabulate_sources(graph).items():
        filled = torch.cat([graph.writing_vecs, torch.zeros(1, D_MODEL, dtype=graph.writing_vecs.dtype)])
        expect_close(vectors, filled[columns], f"The vectors of {place!r}")


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


@pytest.mark.parametrize(("times", "number"), [(1.0, 1), (-2.0, 5)])
def test_a_source_writes_once_more(effect_of_writing, traced, times, number):
    """In the linear model the change of every reading is what adding the source's vector to the stream gives."""
    x = traced("gemma3")
    for source in (x.graph.indices(kind)[number] for kind in list(NodeType)[:3]):
        found = effect_of_writing(x.model, x.tokens, x.graph, source, linear_hooks(x), times)
        what = f"The changes when {x.graph.nodes[source].node_id} writes {times:g} times more"
        expect_close(found, times * changes_by(x, source), what, rtol=1e-6, atol=1e-9)


def test_hooks_are_held_in_both_runs(effect_of_writing, traced):
    """Hooks may change values, too: they are there before the source writes, and after."""
    x = traced("gpt2")
    source = x.graph.indices(NodeType.LATENT)[3]
    node, write = x.graph.nodes[source], x.graph.writing_vecs[source]
    weaker = [("blocks.2.hook_mlp_out", lambda value, hook: 0.5 * value)]

    def push(stream, hook):
        return stream + write.to(stream) * (torch.arange(stream.shape[1]) == node.ctx_idx)[None, :, None]

    final = []
    for more in ([], [(f"blocks.{node.layer}.hook_out", push)]):
        look = ("ln_final.hook_out", lambda value, hook: final.append(value[0, -1]))
        with torch.no_grad(), hooked(x.model, [*weaker, *more, look]):
            x.model(x.tokens)
    logits = x.graph.indices(NodeType.LOGIT)
    found = effect_of_writing(x.model, x.tokens, x.graph, source, weaker)
    expected = x.graph.reading_vecs[logits] @ (final[1] - final[0])
    expect_close(found[logits], expected, "The changes of the logits in a model with a weaker MLP", 1e-5, 1e-7)


def test_the_real_model_answers(effect_of_writing, traced):
    """Without hooks it is the real model that answers, with all its norms and MLPs."""
    x = traced("qwen3")
    source = x.graph.indices(NodeType.LATENT)[3]
    node, write = x.graph.nodes[source], x.graph.writing_vecs[source]

    def push(stream, hook):
        return stream + write.to(stream) * (torch.arange(stream.shape[1]) == node.ctx_idx)[None, :, None]

    final = []
    for hooks in ([], [(f"blocks.{node.layer}.hook_out", push)]):
        with torch.no_grad(), hooked(x.model, [*hooks, ("ln_final.hook_out", lambda v, hook: final.append(v[0, -1]))]):
            x.model(x.tokens)
    logits = x.graph.indices(NodeType.LOGIT)
    found = effect_of_writing(x.model, x.tokens, x.graph, source, [])
    expected = x.graph.reading_vecs[logits] @ (final[1] - final[0])
    expect_close(found[logits], expected, "The changes of the logits", rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_the_targets_read(read_targets, traced, architecture):
    """A latent's reading is its own pre-activation, a logit's its own logit less the mean; the others read 0."""
    x = traced(architecture)
    found = read_targets(x.graph, x.run.reads)
    expected = torch.zeros_like(found)
    for i, node in enumerate(x.graph.nodes):
        if node.node_type is NodeType.LATENT:
            transcoder = x.transcoders[node.layer]
            x_in = x.cache[f"blocks.{node.layer}.mlp.hook_in"][0, node.ctx_idx]
            expected[i] = (x_in @ transcoder.W_enc + transcoder.b_enc)[node.feature]
        if node.node_type is NodeType.LOGIT:
            logits = x.freeze.logits[0, -1]
            expected[i] = logits[node.feature] - logits.mean()
    expect_close(found, expected.detach(), "The readings", rtol=1e-5, atol=1e-6)
    expect(not found.requires_grad, "The readings must be plain numbers, without gradients.")


def test_reading_leaves_the_graph_alone(read_targets, traced):
    """Read twice, the graph gives the same readings: its own tensors are left as they are."""
    x = traced("gemma3")
    first, second = (read_targets(x.graph, x.run.reads) for _ in range(2))
    expect_close(second, first, "The second reading")


def doubled(value: Tensor, hook) -> Tensor:
    return 2 * value


RUNS = {
    "the unchanged model": [],
    "no embeddings": [("blocks.0.hook_in", lambda value, hook: 0 * value)],
    "a doubled input of an MLP": [("blocks.1.mlp.hook_in", doubled)],
    "a doubled input of the logits": [("ln_final.hook_out", doubled)],
}


@pytest.mark.parametrize("run", RUNS)
def test_what_is_read_in_a_run(readings_with, traced, run):
    """Each node's reading is that of a run with the given hooks, what they change included."""
    x = traced("gemma3")
    with torch.no_grad(), hooked(x.model, RUNS[run]):
        _, cache = x.model.run_with_cache(x.tokens)
    expected = x.graph.reading_bias.clone()
    for i, node in enumerate(x.graph.nodes):
        if node.layer != "E":
            expected[i] += cache[READS[node.layer]][0, node.ctx_idx] @ x.graph.reading_vecs[i]
    found = readings_with(x.model, x.tokens, x.graph, list(RUNS[run]))
    expect_close(found, expected, f"The readings of {run}", rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3"])
def test_readings_without_sources(readings_with, traced, architecture):
    """With the hooks of a silent run the readings are what is missing between edges and values."""
    x = traced(architecture)
    found = readings_with(x.model, x.tokens, x.graph, x.freeze.fwd_hooks + x.tc_hooks.silent_hooks)
    expect_close(found, x.values - x.adjacency.sum(1), "The readings when no source writes", rtol=1e-5, atol=1e-6)
