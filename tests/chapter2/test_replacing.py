"""The model with transcoders in the place of its MLPs."""

import math

import pytest
import torch

from tests.chapter2.shared import random_tokens
from tests.tiny import ARCHITECTURES
from utils.engine.hooks import hooked, mlp_out_hook, reading_hook
from utils.grading import expect, expect_close


@torch.no_grad()
def slowly(model, transcoders, tokens, rebuild, start=()):
    """The logits, one layer at a time: later layers never see a live hook, only outputs that were computed before."""
    done = list(start)
    for layer in sorted(transcoders):
        with hooked(model, done):
            _, cache = model.run_with_cache(tokens, names_filter=reading_hook(layer))
        output = rebuild(transcoders[layer], cache[reading_hook(layer)], layer)
        done.append((mlp_out_hook(layer), lambda y, hook, output=output: output))
    with hooked(model, done):
        return model(tokens)


@torch.no_grad()
def run(model, hooks, tokens):
    with hooked(model, hooks):
        return model(tokens)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_mlp_is_replaced_on_live_inputs(transcoder_hooks, tiny, architecture):
    """Each transcoder reads the input that the earlier transcoders have changed."""
    model, transcoders = tiny(architecture)
    tokens = random_tokens(model, 2)
    expected = slowly(model, transcoders, tokens, lambda transcoder, x, layer: transcoder(x))
    expect_close(run(model, transcoder_hooks(transcoders), tokens), expected, "The logits", rtol=1e-5)


def test_without_the_skip(transcoder_hooks, tiny):
    """With `with_skip=False` only latents and bias are written."""
    model, transcoders = tiny("gemma3")
    tokens = random_tokens(model, 2)

    def rebuild(transcoder, x, layer):
        pre = x @ transcoder.W_enc + transcoder.b_enc
        return (pre * (pre > transcoder.threshold)) @ transcoder.W_dec + transcoder.b_dec

    expected = slowly(model, transcoders, tokens, rebuild)
    hooks = transcoder_hooks(transcoders, with_skip=False)
    expect_close(run(model, hooks, tokens), expected, "The logits without the skip", rtol=1e-5)


def test_with_errors_the_model_is_itself_again(transcoder_hooks, tiny):
    """With the errors added, the logits are the model's own."""
    model, transcoders = tiny("gemma3")
    tokens = random_tokens(model, 2)
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
        errors = {
            layer: cache[mlp_out_hook(layer)] - transcoder(cache[reading_hook(layer)])
            for layer, transcoder in transcoders.items()
        }
    given = {layer: error.clone() for layer, error in errors.items()}
    hooks = transcoder_hooks(transcoders, errors)
    expect_close(run(model, hooks, tokens), logits, "The logits with the errors", rtol=1e-5)
    for layer, error in errors.items():
        expect_close(error, given[layer], f"The errors of layer {layer} after the run, which must be left as they are")


def test_errors_without_the_skip(transcoder_hooks, tiny):
    """Errors are added to latents and bias, too, when the skip is left out."""
    model, transcoders = tiny("qwen3")
    tokens, generator = random_tokens(model, 2), torch.Generator().manual_seed(4)
    shape = (*tokens.shape, model.cfg.d_model)
    errors = {layer: torch.randn(shape, generator=generator, dtype=torch.float64) for layer in transcoders}

    def rebuild(transcoder, x, layer):
        return transcoder.decode(transcoder.encode(x)) + errors[layer]

    expected = slowly(model, transcoders, tokens, rebuild)
    hooks = transcoder_hooks(transcoders, errors, with_skip=False)
    expect_close(run(model, hooks, tokens), expected, "The logits with errors, without the skip", rtol=1e-5)


def test_gradients_pass_through_the_transcoders(transcoder_hooks, tiny):
    """The replaced model can be differentiated: gradients pass through the transcoders."""
    model, transcoders = tiny("gpt2")
    tokens, generator = random_tokens(model, 1), torch.Generator().manual_seed(4)
    direction = torch.randn(1, tokens.shape[1], model.cfg.d_model, generator=generator, dtype=torch.float64)
    weights = torch.randn(model.W_U.shape[1], generator=generator, dtype=torch.float64)

    def moved(step):
        return [("blocks.0.hook_in", lambda value, hook: value + step * direction)]

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    with hooked(model, moved(step) + transcoder_hooks(transcoders)):
        reading = model(tokens)[0, -1] @ weights
    (slope,) = torch.autograd.grad(reading, step)
    upper, lower = (
        slowly(model, transcoders, tokens, lambda transcoder, x, layer: transcoder(x), moved(size))[0, -1] @ weights
        for size in (1e-6, -1e-6)
    )
    expect_close(slope, (upper - lower) / 2e-6, "The slope of the logits along a change of the embeddings", rtol=1e-4)


