"""Dictionaries that stay on disk: the same graph, and a peak of memory far below the dictionaries' size."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from solutions.benchmark.random_models import SHAPES, write_random_model
from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter4_interventions import Edit, intervene, run_base
from utils import ROOT
from utils.engine.stored import StoredTranscoder
from utils.models import load

PROMPT = "The capital of the state containing Dallas is"
# 8 layers x 20,000 latents x 256 dimensions: 328 MB
SHAPE = SHAPES["stand-in"]._replace(n_layers=8, d_model=256, n_latents=20_000, n_active=10, vocabulary=300, n_tokens=6)
TRACE = """
import sys, warnings
from solutions.benchmark.peak import peak_mib, reset_peak, resident_mib
from solutions.chapter3_attribution_graphs import attribute
from utils.models import load

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
    assert all(isinstance(transcoder, StoredTranscoder) for transcoder in transcoders.values())
    expected, found = attribute(*atlas, PROMPT), attribute(model, transcoders, PROMPT)
    assert found.graph.nodes == expected.graph.nodes
    assert torch.equal(found.adjacency_matrix, expected.adjacency_matrix)
    assert torch.equal(found.kept_indices, expected.kept_indices)


def test_interventions_are_the_same(atlas):
    outcomes = []
    for model, transcoders in (atlas, load("atlas", offload=True)):
        base = run_base(model, transcoders, model.to_tokens(PROMPT))
        latent = int(base.acts[2][0, 5].argmax())
        outcomes.append(intervene(model, transcoders, base, [Edit(2, 5, latent, 0.0)]).logits)
    assert torch.equal(*outcomes)


def test_encoders_and_decoders_are_not_kept():
    _, transcoders = load("atlas", offload=True)
    kept = [x for t in transcoders.values() for x in vars(t).values() if isinstance(x, torch.Tensor)]
    largest = max(transcoders[0].W_dec.numel(), transcoders[0].W_enc.numel())
    assert kept and max(x.numel() for x in kept) < largest / 10
    assert transcoders[0].cfg.metadata.hook_name == "blocks.0.mlp.hook_in"
    with pytest.raises(AttributeError):
        _ = transcoders[0].nothing


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be reset on Linux only")
def test_the_peak_is_far_below_the_dictionaries(tmp_path):
    folder = write_random_model(SHAPE, tmp_path)
    dictionaries = sum(file.stat().st_size for file in folder.glob("transcoders/*/*.safetensors")) / 2**20
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
        assert int(words[words.index("nodes") + 1]) > 400
        peaks[offload] = float(words[-1])
    assert dictionaries > 300 and peaks[False] > 0.9 * dictionaries
    assert peaks[True] < 0.55 * dictionaries, peaks
