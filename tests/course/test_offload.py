"""Dictionaries that stay on disk: the same graph, and a peak of memory far below the dictionaries' size."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sae_lens.loading.pretrained_sae_loaders import get_conversion_loader_name
from safetensors.torch import save_file

from solutions.benchmark.random_models import SHAPES, write_random_model
from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter4_interventions import Edit, intervene, run_base
from utils import ROOT
from utils.engine import stored
from utils.engine.stored import Place, StoredMatrix
from utils.models import MODELS, hub, load

PROMPT = "The capital of the state containing Dallas is"
# 3 layers x 100,000 latents x 256 dimensions: 205 MB a layer
SHAPE = SHAPES["stand-in"]._replace(n_layers=3, d_model=256, n_latents=100_000, n_active=10, vocabulary=300, n_tokens=6)
TRACE = """
import sys, warnings
from solutions.benchmark.peak import peak_mib, reset_peak, resident_mib
from solutions.chapter3_attribution_graphs import attribute
from utils.models import MODELS, hub, load

warnings.simplefilter("ignore")
load("atlas")  # all libraries are in memory
before = resident_mib()
reset_peak()
model, transcoders = load(sys.argv[1], offload=sys.argv[2] == "True")
result = attribute(model, transcoders, sys.argv[3])
print("nodes", len(result.graph), "MiB", peak_mib() - before)
"""


def test_the_graph_is_the_same(atlas):
    model, transcoders = load("atlas", offload=True)
    assert all(isinstance(t.W_enc, StoredMatrix) and isinstance(t.W_dec, StoredMatrix) for t in transcoders.values())
    expected, found = attribute(*atlas, PROMPT), attribute(model, transcoders, PROMPT)
    assert found.graph.nodes == expected.graph.nodes
    assert torch.equal(found.adjacency_matrix, expected.adjacency_matrix)
    assert torch.equal(found.kept_indices, expected.kept_indices)


def test_interventions_are_the_same(atlas):
    """Up to rounding: the sums have fewer terms."""
    outcomes = []
    for model, transcoders in (atlas, load("atlas", offload=True)):
        base = run_base(model, transcoders, model.to_tokens(PROMPT))
        latent = int(base.acts[2][0, 5].argmax())
        outcomes.append(intervene(model, transcoders, base, [Edit(2, 5, latent, 0.0)]).logits)
    torch.testing.assert_close(*outcomes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", [1 << 24, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_a_stored_matrix_stands_where_a_tensor_stands(tmp_path, monkeypatch, block, dtype, is_transposed):
    """Whether it is read in one block or in several, and whichever way round it is stored."""
    monkeypatch.setattr(stored, "BLOCK", block)
    torch.manual_seed(0)
    whole = torch.randn(31, 57).half()
    save_file({"W": whole.T.contiguous() if is_transposed else whole}, tmp_path / "some.safetensors")
    matrix, whole = (
        StoredMatrix(Place(tmp_path / "some.safetensors", "W", is_transposed), dtype, "cpu"),
        whole.to(dtype),
    )
    x, few = torch.randn(2, 5, 31, dtype=dtype), torch.zeros(2, 5, 31, dtype=dtype)
    few[0, 1, 3], few[1, 4, 30] = 2.0, -1.0
    rows = torch.tensor([30, 0, 30])
    assert (len(matrix), *matrix.shape, matrix.dtype) == (31, 31, 57, dtype)
    assert torch.equal(matrix[rows], whole[rows]) and torch.equal(matrix.T[rows], whole.T[rows])
    assert torch.equal(matrix[:, rows], whole[:, rows]) and torch.equal(matrix.detach().to(x)[3], whole[3])
    assert matrix.to(torch.float32)[rows].dtype == torch.float32
    for found, expected in (
        (x @ matrix, x @ whole),
        (few @ matrix, few @ whole),
        (matrix @ x[0, 0].new_ones(57), whole.sum(1)),
        (torch.einsum("bpi,io->bpo", x, matrix), x @ whole),
        (matrix.norm(dim=1), whole.norm(dim=1)),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected)
    with pytest.raises(AttributeError):
        _ = matrix.nothing


def test_only_the_rows_that_are_asked_for_are_read(tmp_path, monkeypatch):
    """The rows of a sparse product, and no others, are fetched from the file."""
    save_file({"W": torch.randn(40, 6)}, tmp_path / "some.safetensors")
    matrix = StoredMatrix(Place(tmp_path / "some.safetensors", "W"), torch.float32, "cpu")
    fetched, fetch = [], StoredMatrix.__getitem__

    def counted(self, index):
        fetched.append(index)
        return fetch(self, index)

    monkeypatch.setattr(StoredMatrix, "__getitem__", counted)
    monkeypatch.setattr(StoredMatrix, "whole", None)
    acts = torch.zeros(3, 40)
    acts[0, 7] = acts[2, 7] = acts[2, 33] = 1.0
    _ = acts @ matrix
    assert [index.tolist() for index in fetched] == [[7, 33]]


def test_encoders_and_decoders_are_not_kept():
    _, transcoders = load("atlas", offload=True)
    kept = [x for t in transcoders.values() for x in t.parameters()]
    largest = max(transcoders[0].W_dec.numel(), transcoders[0].W_enc.numel())
    assert kept and max(x.numel() for x in kept) < largest / 10
    assert all(x.untyped_storage().nbytes() == x.numel() * x.element_size() for x in kept)
    assert transcoders[0].cfg.metadata.hook_name == "blocks.0.mlp.hook_in"


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.release])
def test_a_dictionary_of_the_hub_is_found_in_its_file(name, tmp_path, monkeypatch):
    """As SAELens' loader reads it: the same file, the same names, the same way round."""
    spec, asked, path = MODELS[name], [], tmp_path / "some.safetensors"
    loader = get_conversion_loader_name(spec.release)
    encoder, decoder = hub.STORED_BY[loader][1]
    # 5 dimensions, 7 latents
    save_file(
        {encoder: torch.randn((7, 5) if loader == "mwhanna_transcoder" else (5, 7)), decoder: torch.randn(7, 5)}, path
    )
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *file: asked.append(file) or str(path))
    places = hub.stored_places(spec.release, spec.sae_id.format(layer=0))
    assert places["W_enc"].open().shape == (5, 7) and places["W_dec"].open().shape == (7, 5)
    assert asked[0][0].count("/") == 1 and asked[0][1].endswith(".safetensors")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be reset on Linux only")
def test_the_peak_is_below_one_layer(tmp_path):
    """Reading a whole encoder and decoder, of one layer only, would need more."""
    folder = write_random_model(SHAPE, tmp_path)
    layer = (folder / "transcoders" / "layer_0" / "sae_weights.safetensors").stat().st_size / 2**20
    peaks = {}
    for offload in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", TRACE, str(folder), str(offload), SHAPE.prompt],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        words = done.stdout.split()
        assert int(words[words.index("nodes") + 1]) > 100
        peaks[offload] = float(words[-1])
    assert layer > 190 and peaks[False] > 2 * layer
    assert peaks[True] < 0.8 * layer, peaks
