"""The frozen model: what is held fixed, which way the gradient takes through an MLP, and the same as a forward pass."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.tiny import ARCHITECTURES, D_MODEL
from tests.tracing import Traced, state_of
from tests.tracing import linear_hooks as independent_linear_hooks
from utils.engine.hooks import FINAL_HOOK, hooked, mlp_out_hook, reading_hook
from utils.grading import expect, expect_close, expect_equal

NORMS = {
    "gemma3": ("ln1", "ln1_post", "ln2", "ln2_post", "attn.q_norm", "attn.k_norm"),
    "qwen3": ("ln1", "ln2", "attn.q_norm", "attn.k_norm"),
    "gpt2": ("ln1", "ln2"),
}


def names_to_freeze(architecture: str, n_layers: int) -> set[str]:
    scales = {f"blocks.{layer}.{norm}.hook_scale" for layer in range(n_layers) for norm in NORMS[architecture]}
    return scales | {f"blocks.{layer}.attn.hook_pattern" for layer in range(n_layers)} | {"ln_final.hook_scale"}


def values_at(x: Traced, names: set[str], tokens: Tensor, hooks: list = ()) -> dict[str, Tensor]:
    """What passes these hooks in a run."""
    seen = {}

    def look(value, hook):
        seen[hook.name] = value.detach()

    with torch.no_grad(), hooked(x.model, [*hooks, *((name, look) for name in sorted(names))]):
        x.model(tokens)
    return seen


def test_hooks_of_others_stay(FreezeHooks, traced):
    """Caching takes no hooks of others off the model."""
    x = traced("qwen3")
    calls, point = [], x.model.get_hook_point("blocks.1.hook_out")
    point.add_hook(lambda value, hook: calls.append(1), level=99)
    try:
        frozen_on(FreezeHooks, x)
        calls.clear()
        with torch.no_grad():
            x.model(x.tokens)
    finally:
        point.remove_hooks(level=99)
    expect_equal(len(calls), 1, "How often another's hook is called in the next run")


def frozen_on(FreezeHooks, x: Traced):
    freeze = FreezeHooks(x.model)
    freeze.cache_frozen_values(x.tokens)
    return freeze


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_patterns_and_scales_are_frozen(FreezeHooks, traced, architecture):
    """Every attention pattern and the scale of every norm is frozen, in every layer, and nothing else."""
    x = traced(architecture)
    freeze = frozen_on(FreezeHooks, x)
    kind = type(freeze.frozen_values).__name__
    expect(isinstance(freeze.frozen_values, dict), "`frozen_values` must be a dict.", kind)
    names = names_to_freeze(architecture, x.model.cfg.n_layers)
    expect_equal(set(freeze.frozen_values), names, "The hooks in `frozen_values`")


def test_values_are_those_of_the_unchanged_model(FreezeHooks, traced):
    """The frozen values and the logits are those of the unchanged model."""
    x = traced("gemma3")
    names = names_to_freeze("gemma3", x.model.cfg.n_layers)
    freeze = frozen_on(FreezeHooks, x)
    for name, value in values_at(x, names, x.tokens).items():
        expect(name in freeze.frozen_values, f"`{name}` is missing in `frozen_values`.")
        expect_close(freeze.frozen_values[name], value, f"The frozen value of {name}")
    expect_close(freeze.logits, x.model(x.tokens), "`logits`")


@pytest.mark.parametrize("copies", [1, 3])
def test_another_prompt_gets_the_frozen_values(FreezeHooks, traced, copies):
    """On other words the frozen model still has the old patterns and scales, also for a batch of several prompts."""
    x = traced("gemma3")
    names = names_to_freeze("gemma3", x.model.cfg.n_layers)
    before = values_at(x, names, x.tokens)
    other = x.tokens.flip(1).expand(copies, -1)
    after = values_at(x, names, other, frozen_on(FreezeHooks, x).fwd_hooks)
    for name in sorted(names):
        expected = before[name].expand(copies, *before[name].shape[1:])
        expect_close(after[name], expected, f"{name} in the frozen model")


def test_a_batch_repeats_the_prompts_in_order(FreezeHooks, traced):
    """If two prompts were frozen, a batch of six is these two, three times over."""
    freeze = FreezeHooks(traced("gemma3").model)
    values = torch.arange(30.0).reshape(2, 3, 5)
    freeze.frozen_values = {"a.hook_scale": values}
    found = freeze.freeze_hook(torch.zeros(6, 3, 5), hook=SimpleNamespace(name="a.hook_scale"))
    expect_close(found, torch.cat([values] * 3), "What `freeze_hook` returns")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_frozen_model_is_linear(FreezeHooks, traced, architecture):
    """Apart from the MLPs the frozen model is linear: effects of two changed embeddings add up."""
    x = replace(traced(architecture), freeze=frozen_on(FreezeHooks, traced(architecture)))
    torch.manual_seed(0)
    u, v = torch.randn(2, 1, x.tokens.shape[1], D_MODEL, dtype=torch.float64)

    def run(embedding):
        hooks = [*independent_linear_hooks(x), ("blocks.0.hook_in", lambda value, hook: embedding)]
        return values_at(x, {FINAL_HOOK}, x.tokens, hooks)[FINAL_HOOK]

    both, first, second, none = run(u + v), run(u), run(v), run(torch.zeros_like(u))
    expect(bool((first - none).abs().max() > 0.01), "A change of the embedding must reach the end of the frozen model.")
    expect_close(both - none, (first - none) + (second - none), "The effect of both changes together", rtol=1e-6)


def test_freezing_changes_no_output(FreezeHooks, traced_chosen, tolerance):
    """On the prompt itself the frozen model gives the logits of the unchanged one."""
    x = traced_chosen
    freeze = frozen_on(FreezeHooks, x)
    expect_equal(len(freeze.frozen_values), len(x.freeze.frozen_values), "The number of frozen values")
    with torch.no_grad(), freeze:
        logits = x.model(x.tokens)
    expect_close(logits[:, -1], x.model(x.tokens)[:, -1], "The logits of the frozen model", tolerance, 10 * tolerance)


def gradient(output: Tensor, source: Tensor, direction: Tensor) -> Tensor:
    """Zeros where no gradient arrives."""
    if not output.requires_grad:
        return torch.zeros_like(source)
    (grad,) = torch.autograd.grad(output, source, direction, allow_unused=True, retain_graph=True)
    return torch.zeros_like(source) if grad is None else grad


@pytest.mark.parametrize("skip", [True, False])
def test_the_linear_part_is_the_transcoders_own(TranscoderReplacementHooks, traced, skip):
    """`linear_part` is what the transcoder makes of its input besides latents: bias and skip, or the bias alone if it has no skip."""
    x = traced("gemma3", skip=skip)
    v = torch.randn(2, 5, D_MODEL, dtype=torch.float64)
    with torch.no_grad():
        # SAELens' own forward pass, less its latents
        expected = x.transcoders[1](v) - x.transcoders[1].encode(v) @ x.transcoders[1].W_dec
    tc_hooks = TranscoderReplacementHooks(x.model, x.transcoders, x.cache)
    expect_close(tc_hooks.linear_part(1, v), expected, "`linear_part`", atol=1e-12)


def some_mlp(TranscoderReplacementHooks, x: Traced) -> tuple[Tensor, Tensor, Tensor]:
    """Input and output of an MLP, both asking for gradients, and what `keep_value` makes of them."""
    mlp_in, mlp_out = torch.randn(2, 1, 5, D_MODEL, dtype=torch.float64)
    mlp_in.requires_grad_()
    mlp_out.requires_grad_()
    return mlp_in, mlp_out, TranscoderReplacementHooks(x.model, x.transcoders, x.cache).keep_value(1, mlp_in, mlp_out)


def test_the_value_is_the_mlps(TranscoderReplacementHooks, traced):
    """`keep_value` has the value of `mlp_out`."""
    _, mlp_out, found = some_mlp(TranscoderReplacementHooks, traced("gemma3"))
    expect_close(found, mlp_out, "The value of `keep_value`")


def test_the_gradient_is_the_skips(TranscoderReplacementHooks, traced):
    """`keep_value` has the gradient of the skip, and no gradient reaches `mlp_out`."""
    x = traced("gemma3")
    mlp_in, mlp_out, found = some_mlp(TranscoderReplacementHooks, x)
    direction = torch.randn(1, 5, D_MODEL, dtype=torch.float64)
    expected = direction @ x.transcoders[1].W_skip.detach()
    expect_close(gradient(found, mlp_in, direction), expected, "The gradient of `keep_value` by the MLP's input")
    expect_close(gradient(found, mlp_out, direction), torch.zeros_like(mlp_out), "The gradient by `mlp_out`")


def test_the_replacement_gets_the_live_input(TranscoderReplacementHooks, traced):
    """`layer_hooks` hands the live input of the running MLP to `replace`, run after run, and leaves the input as it is."""
    x = traced("qwen3")
    calls = []

    def record(layer, mlp_in, mlp_out):
        calls.append((layer, mlp_in, mlp_out))
        return 2 * mlp_out

    hooks = dict(TranscoderReplacementHooks(x.model, x.transcoders, x.cache).layer_hooks(1, record))
    expect_equal(set(hooks), {reading_hook(1), mlp_out_hook(1)}, "The names of the hooks")
    for _ in range(2):
        mlp_in, mlp_out = torch.randn(2, 1, 5, D_MODEL, dtype=torch.float64)
        mlp_in.requires_grad_()
        kept = hooks[reading_hook(1)](mlp_in, hook=SimpleNamespace(name=reading_hook(1)))
        expect(kept is None or torch.equal(kept, mlp_in), "The hook at the MLP's input must not change it.")
        found = hooks[mlp_out_hook(1)](mlp_out, hook=SimpleNamespace(name=mlp_out_hook(1)))
        layer, seen_in, seen_out = calls[-1] if calls else (None, None, None)
        expect_equal(layer, 1, "The layer that `replace` gets")
        expect_close(seen_in, mlp_in, "The input that `replace` gets")
        expect(seen_in.requires_grad, "The input that `replace` gets must still know how it was computed.")
        expect_close(seen_out, mlp_out, "The output that `replace` gets")
        expect_close(found, 2 * mlp_out, "What takes the place of the MLP's output")


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
@pytest.mark.parametrize("skip", [True, False])
def test_the_gradient_passes_the_mlp_through_the_skip(TranscoderReplacementHooks, traced, architecture, skip):
    """In the frozen model the gradient passes an MLP through the skip alone, and values stay as they are."""
    x = traced(architecture, skip=skip)
    tc_hooks = TranscoderReplacementHooks(x.model, x.transcoders, x.cache)
    seen = {}

    def start(embedding, hook):
        return embedding.detach().requires_grad_()

    def look(value, hook):
        seen[hook.name] = value

    names = reading_hook(1), mlp_out_hook(1)
    hooks = [("blocks.0.hook_in", start), *tc_hooks.fwd_hooks, *((name, look) for name in names)]
    with hooked(x.model, x.freeze.fwd_hooks + hooks):
        logits = x.model(x.tokens)
    mlp_in, mlp_out = (seen[x.model.hook_dict[name].name] for name in names)
    expect_close(logits, x.freeze.logits, "The logits with the hooks", rtol=1e-5)
    direction = torch.randn_like(mlp_out)
    W_skip = x.transcoders[1].W_skip.detach() if skip else torch.zeros(D_MODEL, D_MODEL, dtype=torch.float64)
    expect_close(gradient(mlp_out, mlp_in, direction), direction @ W_skip, "The gradient before the MLP", atol=1e-12)


def test_a_run_without_latents(silent_hooks, traced):
    """With no source writing, embeddings are 0, and every MLP's output is bias and skip of its input in this run."""
    x = traced("gemma3")
    names = {reading_hook(2), x.model.hook_dict[mlp_out_hook(2)].name, "blocks.0.hook_in"}
    seen = values_at(x, names, x.tokens, x.freeze.fwd_hooks + silent_hooks(x.tc_hooks))
    mlp_in, mlp_out = seen[reading_hook(2)], seen[x.model.hook_dict[mlp_out_hook(2)].name]
    expected = torch.einsum("oi,bpi->bpo", x.transcoders[2].W_skip, mlp_in) + x.transcoders[2].b_dec
    expect_close(seen["blocks.0.hook_in"], torch.zeros_like(mlp_in), "The embeddings in the silent run")
    expect_close(mlp_out, expected.detach(), "The output of an MLP in the silent run")


