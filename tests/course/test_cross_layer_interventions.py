"""Interventions through a cross-layer transcoder, in float64, against the edges and against hooks written plainly."""

from pathlib import Path

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute, read_targets
from solutions.chapter4_interventions import (
    Edit,
    Question,
    ablate_each,
    continue_text,
    dose_response,
    freeze_arguments,
    generate,
    intervene,
    necessity_curve,
    run_base,
    sufficiency_curve,
)
from solutions.chapter5_cross_layer_transcoders import (
    attribute_cross_layer,
    intervene_cross_layer,
    run_base_cross_layer,
    run_with_dictionary,
)
from tests.chapter5.shared import random_clt
from tests.tiny import D_MODEL, PROMPT
from utils.engine.graph import NodeInfo, NodeType

ARCHITECTURES = ("gemma3", "gpt2", "gemma3 with a skip")


@pytest.fixture(scope="module")
def made(tiny):
    """`made(architecture)`: model, cross-layer transcoder, tokens and the unchanged run, made once."""
    done = {}

    def make(architecture):
        if architecture not in done:
            model, _ = tiny(architecture.split()[0])
            clt = random_clt().double().requires_grad_(False)
            if "skip" in architecture:
                shape = (clt.n_layers, D_MODEL, D_MODEL)
                clt.W_skip = 0.2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
            tokens = model.to_tokens(PROMPT)
            done[architecture] = model, clt, tokens, run_base_cross_layer(model, clt, tokens)
        return done[architecture]

    return make


def plain(model, clt, tokens, changes, hooks=()):
    """Every MLP writes what it writes, plus for every edited latent of this or an earlier layer (new - live) * its decoder here."""
    live = {}

    def hooks_of(layer):
        def read(x, hook):
            pre = x @ clt.W_enc[layer] + clt.b_enc[layer]
            live[layer] = torch.where(pre > clt.threshold[layer], pre, 0)

        def write(y, hook):
            y = y.clone()
            for source, position, latent, new in changes:
                if source <= layer:
                    change = new - live[source][0, position, latent]
                    y[0, position] += change * clt.W_dec[source][layer - source, latent]
            return y

        return [(f"blocks.{layer}.mlp.hook_in", read), (f"blocks.{layer}.hook_mlp_out", write)]

    own = [hook for layer in range(clt.n_layers) for hook in hooks_of(layer)]
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=[*hooks, *own])


