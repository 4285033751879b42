"""What a latent reads and writes: every claim from weights is checked by an intervention on a model."""

import pytest
import torch

from tests.chapter2.shared import random_tokens
from tests.tiny import ARCHITECTURES, D_MODEL
from utils.engine.hooks import FINAL_HOOK, hooked, mlp_out_hook, reading_hook, writing_hook
from utils.engine.mlp import is_centred, norm_weight
from utils.grading import expect, expect_close, expect_equal

SCALE = 1.7


def vectors(n: int, seed: int = 6) -> torch.Tensor:
    """Vectors of the residual stream that are not centred."""
    return torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 0.5


@torch.no_grad()
def seen(model, hooks, name, tokens):
    """What comes by at a hook while other hooks are at work."""
    found = []
    with hooked(model, [*hooks, (name, lambda value, hook: found.append(value.clone()))]):
        model(tokens)
    return found[0]


def put(name, value):
    return name, lambda old, hook: value.to(old).expand_as(old)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_deembedding_is_what_the_latent_reads(deembedding, tiny, architecture):
    """With nothing but a token's vector in the residual stream, the latents of the layer read just that."""
    model, transcoders = tiny(architecture)
    embedding, latents = vectors(19), [30, 2, 11]
    scores = deembedding(model, transcoders[2], 2, latents, embedding)
    tokens = torch.full((19, 1), 4)
    x = seen(model, [put("blocks.2.ln2.hook_in", embedding[:, None])], reading_hook(2), tokens)[:, 0]
    expected = x @ transcoders[2].W_enc[:, latents] + transcoders[2].b_enc[latents]
    expect_close(scores, expected.detach(), "The pre-activations", rtol=1e-5)