def test_reconstructions_of_the_model(TranscoderReplacementHooks, traced_chosen, tolerance):
    """On the model, the reconstructions are the transcoders' own, and the hooks leave the logits as they are."""
    x = traced_chosen
    tc_hooks = TranscoderReplacementHooks(x.model, x.transcoders, x.cache)
    mlp_in = x.cache[reading_hook(1)]
    with torch.no_grad():
        expected = x.transcoders[1](mlp_in)
        with x.freeze, tc_hooks:
            logits = x.model(x.tokens)
    with torch.no_grad():
        acts = x.transcoders[1].encode(mlp_in)
    expect_close(tc_hooks.transcoder_acts[1], acts, "The activations in layer 1", tolerance, 10 * tolerance)
    expect_close(tc_hooks.transcoder_output[1], expected, "The reconstruction in layer 1", tolerance, 10 * tolerance)
    expect_close(logits[:, -1], x.freeze.logits[:, -1], "The logits with the hooks", tolerance, 10 * tolerance)


def twice_the_stream(x: Traced) -> tuple[str, object]:
    """A hook that doubles the last residual stream."""
    return f"blocks.{x.model.cfg.n_layers - 1}.hook_out", lambda stream, hook: 2 * stream


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_frozen_gradient_adds_up(gradient_times_stream, traced, architecture):
    """With patterns and scales frozen, gradient times stream is what doubling the stream adds to the reading."""
    x = traced(architecture)
    vector = torch.randn(D_MODEL, dtype=torch.float64)
    once, twice = (
        values_at(x, {FINAL_HOOK}, x.tokens, [*x.freeze.fwd_hooks, *more])[FINAL_HOOK][0, -1] @ vector
        for more in ([], [twice_the_stream(x)])
    )
    found, reading = gradient_times_stream(x.model, x.tokens, vector, x.freeze.fwd_hooks)
    expect_close(found, float(twice - once), "Gradient times stream of the frozen model", rtol=1e-5)
    expect_close(reading, float(once), "The reading", rtol=1e-5)


