"""This course and circuit-tracer on the same weights, in turn, each in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from solutions.benchmark.random_models import SHAPES, write_random_model
from solutions.benchmark.sizes import PROMPT
from utils import ROOT
from utils.models.registry import ATLAS_FOLDER

PEER = Path(__file__).with_name("peer.py")
# a graph of a few hundredths of a second is traced more than once in a process, and the median counts
REPEATS_OF_A_SMALL_GRAPH = 5


class Case(NamedTuple):
    """A folder with a model, and a prompt."""

    name: str
    folder: Path
    prompt: str
    repeats: int


def make_case(name: str, folder: Path) -> Case:
    """`atlas`, or one of `SHAPES`, which is written into `folder`."""
    if name == "atlas":
        return Case(name, ATLAS_FOLDER, PROMPT, REPEATS_OF_A_SMALL_GRAPH)
    shape = SHAPES[name]
    repeats = REPEATS_OF_A_SMALL_GRAPH if name == "stand-in" else 1
    return Case(name, write_random_model(shape, folder / name.replace(" ", "-")), shape.prompt, repeats)


def peer_problem(python: str) -> str | None:
    """Why circuit-tracer cannot be run with this Python, in a sentence; None if it can."""
    try:
        done = subprocess.run([python, str(PEER), "--version"], capture_output=True, text=True)
    except OSError as error:
        return f"{python} cannot be run ({error.strerror}): circuit-tracer is left out."
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return f"{python} has no circuit-tracer ({reason}): it is left out."
    print(f"circuit-tracer {done.stdout.strip()}")
    return None


def run_once(command: list[str], case: Case, out: Path, batch_size: int, *options: str) -> dict:
    """Run one side in a process of its own and return what it measured."""
    arguments = [str(case.folder), case.prompt, str(out), str(case.repeats), str(batch_size), *options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "killed: the memory ran out, perhaps"
        raise RuntimeError(f"{command[-1]} failed on {case.name}: {reason}")
    measured = json.loads(out.read_text())
    return measured | {name: statistics.median(measured[name]) for name in ("wall", "cpu")}


def compare(case: Case, python: str | None, folder: Path, rounds: int, batch_size: int, offload: bool = False) -> None:
    """Measure both sides in turn, `rounds` times, and print medians, ratios and how far the edges are apart.

    Args:
        offload: this course leaves the dictionaries on disk (`load(..., offload=True)`).
    """
    sides = {"this course": [sys.executable, "-m", "solutions.benchmark.ours"]}
    if python is not None:
        sides["circuit-tracer"] = [python, str(PEER)]
    found: dict[str, list[dict]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, command in sides.items():
            out = folder / f"{name.replace(' ', '-')}.json"
            options = ["offload"] if offload and name == "this course" else []
            found[name].append(run_once(command, case, out, batch_size, *options))
    medians = {
        name: {key: statistics.median(one[key] for one in runs) for key in ("wall", "cpu", "peak_mib", "nodes")}
        for name, runs in found.items()
    }
    how = ", this course with its dictionaries on disk" if offload else ""
    print(f"\n{case.name}: {len(case.prompt.split())} words, batches of {batch_size}, medians of {rounds}{how}")
    for name, median in medians.items():
        print(
            f"  {name:<15} {median['nodes']:>7,.0f} nodes   {median['wall']:>9.3f} s   {median['cpu']:>9.3f} s of CPU"
            f"   peak {median['peak_mib']:>7,.0f} MiB"
        )
    ours = medians["this course"]
    before = statistics.median(run["before_mib"] for run in found["this course"])
    matrix = ours["nodes"] ** 2 * 4 / 2**20
    print(
        f"  this course needs {ours['peak_mib'] - before:,.0f} MiB above the loaded model: {(ours['peak_mib'] - before) / matrix:.2f}"
        f" times the matrix of edges ({matrix:,.0f} MiB)"
    )
    if python is not None:
        theirs = medians["circuit-tracer"]
        ratios = ", ".join(
            f"{label} {ours[key] / theirs[key]:.2f}"
            for key, label in {"wall": "time", "cpu": "CPU", "peak_mib": "peak"}.items()
        )
        print(f"  this course / circuit-tracer: {ratios}")
        print(f"  largest difference of the edges: {largest_difference(folder):.1e} of their row's largest")


def largest_difference(folder: Path) -> float:
    """How far the edges of both sides are apart, relative to the largest edge of their row; all nodes must be the same.

    Edges from errors at the first position are left out: circuit-tracer sets these errors to zero.

    Raises:
        ValueError: one side has nodes that the other has not.
    """
    ours, theirs = (load_file(folder / f"{name}.safetensors") for name in ("this-course", "circuit-tracer"))
    place = {tuple(node): i for i, node in enumerate(theirs["nodes"].tolist())}
    nodes = [tuple(node) for node in ours["nodes"].tolist()]
    if set(nodes) != set(place):
        only = len(set(nodes) ^ set(place))
        raise ValueError(f"The two graphs do not have the same nodes: {only} are in one of them only.")
    order = torch.tensor([place[node] for node in nodes])
    columns = torch.tensor([not (kind == 2 and position == 0) for kind, _, position, _ in nodes])
    largest = 0.0
    for rows in torch.arange(len(order)).split(512):
        a, b = ours["matrix"][rows][:, columns], theirs["matrix"][order[rows]][:, order[columns]]
        scale = a.abs().amax(1).clamp_min(1e-30)
        largest = max(largest, float(((a - b).abs().amax(1) / scale).max()))
    return largest