def test_deembedding_does_not_depend_on_length(deembedding, tiny):
    """A norm stands before the latents: a vector ten times as long excites them as much."""
    model, transcoders = tiny("gemma3")
    embedding = vectors(19)
    scores = deembedding(model, transcoders[1], 1, [7], embedding)
    longer = deembedding(model, transcoders[1], 1, [7], 10 * embedding)
    expect_close(longer, scores.detach(), "The pre-activations of vectors ten times as long", rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_extended_embedding_is_the_stream_after_layer_0(extended_embedding, tiny, architecture):
    """It is the residual stream after the first layer when that layer's attention is silenced."""
    model, _ = tiny(architecture)
    embedding = vectors(19)
    hooks = [put("blocks.0.hook_in", embedding[:, None]), put("blocks.0.hook_attn_out", torch.zeros(1))]
    expected = seen(model, hooks, writing_hook(0), torch.full((19, 1), 4))[:, 0]
    expect_close(extended_embedding(model, embedding), expected, "The extended embedding", rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pulled_vector_reads_the_same(pull_through_norm, tiny, architecture):
    """Before the norm the new vector reads what the old one reads after it."""
    model, _ = tiny(architecture)
    norm, read, r = model.blocks[1].ln2, vectors(3), vectors(5, seed=7)
    scale = torch.full((1, 5, 1), SCALE, dtype=torch.float64)
    with torch.no_grad(), hooked(model, [put("blocks.1.ln2.hook_scale", scale)]):
        expected = (norm(r[None]) - norm(torch.zeros_like(r[None])))[0] @ read.T
    pulled = pull_through_norm(read, norm_weight(norm, D_MODEL), SCALE, is_centred(norm))
    expect(pulled.shape == read.shape, "Each vector must give one vector of the same length.", got=tuple(pulled.shape))
    expect_close(r @ pulled.T, expected, "What is read before the norm", rtol=1e-4)


def test_a_norm_that_does_not_centre(pull_through_norm):
    """An RMSNorm takes no mean away."""
    weight = torch.arange(1.0, 6.0)
    pulled = pull_through_norm(torch.ones(1, 5), weight, 2.0)
    expect_close(pulled, weight[None] / 2, "A vector of ones, pulled through an RMSNorm")


def frozen_after(model, cache, first: int, last: int):
    """Hooks that hold what attention and MLPs write from layer `first` on, and what attention writes in `last`."""
    names = [f"blocks.{layer}.hook_attn_out" for layer in range(first, last + 1)]
    return [put(name, cache[name]) for name in names + [mlp_out_hook(layer) for layer in range(first, last)]]


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_pullback_is_the_effect_of_a_write(latent_pullback, tiny, architecture):
    """Adding a latent's decoder to the residual stream moves the later latent by just that much."""
    model, transcoders = tiny(architecture)
    tokens, latent = random_tokens(model, 1), 17
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    effects = latent_pullback(model, transcoders, 2, latent, SCALE)
    for source in (0, 1):
        for f in (3, 25):
            hooks = frozen_after(model, cache, source + 1, 2) + [put("blocks.2.ln2.hook_scale", torch.tensor(SCALE))]
            direction = transcoders[source].W_dec[f].detach()
            more = (writing_hook(source), lambda r, hook, d=direction: r + d)
            x = [seen(model, hooks + extra, reading_hook(2), tokens) for extra in ([], [more])]
            expected = ((x[1] - x[0])[0, -1] @ transcoders[2].W_enc[:, latent]).item()
            what = f"The effect of latent {f} of layer {source}"
            expect_close(effects[source][f], expected, what, rtol=1e-4)


def test_pullback_reaches_earlier_layers_only(latent_pullback, tiny):
    """Only the latents of earlier layers can feed a latent, each layer with all of its latents."""
    model, transcoders = tiny("gemma3")
    effects = latent_pullback(model, transcoders, 1, 5, SCALE)
    expect_equal(sorted(effects), [0], "The layers that can feed a latent of layer 1")
    expect(effects[0].shape == transcoders[0].b_enc.shape, "Each latent gets one number.", got=tuple(effects[0].shape))


HEADS = [("gemma3", 1), ("gemma3", 2), ("qwen3", 3), ("gpt2", 1)]


@pytest.mark.parametrize("architecture,head", HEADS, ids=[f"head {head} of {name}" for name, head in HEADS])
def test_head_pullback_is_what_the_head_moves(head_pullback, tiny, architecture, head):
    """Changing the residual stream where the head looks moves what is read by just that, times the attention."""
    model, _ = tiny(architecture)
    layer, tokens = 1, random_tokens(model, 1)
    post = 0.6 if hasattr(model.blocks[layer], "ln1_post") else None
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    held = [put(f"blocks.{layer}.ln1.hook_scale", torch.tensor(SCALE))]
    held += [put(name, cache[name]) for name in (f"blocks.{layer}.attn.hook_pattern",)]
    if post is not None:
        held.append(put(f"blocks.{layer}.ln1_post.hook_scale", torch.tensor(post)))

    def only_this_head(z, hook):
        others = torch.arange(z.shape[2]) != head
        return torch.where(others[:, None], cache[f"blocks.{layer}.attn.o.hook_in"], z)

    held.append((f"blocks.{layer}.attn.o.hook_in", only_this_head))
    looked_at, change, read = 2, vectors(1, seed=9)[0], vectors(3)

    def changed(r, hook):
        r = r.clone()
        r[:, looked_at] += change
        return r

    name = f"blocks.{layer}.hook_attn_out"
    before = seen(model, held, name, tokens)
    after = seen(model, [(f"blocks.{layer}.hook_in", changed), *held], name, tokens)
    pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0, head, -1, looked_at].item()
    expected = (after - before)[0, -1] @ read.T / pattern
    # models without a norm after the attention ignore its scale
    pulled = head_pullback(model, layer, head, read, SCALE, 0.6)
    expect_close(pulled @ change, expected, f"What head {head} moves, for an attention of 1,", rtol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lens_is_the_effect_on_the_logits(logit_lens, tiny, architecture):
    """Adding a latent's decoder to the last residual stream moves the logits by just that, up to a constant."""
    model, transcoders = tiny(architecture)
    tokens, latents = random_tokens(model, 1), [12, 33]
    lens = logit_lens(model, transcoders[1], latents, SCALE)
    held = [put("ln_final.hook_scale", torch.tensor(SCALE))]
    before = seen(model, held, FINAL_HOOK, tokens)[0, -1]
    rows = []
    for latent in latents:
        more = (writing_hook(model.cfg.n_layers - 1), lambda r, hook, f=latent: r + transcoders[1].W_dec[f].detach())
        change = (seen(model, [more, *held], FINAL_HOOK, tokens)[0, -1] - before) @ model.W_U.detach()
        rows.append(change - change.mean())
    expect_close(lens, torch.stack(rows), "What one unit of each latent adds to the logits", rtol=1e-4, atol=1e-5)
