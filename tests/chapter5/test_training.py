"""Training: the recipe step by step, a break, and a small case whose answer is known."""

from dataclasses import replace

import pytest
import torch

from solutions import chapter5_cross_layer_transcoders as chapter5
from utils.grading import expect, expect_close, expect_equal

CONFIG = chapter5.TrainingConfig(
    width=11,
    steps=12,
    batch_size=3,
    learning_rate=1e-2,
    sparsity=0.5,
    sparsity_scale=2.5,
    dead_weight=0.5,
    dead_after=0,
    save_every=5,
)


@pytest.fixture(scope="module")
def store():
    """Two layers; eight sparse features of the first input are written by both MLPs."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(600, 6, generator=generator) for _ in range(2))
    read, write = torch.randn(6, 8, generator=generator), torch.randn(2, 8, 6, generator=generator)
    features = (first @ read - 3).relu()
    outputs = features @ write + torch.stack([0 * second, (second @ read - 3).relu() @ write[1]])
    return chapter5.ActivationStore(torch.stack([first, second]), outputs + 1)


def test_the_recipe_step_by_step(train_cross_layer_transcoder, store):
    """Twelve steps give just the weights that the recipe gives."""
    clt, history = train_cross_layer_transcoder(store, CONFIG)
    expected, rows = step_by_step(store, CONFIG)
    expect_equal(len(history), 12, "The number of rows in the history")
    # step by step, so that the first difference shows where the recipe was left
    for step, (row, wanted) in enumerate(zip(history, rows)):
        for key in ("step", "dead", "active", "sparsity", "reconstruction"):
            expect_close(row[key], wanted[key], f"{key!r} in the history's row of step {step}", 1e-3, 1e-4)
    for name, weight in expected.items():
        expect_close(dict(clt.named_parameters())[name], weight, f"{name} after 12 steps", rtol=2e-3, atol=2e-4)


def test_a_longer_training(train_cross_layer_transcoder, store):
    """Sixty steps, with the full learning rate in between and latents that have died, give just the weights of the recipe."""
    precise = chapter5.ActivationStore(store.inputs.double(), store.outputs.double())
    clt, history = train_cross_layer_transcoder(precise, LONG)
    expected, rows = step_by_step(precise, LONG)
    assert any(row["dead"] > 0 for row in rows), "Some latents must have died in this training."
    for step in (10, 35, 59):
        for key in ("dead", "active", "sparsity", "reconstruction"):
            expect_close(history[step][key], rows[step][key], f"{key!r} in the history's row of step {step}", 1e-5)
    for name, weight in expected.items():
        expect_close(dict(clt.named_parameters())[name], weight, f"{name} after 60 steps", rtol=1e-4, atol=1e-6)


LONG = replace(CONFIG, steps=60, batch_size=2, dead_weight=0.3, dead_after=2, save_every=100)


def test_the_history_holds_plain_numbers(train_cross_layer_transcoder, store):
    """The history holds plain numbers, no tensors: those would keep every step's graph in memory."""
    config = chapter5.TrainingConfig(width=5, steps=2, batch_size=16)
    _, history = train_cross_layer_transcoder(store, config)
    kinds = {key: "a tensor" if isinstance(value, torch.Tensor) else "a number" for key, value in history[-1].items()}
    expect_equal(kinds, dict.fromkeys(kinds, "a number"), "What the history's rows hold")


def test_gradients_may_be_off_outside(train_cross_layer_transcoder, store):
    """Training works where gradients are switched off, and its results need none."""
    config = chapter5.TrainingConfig(width=5, steps=3, batch_size=16, save_every=100)
    seen = []
    with torch.no_grad():
        clt, history = train_cross_layer_transcoder(store, config, watch=lambda rows: seen.append(len(rows)))
    start = chapter5.TrainingState.start(store, config).clt
    moved = (clt.W_enc - start.W_enc).abs().max().item()
    expect(moved > 1e-4, "The encoders must have been trained.", got=round(moved, 4))
    expect_equal(seen, [3], "How long the history was when `watch` was called")


def test_after_a_break_it_goes_on_where_it_stopped(train_cross_layer_transcoder, store, tmp_path):
    """A training that was stopped and resumed gives the same weights as one without a break."""

    class Stop(Exception):
        pass

    def stop(history):
        if len(history) == 5:
            raise Stop

    path = tmp_path / "kept" / "checkpoint.pt"
    with pytest.raises(Stop):
        train_cross_layer_transcoder(store, CONFIG, path, stop)
    clt, history = train_cross_layer_transcoder(store, CONFIG, path)
    expect_equal([row["step"] for row in history], list(range(12)), "The steps in the history")
    expected, _ = step_by_step(store, CONFIG)
    for name in ("W_enc", "W_dec.0", "log_threshold"):
        weight = dict(clt.named_parameters())[name]
        expect_close(weight, expected[name], f"{name} after a break", rtol=2e-3, atol=2e-4)


def step_by_step(store, config):
    """The recipe with Adam and the losses written out: the weights and the history."""
    clt = chapter5.TrainingState.start(store, config).clt
    weights = dict(clt.named_parameters())
    first, second = ({name: torch.zeros_like(p) for name, p in weights.items()} for _ in range(2))
    silent, rows = torch.zeros(2, config.width), []
    for step in range(config.steps):
        inputs, outputs = store.batch(step, config.batch_size)
        dead = silent > config.dead_after
        with torch.enable_grad():
            made, acts = clt(inputs)
            pre = torch.stack([x @ clt.W_enc[layer] + clt.b_enc[layer] for layer, x in enumerate(inputs)])
            norms = clt.decoder_norms()
            error = sum((made[layer] - outputs[layer]).square().mean() for layer in range(2))
            sparsity = (config.sparsity_scale * norms[:, None] * acts).tanh().sum() / config.batch_size
            lacking = (clt.log_threshold.exp()[:, None] - pre).clamp_min(0) * (norms * dead)[:, None]
            revival = lacking.sum() / config.batch_size
            weight = config.sparsity * step / config.steps
            loss = error + weight * sparsity + config.dead_weight * revival
            gradients = torch.autograd.grad(loss, list(weights.values()))
        rate = config.learning_rate * min(1, (step + 1) / 30, 3 * (1 - step / config.steps))
        with torch.no_grad():
            for (name, p), g in zip(weights.items(), gradients):
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.99 * second[name] + 0.01 * g * g
                mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.99 ** (step + 1))
                p -= rate * mean / (square.sqrt() + 1e-8)
        fired = (acts > 0).any(1)
        silent = torch.where(fired, 0.0, silent + 1)
        active = (acts > 0).sum().item() / config.batch_size
        numbers = {"reconstruction": error.item(), "sparsity": sparsity.item(), "active": active}
        rows.append({"step": float(step)} | numbers | {"dead": dead.float().mean().item()})
    return {name: p.detach() for name, p in weights.items()}, rows
