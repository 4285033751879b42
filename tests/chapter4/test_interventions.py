"""Interventions agree with the edges where all is frozen, and with plainly written hooks everywhere else."""

import pytest
import torch

from solutions.chapter3_attribution_graphs import read_targets
from solutions.chapter4_interventions import Edit, LayerEdits, LayerRun, freeze_arguments, run_base
from tests.chapter4.shared import (
    encode,
    expect_tensor_of_integers,
    freezing_hooks,
    once,
    plain_run,
    skip,
    tokens_of_two_lengths,
)
from tests.tiny import D_MODEL
from utils.grading import expect, expect_close, expect_equal

N_LAYERS = 3


def random_acts() -> dict[int, torch.Tensor]:
    """Two rows, five positions, seven latents."""
    generator = torch.Generator().manual_seed(3)
    return {layer: torch.rand(2, 5, 7, generator=generator, dtype=torch.float64) + 0.5 for layer in range(N_LAYERS)}


def test_values_multiples_and_sums_become_activations(resolve_edits):
    """Values, multiples and sums become new activations."""
    acts = random_acts()
    edits = [
        Edit(2, 4, 6, 3.5, "set", 1),
        Edit(0, 3, 1, -2.0, "scale", 1),
        Edit(2, 0, 2, 1.25, "add", 0),
        Edit(2, 1, 2, 3.0, "scale", 1),
    ]
    resolved = resolve_edits(edits, acts)
    expect_equal(set(resolved), {0, 2}, "The layers with edits")
    new = [3.5, acts[2][0, 0, 2] + 1.25, 3 * acts[2][1, 1, 2]]
    expect_close(
        resolved[2].values, torch.tensor(new, dtype=torch.float64), "The new activations in layer 2", rtol=1e-9
    )
    expect_close(resolved[0].values, -2 * acts[0][1, 3, 1][None], "The new activation in layer 0", rtol=1e-9)


def test_every_layer_has_its_own_edits(resolve_edits):
    """Every layer has its own edits, with their rows, positions and latents, in the order given."""
    edits = [Edit(1, 4, 6, 1.0, row=1), Edit(0, 3, 1, 2.0, row=0), Edit(1, 0, 5, 3.0, row=0)]
    resolved = resolve_edits(edits, random_acts())
    for layer, expected in {1: ([1, 0], [4, 0], [6, 5], [1.0, 3.0]), 0: ([0], [3], [1], [2.0])}.items():
        for name, wanted in zip(LayerEdits._fields, expected):
            found, what = getattr(resolved[layer], name), f"The {name} of layer {layer}"
            if name == "values":
                expect_close(found, torch.tensor(wanted, dtype=torch.float64), what, rtol=1e-9)
            else:
                expect_tensor_of_integers(found, what)
                expect_equal(found.tolist(), wanted, what)


def test_no_edits_give_nothing(resolve_edits):
    """Without edits there is nothing to do."""
    expect_equal(resolve_edits([], random_acts()), {}, "What no edits become")


def test_the_same_place_twice_is_refused(resolve_edits):
    """Two edits of one latent at one place are refused; in another row, position or layer they are not."""
    first = Edit(1, 2, 3, 1.0, row=1)
    others = [first._replace(row=0), first._replace(position=0), first._replace(latent=0), first._replace(layer=0)]
    values = resolve_edits([first, *others], random_acts())
    expect_equal(len(values[1].values), 4, "The number of edits of layer 1")
    with pytest.raises(ValueError):
        resolve_edits([first, *others, first._replace(value=5.0, kind="add")], random_acts())


def test_an_unknown_kind_is_refused(resolve_edits):
    """A kind that does not exist is refused."""
    with pytest.raises(ValueError):
        resolve_edits([Edit(0, 0, 0, 1.0, "multiply")], random_acts())


def mlp(tiny, with_skip: bool = True):
    """A transcoder, an MLP's input and output in this run, and the same MLP on the unchanged prompts."""
    _, transcoders = tiny("gemma3", skip=with_skip)
    generator = torch.Generator().manual_seed(5)
    x, y, x_before, y_before = (
        2 * torch.randn(2, 5, D_MODEL, generator=generator, dtype=torch.float64) for _ in range(4)
    )
    transcoder = transcoders[1]
    acts = encode(transcoder, x_before)
    wrote = acts @ transcoder.W_dec.detach() + transcoder.b_dec.detach() + skip(transcoder, x_before)
    return transcoder, x, y, LayerRun(x_before, acts, y_before - wrote), y_before


