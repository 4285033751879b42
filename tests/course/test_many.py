"""Many prompts: alone, over two workers of which one dies, and again after a stop; errors stop nothing."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from solutions.trace import __main__ as command
from solutions.trace import many
from tests.tiny import N_CTX
from utils import ROOT
from utils.engine.graph import AttributionResult

GOOD = ["the capital of France is", "the state containing Dallas", "opposite of small is", "big city in France"]
GOOD += ["Paris and the capital", "to the\u2028state of", '=1+1, the "city"']
BAD = ["is " * (N_CTX + 1), "bad \udcff byte", "Dallas " * (N_CTX + 1)]
LINES = [*GOOD[:2], BAD[0], "", *GOOD[2:5], GOOD[0], BAD[1], *GOOD[5:], BAD[2]]


@pytest.fixture
def run(tiny_bundle, tmp_path, capsys):
    """Trace a file of prompts into a folder: (exit code, stdout, stderr)."""
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(LINES), encoding="utf-8", errors="surrogateescape")

    def call(folder, *arguments):
        code = command.main(
            ["--prompts", str(file), "--model", str(tiny_bundle), "--out", str(tmp_path / folder), *arguments]
        )
        return code, *capsys.readouterr()

    return call


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def results_of(folder: Path) -> dict[str, bytes]:
    """The bytes of all traces, except how long they took."""
    found = {}
    for path in folder.glob("*/**/*"):
        if path.name == "row.json":
            row = json.loads(path.read_text())
            assert row.pop("seconds") >= 0
            found[str(path.relative_to(folder))] = json.dumps(row).encode()
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_three_of_ten_fail_and_stop_nothing(run, tmp_path):
    code, out, _ = run("a")
    assert code == 1 and out.startswith("10 prompts: 7 traced, 0 were there, 3 failed.")
    rows = rows_of(tmp_path / "a")
    assert [row["prompt"].encode("utf-8", "backslashreplace") for row in rows if not row["error"]] == [
        prompt.encode() for prompt in dict.fromkeys(line for line in LINES if line in GOOD)
    ]
    said = [row["error"] for row in rows if row["error"]]
    assert len(said) == 3 and "tokens" in said[0] and "UTF-8" in said[1] and "tokens" in said[2]
    row = rows[0]
    result = AttributionResult.load(tmp_path / "a" / row["folder"] / "result")
    assert row["prompt"] == result.prompt == GOOD[0] and int(row["nodes"]) == len(result.kept_indices)
    assert float(row["replacement"]) == result.scores["replacement"] and float(row["seconds"]) > 0
    best = max((node for node in result.graph.nodes if node.layer == "L"), key=lambda node: node.token_prob)
    assert row["answer"] == row["target"] == best.str_token and float(row["probability"]) == pytest.approx(
        best.token_prob, rel=1e-4
    )
    assert row["strongest_path"].endswith(f"'{best.str_token}'") and 0 < float(row["path_share"]) <= 1


def test_a_stopped_run_goes_on(run, tmp_path, monkeypatch):
    """Stopped by Ctrl-C after three prompts; the second run traces the rest, and what is there stays as it is."""
    whole = many.trace_job

    def three(tracer, job):
        if len(list((tmp_path / "a").glob("*/row.json"))) == 3:
            raise KeyboardInterrupt
        return whole(tracer, job)

    with monkeypatch.context() as patch:
        patch.setattr(many, "trace_job", three)
        code, out, err = run("a")
    assert code == 130 and out == "" and err.strip().endswith("the same command goes on.")
    assert len([row for row in rows_of(tmp_path / "a") if not row["error"]]) == 3
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*/result/*")}
    code, out, _ = run("a")
    assert code == 1 and "4 traced, 3 were there, 3 failed" in out
    assert {path: path.stat().st_mtime_ns for path in times} == times and len(rows_of(tmp_path / "a")) == 10
    run("b")
    assert results_of(tmp_path / "a") == results_of(tmp_path / "b")


def test_other_settings_need_another_folder(run, tmp_path):
    run("a", "--max-latent-nodes", "3")
    before = results_of(tmp_path / "a")
    code, _, err = run("a", "--max-latent-nodes", "4")
    assert code == 2 and "--max-latent-nodes" in err and err.count("\n") == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    code, _, err = run("mine")
    assert code == 2 and "other files" in err and [path.name for path in (tmp_path / "mine").iterdir()] == ["notes"]
    assert results_of(tmp_path / "a") == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompts", "nowhere.txt", "--out", "o"], "nowhere.txt cannot be read"),
        (["--prompts", "empty.txt", "--out", "o"], "holds no prompts"),
        (["--prompts", "empty.txt"], "--prompts needs --out"),
        (["--prompts", "empty.txt", "is", "--out", "o"], "only one of them"),
        (["is", "--scheduler", "tcp://x"], "--prompts FILE"),
        (["--prompts", "one.txt", "--model", "atlsa", "--out", "o"], "atlsa"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "one.txt").write_text("is")
    assert command.main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "o").exists()


# ---------------------------------------------------------------- a cluster


def start(*line: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *line], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def cluster():
    """The address of a scheduler on this machine with two workers, and their processes."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    started = [start("distributed.cli.dask_scheduler", "--no-dashboard", "--host", address)]
    started += [
        start("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in "ab"
    ]
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are killed by Linux' signals")
def test_two_workers_give_the_same_bytes_and_the_death_of_one_loses_nothing(run, tmp_path, cluster):
    address, workers = cluster
    run("alone")
    killed, over = [], threading.Event()

    def kill_one_at_work():
        while not over.wait(0.02):
            if list((tmp_path / "both").glob("*/row.json")):
                os.kill(workers[0].pid, signal.SIGKILL)
                killed.append(len(list((tmp_path / "both").glob("*/row.json"))))
                return

    killer = threading.Thread(target=kill_one_at_work)
    killer.start()
    code, out, _ = run("both", "--scheduler", address)
    over.set()
    killer.join()
    assert killed and killed[0] < 7, "the worker was not killed in the middle"
    assert code == 1 and "7 traced, 0 were there, 3 failed" in out
    assert results_of(tmp_path / "both") == results_of(tmp_path / "alone")
    without = ("seconds",)
    rows = [
        [{k: v for k, v in row.items() if k not in without} for row in rows_of(tmp_path / n)] for n in ("both", "alone")
    ]
    assert rows[0] == rows[1]


def test_a_scheduler_that_is_not_there_is_one_sentence(run, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("utils.engine.dask_client.SECONDS", 1)
    code, _, err = run("a", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 2 and "No Dask scheduler answers at tcp://127.0.0.1:9" in err and err.count("\n") == 1


def test_dask_that_is_missing_is_one_sentence(run, monkeypatch):
    from utils.cohort.cluster import Order, grade_elsewhere
    from utils.cohort.isolate.processes import WorkerLost
    from utils.cohort.isolate.student_process import Settings

    monkeypatch.setitem(sys.modules, "distributed", None)
    sentence = "--scheduler needs Dask, which is not installed: run `pip install -r requirements-cluster.txt`."
    code, _, err = run("a", "--scheduler", "tcp://127.0.0.1:9")
    assert (code, err) == (2, f"{sentence}\n")
    with pytest.raises(WorkerLost) as lost:
        next(grade_elsewhere("tcp://127.0.0.1:9", Order(Settings(".", 9, "", 2, 500, ""), "x"), [[]]))
    assert str(lost.value) == sentence
