"""Many prompts over a Dask cluster: each worker loads the model once, and writes the folders that this machine reads.

Dask gives a lost worker's prompts to another one. All workers see the same disk, and run in a copy of the course.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING

import torch

from solutions.trace.many import Job, Row, failed_row, trace_job
from solutions.trace.output import is_complete
from solutions.trace.tracing import Tracer
from utils.engine.dask_client import connect, has_no_workers

if TYPE_CHECKING:
    from distributed import Future

one_at_a_time = Lock()  # hooks on a model are no matter for two threads


def on_workers(arguments: Namespace, jobs: list[Job]) -> Iterator[tuple[Job, Row]]:
    """Trace on the workers of ``arguments.scheduler``; what is done comes first.

    Raises:
        ImportError: Dask is not installed.
        ConnectionError: there is no scheduler at that address.
    """
    with connect(arguments.scheduler) as client:
        from distributed import as_completed

        if not client.scheduler_info()["workers"]:
            print(has_no_workers(arguments.scheduler), file=sys.stderr)
        # the number of threads decides how sums are cut into parts: with the same number, results are the same to the bit
        threads = torch.get_num_threads()
        futures = {client.submit(trace_on_worker, arguments, job, threads, pure=False): job for job in jobs}
        for future in as_completed(futures, loop=client.loop):
            job = futures[future]
            yield job, _outcome(future, job)


def _outcome(future: Future, job: Job) -> Row:
    """The line of the summary for a prompt that is done, one way or another."""
    if future.status != "finished":
        return failed_row(job, future.exception() or RuntimeError("the scheduler gave it up"))
    row = future.result()
    if not row["error"] and not is_complete(job.folder):
        return failed_row(
            job, OSError(f"{job.folder} was written on another machine: choose a --out that all machines share.")
        )
    return row


def trace_on_worker(arguments: Namespace, job: Job, threads: int) -> Row:
    """What a worker does for one prompt."""
    with one_at_a_time:
        torch.set_num_threads(threads)
        try:
            tracer = _tracer(arguments)
        except Exception as error:
            return failed_row(job, error)
        return trace_job(tracer, job)


_loaded: dict[str, Tracer] = {}  # one: the last that was asked for


def _tracer(arguments: Namespace) -> Tracer:
    """The model that the command line names, loaded once in each worker."""
    key = repr(sorted(vars(arguments).items()))
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = Tracer(arguments)
    return _loaded[key]