def test_outputs_are_not_written_over(transcoder_hooks, tiny):
    """The MLP's own output is replaced by a new tensor, not written over."""
    model, transcoders = tiny("qwen3")
    seen = []

    def keep(y, hook):
        seen.append((y, y.clone()))

    keeping = [(mlp_out_hook(layer), keep) for layer in transcoders]
    run(model, keeping + transcoder_hooks(transcoders), random_tokens(model, 2))
    for layer, (output, before) in zip(sorted(transcoders), seen):
        expect_close(output, before, f"What the MLP of layer {layer} had put out")


def test_hooks_can_be_used_again(transcoder_hooks, tiny):
    """The same hooks serve one prompt after another."""
    model, transcoders = tiny("qwen3")
    hooks = transcoder_hooks(transcoders)
    run(model, hooks, random_tokens(model, 2, seed=8))
    tokens = random_tokens(model, 2, seed=9)
    expected = slowly(model, transcoders, tokens, lambda transcoder, x, layer: transcoder(x))
    expect_close(run(model, hooks, tokens), expected, "The logits of the second prompt", rtol=1e-5)


def test_other_layers_keep_their_mlp(transcoder_hooks, tiny):
    """A layer without a transcoder keeps its MLP."""
    model, transcoders = tiny("gemma3")
    some = {1: transcoders[1]}
    tokens = random_tokens(model, 2)
    expected = slowly(model, some, tokens, lambda transcoder, x, layer: transcoder(x))
    expect_close(run(model, transcoder_hooks(some), tokens), expected, "The logits with one MLP replaced", rtol=1e-5)


def test_on_a_trained_model(transcoder_hooks, chosen):
    """On a trained model, errors restore the logits, and without them the transcoders write live."""
    model, transcoders = chosen
    tokens = model.to_tokens("The capital of the state containing Dallas is")
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
        errors = {
            layer: cache[mlp_out_hook(layer)] - transcoder(cache[reading_hook(layer)])
            for layer, transcoder in transcoders.items()
        }
    restored = run(model, transcoder_hooks(transcoders, errors), tokens)
    expect_close(restored, logits, "The logits with the errors", rtol=1e-2, atol=1e-2 * logits.std().item())
    expected = slowly(model, transcoders, tokens, lambda transcoder, x, layer: transcoder(x))
    replaced = run(model, transcoder_hooks(transcoders), tokens)
    expect_close(replaced, expected, "The logits", rtol=1e-2, atol=1e-2 * logits.std().item())


def example():
    """Logits of two models on 3 rows of 5 tokens out of 7."""
    generator = torch.Generator().manual_seed(0)
    logits, replaced = 2 * torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 7, (3, 5), generator=generator)
    counted = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 1, 1], [0, 0, 1, 1, 0]], dtype=torch.bool)
    return logits, logits + 0.7 * replaced, tokens, counted


def predictions(counted):
    return [(r, p) for r in range(3) for p in range(4) if counted[r, p]]


def test_loss_of_the_changed_model(replacement_scores):
    """The loss is the changed model's, for the next token, where it counts."""
    logits, replaced, tokens, counted = example()
    losses = [-replaced[r, p].softmax(0)[tokens[r, p + 1]].log().item() for r, p in predictions(counted)]
    expect_close(replacement_scores(logits, replaced, tokens, counted)[0], sum(losses) / len(losses), "The loss")


def test_kl_from_the_original(replacement_scores):
    """The KL is that of the original's distribution to the changed model's."""
    logits, replaced, tokens, counted = example()
    kls = []
    for r, p in predictions(counted):
        original, changed = logits[r, p].softmax(0).tolist(), replaced[r, p].softmax(0).tolist()
        kls.append(sum(a * math.log(a / b) for a, b in zip(original, changed)))
    expect_close(replacement_scores(logits, replaced, tokens, counted)[1], sum(kls) / len(kls), "The KL")


def test_share_of_answers_kept(replacement_scores):
    """Kept is the share of predictions where both models say the same, right or wrong."""
    logits, replaced, tokens, counted = example()
    same = [int(logits[r, p].argmax()) == int(replaced[r, p].argmax()) for r, p in predictions(counted)]
    expect_close(replacement_scores(logits, replaced, tokens, counted)[2], sum(same) / len(same), "The share kept")


def test_what_does_not_count_changes_nothing(replacement_scores):
    """Logits at places that do not count change nothing."""
    logits, replaced, tokens, counted = example()
    before = replacement_scores(logits, replaced, tokens, counted)
    used = counted.clone()
    used[:, -1] = False
    other = torch.where(used[..., None], replaced, -3 * replaced)
    after = replacement_scores(logits, other, tokens, counted)
    for name, first, second in zip(("loss", "kl", "kept"), before, after):
        expect(abs(first - second) < 1e-9, f"Places that do not count must not change {name}.", got=second)
