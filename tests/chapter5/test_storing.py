"""The store: which tokens, at what scale, in which order, in how much memory."""

import pytest
import torch

from tests.tiny import D_MODEL
from utils.grading import expect, expect_close, expect_equal
from utils.latents.scan import Corpus

SHAPE = (3, 11, 4)


@pytest.fixture
def raw():
    """Inputs and outputs of 3 layers on 11 tokens, each layer with a scale and means of its own."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.tensor([0.5, 3.0, 20.0])[:, None, None]
    inputs = torch.randn(SHAPE, generator=generator) * sizes
    outputs = (torch.randn(SHAPE, generator=generator) + 3 * torch.tensor([1.0, -1.0, 0.5, 2.0])) * sizes.flip(0)
    return inputs, outputs


def stored(ActivationStore, raw, **arguments):
    """A store made of copies."""
    return ActivationStore(*(kept.clone() for kept in raw), **arguments)


def test_what_it_is_given_stays_as_it_is(ActivationStore, raw):
    """Neither the store nor `normalize` nor `denormalize` changes the tensors that it is given."""
    given = [kept.clone() for kept in raw]
    store = ActivationStore(*given)
    store.normalize(*given)
    for name, now, before in zip(("outputs", "inputs"), given[::-1], raw[::-1]):
        expect_close(now, before, f"The `{name}` that were given, afterwards")
    shown = torch.arange(24.0).view(3, 2, 4)
    store.denormalize(shown)
    expect_close(shown, torch.arange(24.0).view(3, 2, 4), "What was given to `denormalize`, afterwards")


def test_every_layer_counts_alike(ActivationStore, raw):
    """The scale of a layer's inputs is the root of their mean square."""
    store = stored(ActivationStore, raw)
    expected = torch.stack([(x * x).sum().div(11 * 4).sqrt() for x in raw[0]])
    expect_close(store.input_scale, expected, "input_scale", rtol=1e-5)
    normalized = store.normalize(*(kept.clone() for kept in raw))[0]
    wanted = torch.stack([x / s for x, s in zip(raw[0], expected)])
    expect_close(normalized, wanted, "The normalised inputs", rtol=1e-5, atol=1e-6)


def test_the_mean_alone_gets_a_loss_of_one(ActivationStore, raw):
    """The scale of a layer's outputs is that of their deviations from the mean, and the mean stays in them."""
    store = stored(ActivationStore, raw)
    spread = torch.stack([(y - y.mean(0)).square().mean().sqrt() for y in raw[1]])
    expect_close(store.output_scale, spread, "output_scale", rtol=1e-5)
    normalized = store.normalize(*(kept.clone() for kept in raw))[1]
    wanted = torch.stack([y / s for y, s in zip(raw[1], spread)])
    expect_close(normalized, wanted, "The normalised outputs", rtol=1e-5, atol=1e-6)


def test_denormalizing_brings_the_outputs_back(ActivationStore, raw):
    """A normalised reconstruction comes back at the model's own scale."""
    store, shown = stored(ActivationStore, raw), torch.arange(24.0).view(3, 2, 4)
    spread = torch.stack([(y - y.mean(0)).square().mean().sqrt() for y in raw[1]])
    expected = torch.stack([part * s for part, s in zip(shown, spread)])
    expect_close(store.denormalize(shown.clone()), expected, "What denormalize makes of it", rtol=1e-5)


def test_memory_is_stated_in_bytes(ActivationStore, raw):
    """The memory that the store takes, in bytes, for single and double precision."""
    expect_equal(stored(ActivationStore, raw).n_bytes, 2 * 3 * 11 * 4 * 4, "n_bytes in float32")
    doubles = (kept.double() for kept in raw)
    expect_equal(ActivationStore(*doubles).n_bytes, 2 * 3 * 11 * 4 * 8, "n_bytes in float64")


