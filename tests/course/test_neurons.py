"""Graphs of neurons: exact on every architecture, and one backward pass says what the whole graph says."""

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import FreezeHooks
from solutions.chapter6_real_models import attribute_neurons, neuron_attributions, strongest_neurons
from tests.tiny import ARCHITECTURES, MORE_ARCHITECTURES, PROMPT
from tests.tracing import state_of
from utils.engine.graph import AttributionResult, NodeType
from utils.engine.hooks import hooked
from utils.engine.targets import contrast

ALL = (*ARCHITECTURES, *MORE_ARCHITECTURES)
D_MLP = 27
EVERY_NEURON = 10**6
CONTRAST = ("Austin", ["Paris", "France"])


@pytest.fixture(scope="module")
def model_of(tiny):
    return lambda architecture, **kinds: tiny(architecture, **kinds)[0]


def traced(model: TransformerBridge, **arguments) -> AttributionResult:
    arguments = {"target_tokens": contrast(model, *CONTRAST), "max_latent_nodes": 60} | arguments
    return attribute_neurons(model, PROMPT, **arguments)


@pytest.mark.parametrize("architecture", ALL)
def test_everything_adds_up(model_of, architecture):
    """Edges and bias are the value, whatever number of neurons is kept; there are no error nodes."""
    model = model_of(architecture)
    for n_nodes in (1, 60, EVERY_NEURON):
        result = traced(model, max_latent_nodes=n_nodes, n_output_nodes=2, target_tokens=None)
        assert result.scores["completeness_gap"] <= 1e-10
        assert not result.adjacency_matrix.triu().any()
        assert not result.graph.indices(NodeType.MLP_ERROR)
        assert result.scores["replacement"] == pytest.approx(1)


@pytest.mark.parametrize("architecture", ALL)
def test_values_are_the_models_own(model_of, architecture):
    """A neuron's value is its activation; a contrast's is the difference of logits before a cap."""
    model = model_of(architecture)
    result = traced(model, max_latent_nodes=EVERY_NEURON)
    names = {f"blocks.{layer}.mlp.out.hook_in": layer for layer in range(3)} | {"ln_final.hook_out": "L"}
    _, cache = model.run_with_cache(model.to_tokens(PROMPT), names_filter=names.__contains__)
    acts = {layer: cache[name][0] for name, layer in names.items()}
    for i in result.graph.indices(NodeType.LATENT):
        node = result.graph.nodes[i]
        act = float(acts[node.layer][node.ctx_idx, node.feature])
        assert float(result.values[i]) == pytest.approx(act, rel=1e-5, abs=1e-5)
        assert node.activation == pytest.approx(act, rel=1e-5, abs=1e-5)
    logits = (acts["L"][-1] @ model.W_U.detach())[[model.to_single_token(x) for x in ("Austin", "Paris", "France")]]
    assert float(result.values[-1]) == pytest.approx(float(logits[0] - logits[1:].mean()), rel=1e-5)
    if architecture != "gemma2":
        plain = model(model.to_tokens(PROMPT))[0, -1].detach()
        assert float(plain[model.to_single_token("Austin")]) == pytest.approx(float(logits[0]), rel=1e-5)


def half_rule(model: TransformerBridge, layer: int, before: dict, nodes: list, changes: dict):
    """Hooks that make one MLP linear, written afresh: activations at the prompt, plus half the change of each factor."""
    now = {}
    names = [f"blocks.{layer}.mlp.{part}.hook_out" for part in ("in", "gate")]
    names = [name for name in names if name in model.hook_dict]

    def note(value: Tensor, hook) -> None:
        now[hook.name] = value

    def replace(value: Tensor, hook) -> Tensor:
        acts = before[hook.name].clone()
        part = [before[name] for name in names]
        change = [now[name] - old for name, old in zip(names, part)]
        if len(names) == 1:  # phi(p) / p * (p - p0)
            linear = acts + acts / part[0] * change[0]
        else:  # s0 / 2 * (u0 (g - g0) + g0 (u - u0)), with s0 = phi(g0) / g0 = a0 / (u0 g0)
            s = acts / (part[0] * part[1])
            linear = acts + s / 2 * (part[0] * change[1] + part[1] * change[0])
        for position, neuron in nodes:
            linear[0, position, neuron] = acts[0, position, neuron]
        for (position, neuron), delta in changes.items():
            linear[0, position, neuron] = acts[0, position, neuron] * (1 + delta)
        return linear

    return [*((name, note) for name in names), (f"blocks.{layer}.mlp.out.hook_in", replace)]


