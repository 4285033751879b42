"""Activations on disk: gone on from after a stop, refused where they are others, and not in memory."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from solutions.chapter5_cross_layer_transcoders import ActivationStore
from utils import ROOT
from utils.latents.activation_files import INPUTS, OUTPUTS, STATE, ActivationFiles
from utils.latents.scan import Corpus


@pytest.fixture(scope="module")
def model(tiny):
    return tiny("gemma3")[0]


@pytest.fixture(scope="module")
def corpus():
    """Seven sentences of different lengths, with a beginning-of-sequence token in front and padding behind."""
    tokens = torch.zeros(7, 8, dtype=torch.long)
    for row, length in enumerate((5, 8, 3, 7, 6, 4, 5)):
        tokens[row, :length] = torch.randint(3, 15, (length,), generator=torch.Generator().manual_seed(row))
    tokens[:, 0] = 1
    return Corpus([None] * 7, tokens, tokens > 1, tokens > 1)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_stop_loses_one_batch_at_most(model, corpus, tmp_path, monkeypatch, at):
    """Stopped in the middle of writing a batch, and called again, it gives the files of a run without a stop."""
    whole = ActivationStore.collect(model, corpus, tmp_path / "whole", batch_size=2)
    write, written = ActivationFiles.append, []

    def stop_in_the_middle(self, n_rows, inputs, outputs):
        if len(written) == at:
            with open(self.folder / INPUTS, "ab") as file:
                file.write(b"half a batch")
            raise Stop
        written.append(n_rows)
        write(self, n_rows, inputs, outputs)

    monkeypatch.setattr(ActivationFiles, "append", stop_in_the_middle)
    with pytest.raises(Stop):
        ActivationStore.collect(model, corpus, tmp_path / "stopped", batch_size=2)
    monkeypatch.setattr(ActivationFiles, "append", write)
    runs, run = [], model.run_with_cache
    monkeypatch.setattr(model, "run_with_cache", lambda *args, **kinds: runs.append(1) or run(*args, **kinds))
    store = ActivationStore.collect(model, corpus, tmp_path / "stopped", batch_size=2)
    assert len(runs) == 4 - at
    assert files_in(tmp_path / "stopped") == files_in(tmp_path / "whole")
    for found, expected in zip(store.batch(1, 5), whole.batch(1, 5)):
        assert torch.equal(found, expected)


def test_what_is_there_is_not_collected_again(model, corpus, tmp_path, monkeypatch):
    first = ActivationStore.collect(model, corpus, tmp_path / "a")
    monkeypatch.setattr(model, "run_with_cache", lambda *args, **kinds: pytest.fail("the model was run again"))
    again = ActivationStore.collect(model, corpus, tmp_path / "a")
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.outputs, again.outputs)


def test_what_is_done_to_the_tensors_does_not_reach_the_files(model, corpus, tmp_path):
    store = ActivationStore.collect(model, corpus, tmp_path / "a")
    before = files_in(tmp_path / "a")
    store.inputs.zero_()
    assert files_in(tmp_path / "a") == before


def test_others_are_refused_and_left_alone(model, corpus, tiny, tmp_path):
    ActivationStore.collect(model, corpus, tmp_path / "a")
    before = files_in(tmp_path / "a")
    others = [(model, corpus[:6]), (tiny("qwen3")[0], corpus), (tiny("gemma3", dtype=torch.float32)[0], corpus)]
    for other_model, other_corpus in others:
        with pytest.raises(ValueError, match="of another model or corpus: delete it, or choose another folder"):
            ActivationStore.collect(other_model, other_corpus, tmp_path / "a")
    assert files_in(tmp_path / "a") == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"):
        ActivationStore.collect(model, corpus, tmp_path / "b")
    assert files_in(tmp_path / "b") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("damage", ["no note", "half a note", "a short file", "a missing file"])
def test_damage_is_one_sentence(model, corpus, tmp_path, damage):
    ActivationStore.collect(model, corpus, tmp_path / "a")
    if damage == "no note":
        (tmp_path / "a" / STATE).unlink()
    elif damage == "half a note":
        (tmp_path / "a" / STATE).write_text('{"rows": 3')
    elif damage == "a short file":
        (tmp_path / "a" / OUTPUTS).write_bytes(b"short")
    else:
        (tmp_path / "a" / OUTPUTS).unlink()
    with pytest.raises(ValueError, match="choose a new or empty folder|is damaged: delete it") as raised:
        ActivationStore.collect(model, corpus, tmp_path / "a")
    assert "\n" not in str(raised.value)


def test_a_disk_without_room_is_one_sentence(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="has 0.0 GB left: take fewer sentences"):
        ActivationStore.collect(model, corpus, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_corpus_without_tokens_is_refused(model, corpus, tmp_path):
    nothing = Corpus(corpus.sentences, corpus.tokens, torch.zeros_like(corpus.used), corpus.counted)
    with pytest.raises(ValueError, match="No token of the corpus counts"):
        ActivationStore.collect(model, nothing, tmp_path / "a")


def test_half_precision_is_kept_and_trained_on_in_single(tiny, corpus, tmp_path):
    """The files are in the model's precision; scales and batches are not."""
    half = tiny("gemma3", dtype=torch.bfloat16)[0]
    store = ActivationStore.collect(half, corpus, tmp_path / "a")
    assert store.inputs.dtype is torch.bfloat16 and store.input_scale.dtype is torch.float32
    assert (tmp_path / "a" / INPUTS).stat().st_size == store.inputs.numel() * 2
    assert {kept.dtype for kept in store.batch(0, 4)} == {torch.float32}


OPENED = """
import ctypes
import sys
from pathlib import Path

import torch

from solutions.chapter5_cross_layer_transcoders import ActivationStore
from tests.tiny import tiny_model
from utils.latents.activation_files import ActivationFiles
from utils.latents.scan import Corpus


def in_memory():  # what no file backs, and is not free
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


folder, tokens = Path(sys.argv[1]), torch.ones(2, 3, dtype=torch.long)
model = tiny_model(folder / "model", "gemma3", 12, torch.float32)
files = ActivationFiles(model, Corpus([None] * 2, tokens, tokens > 0, tokens > 0), folder / "activations")
rows = dict(enumerate(torch.randn(12, 4000, 24)))
for _ in range(10):
    files.append(0, rows, rows)
before = in_memory()
store = ActivationStore(*files.tensors())
kept = [store.batch(step, 256) for step in range(5)]
print(store.n_bytes, in_memory() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_the_activations_are_not_in_memory(tmp_path):
    """Of 92 MB on disk, the store keeps the scales, and a batch takes its tokens."""
    command = [sys.executable, "-c", OPENED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n_bytes, taken = map(int, done.stdout.split()[-2:])
    assert n_bytes == 2 * 10 * 12 * 4000 * 24 * 4
    assert taken < n_bytes / 10
