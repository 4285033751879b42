"""The local replacement model is linear, and its values are the model's."""

import pytest
import torch

from tests.tiny import ARCHITECTURES, MORE_ARCHITECTURES, PROMPT, tiny_transcoders
from tests.tracing import state_of
from utils.engine.hooks import FINAL_HOOK, LAST_LOGITS, NO_LOGITS, check_transcoders, hooked

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.1}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hooks_leave_the_logits_alone(traced, architecture, dtype):
    x = traced(architecture, dtype=dtype)
    plain = x.model(x.tokens)
    with x.freeze:
        frozen = x.model(x.tokens)
        with x.tc_hooks:
            replaced = x.model(x.tokens)
    for logits in (frozen, replaced, x.freeze.logits):
        assert (logits - plain).abs().max() <= TOLERANCE[dtype] * plain.abs().max()
    assert torch.equal(x.freeze.logits, frozen)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_kept_is_what_the_frozen_model_computes(traced, architecture):
    """To the last bit, in one run: activations, patterns and scales."""
    x = traced(architecture)
    names = [*x.cache.keys(), *x.freeze.frozen_values]
    with torch.no_grad(), x.freeze:
        _, again = x.model.run_with_cache(x.tokens, names_filter=names.__contains__)
    assert len(names) > 6 * x.model.cfg.n_layers
    for name in names:
        assert torch.equal({**x.cache, **x.freeze.frozen_values}[name], again[name]), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_hook_is_found_by_each_of_its_names(tiny, architecture):
    model, _ = tiny(architecture)
    for name, point in model.hook_dict.items():
        with hooked(model, [(name, lambda value, hook: None)]):
            assert point.has_hooks(), name
        assert not point.has_hooks()
    with pytest.raises(ValueError, match="no hook 'blocks.0.nothing'"), hooked(model, [("blocks.0.nothing", print)]):
        pass


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *MORE_ARCHITECTURES))
def test_logits_that_nobody_needs_are_not_computed(tiny, architecture):
    """Up to the final norm the run is the same; the last position's logits are the model's."""
    model, _ = tiny(architecture)
    tokens, ends = model.to_tokens(PROMPT), []
    with torch.no_grad(), hooked(model, [(FINAL_HOOK, lambda value, hook: ends.append(value))]):
        logits = model(tokens)
        with hooked(model, [NO_LOGITS]):
            none = model(tokens)
        with hooked(model, [LAST_LOGITS]):
            last = model(tokens)
    assert none.shape == (1, 0, logits.shape[2])
    torch.testing.assert_close(last, logits[:, -1:])
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_is_frozen_like_a_single_prompt(traced, architecture):
    x = traced(architecture)
    with x.freeze:
        single = x.model(x.tokens)
        batch = x.model(x.tokens.expand(3, -1))
    torch.testing.assert_close(batch, single.expand(3, -1, -1))


def test_another_prompt_is_refused(traced):
    x = traced("gemma3")
    with pytest.raises(ValueError, match="prompt it was frozen at"), x.freeze:
        x.model(x.tokens[:, :-2])


@pytest.mark.parametrize("skip", [True, False])
def test_the_reconstruction_is_the_transcoders_own(traced, skip):
    x = traced("qwen3", skip=skip)
    for layer, transcoder in x.transcoders.items():
        mlp_in = x.cache[f"blocks.{layer}.mlp.hook_in"]
        torch.testing.assert_close(x.tc_hooks.transcoder_acts[layer], transcoder.encode(mlp_in).detach())
        torch.testing.assert_close(x.tc_hooks.transcoder_output[layer], transcoder(mlp_in).detach())


def test_hooks_of_others_survive(traced):
    x = traced("gpt2")
    before = state_of(x.model, x.transcoders)
    calls = []
    x.model.add_hook("blocks.0.hook_out", lambda value, hook: calls.append(1), is_permanent=True)
    x.model.add_hook("ln_final.hook_scale", lambda value, hook: calls.append(2))
    try:
        with_mine = state_of(x.model, x.transcoders)
        with x.freeze, x.tc_hooks:
            x.model(x.tokens)
        x.tc_hooks.install()
        x.tc_hooks.remove()
        assert state_of(x.model, x.transcoders) == with_mine
        assert sorted(calls) == [1, 2]
    finally:
        x.model.reset_hooks(including_permanent=True)
    assert state_of(x.model, x.transcoders) == before


def test_hooks_are_removed_when_the_run_fails(traced):
    x = traced("gemma3")
    before = state_of(x.model, x.transcoders)
    with pytest.raises(RuntimeError, match="midway"), x.freeze, x.tc_hooks:
        raise RuntimeError("midway")
    assert state_of(x.model, x.transcoders) == before


def test_an_unknown_hook_is_not_passed_over(traced):
    x = traced("gemma3")
    before = state_of(x.model, x.transcoders)
    calls = []
    hooks = [(name, lambda value, hook: calls.append(1)) for name in ("ln_final.hook_out", "blocks.0.hook_nowhere")]
    with pytest.raises(ValueError, match="no hook 'blocks.0.hook_nowhere'"), hooked(x.model, hooks):
        pass
    assert state_of(x.model, x.transcoders) == before and not calls


def refuse(model, transcoders, message):
    with pytest.raises(ValueError, match=message) as error:
        check_transcoders(model, transcoders)
    assert "\n" not in str(error.value)


def test_transcoders_that_do_not_fit_are_refused(tiny):
    model, good = tiny("gemma3")
    refuse(model, {0: good[0], 2: good[2]}, "no transcoder for layer 1")
    refuse(model, {}, "no transcoder for layer 0, 1, 2")
    refuse(model, good | {7: good[0]}, "4 layers, but the model has 3")
    refuse(model, good | {1: torch.nn.Linear(2, 2)}, "Layer 1 has a Linear")
    refuse(model, good | {1: good[2]}, "layer 1 was made for blocks.2")
    for field, value, message in [
        ("normalize_activations", "layer_norm", "normalises its input"),
        ("reshape_activations", "hook_z", "reshapes its input"),
        ("d_out", 7, "maps 24 to 7 dimensions"),
    ]:
        bad = tiny_transcoders(model)
        setattr(bad[1].cfg, field, value)
        refuse(model, bad, message)
