"""Heads that are cut, and the part of an edge that goes through each head."""

from dataclasses import replace

import pytest
import torch

from solutions.chapter7_attention import activations, carry, row_of, run_again, with_heads_cut, writes_added
from utils.engine.graph import NodeType
from utils.engine.hooks import hooked
from utils.grading import expect_close, expect_equal


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_a_cut_head_keeps_its_output(cut_heads, opened, architecture):
    """What the heads hand over keeps its value, and with it all logits."""
    x = opened(architecture)
    with torch.no_grad():
        logits = x.model(x.tokens)
        with hooked(x.model, cut_heads([(0, 1), (2, 0), (2, 2)])):
            expect_close(x.model(x.tokens), logits, "The logits with three heads cut")


def gradient_of_z(x, hooks, layer: int) -> torch.Tensor:
    """The gradient of the last logit at each head's output, (head,), in the recorded run with these hooks."""
    seen = {}

    def begin(z, hook):
        seen["z"] = z.detach().requires_grad_()
        return seen["z"]

    run = run_again(x, [(f"blocks.{layer}.attn.hook_z", begin), *hooks])
    output = run.reads["L"]
    (gradient,) = torch.autograd.grad(output[0, -1].sum(), seen["z"], retain_graph=True, allow_unused=True)
    return torch.zeros(1) if gradient is None else gradient[0].pow(2).sum((0, 2))


def test_no_gradient_passes_a_cut_head(cut_heads, opened):
    """A gradient passes all heads but those that are cut, in their own layers."""
    x = opened("qwen3")
    for cut in ([(1, 2)], [(1, 0), (1, 3)], [(0, 1), (1, 1)], [(0, 3), (1, 2)], [(2, 0)]):
        found = [bool(value > 0) for value in gradient_of_z(x, cut_heads(cut), 1)]
        expected = [(1, head) not in cut for head in range(4)]
        expect_equal(found, expected, f"Whether a gradient passes the heads of layer 1 with {cut} cut")


@pytest.mark.parametrize("cut", [[(1, 2)], [(0, 1), (2, 0)], []], ids=["one head", "two heads", "no head"])
def test_edges_with_heads_cut(cut_heads, opened, cut):
    """Edges with heads cut are those of a model in which these heads write what they wrote, whatever comes in."""
    x = opened("gemma3")
    target = len(x.graph) - 1
    found = row_of(replace(x, run=run_again(x, cut_heads(cut))), target)
    kept = {layer: [head for place, head in cut if place == layer] for layer, _ in cut}
    clean = activations(x.model, x.tokens, x.linear, [f"blocks.{layer}.attn.hook_z" for layer in kept])

    def hold(layer, values):
        def put(z, hook):
            z = z.clone()
            z[:, :, kept[layer]] = values[:, :, kept[layer]]
            return z

        return f"blocks.{layer}.attn.hook_z", put

    held = [hold(layer, values) for layer, values in zip(kept, clean)]
    sources = list(range(0, target, 3))
    rows = [[], *([source] for source in sources)]
    hooks = [*x.linear, *held, *writes_added(x, rows, 1.0)]
    (read,) = activations(x.model, x.tokens.repeat(len(rows), 1), hooks, ["ln_final.hook_out"])
    values = read[:, -1] @ x.graph.reading_vecs[target]
    expect_close(found[sources], values[1:] - values[0], "The edges of the last logit", rtol=1e-6, atol=1e-8)


def edges_of(x) -> list[tuple[int, int]]:
    last, latents = len(x.graph) - 1, x.graph.indices(NodeType.LATENT)
    late = next(i for i in reversed(latents) if x.graph.nodes[i].layer == 2)
    return [(last, 3), (last, latents[2]), (late, 1)]


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_a_loading_is_the_edge_less_the_edge_without_the_head(head_loadings, opened, architecture):
    """Summed over queries and keys, a head's part is the edge less the same edge with that head cut."""
    x = opened(architecture)
    carried = carry(x, edges_of(x))
    for target, source in edges_of(x):
        found = head_loadings(carried, target, source)
        whole = row_of(x, target)[source]
        for layer, head in ((0, 1), (1, 2), (2, 0)):
            without = row_of(with_heads_cut(x, [(layer, head)]), target)[source]
            expect_close(
                found[layer, head].sum(), whole - without, f"The part through head {layer}.{head}", rtol=1e-6, atol=1e-9
            )


def test_a_head_moves_from_the_key_to_the_query(head_loadings, opened):
    """In the first layer all comes from the source's own position, and nothing comes from behind a query."""
    x = opened("qwen3")
    target, source = edges_of(x)[0]
    found = head_loadings(carry(x, [(target, source)]), target, source)
    others = [key for key in range(x.graph.seq_len) if key != x.graph.nodes[source].ctx_idx]
    expect_close(found[0, :, :, others], torch.zeros_like(found[0, :, :, others]), "Other keys in layer 0")
    ahead = found.triu(1)
    expect_close(ahead, torch.zeros_like(ahead), "Keys behind the query")


def test_loadings_by_hand(head_loadings):
    """The pattern, times what the target gains of what the source adds."""
    from solutions.chapter7_attention import Carried

    generator = torch.Generator().manual_seed(3)
    worth, values = torch.randn(2, 2, 5, 3, 4, generator=generator, dtype=torch.float64)
    patterns = torch.rand(2, 3, 5, 5, generator=generator, dtype=torch.float64).tril()
    found = head_loadings(Carried({7: worth}, {2: values}, patterns), 7, 2)
    by_hand = torch.zeros(2, 3, 5, 5, dtype=torch.float64)
    for layer in range(2):
        for head in range(3):
            for query in range(5):
                for key in range(5):
                    gain = worth[layer, query, head] @ values[layer, key, head]
                    by_hand[layer, head, query, key] = patterns[layer, head, query, key] * gain
    expect_close(found, by_hand, "The parts of the edge")