def active(base, layer, number=0):
    """Position and index of an active latent, and its activation."""
    position, latent = (base.acts[layer][0] > 0).nonzero()[number].tolist()
    return position, latent, float(base.acts[layer][0, position, latent])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_edits_the_model_is_itself(made, architecture):
    model, clt, _, base = made(architecture)
    for arguments in (
        {"freeze_attention": False},
        {"freeze_errors": True},
        {"constrained_layers": range(clt.n_layers)},
    ):
        outcome = intervene_cross_layer(model, clt, base, [], **arguments)
        torch.testing.assert_close(outcome.logits, base.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_with_all_held_a_reading_changes_by_the_edge(made, architecture):
    model, clt, _, base = made(architecture)
    result = attribute_cross_layer(model, clt, PROMPT, start_posn=0)
    nodes = result.graph.nodes
    for layer in range(clt.n_layers - 1):
        source = next(i for i in result.graph.indices(NodeType.LATENT) if nodes[i].layer == layer)
        edit = Edit(layer, nodes[source].ctx_idx, nodes[source].feature, -1.5, "scale")
        outcome = intervene_cross_layer(
            model, clt, base, [edit], **freeze_arguments("nothing (the edge)", clt.n_layers)
        )
        change = read_targets(result.graph, outcome.reads) - result.values
        expected = -2.5 * result.adjacency_matrix[:, source]
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(change, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_live_edits_are_those_of_plain_hooks(made, architecture):
    """Two edits in different layers: the second is set whatever the first has made of it, and both write on."""
    model, clt, tokens, base = made(architecture)
    first, second = active(base, 0), active(base, 1)
    changes = [(0, first[0], first[1], 3 * first[2]), (1, second[0], second[1], 0.0)]
    edits = [Edit(0, first[0], first[1], 3.0, "scale"), Edit(1, second[0], second[1], 0.0)]
    outcome = intervene_cross_layer(model, clt, base, edits, freeze_attention=False)
    expected = plain(model, clt, tokens, changes)
    assert (expected - base.logits).abs().max() > 1e-3
    torch.testing.assert_close(outcome.logits, expected, rtol=1e-6, atol=1e-8)
    assert float(outcome.acts[1][0, second[0], second[1]]) == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_edges_and_bias_add_up(made, architecture):
    model, clt, _, _ = made(architecture)
    result = attribute_cross_layer(model, clt, PROMPT, start_posn=0)
    assert result.scores["completeness_gap"] < 1e-10


def test_with_held_errors_a_skip_follows_its_input(made):
    """Each MLP writes what it wrote, plus what the changes of latents and of its own input make."""
    model, clt, tokens, base = made("gpt2 with a skip")  # its norms are computed in float64
    position, latent, act = active(base, 0)
    _, cache = model.run_with_cache(tokens)
    changes = {}

    def latents(layer, x):
        pre = x @ clt.W_enc[layer] + clt.b_enc[layer]
        return torch.where(pre > clt.threshold[layer], pre, 0)

    def hooks_of(layer):
        before = cache[f"blocks.{layer}.mlp.hook_in"]

        def read(x, hook):
            new = latents(layer, x)
            if layer == 0:
                new[0, position, latent] = 3 * act
            changes[layer] = x - before, new - latents(layer, before)

        def write(y, hook):
            own = changes[layer][0] @ clt.W_skip[layer].T
            written = sum(changes[source][1] @ clt.W_dec[source][layer - source] for source in range(layer + 1))
            return cache[f"blocks.{layer}.hook_mlp_out"] + own + written

        return [(f"blocks.{layer}.mlp.hook_in", read), (f"blocks.{layer}.hook_mlp_out", write)]

    with torch.no_grad():
        hooks = [hook for layer in range(clt.n_layers) for hook in hooks_of(layer)]
        expected = model.run_with_hooks(tokens, fwd_hooks=hooks)
    edits = [Edit(0, position, latent, 3.0, "scale")]
    outcome = intervene_cross_layer(model, clt, base, edits, freeze_attention=False, freeze_errors=True)
    assert (expected - base.logits).abs().max() > 1e-3
    torch.testing.assert_close(outcome.logits, expected, rtol=1e-6, atol=1e-8)


def test_a_skip_is_not_left_out_where_mlps_are_replaced(made):
    model, clt, tokens, _ = made("gemma3 with a skip")
    with pytest.raises(ValueError, match="has a skip: it can be traced"):
        run_with_dictionary(model, clt, tokens)
    with pytest.raises(ValueError, match="with a skip cannot be written"):
        clt.weights().save(Path("nowhere"))


def test_a_latent_of_the_first_layer_writes_into_the_last(made):
    """With all layers but the edited one left as they are, later layers' MLPs write its part as well."""
    model, clt, tokens, base = made("gemma3")
    position, latent, act = active(base, 0)
    own = clt.W_dec[0][0, latent].clone()
    whole = plain(model, clt, tokens, [(0, position, latent, 0.0)])
    clt.W_dec[0].data[0, latent] = 0  # what it writes into its own layer
    try:
        assert (plain(model, clt, tokens, [(0, position, latent, 0.0)]) - base.logits).abs().max() > 1e-4
    finally:
        clt.W_dec[0].data[0, latent] = own
    outcome = intervene_cross_layer(model, clt, base, [Edit(0, position, latent, 0.0)], freeze_attention=False)
    torch.testing.assert_close(outcome.logits, whole, rtol=1e-6, atol=1e-8)


QUESTION = {"answer": 9, "others": (4, 12)}
LATENT = NodeInfo(NodeType.LATENT, 0, 2, 5, activation=1.0)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, clt, tokens, base: run_base(model, clt, tokens),
        lambda model, clt, tokens, base: intervene(model, clt, base, [Edit(0, 2, 5, 0.0)]),
        lambda model, clt, tokens, base: ablate_each(model, clt, Question(tokens, **QUESTION), [LATENT]),
        lambda model, clt, tokens, base: dose_response(model, clt, Question(tokens, **QUESTION), [LATENT], [0.0, 2.0]),
        lambda model, clt, tokens, base: necessity_curve(model, clt, Question(tokens, **QUESTION), [LATENT], [0, 1]),
        lambda model, clt, tokens, base: sufficiency_curve(model, clt, Question(tokens, **QUESTION), [LATENT], [0, 1]),
        lambda model, clt, tokens, base: generate(model, clt, tokens, [Edit(0, 2, 5, 0.0)], 1),
        lambda model, clt, tokens, base: continue_text(model, clt, tokens, [Edit(0, 2, 5, 0.0)], 1),
    ],
    ids="run_base intervene ablate_each dose_response necessity sufficiency generate continue_text".split(),
)
def test_what_rewrites_mlps_one_by_one_refuses_it(made, use):
    """The cross-layer transcoder itself, and its layers as transcoders: one sentence that says what to call."""
    model, clt, tokens, base = made("gemma3")
    for error, given in ((TypeError, clt), (ValueError, clt.weights().transcoders())):
        with pytest.raises(error, match="use run_base_cross_layer and intervene_cross_layer of chapter 5") as raised:
            use(model, given, tokens, base)
        assert "\n" not in str(raised.value)


def test_chapter_3s_attribute_refuses_its_layers(made):
    model, clt, _, _ = made("gemma3")
    with pytest.raises(ValueError, match="use attribute_cross_layer of chapter 5"):
        attribute(model, clt.weights().transcoders(), PROMPT)


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (Edit(0, 99, 0, 1.0), ValueError, "position must be between 0 and"),
        (Edit(0, -1, 0, 1.0), ValueError, "position must be between 0 and"),
        (Edit(0, 0, 10_000, 1.0), ValueError, "latent must be between 0 and"),
        (Edit(0, 0, 0, 1.0, row=1), ValueError, "row must be between 0 and 0"),
        (Edit(17, 0, 0, 1.0), ValueError, "layer 17"),
        (Edit(0, 0.5, 0, 1.0), TypeError, "whole number"),
        (Edit(0, slice(50, 60), 0, 1.0), ValueError, "no positions"),
        (Edit(0, 0, 0, float("nan")), ValueError, "finite"),
        (Edit(0, 0, 0, float("inf"), "scale"), ValueError, "finite"),
    ],
)
def test_edits_are_checked(made, edit, error, words):
    model, clt, _, base = made("gemma3")
    with pytest.raises(error, match=words):
        intervene_cross_layer(model, clt, base, [edit])


def test_a_slice_is_all_its_positions(made):
    model, clt, _, base = made("gemma3")
    seq_len = base.tokens.shape[1]
    single = [Edit(1, position, 4, 2.0) for position in range(2, seq_len)]
    found, expected = (
        intervene_cross_layer(model, clt, base, edits).logits for edits in ([Edit(1, slice(2, None), 4, 2.0)], single)
    )
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="Two edits"):
        intervene_cross_layer(model, clt, base, [Edit(1, slice(2, None), 4, 2.0), Edit(1, 3, 4, 1.0)])
