"""A whole cohort: every notebook is graded once, its result kept in a file, so that a second run only does what is left."""

import hashlib
import json
import lzma
import queue
import re
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from utils.cohort.cluster import Order, grade_elsewhere
from utils.cohort.collect.submissions import LARGEST, File, Student
from utils.cohort.isolate import sandbox
from utils.cohort.isolate.ending import SECONDS_FOR_READING, remove
from utils.cohort.isolate.limited import LimitedProcess, NoResult
from utils.cohort.isolate.processes import Reply, Worker, WorkerLost
from utils.cohort.isolate.student_process import Settings
from utils.cohort.judge.judge import SENTENCES, TOO_MUCH, Judge, Verdict
from utils.cohort.versions import digest_of_tests
from utils.grading.chapters import Chapter
from utils.grading.find.cells import Cell, UnreadableNotebook, read_cells
from utils.notebooks.build import write

MEGABYTES_FOR_READING = 2000
SECONDS_FOR_JUDGING = 60  # of one exercise; planted mistakes are tried then, too
GRADED, EMPTY, NOT_A_NOTEBOOK, CONFLICT = "graded", "empty", "not a notebook", "merge conflict"
DAMAGED, TOO_LARGE, UNTOUCHED, NO_NOTEBOOK, UNREADABLE = (
    "damaged",
    "too large",
    "untouched",
    "no notebook",
    "unreadable",
)
REFUSALS = [(" is empty", EMPTY), ("conflict markers", CONFLICT), ("is damaged", DAMAGED), ("", NOT_A_NOTEBOOK)]


@dataclass(frozen=True)
class Options:
    """How to grade: here with so many jobs, or on the Dask cluster whose scheduler is named."""

    seconds: int = 60
    megabytes: int = 2000
    jobs: int = 1
    hidden: Path | None = None
    scheduler: str = ""


@dataclass
class Result:
    """One notebook: plain data.

    Attributes:
        status: `graded`, or why it was not.
        problem: why it was not, in a sentence.
        chapter: its number, None if it is of no chapter.
    """

    status: str
    problem: str = ""
    chapter: int | None = None
    exercises: list[Verdict] = field(default_factory=list)

    @property
    def earned(self) -> float:
        return round(sum(verdict.earned for verdict in self.exercises), 1)


@dataclass
class _Task:
    """A notebook that has to be graded."""

    key: str
    chapter: Chapter
    cells: list[Cell]
    name: str  # of the file


def grade_all(students: list[Student], chapters: list[Chapter], options: Options, out: Path) -> dict[str, Result]:
    """The result of every file, by its path. Results are kept in `out`, and found there again. Raises CollectionError."""
    kept = out / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    digests = {chapter.number: digest(chapter, options) for chapter in chapters}
    results: dict[str, Result] = {}
    tasks: dict[str, _Task] = {}
    keys: dict[str, str] = {}
    files = [file for student in students for file in student.files]
    reader = LimitedProcess(
        lambda number: read_file(files[number], chapters), SECONDS_FOR_READING, MEGABYTES_FOR_READING
    )
    bar = tqdm(files, desc="Reading", leave=False, disable=None)
    for number, file in enumerate(bar):
        bar.set_postfix_str(shown(file.path))
        try:
            found = reader.ask(number)
        except NoResult:
            found = Result(
                UNREADABLE, "The file takes too much time or memory to read: clear all outputs and save it again."
            )
        if isinstance(found, Result):
            results[file.path] = found
            continue
        number_of_chapter, cells = found
        chapter = next(chapter for chapter in chapters if chapter.number == number_of_chapter)
        text = json.dumps([digests[chapter.number], [(cell.kind, cell.source, cell.number) for cell in cells]])
        keys[file.path] = key = hashlib.sha256(text.encode()).hexdigest()[:32]
        if not (kept / f"{key}.json").exists():
            tasks.setdefault(key, _Task(key, chapter, cells, file.path))
    reader.close()
    with tqdm(total=len(keys), initial=len(keys) - len(tasks), desc="Grading", unit=" notebooks", disable=None) as bar:
        for chapter in chapters:
            some = [task for task in tasks.values() if task.chapter is chapter]
            for task, result in grade_chapter(chapter, some, options) if some else ():
                write(kept / f"{task.key}.json", json.dumps(asdict(result)))
                bar.set_postfix_str(shown(task.name))
                bar.update()
    return results | {path: load(kept / f"{key}.json") for path, key in keys.items()}


