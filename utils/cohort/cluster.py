"""Answers run on other machines: a Dask cluster whose workers have the course. What they are worth is still said here.

Each thread of a Dask worker keeps one process that runs answers (`isolate.processes.Worker`), as walled off as on this machine.
A notebook whose worker is lost is handed to another one.
"""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.cohort.isolate import sandbox
from utils.cohort.isolate.processes import Reply, Worker, WorkerLost
from utils.cohort.isolate.student_process import Settings
from utils.cohort.versions import digest_of_tests
from utils.engine.dask_client import connect, has_no_workers
from utils.grading.chapters import chapters
from utils.grading.find.cells import Cell
from utils.notebooks.place import course_folder

SECONDS_FOR_WORKERS = 30
_mine = threading.local()


@dataclass(frozen=True)
class Order:
    """What a worker needs to know besides the notebook.

    Attributes:
        digest: of the tests here. `missing`: the walls around students' code that there are not here.
        hidden: an instructor's tests, by the names of their files.
    """

    settings: Settings
    digest: str
    missing: tuple[str, ...] = ()
    hidden: tuple[tuple[str, bytes], ...] = ()


def grade_elsewhere(
    address: str, order: Order, notebooks: Sequence[list[Cell]]
) -> Iterator[tuple[int, list[Reply] | None] | None]:
    """None when all notebooks are handed out, and then the number of each with its replies, as they come.

    The replies are a list, or None if the notebook could not be read to its end.

    Raises:
        WorkerLost: there is no such cluster, its course is another one, or it lost a notebook again and again.
    """
    try:
        client = connect(address)
    except (ImportError, ConnectionError) as error:
        raise WorkerLost(str(error)) from None
    with client:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except (OSError, TimeoutError):
            raise WorkerLost(has_no_workers(address)) from None
        futures = {client.submit(run_here, order, cells, pure=False): n for n, cells in enumerate(notebooks)}
        try:
            yield None
            for future in as_completed(futures, loop=client.loop):
                try:
                    yield futures[future], future.result()
                except KilledWorker as error:
                    raise WorkerLost(f"The cluster loses its workers: {error}") from None
        finally:
            client.cancel(list(futures))


def run_here(order: Order, cells: list[Cell]) -> list[Reply] | None:
    """On a worker of the cluster: the replies for one notebook."""
    worker = _worker(order)
    try:
        return worker.grade(cells)
    except WorkerLost:
        _leave()
        try:
            return _worker(order).grade(cells)
        except WorkerLost:
            _leave()
            return None


def _worker(order: Order) -> Worker:
    """This thread's process; another one if it was made for other tests."""
    if getattr(_mine, "order", None) != order:
        _leave()
        _mine.folder = tempfile.TemporaryDirectory(prefix="grading-")
        _mine.worker, _mine.order = Worker(_settings_here(order, Path(_mine.folder.name))), order
        _mine.worker.wait()
    return _mine.worker


def _leave() -> None:
    if getattr(_mine, "order", None) is not None:
        _mine.order = None
        _mine.worker.close()
        _mine.folder.cleanup()


def _settings_here(order: Order, folder: Path) -> Settings:
    """The same limits, with the folders of this machine. Raises WorkerLost if its course is another one."""
    hidden = ""
    if order.hidden:
        place = folder / "hidden"
        place.mkdir()
        for name, content in order.hidden:
            (place / name).write_bytes(content)
        hidden = str(place)
    root = course_folder()
    chapter = next((c for c in chapters(root) if c.number == order.settings.chapter), None)
    if chapter is None or digest_of_tests(chapter, Path(hidden) if hidden else None) != order.digest:
        raise WorkerLost(f"A worker of the cluster has another version of the course: update the one in {root}.")
    if missing := [sentence for sentence in sandbox.missing() if sentence not in order.missing]:
        raise WorkerLost(
            f"A worker of the cluster has not the walls around students' code that there are here: {' '.join(missing)}"
        )
    work = folder / "work"
    work.mkdir()
    return replace(order.settings, root=str(root), hidden=hidden, folder=str(work))
