"""The story tested in the real model: latents silenced, and latents exchanged between two prompts."""

import pytest
import torch
from torch import Tensor

from tests.tiny import ARCHITECTURES
from tests.tracing import Traced, kept, state_of
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.engine.hooks import hooked
from utils.grading import expect, expect_close, expect_equal

OTHER = "the opposite of small is big and France"
SHORT = 4  # tokens of a prompt on which all swaps are made: two runs for each layer and position


def logits_with(x: Traced, changes: dict[int, object], tokens: Tensor | None = None) -> Tensor:
    """The last logits of the real model when `changes[layer](x)` is added to what an MLP writes. Written apart from the solution."""
    seen, hooks = {}, []
    for layer, change in changes.items():

        def look(value, hook, layer=layer):
            seen[layer] = value

        def add(value, hook, layer=layer, change=change):
            return value + change(seen[layer])

        hooks += [(f"blocks.{layer}.mlp.hook_in", look), (f"blocks.{layer}.hook_mlp_out", add)]
    with torch.no_grad(), hooked(x.model, hooks):
        return x.model(x.tokens if tokens is None else tokens)[0, -1]


def active_at(x: Traced, layer: int, position: int) -> list[int]:
    """The active latents of a layer at a position, the strongest first."""
    acts = x.tc_hooks.transcoder_acts[layer][0, position]
    return [i for i in acts.argsort(descending=True).tolist() if acts[i] > 0]


def nodes_for(x: Traced, chosen: list[tuple[int, int, int]]) -> list[NodeInfo]:
    return [NodeInfo(NodeType.LATENT, layer, position, latent) for layer, position, latent in chosen]


@kept
def silenced(x: Traced, chosen: list[tuple[int, int, int]]) -> Tensor:
    """The truth: each latent's live activation is taken away."""

    def change_of(layer):
        def change(mlp_in):
            acts, total = x.transcoders[layer].encode(mlp_in), 0
            for _, position, latent in (entry for entry in chosen if entry[0] == layer):
                at = (torch.arange(mlp_in.shape[1]) == position)[None, :, None]
                total = total - at * acts[0, position, latent] * x.transcoders[layer].W_dec[latent]
            return total

        return change

    return logits_with(x, {layer: change_of(layer) for layer, _, _ in chosen})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_silent_latents_write_nothing(without_latents, traced, architecture):
    """One silent latent takes away what it writes at its position, and all that comes later answers."""
    x = traced(architecture)
    for layer, position in ((0, 2), (1, 5), (2, x.tokens.shape[1] - 1)):
        chosen = [(layer, position, active_at(x, layer, position)[0])]
        found = without_latents(x.tc_hooks, x.tokens, nodes_for(x, chosen))
        expect_close(found, silenced(x, chosen), f"The logits without latent {chosen[0]}", rtol=1e-6)


def test_several_latents_are_silent(without_latents, traced):
    """Latents of several layers are silent together; a later one does not write what it now would write."""
    x = traced("gemma3")
    last = x.tokens.shape[1] - 1  # the one position at which a latent of the last layer reaches the logits
    chosen = [(layer, last, latent) for layer in (0, 1, 2) for latent in active_at(x, layer, last)[:2]]
    chosen += [(1, 5, active_at(x, 1, 5)[0])]
    found = without_latents(x.tc_hooks, x.tokens, nodes_for(x, chosen))
    expect_close(found, silenced(x, chosen), "The logits without seven latents", rtol=1e-6)


def test_silence_leaves_no_trace(without_latents, traced):
    """With nothing silenced the logits are the model's own, and no hook stays behind."""
    x = traced("qwen3")
    before = state_of(x.model, x.transcoders)
    found = without_latents(x.tc_hooks, x.tokens, [])
    expect(before.hooks == state_of(x.model, x.transcoders).hooks, "No hook may stay behind on the model.")
    expect(not found.requires_grad, "The logits must be plain numbers, without gradients.")
    expect_close(found, x.model(x.tokens)[0, -1].detach(), "The logits with nothing silenced", rtol=1e-6)


