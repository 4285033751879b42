"""Grading on a Dask cluster: the same grades, byte for byte, with local jobs, with two workers, and with one killed in the middle."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.course.damaged.cases import HEALTHY, MEAN, WRONG_MEAN, notebook, saved
from tests.course.hostile.cases import CASES
from tests.course.test_cohort_notebooks import ROOT, course, run, write_all  # noqa: F401
from utils.cohort.cluster import Order, grade_elsewhere
from utils.cohort.isolate.processes import WorkerLost
from utils.cohort.isolate.student_process import Settings

pytest.importorskip("distributed")
HOSTILE = [case for case in CASES if case.status in ("graded", "contested", "forbidden")][:4]
LIMITS = ["--timeout", "30", "--memory", "500"]  # no answer here is slow: a busy machine must not change a grade


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Nine quick notebooks, some of them hostile."""
    files = {f"hostile {case.name}.ipynb": case.content for case in HOSTILE} | {"healthy.ipynb": HEALTHY}
    files |= {f"wrong {i}.ipynb": saved(notebook([("code", f"{WRONG_MEAN}\n# {i}\n")])) for i in range(2)}
    files |= {f"right {i}.ipynb": saved(notebook([("code", f"{MEAN}\n# {i}\n")])) for i in range(2)}
    return write_all(tmp_path_factory.mktemp("handed_in"), files)


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


class Cluster:
    """A scheduler and workers, each a process of its own, started by the commands of the teachers' page."""

    def __init__(self, folder: Path, n_workers: int):
        self._folder, self.address = folder, f"tcp://127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self._processes = [self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")]
        self.workers = [self.add_worker() for _ in range(n_workers)]

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def add_worker(self) -> subprocess.Popen:
        self._processes.append(self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"))
        return self._processes[-1]

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(course):  # noqa: F811
    started = Cluster(course, 2)
    yield started
    started.close()


@pytest.fixture(scope="module")
def grades(course, cohort, tmp_path_factory) -> bytes:  # noqa: F811
    """What local jobs give."""
    out = tmp_path_factory.mktemp("here")
    done = run(course, "grade", cohort, "--out", out, "--jobs", "2", *LIMITS)
    assert done.returncode == 0, done.stderr
    return (out / "grades.csv").read_bytes()


def test_two_workers_give_the_same_grades(cluster, course, cohort, grades, tmp_path):  # noqa: F811
    done = run(course, "grade", cohort, "--out", tmp_path / "out", "--scheduler", cluster.address, *LIMITS)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "grades.csv").read_bytes() == grades


def test_a_worker_may_be_killed(cluster, course, cohort, grades, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "utils.cohort",
        "grade",
        cohort,
        "--out",
        out,
        "--scheduler",
        cluster.address,
        *LIMITS,
    ]
    process = subprocess.Popen([*map(str, command)], cwd=course, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None and not list(out.glob("kept/*.json")):
        time.sleep(0.02)
    os.killpg(cluster.workers[0].pid, signal.SIGKILL)
    assert process.wait(timeout=3000) == 0, process.stderr.read().decode()
    assert 0 < len(list(out.glob("kept/*.json"))) and (out / "grades.csv").read_bytes() == grades


def order(course: Path, digest: str = "another") -> Order:  # noqa: F811
    return Order(Settings(str(course), 9, "", 2, 500, ""), digest)


def test_a_cluster_that_is_not_there(course, monkeypatch):  # noqa: F811
    monkeypatch.setattr("utils.engine.dask_client.SECONDS", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(WorkerLost, match=rf"^No Dask scheduler answers at {address}[^\n]*$"):
        next(grade_elsewhere(address, order(course), [[]]))


def test_a_worker_with_another_course_is_refused(cluster, course):  # noqa: F811
    replies = grade_elsewhere(cluster.address, order(course), [[]])
    with pytest.raises(WorkerLost, match="another version of the course"):
        list(replies)
