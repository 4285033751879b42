"""SAEs on the residual stream: training, storing, measuring, and the door to them."""

import pytest
import torch
from sae_lens import SAE

from utils.atlas.saes import Residuals, SaeConfig, collect_residuals, sae_quality, save_sae, train_saes
from utils.atlas.tokenizer import BOS_ID, EOS_ID, PAD_ID
from utils.models import load_saes

SMALL = SaeConfig(width=40, active=2, steps=300, batch_size=128, dead_after=30)


@pytest.fixture(scope="module")
def residuals() -> Residuals:
    """Two layers of vectors that are sums of two out of twenty directions."""
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(20, 12), dim=1)
    chosen = torch.stack([torch.randperm(20)[:2] for _ in range(2000)])
    x = (directions[chosen] * (1 + torch.rand(2000, 2, 1))).sum(1)
    tokens = torch.full((2000,), 7)
    tokens[::10] = BOS_ID
    return Residuals([x, 30 * x.flip(1)], tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "saes"


@pytest.fixture(scope="module")
def saes(residuals, folder):
    return train_saes(residuals, SMALL, folder, seed=0)


def test_few_latents_explain_most(saes, residuals):
    for row in sae_quality(saes, residuals):
        assert row["unexplained"] < 0.4 and 1 <= row["active"] <= 4 and row["dead"] < 1


def test_quality_is_counted_right(saes, residuals):
    used = residuals.tokens != BOS_ID
    for row, x in zip(sae_quality(saes, residuals), residuals.values, strict=True):
        sae, x = saes[row["layer"]], x[used]
        acts = sae.encode(x)
        left = (x - acts @ sae.W_dec - sae.b_dec).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        assert row["unexplained"] == pytest.approx(left.item(), rel=1e-4)
        assert row["active"] == pytest.approx((acts != 0).sum().item() / len(x))
        assert row["dead"] == pytest.approx((acts == 0).all(0).float().mean().item())


def test_stored_in_half_precision_in_the_form_of_saelens(saes, folder):
    for layer, sae in saes.items():
        stored = SAE.load_from_disk(folder / f"layer_{layer}")
        assert stored.W_enc.dtype is torch.float16
        assert stored.cfg.architecture() == "jumprelu" and stored.cfg.normalize_activations == "none"
        assert stored.cfg.metadata.hook_name == f"blocks.{layer}.hook_out"
        assert torch.equal(stored.W_dec.float(), sae.W_dec)
    assert not list(folder.glob("*.part"))


def test_what_is_there_is_not_trained_again(saes, folder, residuals, monkeypatch):
    monkeypatch.setattr("utils.atlas.saes.train_sae", lambda *args: pytest.fail("trained again"))
    again = train_saes(residuals, SMALL, folder, seed=5)
    assert all(torch.equal(again[layer].W_enc, saes[layer].W_enc) for layer in saes)


def test_the_same_seed_gives_the_same(saes, residuals, tmp_path):
    again = train_saes(Residuals(residuals.values[:1], residuals.tokens), SMALL, tmp_path / "saes", seed=0)
    assert torch.equal(again[0].W_enc, saes[0].W_enc)


def test_a_broken_run_leaves_no_folder(residuals, tmp_path, monkeypatch):
    class Broken:
        def save_inference_model(self, path):
            path.mkdir(parents=True)
            raise OSError("disk full")

    with pytest.raises(OSError):
        save_sae(Broken(), tmp_path / "layer_0")
    assert not (tmp_path / "layer_0").exists()


def test_padding_and_end_are_left_out(tiny):
    model, _ = tiny("gemma3", dtype=torch.float32)
    tokens = torch.tensor([[BOS_ID, 5, 6, EOS_ID, PAD_ID], [BOS_ID, 7, 8, 9, EOS_ID]])
    found = collect_residuals(model, tokens)
    kept = (tokens != PAD_ID) & (tokens != EOS_ID)
    assert torch.equal(found.tokens, tokens[kept])
    _, cache = model.run_with_cache(tokens[1:])
    for layer, values in enumerate(found.values):
        torch.testing.assert_close(
            values[found.tokens.eq(BOS_ID).nonzero()[1] :], cache[f"blocks.{layer}.hook_out"][0, :4]
        )


def test_the_door_loads_them_ready_for_use(saes, folder):
    loaded = load_saes(folder.parent)
    assert list(loaded) == [0, 1]
    for layer, sae in loaded.items():
        assert sae.W_enc.dtype is torch.float32 and not any(p.requires_grad for p in sae.parameters())
        assert torch.equal(sae.W_enc, saes[layer].W_enc)
    assert list(load_saes(folder.parent, layers=[1])) == [1]
    assert load_saes(folder.parent, dtype="float64")[0].W_enc.dtype is torch.float64


def test_the_door_says_what_is_wrong(saes, folder, tmp_path):
    with pytest.raises(ValueError, match="no SAE for layer 7"):
        load_saes(folder.parent, layers=[7])
    with pytest.raises(ValueError, match="no SAEs on the residual stream of qwen3-0.6b"):
        load_saes("qwen3-0.6b")
    with pytest.raises(FileNotFoundError, match="is missing"):
        load_saes(tmp_path)
    with pytest.raises(ValueError, match="Unknown model"):
        load_saes("no-such-model")