def load(path: Path) -> Result:
    """A result from its file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Result(**(content | {"exercises": [Verdict(**verdict) for verdict in content["exercises"]]}))


def digest(chapter: Chapter, options: Options) -> str:
    """A hash of all that a result depends on besides the notebook."""
    limits = f"{options.seconds} {options.megabytes} {sandbox.missing()}"
    return hashlib.sha256(f"{digest_of_tests(chapter, options.hidden)} {limits}".encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def read_file(file: File, chapters: list[Chapter]) -> Result | tuple[int, list[Cell]]:
    """The cells of a notebook and the number of its chapter, or why there is nothing to grade."""
    if file.size > LARGEST:
        return Result(TOO_LARGE, f"The file has {file.size >> 20} MB: clear all outputs and save it again.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notebook.ipynb"
        try:
            path.write_bytes(file.read())
            cells = read_cells(path)
        except UnreadableNotebook as error:
            sentence = str(error).replace(str(path), "The file").replace(path.name, "The file")
            return Result(next(status for words, status in REFUSALS if words in sentence), sentence)
        except MemoryError:
            return Result(
                TOO_LARGE, "The file needs more memory than a notebook may: clear all outputs and save it again."
            )
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
            return Result(UNREADABLE, f"The file cannot be read: {error}.")
    chapter = chapter_of(cells, Path(file.path).name, chapters)
    if chapter is None:
        return Result(UNTOUCHED, "Nothing in this notebook answers an exercise that is graded here.")
    return chapter.number, cells


def chapter_of(cells: list[Cell], name: str, chapters: list[Chapter]) -> Chapter | None:
    """The chapter most of whose exercises are defined in the cells; else the one that the file is named after."""
    defined = set()
    for cell in cells:
        defined |= set(re.findall(r"^[ \t]*(?:def|class)\s+(\w+)", cell.source, re.MULTILINE))
        defined |= set(re.findall(r"^(\w+)\s*=", cell.source, re.MULTILINE))
    found = max(chapters, key=lambda chapter: len(defined & chapter.points.keys()))
    if defined & found.points.keys():
        return found
    named = re.search(r"chapter[ _-]?(\d+)", name, re.IGNORECASE)
    return next((chapter for chapter in chapters if named and chapter.number == int(named[1])), None)


# ---------------------------------------------------------------------------------------------------------------------
# Grading
# ---------------------------------------------------------------------------------------------------------------------


def grade_chapter(chapter: Chapter, tasks: list[_Task], options: Options) -> Iterator[tuple[_Task, Result]]:
    """Each task with its result, as they come. Workers run the answers; the judge, here, says what they are worth."""
    replied = replies_from_cluster if options.scheduler else replies_from_here
    replies, judge, apart = replied(chapter, tasks, options), None, None
    try:
        next(replies)  # the workers make themselves ready while the judge does
        with tqdm(chapter.points, desc=f"Making chapter {chapter.number} ready", leave=False, disable=None) as bar:
            judge = Judge(chapter, options.hidden, lambda name: bar.update())
        judge.refuse_unfair()
        apart = LimitedProcess(judge.judge, max(options.seconds, SECONDS_FOR_JUDGING), max(options.megabytes, 1000))
        for task, found in replies:
            yield task, conclude(apart, chapter, found)
    finally:
        replies.close()
        if apart:
            apart.close()
        if judge:
            judge.close()


def replies_from_cluster(chapter: Chapter, tasks: list[_Task], options: Options) -> Iterator:
    """None when all is handed out, and then each task with what came back."""
    settings = Settings(str(chapter.root), chapter.number, "", options.seconds, options.megabytes, "")
    hidden = (
        tuple((path.name, path.read_bytes()) for path in sorted(options.hidden.glob("*.py"))) if options.hidden else ()
    )
    digest = digest_of_tests(chapter, options.hidden)
    order = Order(settings, digest, tuple(sandbox.missing()), hidden)
    found = grade_elsewhere(options.scheduler, order, [task.cells for task in tasks])
    yield next(found)
    for number, replies in found:
        yield tasks[number], replies


def replies_from_here(chapter: Chapter, tasks: list[_Task], options: Options) -> Iterator:
    """None when the workers have been started, and then each task with what came back."""
    folder = Path(tempfile.mkdtemp(prefix="grading-"))
    waiting: queue.Queue[_Task] = queue.Queue()
    done: queue.Queue[tuple[_Task | None, object]] = queue.Queue()
    for task in tasks:
        waiting.put(task)
    hidden = str(options.hidden) if options.hidden else ""
    settings = Settings(str(chapter.root), chapter.number, hidden, options.seconds, options.megabytes, str(folder))
    n_lines = min(options.jobs, len(tasks))
    worker = Worker(settings, n_lines)
    lines = [_Line(number, worker, settings, waiting, done) for number in range(n_lines)]
    try:
        yield None
        for line in lines:
            line.start()
        for _ in tasks:
            task, replies = done.get()
            if isinstance(replies, BaseException):
                raise replies
            yield task, replies
    finally:
        for line in lines:
            line.stop()
        worker.close()
        remove(folder)


class _Line(threading.Thread):
    """Hands tasks to a line of the worker that all lines share. When that is lost, this one goes on with a worker of its own: no notebook
    can take another one with it twice.
    """

    def __init__(self, number: int, worker: Worker, settings: Settings, waiting: queue.Queue, done: queue.Queue):
        super().__init__(daemon=True)
        self._number = number
        self._worker = worker
        self._own: list[Worker] = []
        self._is_over = False
        self._settings = settings
        self._waiting = waiting
        self._done = done

    def run(self) -> None:
        try:
            self._worker.wait()
            while not self._is_over:
                try:
                    task = self._waiting.get_nowait()
                except queue.Empty:
                    return
                self._done.put((task, self._grade(task)))
        except BaseException as error:
            self._done.put((None, error))

    def _grade(self, task: _Task) -> list[Reply] | None:
        for _ in range(2):
            try:
                return self._worker.grade(task.cells, self._number)
            except WorkerLost:
                self._worker.end()
                self._worker, self._number = Worker(self._settings), 0
                self._own.append(self._worker)
                self._worker.wait()
        return None

    def stop(self) -> None:
        """End the worker, which others may share, and wait for the end of the thread, which may just be starting a new one."""
        self._is_over = True
        self._worker.end()
        while self.is_alive():
            self._worker.end()
            self.join(0.1)
        for worker in self._own:
            worker.close()


def conclude(judge: LimitedProcess, chapter: Chapter, replies: list[Reply] | None) -> Result:
    """The result of a notebook from what came back; `judge` is asked for each exercise."""
    if replies is None:
        return Result(UNREADABLE, "The notebook could not be read to its end.", chapter.number)
    verdicts = [judged(judge, chapter, reply) for reply in replies]
    is_untouched = all(verdict.status == "not started" for verdict in verdicts)
    return Result(UNTOUCHED if is_untouched else GRADED, "", chapter.number, verdicts)


def judged(judge: LimitedProcess, chapter: Chapter, reply: Reply) -> Verdict:
    """The verdict on an exercise, or that what came back takes too long to look at."""
    try:
        return judge.ask(reply)
    except NoResult:
        points = chapter.points[reply.exercise]
        return Verdict(reply.exercise, points, TOO_MUCH, 0.0, problem=SENTENCES[TOO_MUCH])


def shown(text: str) -> str:
    """A text for the terminal: what would move its cursor or change its colours is left out."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