def some_edits(base: LayerRun) -> LayerEdits:
    """An active latent silenced, a silent one woken, in different rows."""
    on, off = (base.acts[1, 3] > 0).nonzero()[0, 0], (base.acts[0, 2] == 0).nonzero()[-1, 0]
    values = torch.tensor([0.0, 4.0], dtype=torch.float64)
    return LayerEdits(torch.tensor([1, 0]), torch.tensor([3, 2]), torch.stack([on, off]), values)


@pytest.mark.parametrize("with_skip", [True, False])
def test_without_edits_an_mlp_is_itself(rewrite_mlp, tiny, with_skip):
    """An MLP in which nothing is edited, held or frozen writes what it writes."""
    transcoder, x, y, base, _ = mlp(tiny, with_skip)
    written, acts = rewrite_mlp(transcoder, x, y, base)
    expect_close(written, y, "What the MLP writes", rtol=1e-9)
    expect_close(acts, encode(transcoder, x), "The activations", rtol=1e-9)


def test_an_edit_adds_the_change_times_the_decoder_row(rewrite_mlp, tiny):
    """An edit adds the change of the activation times the latent's row of `W_dec`, and nothing elsewhere."""
    transcoder, x, y, base, _ = mlp(tiny)
    edits = some_edits(base)
    written, acts = rewrite_mlp(transcoder, x, y, base, edits)
    live, expected = encode(transcoder, x), y.clone()
    for row, position, latent, value in zip(*edits):
        expected[row, position] += (value - live[row, position, latent]) * transcoder.W_dec[latent].detach()
        live[row, position, latent] = value
    expect_close(written, expected, "What the MLP writes", rtol=1e-9)
    expect_close(acts, live, "The activations it writes with", rtol=1e-9)


def test_a_held_mlp_answers_by_its_linear_part_alone(rewrite_mlp, tiny):
    """A held MLP answers to its input by the linear part alone, and to edits."""
    transcoder, x, y, base, y_before = mlp(tiny)
    linear_change = skip(transcoder, x - base.x)
    expect_close(
        rewrite_mlp(transcoder, x, y, base, None, held=True)[0],
        y_before + linear_change,
        "Held, without edits",
        rtol=1e-9,
    )
    edits = some_edits(base)
    expected, acts = y_before + linear_change, base.acts.clone()
    for row, position, latent, value in zip(*edits):
        change = value - acts[row, position, latent]
        expected[row, position] += change * transcoder.W_dec[latent].detach()
        acts[row, position, latent] = value
    written, found = rewrite_mlp(transcoder, x, y, base, edits, held=True)
    expect_close(written, expected, "Held, with edits", rtol=1e-9)
    expect_close(found, acts, "The activations of a held MLP", rtol=1e-9)


def test_frozen_errors_stay_while_latents_answer(rewrite_mlp, tiny):
    """A frozen error keeps its value of the unchanged prompts, while the latents answer."""
    transcoder, x, y, base, _ = mlp(tiny)
    live = encode(transcoder, x)
    expected = live @ transcoder.W_dec.detach() + transcoder.b_dec.detach() + skip(transcoder, x) + base.error
    written, acts = rewrite_mlp(transcoder, x, y, base, freeze_errors=True)
    expect_close(written, expected, "What the MLP writes", rtol=1e-9)
    expect_close(acts, live, "The activations", rtol=1e-9)


def test_edits_count_beside_frozen_errors(rewrite_mlp, tiny):
    """With a frozen error an edit still adds the change of the activation times the decoder row."""
    transcoder, x, y, base, _ = mlp(tiny)
    edits, live = some_edits(base), encode(transcoder, x)
    live[edits.rows, edits.positions, edits.latents] = edits.values
    expected = live @ transcoder.W_dec.detach() + transcoder.b_dec.detach() + skip(transcoder, x) + base.error
    written, acts = rewrite_mlp(transcoder, x, y, base, edits, freeze_errors=True)
    expect_close(written, expected, "What the MLP writes with edits and a frozen error", rtol=1e-9)
    expect_close(acts, live, "The activations", rtol=1e-9)


@pytest.mark.parametrize("held", [True, False])
def test_the_unchanged_run_is_left_alone(rewrite_mlp, tiny, held):
    """The tensors of the unchanged run are left as they are."""
    transcoder, x, y, base, _ = mlp(tiny)
    before = base.acts.clone()
    rewrite_mlp(transcoder, x, y, base, some_edits(base), held=held)
    expect_close(base.acts, before, "The activations of the unchanged run", rtol=1e-9)
    # without an edit too, what comes back is nobody else's
    _, found = rewrite_mlp(transcoder, x, y, base, held=held)
    found.zero_()
    expect_close(
        base.acts, before, "The activations of the unchanged run, when those returned are written into", rtol=1e-9
    )