@pytest.fixture(scope="module")
def corpus(tiny):
    """Five sentences of different lengths, with a beginning-of-sequence token in front and padding behind."""
    tokens = torch.zeros(5, 8, dtype=torch.long)
    for row, length in enumerate((5, 8, 3, 7, 6)):
        tokens[row, :length] = torch.randint(3, 15, (length,), generator=torch.Generator().manual_seed(row))
    tokens[:, 0] = 1
    return Corpus([None] * 5, tokens, tokens > 1, tokens > 1)


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_the_tokens_of_the_sentences_are_stored(ActivationStore, tiny, corpus, architecture):
    """Stored is what every MLP reads after ln2 and adds to the residual stream, without <bos> and padding."""
    model = tiny(architecture)[0]
    store = ActivationStore.collect(model, corpus, batch_size=2)
    inputs, outputs = plain_activations(model, corpus)
    expect_equal(store.inputs.shape, (3, 24, D_MODEL), "The shape of the inputs")
    expect_close(store.inputs, inputs, "The inputs", rtol=1e-6, atol=1e-9)
    expect_close(store.outputs, outputs, "The outputs", rtol=1e-6, atol=1e-9)


@torch.no_grad()
def plain_activations(model, corpus):
    """Token by token, in the order of the corpus."""
    inputs, outputs = [], []
    for tokens, used in zip(corpus.tokens, corpus.used):
        _, cache = model.run_with_cache(tokens[None])
        for position in used.nonzero()[:, 0].tolist():
            inputs.append(torch.stack([cache[f"blocks.{layer}.mlp.hook_in"][0, position] for layer in range(3)]))
            outputs.append(torch.stack([cache[f"blocks.{layer}.hook_mlp_out"][0, position] for layer in range(3)]))
    return torch.stack(inputs, dim=1), torch.stack(outputs, dim=1)


def test_a_batch_is_a_piece_of_a_shuffled_epoch(ActivationStore, raw):
    """Batches go through a shuffled epoch, inputs and outputs of a token together, and then through another."""
    store = stored(ActivationStore, raw, seed=5)
    for step in (0, 1, 2, 4):
        epoch, place = divmod(step, 2)
        order = torch.randperm(11, generator=torch.Generator().manual_seed(5 + epoch)).tolist()
        index = order[4 * place : 4 * place + 4]
        inputs, outputs = store.batch(step, 4)
        wanted = [
            raw[0][:, index] / store.input_scale[:, None, None],
            raw[1][:, index] / store.output_scale[:, None, None],
        ]
        expect_close(inputs, wanted[0], f"The inputs of step {step}", rtol=1e-5, atol=1e-6)
        expect_close(outputs, wanted[1], f"The outputs of step {step}", rtol=1e-5, atol=1e-6)


def test_the_order_is_the_stores_own(ActivationStore, raw):
    """To draw a batch leaves PyTorch's own random numbers as they are."""
    store = stored(ActivationStore, raw)
    torch.manual_seed(123)
    store.batch(0, 4)
    found = torch.rand(3)
    torch.manual_seed(123)
    expect_close(found, torch.rand(3), "The next numbers of `torch.rand` after a batch was drawn")


def test_no_token_comes_twice_in_an_epoch(ActivationStore):
    """In an epoch every token comes once; in the next one again, in another order."""
    numbers = torch.arange(1.0, 13).repeat(2, 3, 1).transpose(1, 2)
    store = ActivationStore(numbers, numbers)
    scale = store.input_scale[0]
    epochs = [torch.cat([store.batch(3 * e + s, 4)[0][0, :, 0] * scale for s in range(3)]).round() for e in (0, 1)]
    for number, epoch in enumerate(epochs):
        expect_equal(sorted(epoch.tolist()), list(range(1, 13)), f"The tokens of epoch {number}, sorted")
    expect(bool((epochs[0] != epochs[1]).any()), "Each epoch has an order of its own.", got=epochs[1].tolist())