def readings(model: TransformerBridge, result: AttributionResult, changed: int | None, delta: float) -> Tensor:
    """What every node reads in the linear model, with one node writing (1 + delta) times its vector: by intervention."""
    tokens, layers = model.to_tokens(PROMPT), range(model.cfg.n_layers)
    freeze = FreezeHooks(model)
    freeze.cache_frozen_values(tokens)
    names = {f"blocks.{i}.mlp.{part}" for i in layers for part in ("in.hook_out", "gate.hook_out", "out.hook_in")}
    with torch.no_grad(), freeze:
        _, before = model.run_with_cache(tokens, names_filter=names.__contains__)
    nodes = result.graph.nodes
    hooks = list(freeze.fwd_hooks)
    for layer in layers:
        here = {i: (nodes[i].ctx_idx, nodes[i].feature) for i in range(*result.graph.node_range_dict[layer])}
        changes = {here[changed]: delta} if changed in here else {}
        hooks += half_rule(model, layer, before, list(here.values()), changes)
    if changed is not None and nodes[changed].layer == "E":

        def push(value: Tensor, hook) -> Tensor:
            value = value.clone()
            value[0, nodes[changed].ctx_idx] *= 1 + delta
            return value

        hooks.append(("blocks.0.hook_in", push))
    places = {f"blocks.{layer}.mlp.hook_in": layer for layer in layers} | {"ln_final.hook_out": "L"}
    with torch.no_grad(), hooked(model, hooks):
        _, cache = model.run_with_cache(tokens, names_filter=places.__contains__)
    found = torch.zeros_like(result.values)
    for name, place in places.items():
        for i in range(*result.graph.node_range_dict[place]):
            found[i] = cache[name][0, nodes[i].ctx_idx] @ result.graph.reading_vecs[i]
    return found