FROZEN = [{}, {"freeze_attention": False}, {"freeze_norms": True}, {"freeze_attention": False, "freeze_norms": True}]


def changes_of(x, row: int = 0) -> tuple[list[Edit], list[tuple]]:
    """Two edits, and the same as changes for the plain implementation."""
    nodes = [x.result.graph.nodes[x.latent(0, 3)], x.result.graph.nodes[x.latent(1, 1)]]
    edits = [Edit(node.layer, node.ctx_idx, node.feature, 3.0, "scale", row) for node in nodes]
    return edits, [(row, node.layer, node.ctx_idx, node.feature, 3.0 * node.activation) for node in nodes]


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_with_all_frozen_and_held_a_reading_changes_by_the_edge(intervene, traced4, architecture):
    """With all frozen and held, every reading changes by exactly the edge."""
    x = traced4(architecture)
    graph = x.result.graph
    source = x.latent(0, 2)
    node = graph.nodes[source]
    edit = Edit(node.layer, node.ctx_idx, node.feature, -1.5, "scale")
    outcome = intervene(x.model, x.transcoders, x.base, [edit], **freeze_arguments("nothing (the edge)", N_LAYERS))
    change = read_targets(graph, outcome.reads) - x.result.values
    expect_close(change, -2.5 * x.result.adjacency_matrix[:, source], "The change of all readings", 1e-6, 1e-9)


@pytest.mark.parametrize("frozen", FROZEN, ids=["attention", "nothing", "both", "norms"])
def test_it_agrees_with_plain_hooks(intervene, traced4, frozen):
    """Logits agree with hooks written plainly, whatever of attention and norms is frozen."""
    x = traced4("gemma3")
    edits, changes = changes_of(x)
    endings = ["hook_pattern"] * frozen.get("freeze_attention", True) + ["hook_scale"] * frozen.get(
        "freeze_norms", False
    )

    def work():
        hooks = freezing_hooks(x.model, x.tokens, *endings) if endings else []
        return plain_run(x.model, x.transcoders, x.tokens, changes, hooks)

    expected, reads = once("frozen", *endings, work=work)
    outcome = intervene(x.model, x.transcoders, x.base, edits, **frozen)
    expect_close(outcome.logits, expected, "The logits", rtol=1e-5)
    expect_close(outcome.reads["L"], reads["L"], "What the logits read", rtol=1e-5)


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_it_agrees_with_plain_hooks_on_other_architectures(intervene, traced4, architecture):
    """Logits agree with hooks written plainly on other architectures too."""
    x = traced4(architecture, skip=architecture == "qwen3")
    edits, changes = changes_of(x)
    expected, _ = once("live", architecture, work=lambda: plain_run(x.model, x.transcoders, x.tokens, changes))
    outcome = intervene(x.model, x.transcoders, x.base, edits, freeze_attention=False)
    expect_close(outcome.logits, expected, "The logits", rtol=1e-5)


def test_only_constrained_layers_are_held(intervene, traced4):
    """Only the constrained layers are held; the others answer."""
    x = traced4("gemma3")
    edits, changes = changes_of(x)
    held = x.base.layer(1)
    transcoder = x.transcoders[1]
    y_before = held.error + held.acts @ transcoder.W_dec.detach() + transcoder.b_dec.detach() + skip(transcoder, held.x)
    # the plain implementation adds (new - live activation); a held latent starts from its old one
    row, layer, position, latent, value = changes[1]
    write = (value - held.acts[0, position, latent]) * transcoder.W_dec[latent].detach()

    def hold(live_x, y):
        y = y_before + skip(transcoder, live_x - held.x)
        y[0, position] += write
        return y

    rewrite = {1: hold}
    expected, _ = once("held", work=lambda: plain_run(x.model, x.transcoders, x.tokens, changes[:1], rewrite=rewrite))
    outcome = intervene(x.model, x.transcoders, x.base, edits, freeze_attention=False, constrained_layers=[1])
    expect_close(outcome.logits, expected, "The logits with layer 1 held", rtol=1e-5)