@kept
def swapped(
    x: Traced,
    layer: int,
    position: int,
    latents: list[int],
    donor_tokens: Tensor,
    donor_position: int,
    tokens: Tensor | None = None,
) -> Tensor:
    """The truth: the donor's activations in place of the prompt's own, or of those of other `tokens`."""
    with torch.no_grad():
        _, cache = x.model.run_with_cache(donor_tokens)
        theirs = x.transcoders[layer].encode(cache[f"blocks.{layer}.mlp.hook_in"])[0, donor_position]

    def change(mlp_in):
        own = x.transcoders[layer].encode(mlp_in)[0, position]
        total = sum((theirs[i] - own[i]) * x.transcoders[layer].W_dec[i] for i in latents)
        return (torch.arange(mlp_in.shape[1]) == position)[None, :, None] * total

    return logits_with(x, {layer: change}, tokens)


def graph_of(*latents: tuple[int, int, float, float]) -> GraphNodes:
    """A graph of latents, each given by layer, position, length of its writing vector, and activation; position 0 is hidden."""
    nodes = [NodeInfo(NodeType.LATENT, layer, at, i, activation=act) for i, (layer, at, _, act) in enumerate(latents)]
    nodes.append(NodeInfo(NodeType.MLP_ERROR, 1, 2, 0))
    directions = torch.nn.functional.normalize(torch.randn(len(nodes), 5, dtype=torch.float64), dim=1)
    lengths = torch.tensor([length for _, _, length, _ in latents] + [4.0])
    return GraphNodes(nodes, directions * lengths[:, None], seq_len=4, n_layers=3, start_posn=1)


def test_a_control_writes_about_as_much(controls_for):
    """A control is the latent of the same layer, at any visible position, that comes nearest in the length of its writing vector."""
    graph = graph_of(
        (1, 1, 4.0, 9.0), (1, 2, 4.5, 1.0), (1, 1, 2.0, 8.9), (2, 1, 4.1, 9.1), (1, 3, 7.0, 9.0), (1, 0, 4.2, 9.0)
    )
    expect_equal(controls_for(graph, [0]), [1], "The control of a latent of length 4, among 4.5, 2 and 7 in its layer")
    expect_equal(controls_for(graph, [2]), [0], "The control of a latent of length 2, among 4, 4.5 and 7 in its layer")


def test_no_latent_is_silenced_twice(controls_for):
    """No chosen latent is a control, and no control comes twice: two chosen latents get two controls."""
    graph = graph_of(
        (1, 1, 4.0, 1.0), (1, 2, 4.1, 1.0), (1, 1, 5.0, 1.0), (1, 3, 9.0, 1.0), (0, 1, 4.0, 1.0), (0, 2, 1.0, 1.0)
    )
    expect_equal(
        controls_for(graph, [0, 1]), [2, 3], "The controls of latents of length 4 and 4.1, when 5 and 9 are left"
    )
    expect_equal(controls_for(graph, [1, 4]), [0, 5], "The controls of one latent in each of two layers")


def test_a_layer_may_have_too_few_controls(controls_for):
    """Where nothing is left in a layer, a chosen latent gets no control."""
    graph = graph_of((1, 1, 4.0, 1.0), (1, 2, 4.1, 1.0), (2, 1, 5.0, 1.0), (1, 3, 9.0, 1.0))
    expect_equal(controls_for(graph, [2]), [], "The controls of the only latent of its layer")
    expect_equal(controls_for(graph, [0, 1]), [3], "The controls of two latents, when one more is in their layer")


@pytest.mark.parametrize(("layer", "position", "donor_position"), [(0, 5, 3), (1, 6, 4), (2, 8, 2)])
def test_latents_do_what_they_do_elsewhere(swap_latents, traced, layer, position, donor_position):
    """The chosen latents of one place get the activations of another prompt, and no others."""
    x = traced("gemma3")
    donor_tokens = x.model.to_tokens(OTHER)
    with torch.no_grad():
        _, cache = x.model.run_with_cache(donor_tokens)
        theirs = x.transcoders[layer].encode(cache[f"blocks.{layer}.mlp.hook_in"])[0, donor_position]
    latents = [*active_at(x, layer, position)[:2], *theirs.topk(2).indices.tolist()]
    found = swap_latents(x.tc_hooks, x.tokens, layer, position, latents, donor_tokens, donor_position)
    expected = swapped(x, layer, position, sorted(set(latents)), donor_tokens, donor_position)
    assert not expected.allclose(logits_with(x, {})), "a swap that changes nothing tests nothing"
    expect_close(found, expected, f"The logits after a swap in layer {layer}", rtol=1e-6)