@pytest.mark.parametrize("architecture", ALL)
def test_an_edge_is_what_an_intervention_does(model_of, architecture):
    """In the frozen model, a node that writes (1 + delta) times as much moves every reading by exactly delta times the edge."""
    model = model_of(architecture)
    result = traced(model, max_latent_nodes=90)
    n = len(result.graph)
    unchanged = readings(model, result, None, 0.0)
    torch.testing.assert_close(unchanged + result.graph.reading_bias, result.values, rtol=1e-6, atol=1e-6)
    sources = [0, 3, *range(9, n - 1, 11)]
    for source in sources:
        change = readings(model, result, source, 0.25) - unchanged
        # what the change does through other nodes is not part of an edge: they write what they wrote
        torch.testing.assert_close(change, 0.25 * result.adjacency_matrix[:, source], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("architecture", ALL)
def test_one_backward_pass_is_the_sum_over_the_graph_of_all_neurons(model_of, architecture):
    """Total attribution: all paths of the graph in which every neuron is a node, (1 - A')^-1 with relative edges."""
    model = model_of(architecture)
    found = neuron_attributions(model, PROMPT, target_tokens=contrast(model, *CONTRAST))
    result = traced(model, max_latent_nodes=EVERY_NEURON, start_posn=0)
    nodes, values = result.graph.nodes, result.values
    # a source's share of a target's reading moves on with the target's own activation
    relative = result.adjacency_matrix / torch.where(values == 0, 1, values)[:, None]
    total = torch.zeros_like(values)
    passing = result.adjacency_matrix[-1].clone()
    while passing.any():
        total = total + passing
        passing = passing @ relative
    for i in result.graph.indices(NodeType.LATENT):
        node = nodes[i]
        expected = float(found.neurons[0, node.layer, node.ctx_idx, node.feature])
        assert float(total[i]) == pytest.approx(expected, rel=1e-9, abs=1e-11)
    torch.testing.assert_close(total[: result.graph.seq_len], found.embeddings[0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("architecture", ALL)
def test_the_embeddings_and_the_bias_are_the_target(model_of, architecture):
    model = model_of(architecture)
    found = neuron_attributions(model, PROMPT, n_output_nodes=3)
    n, seq_len = 3, len(model.to_str_tokens(PROMPT))
    assert found.neurons.shape == (n, 3, seq_len, D_MLP) and found.embeddings.shape == (n, seq_len)
    torch.testing.assert_close(found.embeddings.sum(1) + found.bias, found.values, rtol=1e-11, atol=1e-12)
    assert found.str_tokens == model.to_str_tokens(PROMPT)
    last = attribute_neurons(model, PROMPT, max_latent_nodes=1, n_output_nodes=3)
    torch.testing.assert_close(found.values, last.values[-n:])


def test_the_strongest_neurons_become_nodes(model_of):
    """The strongest by attribution, none at a hidden position, whatever is hidden still counts in the sums."""
    model = model_of("gemma3")
    found = neuron_attributions(model, PROMPT, target_tokens={"Austin": 3, "Paris": 1})
    result = attribute_neurons(model, PROMPT, target_tokens={"Austin": 3, "Paris": 1}, max_latent_nodes=20)
    scores = (0.75 * found.neurons[0].abs() + 0.25 * found.neurons[1].abs())[:, 1:]
    best = {(int(i // (8 * D_MLP)), int(i // D_MLP % 8) + 1, int(i % D_MLP)) for i in scores.flatten().topk(20).indices}
    kept = [result.graph.nodes[i] for i in result.graph.indices(NodeType.LATENT)]
    assert {(node.layer, node.ctx_idx, node.feature) for node in kept} == best
    assert result.graph.start_posn == 1
    assert int(strongest_neurons(found, EVERY_NEURON).sum()) == int((found.neurons != 0).any(0).sum())


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2"])
def test_nothing_is_left_behind(model_of, architecture):
    model = model_of(architecture)
    before = state_of(model, {})
    traced(model)
    assert state_of(model, {}) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions(model_of, dtype):
    result = traced(model_of("llama", dtype=dtype))
    assert result.adjacency_matrix.dtype == torch.float32
    assert result.scores["completeness_gap"] <= 1e-4


def test_atlas(atlas):
    result = attribute_neurons(atlas.model, "The capital of the state containing Dallas is")
    assert result.scores["completeness_gap"] <= 1e-4
    assert len(result.graph.indices(NodeType.LATENT)) == 300
    assert result.dictionary_name == "neurons"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"top_k": 3}, ValueError, "max_latent_nodes instead of top_k"),
        ({"max_latent_nodes": 0}, ValueError, "max_latent_nodes must be at least 1"),
        ({"max_latent_nodes": 2.5}, TypeError, "max_latent_nodes must be a whole number"),
        ({"nonsense": 1}, TypeError, "nonsense"),
        ({"position": 99}, ValueError, "position must be between"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(model_of, arguments, kind, message):
    with pytest.raises(kind, match=message) as error:
        attribute_neurons(model_of("qwen3"), PROMPT, **arguments)
    assert "\n" not in str(error.value)


def test_only_one_row_of_logits_is_computed(model_of):
    """Three runs; the first one chooses the targets, and no other needs the unembedding."""
    model, shapes = model_of("gpt2"), []
    with hooked(model, [("unembed.hook_out", lambda logits, hook: shapes.append(logits.shape[1]))]):
        neuron_attributions(model, PROMPT, n_output_nodes=1)
    assert shapes == [1, 0, 0]


def test_a_model_without_such_neurons_is_refused(model_of, monkeypatch):
    model = model_of("qwen3")
    find = TransformerBridge.get_hook_point
    monkeypatch.setattr(
        TransformerBridge, "get_hook_point", lambda self, name: None if ".mlp.out." in name else find(self, name)
    )
    with pytest.raises(ValueError, match="layer 0 has no neurons"):
        attribute_neurons(model, PROMPT)
    with pytest.raises(TypeError, match="TransformerBridge"):
        attribute_neurons("atlas", PROMPT)