def test_errors_can_be_frozen(intervene, traced4):
    """With frozen errors every MLP is its transcoder plus the old error."""
    x = traced4("gemma3")
    edits, changes = changes_of(x)

    def transcoded(layer):
        transcoder = x.transcoders[layer]
        constant = transcoder.b_dec.detach() + x.base.errors[layer]
        return lambda live, y: encode(transcoder, live) @ transcoder.W_dec.detach() + skip(transcoder, live) + constant

    rewrite = {layer: transcoded(layer) for layer in x.transcoders}
    expected, _ = once("errors", work=lambda: plain_run(x.model, x.transcoders, x.tokens, changes, rewrite=rewrite))
    outcome = intervene(x.model, x.transcoders, x.base, edits, freeze_attention=False, freeze_errors=True)
    expect_close(outcome.logits, expected, "The logits with frozen errors", rtol=1e-5)


def test_activations_are_those_after_the_edit(intervene, traced4):
    """It returns all latents' new activations: edited ones as set, later ones as they answer."""
    x = traced4("gemma3")
    edits, changes = changes_of(x)
    _, reads = once("live", "gemma3", work=lambda: plain_run(x.model, x.transcoders, x.tokens, changes))
    outcome = intervene(x.model, x.transcoders, x.base, edits, freeze_attention=False)
    for layer in range(N_LAYERS):
        expected = encode(x.transcoders[layer], reads[layer])
        for row, where, position, latent, value in changes:
            if where == layer:
                expected[row, position, latent] = value
        expect_close(outcome.acts[layer], expected, f"The activations of layer {layer}", rtol=1e-5)


def test_rows_of_a_batch_are_apart(intervene, traced4):
    """In a batch of prompts of different lengths each row has its own edits, as if it ran alone."""
    x = traced4("gemma3")
    tokens, last = tokens_of_two_lengths(x.model)
    base = once("batch", work=lambda: run_base(x.model, x.transcoders, tokens))
    edits = [Edit(0, 2, latent, 2.0, row=row) for row, latent in ((1, 5), (1, 6), (2, 7))]
    outcome = intervene(x.model, x.transcoders, base, edits)
    for row, end in enumerate(last):
        alone = tokens[row : row + 1, : end + 1]
        changes = [(0, edit.layer, edit.position, edit.latent, edit.value) for edit in edits if edit.row == row]

        def work(alone=alone, changes=changes):
            hooks = freezing_hooks(x.model, alone, "hook_pattern")
            return plain_run(x.model, x.transcoders, alone, changes, hooks)

        expected, _ = once("row", row, work=work)
        expect_close(
            outcome.logits[row, end], expected[0, end], f"The logits of row {row} at its last token", rtol=1e-5
        )


def count_hooks(model) -> int:
    """The number of forward hooks on a model."""
    points = {id(point): point for point in model.hook_dict.values()}.values()
    return sum(len(point._forward_hooks) for point in points)


def test_nothing_is_left_behind(intervene, traced4):
    """Hooks are as before, those of others too, and no gradient is asked for."""
    x = traced4("gemma3")
    edits, _ = changes_of(x)
    x.model.add_hook("blocks.0.hook_out", lambda value, hook: None)
    try:
        before = count_hooks(x.model)
        outcome = intervene(x.model, x.transcoders, x.base, edits)
        expect_equal(count_hooks(x.model), before, "The number of hooks on the model afterwards, one of them another's")
    finally:
        x.model.reset_hooks()
    expect(not outcome.logits.requires_grad, "The logits must not ask for a gradient.")


def test_hooks_are_taken_off_when_the_run_fails(intervene, traced4):
    """Hooks are as before also when the run fails half-way."""
    x = traced4("gemma3")
    edits, _ = changes_of(x)
    before = count_hooks(x.model)
    try:
        with pytest.raises(AttributeError):
            intervene(x.model, x.transcoders | {N_LAYERS - 1: None}, x.base, edits)
        expect_equal(count_hooks(x.model), before, "The number of hooks on the model after a run that failed")
    finally:
        x.model.reset_hooks()


def test_the_bundled_model_agrees_too(intervene, atlas):
    """On the bundled model logits agree with hooks written plainly."""
    model, transcoders = atlas
    tokens = model.to_tokens("The capital of the state containing Dallas is")
    base = once("atlas base", work=lambda: run_base(model, transcoders, tokens))
    active = {layer: int(acts[0, -2].argmax()) for layer, acts in base.acts.items()}
    position = tokens.shape[1] - 2
    changes = [(0, layer, position, active[layer], 2.0) for layer in (1, 3)]
    edits = [Edit(layer, position, active[layer], 2.0) for layer in (1, 3)]
    expected, _ = once("atlas", work=lambda: plain_run(model, transcoders, tokens, changes))
    outcome = intervene(model, transcoders, base, edits, freeze_attention=False)
    expect_close(outcome.logits, expected, "The logits", rtol=1e-3, atol=1e-3)
