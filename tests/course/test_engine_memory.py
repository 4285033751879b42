"""What a graph takes is said before the work; too much is refused with one sentence, on a real limit of memory."""

import logging
import subprocess
import sys

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter4_interventions import intervene, run_base
from tests.tiny import PROMPT
from utils import ROOT
from utils.engine import memory

LITTLE = """
import os, resource, sys, torch
from pathlib import Path
import solutions.trace.__main__ as command

torch.set_num_threads(1)
folder = Path(sys.argv[1])
print("first:", command.main(["Dallas", "--examples", "none", "--out", str(folder / "a")]))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20),) * 2)
prompt = " ".join(["the"] * int(sys.argv[2]))
print("exit code", command.main([prompt, "--examples", "none", "--out", str(folder / "b")]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux'")
def test_little_memory_is_one_sentence_and_exit_code_2(atlas, tmp_path):
    """Everything is loaded, then 40 MB more are allowed, then the command traces a long prompt."""
    done = subprocess.run(
        [sys.executable, "-c", LITTLE, str(tmp_path), "127"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert "exit code 2" in done.stdout, done.stderr
    said = [line for line in done.stderr.splitlines() if "top_k" in line]
    assert len(said) == 1 and "shorten the prompt" in said[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "b").exists()


def test_too_many_nodes_are_refused_before_the_work(traced, monkeypatch):
    x = traced("qwen3")
    calls = []
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match="nodes.*top_k or max_latent_nodes.*close other programs"):
        attribute(x.model, x.transcoders, PROMPT, progress=lambda *done: calls.append(done))
    assert not calls


def test_the_line_before_the_work(traced, caplog):
    x = traced("qwen3")
    with caplog.at_level(logging.INFO, logger=memory.log.name):
        result = attribute(x.model, x.transcoders, PROMPT)
    assert f"{len(result.graph):,} nodes" in caplog.text and "MB of memory" in caplog.text


def test_too_many_prompts_are_refused_before_the_work(traced, monkeypatch):
    """Chapter 4's runs: what the activations of one layer take is said, and refused where it does not fit."""
    x = traced("qwen3")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(
        MemoryError, match="7 prompts of .* latents take .* MB.*fewer prompts together.*close other"
    ) as error:
        run_base(x.model, x.transcoders, x.tokens.repeat(7, 1))
    assert "\n" not in str(error.value)


def test_activations_are_kept_sparse(traced):
    """What an intervention holds of all latents is far smaller than their dense activations, and the same."""
    x = traced("qwen3")
    base = run_base(x.model, x.transcoders, x.tokens)
    for acts in (base.acts, intervene(x.model, x.transcoders, base, []).acts):
        for layer, transcoder in x.transcoders.items():
            kept, dense = acts._kept[layer], transcoder.encode(base.x[layer])
            assert kept.is_sparse and kept.values().numel() == int((dense != 0).sum()) < dense.numel() / 2
            torch.testing.assert_close(acts[layer], dense, rtol=1e-5, atol=1e-6)
    first = base.acts[0]
    first += 1
    assert not torch.equal(base.acts[0], first)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
    ],
)
def test_every_form_of_it_becomes_one_sentence(error):
    with pytest.raises(MemoryError, match="top_k or max_latent_nodes.*batch_size.*device='cpu'"):
        with memory.memory_errors():
            raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"):
        with memory.memory_errors():
            raise RuntimeError("shapes do not fit")


def test_sizes_are_readable():
    assert [memory.size(n) for n in (3e5, 2.5e8, 1.64e10)] == ["1 MB", "250 MB", "16.4 GB"]