def test_a_swap_with_oneself_changes_nothing(swap_latents, traced):
    """A prompt that swaps with itself keeps its logits, and no hook stays behind."""
    x = traced("gpt2")
    before = state_of(x.model, x.transcoders)
    found = swap_latents(x.tc_hooks, x.tokens, 1, 5, range(x.transcoders[1].cfg.d_sae), x.tokens, 5)
    expect(before.hooks == state_of(x.model, x.transcoders).hooks, "No hook may stay behind on the model.")
    expect_close(found, x.model(x.tokens)[0, -1].detach(), "The logits after a swap with oneself", rtol=1e-6)


def other_prompt(x: Traced, n_tokens: int) -> Tensor:
    """A donor of other words, longer or shorter than the prompt."""
    words = torch.tensor([[i % 7 + 3 for i in range(n_tokens)]])
    return words.to(x.tokens)


def after_a_swap(x: Traced, layer: int, position: int, tokens: Tensor, donor: Tensor) -> Tensor:
    """The truth of one entry of a map: all latents of a place are exchanged."""
    latents = list(range(x.transcoders[layer].cfg.d_sae))
    return swapped(x, layer, position, latents, donor, position + donor.shape[1] - tokens.shape[1], tokens)


@pytest.mark.parametrize(("architecture", "n_tokens", "more"), [("gemma3", SHORT, 0), ("gpt2", 2, 1), ("qwen3", 3, -1)])
def test_a_map_of_swaps(swap_everywhere, traced, architecture, n_tokens, more):
    """Each entry is the score after one swap; positions are matched from the end, and those without a partner are nan."""
    x = traced(architecture)
    tokens, donor = x.tokens[:, :n_tokens], other_prompt(x, n_tokens + more)
    direction = torch.randn(x.model.cfg.d_vocab, dtype=torch.float64)
    found = swap_everywhere(x.tc_hooks, tokens, donor, lambda logits: logits.double() @ direction)
    expect_equal(tuple(found.shape), (len(x.transcoders), n_tokens), "The shape of the map")
    first = max(0, -more)
    expect_equal(
        found.isnan().tolist(), [[at < first for at in range(n_tokens)]] * len(x.transcoders), "Where it is nan"
    )
    for layer, position in ((0, first), (1, first + 1), (2, n_tokens - 1), (0, n_tokens - 2), (1, n_tokens - 1)):
        expected = after_a_swap(x, layer, position, tokens, donor) @ direction
        what = f"The score after a swap in layer {layer} at position {position}"
        expect_close(found[layer, position].double(), expected, what, rtol=1e-4, atol=1e-4)


def test_a_map_of_two_words(swap_everywhere, traced):
    """Where each prompt is one word, the map has one column: in each layer, the word takes the latents of the donor."""
    x = traced("gpt2")
    tokens, donor = x.tokens[:, 2:3], other_prompt(x, 1)
    found = swap_everywhere(x.tc_hooks, tokens, donor, lambda logits: logits[5])
    expected = torch.stack([after_a_swap(x, layer, 0, tokens, donor)[5] for layer in x.transcoders])
    expect_close(found, expected[:, None].to(found), "The scores of two prompts of one word", rtol=1e-4)


def test_a_map_of_a_prompt_with_itself(swap_everywhere, traced):
    """A prompt as its own donor changes no score, and no hook stays behind."""
    x = traced("qwen3")
    before = state_of(x.model, x.transcoders)
    tokens = x.tokens[:, :SHORT]
    found = swap_everywhere(x.tc_hooks, tokens, tokens, lambda logits: logits[5])
    expect(before.hooks == state_of(x.model, x.transcoders).hooks, "No hook may stay behind on the model.")
    unchanged = x.model(tokens)[0, -1, 5].detach().to(found)
    expect_close(found, unchanged.expand_as(found), "The scores", rtol=1e-4, atol=1e-5)
