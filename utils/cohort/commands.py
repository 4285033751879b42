"""The work of the commands of `python -m utils.cohort`."""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from utils.cohort.batch import Options, grade_all, shown
from utils.cohort.collect.roster import beside, read_roster
from utils.cohort.collect.submissions import NoSubmissions, find_students, strays
from utils.cohort.isolate import sandbox
from utils.cohort.isolate.processes import WorkerLost
from utils.cohort.judge.hidden_tests import folder_of_tests
from utils.cohort.judge.judge import Judge
from utils.cohort.release.gradescope import pack_autograder
from utils.cohort.release.handout import NoRelease, release
from utils.cohort.report.by_hand import apply, read_by_hand
from utils.cohort.report.cohort_html import as_page
from utils.cohort.report.gradebooks import gradebooks
from utils.cohort.report.student_files import as_classroom, as_gradescope, as_markdown, file_names
from utils.cohort.report.table import as_csv, in_number, rows_of, statuses
from utils.grading.chapters import Chapter, chapters
from utils.grading.run.session import CollectionError
from utils.notebooks.build import write
from utils.notebooks.errors import CourseError
from utils.notebooks.place import course_folder


def run(options: argparse.Namespace) -> int:
    """Do what a command asks for; returns the exit code, see `utils.cohort.__main__`."""
    work = {"release": run_release, "grade": run_grade, "gradescope": run_gradescope, "classroom": run_classroom}
    try:
        course = chapters(course_folder())
        work[options.work](options, chosen(course, options.chapters))
        return 0
    except (CourseError, CollectionError, NoSubmissions, NoRelease, WorkerLost) as error:
        print(shown(str(error)), file=sys.stderr)
    except OSError as error:
        print(shown(f"{error.filename}: {error.strerror}." if error.filename else str(error)), file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 1
    return 2


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
    roster = read_roster(options.roster) if options.roster else None
    by_hand = options.out / "by_hand.csv"
    entries = read_by_hand(by_hand, course)
    limits = Options(options.timeout, options.memory, options.jobs, hidden, options.scheduler or "")
    results = grade_all(students, course, limits, options.out)
    rows = rows_of(beside(students, roster) if roster else students, results, course)
    apply(entries, rows, by_hand)
    if not options.chapters:
        course = [chapter for chapter in course if any(row.is_graded(chapter.number) for row in rows)] or course
    write(options.out / "grades.csv", as_csv(rows, course))
    nobodys = left_out(options.submissions)
    for name, content in gradebooks(rows, course, roster).items():
        write(options.out / name, content)
    write(options.out / "cohort.html", as_page(rows, course, sandbox.missing() + nobodys))
    for row, name in zip(rows, file_names(rows)):
        write(options.out / "report" / f"{name}.md", as_markdown(row, course))
        write(options.out / "results" / f"{name}.json", json.dumps(as_gradescope(row, course), indent=1))
    for sentence in nobodys:
        print(shown(sentence))
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
    with tqdm(
        chapter.points, desc=f"Trying the tests on the answers of chapter {chapter.number}", leave=False, disable=None
    ) as bar:
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
