"""`python -m utils.cohort release | grade | gradescope`: for teachers. See instructions/teachers.md."""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from utils.cohort.batch import Options, grade_all
from utils.cohort.collect.submissions import NoSubmissions, find_students, strays
from utils.cohort.isolate import sandbox
from utils.cohort.isolate.processes import WorkerLost
from utils.cohort.judge.hidden_tests import folder_of_tests
from utils.cohort.judge.judge import Judge
from utils.cohort.release.gradescope import pack_autograder
from utils.cohort.release.handout import NoRelease, release
from utils.cohort.report.cohort_html import as_page
from utils.cohort.report.student_files import as_classroom, as_gradescope, as_markdown, file_names
from utils.cohort.report.table import as_csv, in_number, rows_of, statuses
from utils.grading.chapters import Chapter, chapters
from utils.grading.run.session import CollectionError
from utils.notebooks.build import write
from utils.notebooks.errors import CourseError
from utils.notebooks.place import course_folder


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done, 2: it could not be done, and one sentence says why, 1: it was stopped."""
    options = parser().parse_args(arguments)
    try:
        course = chapters(course_folder())
        options.work(options, chosen(course, options.chapters))
        return 0
    except (CourseError, CollectionError, NoSubmissions, NoRelease, WorkerLost) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}." if error.filename else error, file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 1
    return 2


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m utils.cohort", description="Hand out, grade, pack an autograder.")
    commands = top.add_subparsers(required=True)

    command = commands.add_parser("release", help="write the notebooks that students get")
    command.add_argument("--chapters", metavar="N-M", help="such as 1-3 or 1,3; all by default")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    command.add_argument("--no-hints", action="store_true", help="leave the folded hints out")
    command.add_argument("--no-solutions", action="store_true", help="leave the folded solutions out")
    command.add_argument("--repository", metavar="URL", help="your fork; by default the address in pyproject.toml")
    command.set_defaults(work=run_release)

    command = commands.add_parser("grade", help="grade a folder or a zip of notebooks")
    command.add_argument("submissions", type=Path)
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for grades, reports, and results so far"
    )
    command.add_argument("--chapters", metavar="N-M", help="only notebooks of these chapters count")
    command.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="how many notebooks at a time (default: 1)"
    )
    command.add_argument(
        "--timeout",
        type=at_least(1),
        default=60,
        metavar="S",
        help="seconds of processor time for an exercise (default: 60)",
    )
    command.add_argument(
        "--memory", type=at_least(100), default=2000, metavar="MB", help="memory for an exercise (default: 2000)"
    )
    command.add_argument("--hidden", type=Path, metavar="DIR", help="a folder with tests of your own")
    command.set_defaults(work=run_grade)

    command = commands.add_parser("gradescope", help="pack an autograder for Gradescope")
    command.add_argument("--chapter", dest="chapters", required=True, metavar="N")
    command.add_argument("--out", type=Path, required=True, metavar="ZIP")
    command.add_argument("--hidden", type=Path, metavar="DIR", help="a folder with tests of your own")
    command.set_defaults(work=run_gradescope)

    command = commands.add_parser("classroom", help="say the points of one result in the words of GitHub Actions")
    command.add_argument("result", type=Path, help="a file of results/")
    command.set_defaults(work=run_classroom, chapters=None)
    return top


def at_least(least: int):
    """A type of option: a whole number that is not too small."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return int(text)

    return number


def chosen(course: list[Chapter], text: str | None) -> list[Chapter]:
    """The chapters that `1-3` or `1,3` names. Raises NoRelease for one that there is not."""
    if not text:
        return course
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise NoRelease(f"Chapters are given as 1-3 or 1,3, not as {text!r}.")
        numbers |= set(range(first, last + 1))
    there = {chapter.number for chapter in course}
    if numbers - there:
        missing = ", ".join(map(str, sorted(numbers - there)))
        raise NoRelease(f"There is no chapter {missing}; there are {', '.join(map(str, sorted(there)))}.")
    return [chapter for chapter in course if chapter.number in numbers]


def run_release(options: argparse.Namespace, course: list[Chapter]) -> None:
    for path in release(course, options.out, not options.no_hints, not options.no_solutions, options.repository):
        print(f"wrote {path}")


def run_grade(options: argparse.Namespace, course: list[Chapter]) -> None:
    # the judge computes as the workers do
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    for sentence in sandbox.missing():
        print(sentence)
    hidden = options.hidden and folder_of_tests(options.hidden, course)
    if options.out.resolve().is_relative_to(options.submissions.resolve()):
        raise NoSubmissions(f"{options.out} is in {options.submissions}, whose folders are students': name another.")
    students = find_students(options.submissions)
    limits = Options(options.timeout, options.memory, options.jobs, hidden)
    results = grade_all(students, course, limits, options.out)
    rows = rows_of(students, results)
    if not options.chapters:
        course = [chapter for chapter in course if any(chapter.number in row.counted for row in rows)] or course
    write(options.out / "grades.csv", as_csv(rows, course))
    nobodys = left_out(options.submissions)
    write(options.out / "cohort.html", as_page(rows, course, sandbox.missing() + nobodys))
    for row, name in zip(rows, file_names(rows)):
        write(options.out / "report" / f"{name}.md", as_markdown(row, course))
        write(options.out / "results" / f"{name}.json", json.dumps(as_gradescope(row, course), indent=1))
    for sentence in nobodys:
        print(sentence)
    print(f"{in_number(len(rows), 'student')}: {', '.join(f'{count} {status}' for status, count in statuses(rows))}.")
    print(f"Look at {options.out / 'cohort.html'} first.")


def left_out(submissions: Path) -> list[str]:
    """A sentence about files that are nobody's, if there are any."""
    found = strays(submissions)
    return [f"No notebook, and nobody's by its name: {', '.join(found[:20])}."] if found else []


def run_gradescope(options: argparse.Namespace, course: list[Chapter]) -> None:
    if len(course) != 1:
        raise NoRelease("An autograder is for one chapter.")
    if options.out.is_dir():
        raise NoRelease(f"{options.out} is a folder: name the zip file to write.")
    hidden = options.hidden and folder_of_tests(options.hidden, course)
    if hidden:
        check_hidden(course[0], hidden)
    try:
        pack_autograder(course[0], options.out, hidden)
    except OSError as error:
        raise NoRelease(f"{options.out} cannot be written: {error.strerror}.") from error
    points = sum(course[0].points.values())
    print(f"wrote {options.out}: an autograder for {points} points")


def check_hidden(chapter: Chapter, hidden: Path) -> None:
    """See that the reference answers pass an instructor's tests. Raises CollectionError."""
    with tqdm(chapter.points, desc=f"Trying the tests on the answers of chapter {chapter.number}", leave=False) as bar:
        judge = Judge(chapter, hidden, lambda name: bar.update())
    try:
        judge.refuse_unfair()
    finally:
        judge.close()


def run_classroom(options: argparse.Namespace, course: list[Chapter]) -> None:
    try:
        lines = as_classroom(json.loads(options.result.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError):
        raise NoSubmissions(f"{options.result} is no file of results/.") from None
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
