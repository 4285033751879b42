"""The graph of a cross-layer transcoder: what writes where, edges, completeness, and interventions as their ground truth."""

import pytest
import torch

from solutions import chapter5_cross_layer_transcoders as chapter5
from solutions.chapter3_attribution_graphs import (
    completeness_gap,
    compute_bias,
    prepare_backward_batches,
    read_targets,
)
from tests.chapter5.shared import random_clt
from tests.tiny import D_MODEL
from utils.engine.graph import NodeType
from utils.engine.hooks import hooked
from utils.grading import expect, expect_close, expect_equal

CASES = [("gemma3", None), ("gpt2", None), ("gemma3", 2)]


def reading_of(sources, n_nodes: int, seq_len: int):
    """A dense table of what each node writes at each position."""
    table = torch.zeros(n_nodes, seq_len, D_MODEL, dtype=torch.float64)
    table.index_put_((sources.nodes, sources.positions), sources.vectors.double(), accumulate=True)
    return table


@pytest.mark.parametrize(("architecture", "top_k"), CASES)
def test_latents_write_into_all_layers_from_their_own_on(collect_sources, traced5, architecture, top_k):
    """Into each layer write the latents of all layers up to it, each its activation times its decoder into this layer."""
    x = traced5(architecture, top_k)
    sources = collect_sources(x.clt, x.graph, x.cache)
    latents = [(i, node) for i, node in enumerate(x.graph.nodes) if node.node_type is NodeType.LATENT]
    for target in range(3):
        n_writing = sum(node.layer <= target for _, node in latents)
        expect_equal(len(sources[target].nodes), n_writing + x.graph.seq_len, f"How many write into layer {target}")
        found = reading_of(sources[target], len(x.graph), x.graph.seq_len)
        expected = torch.zeros_like(found)
        for i, node in latents:
            if node.layer <= target:
                decoder = x.clt.W_dec[node.layer][target - node.layer][node.feature]
                expected[i, node.ctx_idx] = node.activation * decoder
        rows = [i for i, _ in latents]
        expect_close(found[rows], expected[rows], f"What latents write into layer {target}", rtol=1e-6, atol=1e-9)


def test_decoders_that_are_left_out_write_nothing(collect_sources, traced5):
    """With `cross_layer=False` only a layer's own latents write into it, whatever stands in the other decoders."""
    x, clt = traced5("gemma3", None), random_clt(cross_layer=False)
    sources = collect_sources(clt, x.graph, x.cache)
    for target in range(3):
        found = reading_of(sources[target], len(x.graph), x.graph.seq_len)
        expected = torch.zeros_like(found)
        latents = [(i, node) for i, node in enumerate(x.graph.nodes) if node.node_type is NodeType.LATENT]
        for i, node in latents:
            if node.layer == target:
                expected[i, node.ctx_idx] = node.activation * clt.W_dec[target][0][node.feature]
        rows = [i for i, _ in latents]
        expect_close(found[rows], expected[rows], f"What latents write into layer {target}", rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("architecture", "top_k"), CASES)
def test_errors_take_up_what_is_left(collect_sources, traced5, architecture, top_k):
    """Together with b_dec, what latents and errors write into a layer is just what its MLP adds; the errors come last."""
    x = traced5(architecture, top_k)
    sources = collect_sources(x.clt, x.graph, x.cache)
    for target in range(3):
        table = reading_of(sources[target], len(x.graph), x.graph.seq_len).sum(0) + x.clt.b_dec[target]
        y = x.cache[f"blocks.{target}.hook_mlp_out"][0]
        expect_close(table, y, f"All that is written into layer {target}", rtol=1e-6, atol=1e-9)
        last = sources[target].nodes[-x.graph.seq_len :].tolist()
        end = x.graph.node_range_dict[target][1]
        expect_equal(last, list(range(end - x.graph.seq_len, end)), f"The last sources of layer {target}")


def edges_of(compute_cross_layer_edges, x):
    sources, batches = chapter5.collect_sources(x.clt, x.graph, x.cache), prepare_backward_batches(x.graph, 7)
    with torch.no_grad():
        return compute_cross_layer_edges(x.graph, sources, batches, x.run)


@pytest.mark.parametrize(("architecture", "top_k"), CASES)
def test_edges_and_bias_add_up(compute_cross_layer_edges, traced5, architecture, top_k):
    """Completeness: a target's edges and its bias add up to its value."""
    x = traced5(architecture, top_k)
    adjacency = edges_of(compute_cross_layer_edges, x)
    bias = compute_bias(x.model, x.tokens, x.graph, x.freeze, x.tc_hooks)
    gap = completeness_gap(adjacency, bias, read_targets(x.graph, x.run.reads))
    expect_close(adjacency.sum(1) + bias, read_targets(x.graph, x.run.reads), "Edges and bias, added up", 1e-5, 1e-6)
    expect(float(gap.max()) < 1e-5, "The completeness gap must be below 1e-5.", got=round(float(gap.max()), 4))


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_an_edge_is_what_an_intervention_does(compute_cross_layer_edges, traced5, architecture):
    """In the frozen model, a latent that writes more *everywhere it writes* moves each target by just its edge."""
    x = traced5(architecture)
    adjacency = edges_of(compute_cross_layer_edges, x)
    nodes = x.graph.nodes
    for layer in (0, 1):
        chosen = [i for i, n in enumerate(nodes) if n.node_type is NodeType.LATENT and n.layer == layer][3]
        expected = change_of_readings(x, nodes[chosen])
        expect_close(adjacency[:, chosen], expected, f"The edges of a latent of layer {layer}", rtol=1e-5, atol=1e-7)


@torch.no_grad()
def change_of_readings(x, node):
    """How every target's reading changes when a latent's writes are added once more, at all layers it writes to."""
    reads = {}
    hooks = [*x.freeze.fwd_hooks, *x.tc_hooks.fwd_hooks]
    for layer in range(node.layer, 3):

        def add(residual, hook, layer=layer):
            residual = residual.clone()
            decoder = x.clt.W_dec[node.layer][layer - node.layer][node.feature]
            residual[0, node.ctx_idx] += node.activation * decoder
            return residual

        hooks.append((f"blocks.{layer}.hook_out", add))
    # an MLP must write what it wrote: a frozen model's latents and errors do not answer
    for layer in range(3):
        value = x.cache[f"blocks.{layer}.hook_mlp_out"]
        hooks.append((f"blocks.{layer}.hook_mlp_out", lambda y, hook, value=value: value))
    places = {f"blocks.{layer}.mlp.hook_in": layer for layer in range(3)} | {"ln_final.hook_out": "L"}

    def note(value, hook):
        reads[places[hook.name]] = value

    hooks += [(name, note) for name in places]
    with hooked(x.model, hooks):
        x.model(x.tokens)
    return read_targets(x.graph, reads) - read_targets(x.graph, x.run.reads)