def test_the_gradient_of_a_changed_model(gradient_times_stream, traced):
    """`hooks` may change values, too: then gradient, stream and reading are those of the changed model."""
    x = traced("qwen3")
    vector = torch.randn(D_MODEL, dtype=torch.float64)
    weaker = [*x.freeze.fwd_hooks, ("blocks.1.hook_mlp_out", lambda value, hook: 0.5 * value)]
    once, twice = (
        values_at(x, {FINAL_HOOK}, x.tokens, [*weaker, *more])[FINAL_HOOK][0, -1] @ vector
        for more in ([], [twice_the_stream(x)])
    )
    found, reading = gradient_times_stream(x.model, x.tokens, vector, weaker)
    expect_close(found, float(twice - once), "Gradient times stream of a model with a weaker MLP", rtol=1e-5)
    expect_close(reading, float(once), "The reading", rtol=1e-5)


def test_a_plain_gradient_finds_nothing(gradient_times_stream, traced):
    """Without frozen scales, gradient times stream is 0, and the reading is the model's own."""
    x = traced("gemma3")
    vector = torch.randn(D_MODEL, dtype=torch.float64)
    expected = values_at(x, {FINAL_HOOK}, x.tokens)[FINAL_HOOK][0, -1] @ vector
    with torch.no_grad():
        found, reading = gradient_times_stream(x.model, x.tokens, vector)
    expect_close(found, 0.0, "Gradient times stream of the model itself", atol=1e-4)
    expect_close(reading, float(expected), "The reading", rtol=1e-5)


