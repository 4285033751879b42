"""What a command should never do to its user: tracebacks, lost files, things left behind, sentences that do not help."""

import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from solutions.chapter3_attribution_graphs import attribute
from solutions.trace import __main__ as command
from solutions.trace.arguments import parse_arguments
from solutions.trace.output import BEGUN, PARTS, staged
from tests.tiny import D_MODEL, PROMPT, tiny_model
from utils import ROOT
from utils.dashboard.__main__ import main as dashboard
from utils.engine.graph import AttributionResult
from utils.engine.token_text import token_text
from utils.models import load_model
from utils.models.placement import device_name

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals and limits are Linux'")


@pytest.fixture
def trace(tiny_bundle, capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        try:
            code = command.main([*map(str, arguments), "--model", str(tiny_bundle)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        sentences = [line for line in err.splitlines() if not line.startswith("The graph has ")]
        return code, out, sentences

    return call


# ---------------------------------------------------------------- consoles


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_the_signs_gets_others(tiny_bundle, tmp_path, monkeypatch, encoding):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert command.main([f"{PROMPT} 東", "--model", str(tiny_bundle), "--out", str(tmp_path / "o")]) == 0
    said = console.buffer.getvalue().decode(encoding)
    assert "  -> '" in said and "Completeness" in said and "東" not in said


# ---------------------------------------------------------------- disks and folders


@linux
def test_a_full_disk_is_one_sentence_and_loses_nothing(trace, tmp_path):
    import resource

    trace(PROMPT, "--out", tmp_path / "o")
    before = {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()}
    size_of_tensors = (tmp_path / "o" / "result" / "tensors.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (500, size_of_tensors - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            code, out, said = trace(PROMPT, "--out", tmp_path / "o")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (code, out) == (2, "") and len(said) == 1
        assert f"{tmp_path / 'o'} cannot be written (File too large): choose another --out." == said[0]
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    result = AttributionResult.load(tmp_path / "o" / "result")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_of_tensors - 1, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            result.save(tmp_path / "again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "again").exists()


HOLD = """
import sys, time
from pathlib import Path
from solutions.trace.output import staged
with staged(Path(sys.argv[1])) as folder:
    (folder / "index.html").write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


def begin(folder: Path) -> subprocess.Popen:
    """A process that has begun to write into `folder`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


@linux
@pytest.mark.parametrize("is_there", [True, False])
def test_what_a_killed_command_began_is_removed_and_a_living_one_is_left_alone(tmp_path, is_there):
    folder = tmp_path / "k"
    if is_there:
        folder.mkdir()
    process = begin(folder)
    with pytest.raises(ValueError, match="Another trace is being written into"), staged(folder):
        pass
    with staged(tmp_path / "other") as other:
        fill(other, "1")
    process.kill()
    process.wait()
    assert [path.name for path in tmp_path.rglob(f"{BEGUN}*")], "the killed process left nothing to remove"
    with staged(folder) as new:
        fill(new, "2")
    assert {path.name for path in folder.iterdir()} == set(PARTS) and not list(tmp_path.rglob(f"{BEGUN}*"))
    assert (tmp_path / "other" / "index.html").read_text() == "1"


def fill(folder: Path, text: str) -> None:
    """Write what looks like a trace."""
    for name in PARTS[:2]:
        (folder / name).write_text(text)
    (folder / PARTS[2]).mkdir()
    (folder / PARTS[2] / "result.json").write_text(text)


def test_a_move_that_was_cut_off_is_ended_by_the_next_command(tmp_path, monkeypatch):
    """Killed between two renames, the new trace is whole afterwards, and nothing of the old one is mixed into it."""
    folder = tmp_path / "o"
    with staged(folder) as new:
        fill(new, "old")
        (new / "circuit-tracer").mkdir()
    rename, left = Path.rename, []

    def some(path, target):
        if len(left) == 3:
            raise KeyboardInterrupt
        left.append(path)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", some)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # as if killed: nobody tidies up
        with pytest.raises(KeyboardInterrupt), staged(folder) as new:
            fill(new, "new")
    assert {(folder / name).exists() for name in PARTS} == {True, False}
    with pytest.raises(ZeroDivisionError), staged(folder):
        assert [(folder / name).read_text() for name in PARTS[:2]] == ["new", "new"]
        assert (folder / "result" / "result.json").read_text() == "new" and not (folder / "circuit-tracer").exists()
        raise ZeroDivisionError
    assert not list(tmp_path.rglob(f"{BEGUN}*"))


@linux
def test_the_end_of_a_batch_job_leaves_nothing(tmp_path):
    line = [sys.executable, "-m", "solutions.trace", PROMPT, "--out", str(tmp_path / "o")]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if any(tmp_path.iterdir()):
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143 and said.splitlines()[-1] == "Stopped; nothing was written."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["result/notes.txt", "circuit-tracer/mine.json"])
def test_a_users_file_inside_an_earlier_trace_is_never_deleted(trace, tmp_path, place):
    trace(PROMPT, "--out", tmp_path / "o", "--circuit-tracer")
    (tmp_path / "o" / "thoughts.md").write_text("mine")
    assert trace(PROMPT, "--out", tmp_path / "o", "--circuit-tracer")[0] == 0
    (tmp_path / "o" / place).write_text("mine")
    code, _, said = trace("the state", "--out", tmp_path / "o")
    assert code == 2 and len(said) == 1 and Path(place).name in said[0]
    assert (tmp_path / "o" / place).read_text() == (tmp_path / "o" / "thoughts.md").read_text() == "mine"


def test_a_tilde_is_the_home_folder(trace, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert trace("the state", "--out=~/traces/a")[0] == 0
    assert dashboard(["~/traces/a/graph.json", "-o", "~/page.html"]) == 0
    assert (tmp_path / "home" / "page.html").is_file() and (tmp_path / "home" / "traces" / "a" / "result").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@linux
def test_other_users_can_read_what_is_written(trace, tmp_path):
    before = os.umask(0o022)
    try:
        trace("the state", "--out", tmp_path / "o")
    finally:
        os.umask(before)
    for path in [tmp_path / "o", *(tmp_path / "o").rglob("*")]:
        assert path.stat().st_mode & 0o044 == 0o044, path


def test_a_name_that_no_disk_takes_is_one_sentence(trace, tmp_path):
    code, _, said = trace(PROMPT, "--out", tmp_path / ("x" * 256))
    assert code == 2 and len(said) == 1 and "cannot be written (File name too long): choose another --out." in said[0]


# ---------------------------------------------------------------- devices and models


@pytest.mark.parametrize("device", ["xpu", "meta", "cuda:97", "hpu"])
def test_a_device_that_is_not_there_is_named(trace, tmp_path, device):
    with pytest.raises(ValueError, match="no .* device that PyTorch can use"):
        device_name(device)
    code, _, said = trace(PROMPT, "--out", tmp_path / "o", "--device", device)
    assert code == 2 and len(said) == 1 and "damaged" not in said[0]


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: (f / "tokenizer_config.json").unlink(), FileNotFoundError, "tokenizer_config.json is missing"),
        (
            lambda f: (f / "model.safetensors").write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
            ),
            ValueError,
            "git lfs pull",
        ),
        (lambda f: edit_config(f, model_type="quasar9"), ValueError, "'quasar9', which transformers"),
        (lambda f: edit_config(f, auto_map={"AutoModel": "mine.Model"}), ValueError, "code of its own"),
        (
            lambda f: edit_config(f, model_type="vit", architectures=["ViTForImageClassification"]),
            ValueError,
            "ViTForImageClassification",
        ),
    ],
    ids=["no tokenizer_config", "LFS pointer", "unknown architecture", "custom code", "no language model"],
)
def test_what_a_folder_lacks_has_a_sentence_of_its_own(tmp_path, spoil, error, words):
    tiny_model(tmp_path)
    spoil(tmp_path)
    with pytest.raises(error, match=words) as caught:
        load_model(tmp_path)
    assert "damaged" not in str(caught.value)


# ---------------------------------------------------------------- words that help


def test_every_argument_of_attribute_is_an_option():
    """By its own name; a target is given as tokens, a contrast or a direction, and progress is the bar."""
    options = vars(parse_arguments([PROMPT]))
    missing = set(inspect.signature(attribute).parameters) - set(options)
    assert missing == {"transcoders", "target_tokens", "progress"}


def test_a_direction_is_traced_from_a_file(trace, tmp_path):
    np.save(tmp_path / "probe.npy", np.arange(D_MODEL))
    assert trace(PROMPT, "--direction", tmp_path / "probe.npy", "--out", tmp_path / "o")[0] == 0
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert [node.str_token for node in result.graph.nodes if node.layer == "L"] == ["probe"]
    for content in (np.arange(D_MODEL + 1), np.array(["a"] * D_MODEL)):
        np.save(tmp_path / "wrong.npy", content)
        code, _, said = trace(PROMPT, "--direction", tmp_path / "wrong.npy", "--out", tmp_path / "p")
        assert code == 2 and len(said) == 1 and not (tmp_path / "p").exists()
    assert "cannot be read" in trace(PROMPT, "--direction", tmp_path / "no.npy", "--out", tmp_path / "p")[2][0]


def test_a_prompt_taken_for_a_token_is_explained(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--target", "Austin", PROMPT])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1 and "give it first, or put another option between" in said


@pytest.mark.parametrize(
    "call", ["main(['Dallas', '--model', 'gemma-3-270m-it', '--out', 'o'])", "load('gemma-3-270m-it')"]
)
def test_without_network_the_sentence_comes_at_once(tmp_path, call):
    """One sentence, nothing written, and well below 10 s: no retries, and the large libraries are not imported for it."""
    import resource

    program = "import sys\nfrom utils.models import load\nfrom solutions.trace.__main__ import main\n"
    program += (
        f"try:\n    code = {call}\nexcept ConnectionError as error:\n    code = 2\n    print(error, file=sys.stderr)\n"
    )
    program += "assert 'transformer_lens' not in sys.modules\nsys.exit(code)"
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "none", "HF_HOME": str(tmp_path / "hf")}
    environment = os.environ | closed | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Hugging Face cannot be reached") and done.stderr.count("\n") == 1
    assert after.ru_utime - before.ru_utime < 10  # seconds of a core: what else the machine does counts for nothing
    assert not (tmp_path / "o").exists()


def test_standard_input_is_a_prompt(trace, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{PROMPT}\n".encode())))
    code, _, _ = trace("-", "--out", tmp_path / "o")
    assert code == 0 and AttributionResult.load(tmp_path / "o" / "result").prompt == PROMPT
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert trace("-", "--out", tmp_path / "p")[0] == 2


def test_a_space_at_the_end_is_said(trace, tmp_path):
    assert "ends with a space" in trace(f"{PROMPT} ", "--out", tmp_path / "o")[1]
    assert "ends with a space" not in trace(PROMPT, "--out", tmp_path / "p")[1]


def test_parts_of_a_letter_are_told_apart(atlas, tmp_path, capsys):
    """The bytes of a flag: each token is its own text, and its id is a target."""
    tokenizer = atlas.model.tokenizer
    ids = tokenizer.encode("🇫🇷", add_special_tokens=False)
    texts = [token_text(tokenizer, i) for i in ids]
    assert len(set(texts)) == len(set(ids)) and not any("\ufffd" in text for text in texts)
    found = "".join(texts).replace("<0x", "").replace(">", "")
    assert bytes.fromhex(found).decode() == "🇫🇷"
    assert command.main(["The flag is 🇫🇷", "--target", f"#{ids[0]}", "--examples", "none", "--out", str(tmp_path)]) == 0
    result = AttributionResult.load(tmp_path / "result")
    assert [node.feature for node in result.kept_nodes if node.layer == "L"] == [ids[0]]
    assert result.str_tokens[-len(ids) :] == texts and "\ufffd" not in capsys.readouterr().out


def test_a_folder_in_the_place_of_a_graph_is_explained(trace, tmp_path, capsys):
    trace("the state", "--out", tmp_path / "o")
    assert dashboard([str(tmp_path / "o"), "-o", str(tmp_path / "p.html")]) == 2
    assert f"did you mean {tmp_path / 'o' / 'graph.json'}?" in capsys.readouterr().err


def test_a_bos_typed_as_plain_text_is_said(tmp_path, capsys):
    assert command.main(["<bos>The opposite of small is", "--examples", "none", "--out", str(tmp_path)]) == 0
    assert "reads the <bos> at the beginning as plain text" in capsys.readouterr().out
