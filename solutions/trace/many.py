"""Many prompts: one folder for each, and `summary.csv` for all. What is there already is not traced again."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from solutions.trace.arguments import check_prompt, standard_input
from solutions.trace.output import ROW, SomeFailed, Stopped, is_complete, staged, writing_errors
from utils.dashboard import slugify
from utils.models import default_dictionary
from utils.models.registry import local_folder

if TYPE_CHECKING:
    from solutions.trace.tracing import Tracer

SUMMARY, SETTINGS_FILE = "summary.csv", "settings.json"
COLUMNS = (
    "prompt",
    "answer",
    "probability",
    "target",
    "replacement",
    "share_not_from_errors",
    "completeness_gap",
    "nodes",
    "edges",
    "strongest_path",
    "path_share",
    "seconds",
    "folder",
    "error",
)
# What changes where or how fast a graph is made, and not the graph.
NO_SETTINGS = ("prompt", "prompts", "out", "result", "scheduler", "device", "offload", "batch_size")
SAVED_EVERY = 5  # seconds between two versions of summary.csv
N_FAILURES = 5  # told in the summary; all are in the file


class Job(NamedTuple):
    """One prompt, and the folder for its trace."""

    prompt: str
    folder: Path


Row = dict[str, object]
TraceJobs = Callable[[Namespace, list[Job]], Iterator[tuple[Job, Row]]]


def trace_many(arguments: Namespace) -> str:
    """Trace every line of ``--prompts`` and return what is said at the end.

    Raises:
        ValueError: there are no prompts, or the folder holds something else.
        SomeFailed: some prompts could not be traced; the others are.
        Stopped: the work was stopped; what is done is kept.
    """
    if (folder := local_folder(arguments.model)) is not None and arguments.model != "atlas":
        arguments.model = str(folder)  # workers may run in another folder
    arguments.dictionary = arguments.dictionary or default_dictionary(arguments.model)
    prompts = read_prompts(arguments.prompts)
    out = arguments.out.absolute()
    with writing_errors(out):
        _claim(out, arguments)
    jobs = [Job(prompt, out / slugify(prompt)) for prompt in prompts]
    rows = {job: row for job in jobs if (row := finished(job)) is not None}
    n_before, open_jobs = len(rows), [job for job in jobs if job not in rows]
    try:
        _work(arguments, open_jobs, rows, lambda: write_summary(out, [rows[job] for job in jobs if job in rows]))
    except KeyboardInterrupt as error:
        raise Stopped(f"Stopped after {len(rows)} of {len(jobs)} prompts: the same command goes on.") from error
    failed = [row for row in rows.values() if row["error"]]
    lines = [
        f"{len(jobs)} prompts: {len(rows) - n_before - len(failed)} traced, {n_before} were there, {len(failed)} failed."
    ]
    lines += [f"  {str(row['prompt'])[:60]!r}: {row['error']}" for row in failed[:N_FAILURES]]
    lines += [f"  … and {len(failed) - N_FAILURES} more"] if len(failed) > N_FAILURES else []
    said = "\n".join([*lines, f"{arguments.out / SUMMARY} has a line for each."])
    if failed:
        raise SomeFailed(said)
    return said


def _work(arguments: Namespace, jobs: list[Job], rows: dict[Job, Row], save: Callable[[], None]) -> None:
    """Trace the jobs and fill ``rows``; ``save`` is called now and then, and at the end, however that comes."""
    from tqdm import tqdm

    if arguments.scheduler is not None:
        from solutions.trace.cluster import on_workers as trace_jobs
    else:
        trace_jobs = here
    saved = time.monotonic()
    try:
        total = len(rows) + len(jobs)
        with tqdm(total=total, initial=len(rows), desc="tracing", unit=" prompts", disable=None) as bar:
            for job, row in trace_jobs(arguments, jobs) if jobs else ():
                rows[job] = row
                bar.update()
                if time.monotonic() - saved > SAVED_EVERY:
                    save()
                    saved = time.monotonic()
    finally:
        save()


def here(arguments: Namespace, jobs: list[Job]) -> Iterator[tuple[Job, Row]]:
    """Trace in this process, one prompt after the other. The model is loaded once."""
    from solutions.trace.tracing import Tracer

    tracer = Tracer(arguments)
    for job in jobs:
        yield job, trace_job(tracer, job)


def trace_job(tracer: Tracer, job: Job) -> Row:
    """Trace one prompt into its folder; the line of the summary about it. An error becomes a line too, whatever it is."""
    from solutions.trace.files import write_files

    began = time.monotonic()
    try:
        check_prompt(job.prompt)
        with staged(job.folder) as temporary:
            result, question = tracer.trace(job.prompt)
            written = write_files(result, tracer.arguments, tracer, temporary, job.folder, dated=False)
            row = _row(job, result, question, written) | {"seconds": round(time.monotonic() - began, 2)}
            (temporary / ROW).write_text(json.dumps(row, indent=1), encoding="utf-8")
        return row
    except Exception as error:  # one prompt's trouble must not stop the others
        return failed_row(job, error)


def failed_row(job: Job, error: BaseException) -> Row:
    """The line of a prompt that could not be traced."""
    sentence = " ".join(str(error).split())
    if not isinstance(error, (ValueError, OSError, MemoryError, ImportError)) or not sentence:
        sentence = f"{type(error).__name__}: {sentence}"
    return dict.fromkeys(COLUMNS, "") | {"prompt": job.prompt, "error": sentence}


def _row(job: Job, result, question, written) -> Row:
    from solutions.trace.paths import likeliest_answer
    from solutions.trace.summary import path_in_words

    best = written.paths[0] if written.paths else None
    answer, probability = question.top_tokens[0]
    return {
        "prompt": job.prompt,
        "answer": answer,
        "probability": probability,
        "target": result.graph.nodes[likeliest_answer(result)].str_token,
        "replacement": result.scores["replacement"],
        "share_not_from_errors": result.scores["completeness"],
        "completeness_gap": result.scores["completeness_gap"],
        "nodes": len(result.kept_indices),
        "edges": int((result.pruned_matrix != 0).sum()),
        "strongest_path": path_in_words(best, result, written.names) if best else "",
        "path_share": best.strength if best else "",
        "folder": job.folder.name,
        "error": "",
    }


def finished(job: Job) -> Row | None:
    """The line of a prompt that is traced already."""
    if not is_complete(job.folder):
        return None
    try:
        row = json.loads((job.folder / ROW).read_text(encoding="utf-8"))
        return row if row["prompt"] == job.prompt else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_prompts(file: str) -> list[str]:
    """The lines of a file (``-``: of standard input), each once, without empty ones.

    Raises:
        ValueError: there is no such file, or no prompt in it.
    """
    if file == "-":
        text, name = standard_input(), "Standard input"
    else:
        path = Path(file).expanduser()
        name = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        except OSError as error:
            raise ValueError(f"{name} cannot be read ({error.strerror}).") from None
    prompts = list(dict.fromkeys(line for line in re.split(r"\r?\n", text) if line.strip()))
    if not prompts:
        raise ValueError(f"{name} holds no prompts: write one a line.")
    return prompts


def _claim(out: Path, arguments: Namespace) -> None:
    """Make the folder of all traces, or look whether an earlier command made it with the same settings."""
    settings = {name: value for name, value in vars(arguments).items() if name not in NO_SETTINGS}
    settings = json.loads(json.dumps(settings, default=str))
    path = out / SETTINGS_FILE
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, not a folder: choose another --out.")
    if path.is_file():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            earlier = {}
        other = [name for name in settings if name not in earlier or earlier[name] != settings[name]]
        if other:
            option = f"--{other[0].replace('_', '-')}"
            raise ValueError(f"{out} holds traces with another {option}: choose another --out, or the options of then.")
        return
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} holds other files: choose a new or empty folder for --out.")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def write_summary(out: Path, rows: list[Row]) -> None:
    """Write ``summary.csv``: a whole file in the place of the earlier one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    part = out / f".{SUMMARY}"
    with writing_errors(out):
        part.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace", newline="")
        os.replace(part, out / SUMMARY)
