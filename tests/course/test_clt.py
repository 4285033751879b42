"""The cross-layer transcoder of the bundled model: training, storing, measuring, and the door to it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, run_with_dictionary
from utils.atlas.card import clt_lines
from utils.atlas.clt import CltConfig, clt_hooks, clt_quality, fit, refit_writes, train_clt
from utils.atlas.dictionaries import Activations
from utils.atlas.tokenizer import BOS_ID
from utils.engine.cross_layer import CrossLayerWeights
from utils.latents.labels import labels
from utils.latents.shipped import FILE as EXAMPLES
from utils.models import dictionary_name, load_clt
from utils.models.registry import ATLAS_FOLDER

SMALL = CltConfig(width=24, steps=300, batch_size=128, save_every=40, sparsity=0.01)
needs_clt = pytest.mark.skipif(
    not (ATLAS_FOLDER / "clt" / "cfg.json").is_file(),
    reason="the cross-layer transcoder is not here: utils/atlas/weights",
)


@pytest.fixture(scope="module")
def activations() -> Activations:
    """Two layers; sparse features of the first layer's input are written by both, and <bos> is huge."""
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(2000, 10, generator=generator) for _ in range(2)]
    read, write = torch.randn(10, 12, generator=generator), torch.randn(2, 12, 10, generator=generator)
    features = (x[0] @ read - 4).relu()
    y = [features @ write[0] + 3, features @ write[1] * 20 + (x[1] @ read - 4).relu() @ write[0]]
    tokens = torch.full((2000,), 7)
    tokens[::10] = BOS_ID
    for values in (*x, *y):
        values[::10] = 1e4
    return Activations(x, y, tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "clt"


@pytest.fixture(scope="module")
def weights(activations, folder):
    return train_clt(activations, SMALL, folder, seed=0)


def test_most_is_explained(weights, activations):
    for row in clt_quality(weights, activations):
        assert row["unexplained"] < 0.6 and 0 < row["active"] < 12


def test_quality_is_counted_right(weights, activations):
    used = activations.tokens != BOS_ID
    clt = CrossLayerTranscoder.from_weights(weights)
    y = torch.stack([y[used] for y in activations.y])
    with torch.no_grad():
        outputs, acts = clt(torch.stack([x[used] for x in activations.x]))
    for row in clt_quality(weights, activations):
        layer = row["layer"]
        left = (y[layer] - outputs[layer]).pow(2).sum() / (y[layer] - y[layer].mean(0)).pow(2).sum()
        assert row["unexplained"] == pytest.approx(left.item(), rel=1e-3)
        assert row["active"] == pytest.approx((acts[layer] > 0).sum().item() / int(used.sum()))
        assert row["dead"] == pytest.approx((acts[layer] == 0).all(0).float().mean().item())


def test_a_refit_explains_more_in_every_layer_and_leaves_alone_which_latents_fire(activations, tmp_path):
    weights = fit(activations, CltConfig(width=16, steps=60, batch_size=128), tmp_path / "a.pt", seed=0).export()
    before = clt_quality(weights, activations)
    refit_writes(weights, activations, 1e-3)
    for old, new in zip(before, clt_quality(weights, activations), strict=True):
        assert new["active"] == pytest.approx(old["active"], rel=1e-3) and new["unexplained"] < old["unexplained"]
    for rows in weights.W_dec:
        torch.testing.assert_close(rows.pow(2).sum((0, 2)), torch.ones(16), atol=1e-4, rtol=1e-4)


def test_a_stopped_training_goes_on_where_it_stopped(activations, tmp_path):
    config = CltConfig(width=8, steps=6, batch_size=32, save_every=3)
    whole = fit(activations, config, tmp_path / "a.pt", seed=1)
    kept = torch.load(tmp_path / "a.pt", weights_only=True)
    assert kept["step"] == 6
    fit(activations, CltConfig(width=8, steps=6, batch_size=32, save_every=4), tmp_path / "b.pt", seed=1)
    half = torch.load(tmp_path / "b.pt", weights_only=True)
    assert half["step"] == 4
    torch.save(half | {"config": kept["config"]}, tmp_path / "b.pt")
    again = fit(activations, config, tmp_path / "b.pt", seed=1)
    for name, weight in whole.state_dict().items():
        assert torch.allclose(again.state_dict()[name], weight, atol=1e-5), name
    with pytest.raises(ValueError, match="another training"):
        fit(activations, SMALL, tmp_path / "b.pt", seed=1)


def test_stored_in_half_precision(weights, folder):
    stored = load_file(folder / "clt_weights.safetensors")
    assert {x.dtype for x in stored.values()} == {torch.float16}
    assert not list(folder.parent.glob("*.part")) and not list(folder.parent.glob("*.pt"))
    lengths = torch.stack([rows.pow(2).sum((0, 2)).sqrt() for rows in weights.W_dec])
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-2)


def test_it_is_read_from_a_folder(weights, folder):
    again = load_clt(folder.parent)
    assert torch.equal(again.W_enc, weights.W_enc) and len(again.W_dec) == 2
    assert labels(folder.parent, "clt") == {}
    assert dictionary_name(folder.parent, "clt") == f"{folder.parent.name}/clt"


@pytest.mark.parametrize("damage", ["sizes", "weights", "missing"])
def test_a_damaged_folder_is_refused(weights, tmp_path, damage):
    weights.save(tmp_path / "clt")
    if damage == "sizes":
        (tmp_path / "clt" / "cfg.json").write_text(json.dumps({"n_layers": 2, "d_model": 10, "width": 25}))
    elif damage == "weights":
        (tmp_path / "clt" / "clt_weights.safetensors").write_bytes(b"no weights")
    else:
        (tmp_path / "clt" / "clt_weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError if damage == "missing" else ValueError, match="clt"):
        load_clt(tmp_path)


def test_models_without_one_say_so():
    with pytest.raises(ValueError, match="atlas"):
        load_clt("qwen3-0.6b")


def test_each_layer_as_a_transcoder_reads_the_same(weights, activations):
    for layer, transcoder in weights.transcoders().items():
        x = activations.x[layer][:50]
        assert torch.allclose(transcoder.encode(x), weights.encode(layer, x), atol=1e-4)
        assert torch.equal(transcoder.W_dec, weights.W_dec[layer].sum(0))


def test_the_hooks_are_those_of_chapter_5(tiny):
    model = tiny("gemma3")[0]
    torch.manual_seed(2)
    random = CrossLayerTranscoder(3, model.cfg.d_model, 31, threshold=0.5).double()
    weights = CrossLayerWeights(**vars(random.weights()))
    tokens = torch.randint(3, 15, (2, 6))
    with torch.no_grad(), model.hooks(fwd_hooks=clt_hooks(weights)):
        found = model(tokens)
    assert torch.allclose(found, run_with_dictionary(model, random, tokens))


@needs_clt
def test_the_bundled_one_is_good_and_small():
    size = sum(path.stat().st_size for path in (ATLAS_FOLDER / "clt").iterdir() if path.name != EXAMPLES)
    assert size <= 4_000_000
    found = json.loads((ATLAS_FOLDER.parent / "metrics.json").read_text(encoding="utf-8"))["clt"]
    assert max(row["unexplained"] for row in found["layers"]) < 0.2 and found["same_top_token"] > 0.8
    assert "512 latents" in clt_lines(found)[1]
    assert len(labels("atlas", "clt")) > 500