def test_nothing_stays_on_the_model(gradient_times_stream, traced):
    """Hooks and gradient mode are as before."""
    x = traced("qwen3")
    before = state_of(x.model, x.transcoders)
    gradient_times_stream(x.model, x.tokens, torch.randn(D_MODEL, dtype=torch.float64))
    after = state_of(x.model, x.transcoders)
    expect(before.hooks == after.hooks, "No hook may stay behind on the model.")
    expect(before.grad_mode == after.grad_mode, "The gradient mode must be as it was before.")


def after_hooks(x: Traced, hooks: list, embedding: Tensor | None = None) -> dict[str, Tensor]:
    """What passes the readings' places in a run with these hooks, perhaps on another embedding."""
    names = {FINAL_HOOK} | {reading_hook(layer) for layer in x.transcoders}
    start = [] if embedding is None else [("blocks.0.hook_in", lambda value, hook: embedding)]
    return values_at(x, names, x.tokens, [*start, *hooks])


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_the_linear_model_on_other_embeddings(linear_hooks, traced, architecture):
    """On any embedding the linear model reads what the prompt's own values and the skips of the changes give."""
    x = traced(architecture)
    embedding = torch.randn(1, x.tokens.shape[1], D_MODEL, dtype=torch.float64)
    found = after_hooks(x, linear_hooks(x.freeze, x.tc_hooks), embedding)
    expected = after_hooks(x, independent_linear_hooks(x), embedding)
    for name in (FINAL_HOOK, *(reading_hook(layer) for layer in x.transcoders)):
        expect_close(found[name], expected[name], f"{name} in the linear model", rtol=1e-6)


def test_the_linear_model_on_the_prompt(linear_hooks, traced):
    """On the prompt itself the linear model is the model."""
    x = traced("qwen3")
    found = after_hooks(x, linear_hooks(x.freeze, x.tc_hooks))
    expect_close(found[FINAL_HOOK], x.cache[FINAL_HOOK], "The output of the final norm", rtol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_left_is_the_bias(silent_hooks, traced, architecture):
    """When no source writes, the targets read their values less all their edges."""
    x = traced(architecture)
    reads = after_hooks(x, x.freeze.fwd_hooks + silent_hooks(x.tc_hooks))
    for place, (start, end) in x.graph.node_range_dict.items():
        if place != "E":
            value = reads[FINAL_HOOK if place == "L" else reading_hook(place)][0]
            at = [node.ctx_idx for node in x.graph.nodes[start:end]]
            found = (value[at] * x.graph.reading_vecs[start:end]).sum(-1) + x.graph.reading_bias[start:end]
            expected = (x.values - x.adjacency.sum(1))[start:end]
            expect_close(found, expected, f"The biases at place {place!r}", rtol=1e-5, atol=1e-6)
