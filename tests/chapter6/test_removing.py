"""Neurons are set in the real model, removed by rank, and ranked by a plain gradient."""

import pytest
import torch

from solutions.chapter4_interventions import contrast_of
from solutions.chapter6_real_models import alike_at_random, strongest_first, written_lengths
from tests.chapter6.shared import D_MLP, N_LAYERS, question_of
from tests.tiny import PROMPT
from tests.tracing import state_of
from utils.engine.hooks import hooked, norms_by_scale
from utils.engine.neurons import acts_hook
from utils.grading import expect_close, expect_equal

ARCHITECTURES = ("llama", "gpt2")
N_TOKENS = 9


def out_layer(model, layer):
    """The module that turns activations into what the MLP writes."""
    block = model.original_model
    path = (
        f"transformer.h.{layer}.mlp.c_proj" if hasattr(block, "transformer") else f"model.layers.{layer}.mlp.down_proj"
    )
    return block.get_submodule(path)


def set_by_torch(model, tokens, changes: dict[tuple[int, int, int], float]) -> torch.Tensor:
    """Logits with some activations set, by PyTorch's own hooks in front of `W_out`."""
    handles = []
    for layer in range(N_LAYERS):
        here = {place[1:]: value for place, value in changes.items() if place[0] == layer}

        def put(module, inputs, here=here):
            acts = inputs[0].clone()
            for (position, neuron), value in here.items():
                acts[0, position, neuron] = value
            return (acts, *inputs[1:])

        handles.append(out_layer(model, layer).register_forward_pre_hook(put))
    try:
        with torch.no_grad():
            return model(tokens)[0]
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_row_has_its_own_neurons(set_neurons, tiny, architecture):
    """Each row is a run of its own: the neurons under `where` have the given activations, everything else answers."""
    model, tokens = tiny(architecture)[0], tiny(architecture)[0].to_tokens(PROMPT)
    values = torch.randn(N_LAYERS, N_TOKENS, D_MLP, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rows = [[(0, 3, 7), (2, 8, 26), (0, 1, 0)], [], [(1, 5, 2), (1, 8, 2)]]
    where = torch.zeros(len(rows), N_LAYERS, N_TOKENS, D_MLP, dtype=torch.bool)
    for row, places in enumerate(rows):
        for place in places:
            where[row][place] = True
    expected = [set_by_torch(model, tokens, {place: float(values[place]) for place in places}) for places in rows]
    # single precision: the values may pass through it
    expect_close(set_neurons(model, tokens, where, values), torch.stack(expected), "The logits", rtol=1e-4, atol=1e-5)


def test_silenced_by_default(set_neurons, tiny):
    """Without values the neurons are silenced, and the model is left as it was."""
    model, _ = tiny("llama")
    tokens, before = model.to_tokens(PROMPT), state_of(model, {})
    where = torch.zeros(1, N_LAYERS, N_TOKENS, D_MLP, dtype=torch.bool)
    where[0, 1, 4:, 6] = True
    expected = set_by_torch(model, tokens, {(1, position, 6): 0.0 for position in range(4, N_TOKENS)})
    expect_close(set_neurons(model, tokens, where)[0], expected, "The logits", rtol=1e-9, atol=1e-9)
    expect_equal(state_of(model, {}) == before, True, "The model's hooks and modes are as before")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_first_k_together(removal_curve, tiny, architecture):
    """For each k the first k neurons of the ranking are silenced together, in any order of the sizes."""
    model = tiny(architecture)[0]
    question, shape = question_of(model), (N_LAYERS, N_TOKENS, D_MLP)
    ranked = torch.randperm(N_LAYERS * N_TOKENS * D_MLP, generator=torch.Generator().manual_seed(5))[:40]
    places = [tuple(int(i) for i in torch.unravel_index(place, shape)) for place in ranked]
    sizes = (0, 12, 3, 40, 1)
    left = [set_by_torch(model, question.tokens, dict.fromkeys(places[:size], 0.0)) for size in sizes]
    expected = contrast_of(torch.stack(left), question)
    expect_close(removal_curve(model, question, ranked, sizes, shape), expected, "The contrasts", rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gradient_is_the_limit_of_a_change(gradient_attributions, tiny, architecture):
    """A neuron's score is how fast the contrast of the untouched model grows when that neuron writes more."""
    model = tiny(architecture)[0]
    question = question_of(model)
    scores = gradient_attributions(model, question)
    expect_equal(tuple(scores.shape), (N_LAYERS, N_TOKENS, D_MLP), "The shape")
    places = [(0, 2, 5), (1, 7, 26), (2, 8, 0), (0, 0, 11), (1, 8, 8)]
    measured = [(grown(model, question, place, 0.02) - grown(model, question, place, -0.02)) / 0.04 for place in places]
    found = torch.stack([scores[place] for place in places])
    expect_close(found, torch.stack(measured), "The scores", rtol=1e-2, atol=1e-4)


def grown(model, question, place, share: float) -> torch.Tensor:
    """The contrast when one neuron writes (1 + share) times as much."""
    layer, position, neuron = place

    def more(acts, hook):
        acts = acts.clone()
        acts[0, position, neuron] *= 1 + share
        return acts

    with torch.no_grad(), hooked(model, [*norms_by_scale(model), (acts_hook(layer), more)]):
        return contrast_of(model(question.tokens), question)[0]


def test_controls_write_as_much(tiny):
    """Controls are other neurons at visible positions, and write vectors of about the same length."""
    model = tiny("llama")[0]
    lengths = written_lengths(model, model.to_tokens(PROMPT))
    ranked = strongest_first(torch.randn(lengths.shape, generator=torch.Generator().manual_seed(0)), 30)
    controls = alike_at_random(lengths, ranked, torch.Generator().manual_seed(1))
    positions = controls // D_MLP % N_TOKENS
    assert not set(controls.tolist()) & set(ranked.tolist()) and len(set(controls.tolist())) == 30
    assert int(positions.min()) >= 1 and int((ranked // D_MLP % N_TOKENS).min()) >= 1
    ratio = lengths.flatten()[controls] / lengths.flatten()[ranked]
    assert 0.8 < float(ratio.median()) < 1.25
    writes = model.blocks[1].mlp.W_out[3].norm()
    _, cache = model.run_with_cache(model.to_tokens(PROMPT), names_filter=acts_hook(1).__eq__)
    torch.testing.assert_close(lengths[1, 4, 3], cache[acts_hook(1)][0, 4, 3].abs() * writes)
