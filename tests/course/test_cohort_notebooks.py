"""Hostile and damaged notebooks of a whole cohort, graded by the command itself: each ends as it should, and so does the rest."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from operator import le
from pathlib import Path

import pytest

from tests.course.damaged.cases import HEALTHY, MEAN, READABLE, REFUSED, STATUSES, WRONG_MEAN, notebook, saved
from tests.course.hostile.cases import CASES, with_huge_output
from tests.course.hostile.everywhere import notebooks
from utils.cohort import batch
from utils.grading.chapters import chapters
from utils.grading.find.cells import Cell

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ["--timeout", "2", "--memory", "500"]
REFUSALS = {"is damaged": "damaged", "is empty": "empty", "conflict markers": "merge conflict"}
OTHERS = {
    "Zoë Ωmega 李_123_assignsubmission_file_/Übung 9 (final).ipynb": HEALTHY,
    "Two Notebooks/first.ipynb": saved(notebook([("code", WRONG_MEAN)])),
    "Two Notebooks/second.ipynb": HEALTHY,
    "Only Text/essay.txt": b"my homework",
    "huge output.ipynb": with_huge_output(),
    "=1+1.ipynb": HEALTHY,
    "<img src=x onerror=alert(1)>.ipynb": HEALTHY,
    "Checkpoints/.ipynb_checkpoints/old.ipynb": HEALTHY,
    "Checkpoints/new.ipynb": HEALTHY,
    "list of names.txt": b"nobody",
}


def command(course: Path, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "utils.cohort", *map(str, arguments)]


def run(course: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    """The command in a course's folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(course, *arguments), cwd=course, env=environment, capture_output=True, text=True, timeout=3000
    )


def rows(out: Path) -> dict[str, dict]:
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("chapter", chapters(ROOT), ids=lambda chapter: f"chapter {chapter.number}")
def test_the_courses_own_answers_get_all_points_and_thieves_none(chapter, tmp_path):
    """The answer notebook of each chapter: full marks, and nothing noticed but that it is like the reference.

    Beside it lie answers that give zeros. Those of them that look for what is expected get no more points than the one that does not.
    """
    folder, out = tmp_path / "handed_in", tmp_path / "graded"
    folder.mkdir()
    (notebook_of_answers,) = (ROOT / "solutions").glob(f"chapter{chapter.number}_*.ipynb")
    shutil.copy(notebook_of_answers, folder / "reference.ipynb")
    thieves = notebooks(chapter)
    write_all(folder, {f"{kind}.ipynb": content for kind, content in thieves.items()})
    done = run(ROOT, "grade", folder, "--out", out, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    points = {student: [float(row[name] or 0) for name in chapter.points] for student, row in rows(out).items()}
    for kind in thieves:
        assert all(map(le, points[kind], points["nothing"])), (kind, points)
    assert sum(points["nothing"]) < sum(points["reference"])
    row = rows(out)["reference"]
    report = (out / "report" / "reference.md").read_text()
    assert (row["status"], float(row["total"])) == ("graded", sum(chapter.points.values())), report
    assert re.fullmatch(r"Same as the reference up to names: [\w, ]+\.", row["remarks"])


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    return Path(shutil.copytree(Path(__file__).parent / "toy", tmp_path_factory.mktemp("cohort") / "toy"))


@pytest.fixture(scope="module")
def cohort(course, tmp_path_factory) -> Path:
    """Where the results of everyone are."""
    folder, out = tmp_path_factory.mktemp("handed_in"), tmp_path_factory.mktemp("graded")
    files = {f"hostile {case.name}.ipynb": case.content for case in CASES}
    files |= {f"damaged {case.name}.ipynb": case.content for case in [*READABLE, *REFUSED]} | OTHERS
    before = sorted(course.rglob("*"))
    done = run(course, "grade", write_all(folder, files), "--out", out, "--jobs", "2", *LIMITS)
    assert done.returncode == 0, done.stderr
    assert "No notebook, and nobody's by its name: list of names.txt." in done.stdout
    assert [path for path in sorted(course.rglob("*")) if "__pycache__" not in path.parts] == [
        path for path in before if "__pycache__" not in path.parts
    ]
    return out


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_notebooks(cohort, case):
    row = rows(cohort)[f"hostile {case.name}"]
    report = (cohort / "report" / f"hostile {case.name}.md").read_text()
    points = float(row[case.exercise])
    assert row["status"] in (case.status, *case.slowly), report
    assert points == case.points or (case.at_most and points < case.points), report
    assert row["RunningMean"] == "3"  # what else is in the notebook is graded
    assert case.says in report + row["remarks"]


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case.name)
def test_damaged_notebooks(cohort, case):
    expected = STATUSES | case.statuses
    row = rows(cohort)[f"damaged {case.name}"]
    begun = set(expected.values()) != {"not started"}
    assert row["status"] == ("graded" if begun else "untouched")
    assert begun is False or (row["mean"] == "1") is (expected["mean"] == "done")
    report = (cohort / "report" / f"damaged {case.name}.md").read_text()
    for name, status in expected.items():
        assert f"{name}: {status}," in report or not begun


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_no_notebook(cohort, case):
    row = rows(cohort)[f"damaged {case.name}"]
    expected = next((status for words, status in REFUSALS.items() if words in case.refused), "not a notebook")
    assert (row["status"], row["total"]) == (expected, "0")
    assert f"Not graded ({expected})." in (cohort / "report" / f"damaged {case.name}.md").read_text()


@pytest.mark.parametrize(
    ("student", "status", "mean", "remark"),
    [
        ("Zoë Ωmega 李", "graded", "1", ""),
        ("Two Notebooks", "graded", "1", "2 notebooks of chapter 9: Two Notebooks/second.ipynb has the most points"),
        ("Only Text", "no notebook", "", "No notebook among Only Text/essay.txt."),
        ("huge output", "graded", "1", ""),
        ("'=1+1", "graded", "1", ""),
        ("<img src=x onerror=alert(1)>", "graded", "1", ""),
        ("Checkpoints", "graded", "1", ""),
    ],
)
def test_who_handed_in_what(cohort, student, status, mean, remark):
    row = rows(cohort)[student]
    assert (row["status"], row["mean"]) == (status, mean)
    assert remark in row["remarks"]


def test_everyone_is_there_once(cohort):
    students = rows(cohort)
    n = len(CASES) + len(READABLE) + len(REFUSED) + 7
    assert len(students) == n == len(list((cohort / "report").iterdir())) == len(list((cohort / "results").iterdir()))
    assert students["Zoë Ωmega 李"]["number"] == "123"


def test_no_text_of_students_becomes_html(cohort):
    page = (cohort / "cohort.html").read_text()
    assert "&lt;img src=x" in page and "<img" not in page and "<script" not in page
    report = (cohort / "report" / "hostile marks_up_the_report.md").read_text()
    assert (
        "alert(1)" in report
        and "<script" not in report.replace("\\<", "")
        and "](javascript" not in report.replace("\\]", "")
    )


def test_the_page_counts_misconceptions(cohort):
    """Planted mistakes by how many made them; failures that nobody foresaw, grouped by what they give."""
    page = (cohort / "cohort.html").read_text()
    assert "The value becomes the latest one: what came before it is forgotten." in page
    unexplained = page.split("<h2 id='unexplained'>")[1].split("<section")[0]
    assert "expected 3.333, got 0." in unexplained
    assert "http" not in page.split("</head>")[1]


def test_results_are_in_gradescopes_form(cohort):
    for case in CASES[:3]:
        result = json.loads((cohort / "results" / f"hostile {case.name}.json").read_text())
        assert result["score"] == sum(test["score"] for test in result["tests"]) == 3.0
        assert [test["max_score"] for test in result["tests"]] == [1, 3, 2]
        assert {test["status"] for test in result["tests"]} <= {"passed", "failed"}


def some_of_it(numbers: range) -> dict[str, bytes]:
    """A small cohort of quick notebooks, hostile and not."""
    pool = [case for case in CASES if case.status in ("graded", "contested", "tampered", "ended early", "forbidden")]
    pool = [case for case in pool if not case.at_most]
    pool = [case for case in pool if "end" not in case.name and "flood" not in case.name and "huge" not in case.name]
    files = {f"hostile {case.name}.ipynb": case.content for case in pool}
    files |= {f"damaged {case.name}.ipynb": case.content for case in READABLE[:-1]}
    names = sorted(files)
    return {names[17 * number % len(names)]: files[names[17 * number % len(names)]] for number in numbers}


@pytest.mark.parametrize(("numbers", "jobs"), [(range(0, 4), 1), (range(4, 13), 3)])
def test_nobody_changes_anothers_grade(cohort, course, tmp_path, numbers, jobs):
    """In another company, another order, and with another number of jobs, everyone gets the same."""
    files = some_of_it(numbers)
    renamed = {f"{index:03} {name}": files[name] for index, name in enumerate(sorted(files, reverse=True))}
    folder, out = write_all(tmp_path / "handed_in", renamed), tmp_path / "graded"
    done = run(course, "grade", folder, "--out", out, "--jobs", str(jobs), *LIMITS)
    assert done.returncode == 0, done.stderr
    before = rows(cohort)
    for student, row in rows(out).items():
        expected = before[student[4:]]
        assert {**row, "student": "", "remarks": ""} == {**expected, "student": "", "remarks": ""}
        report = (out / "report" / f"{student}.md").read_text().replace(student, student[4:])
        assert report == (cohort / "report" / f"{student[4:]}.md").read_text()


def test_a_worker_that_is_lost_takes_no_notebook_with_it(course, monkeypatch):
    """Two lines share a worker that is killed in the middle: each goes on with one of its own."""
    started = []

    class Noted(batch.Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(batch, "Worker", Noted)
    (chapter,) = chapters(course)
    tasks = [batch._Task(str(n), chapter, [Cell("code", f"{MEAN}\n# {n}\n", 0)], f"{n}.ipynb") for n in range(12)]
    found = batch.replies_from_here(chapter, tasks, batch.Options(seconds=2, megabytes=500, jobs=2))
    assert next(found) is None
    ends = {}
    for task, replies in found:
        if not ends:
            started[0].end()
        ends[task.key] = [reply.end for reply in replies]
    assert ends == {task.key: ["over"] * len(chapter.points) for task in tasks}
    assert len(started) == 3


def test_a_killed_run_goes_on_and_a_second_run_does_only_what_changed(cohort, course, tmp_path):
    folder, out = write_all(tmp_path / "handed_in", some_of_it(range(8))), tmp_path / "graded"
    arguments = ["grade", folder, "--out", out, "--jobs", "2", *LIMITS]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command(course, *arguments), cwd=course, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list(out.glob("kept/*.json"))) < 2:
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("kept/*.json")}
    assert len(kept) >= 2 and not (out / "grades.csv").exists()
    assert run(course, *arguments).returncode == 0
    assert all(path.stat().st_mtime_ns == time_then for path, time_then in kept.items())
    before = rows(cohort)
    assert rows(out) == {student: before[student] for student in rows(out)}
    changed = next(folder.iterdir())
    changed.write_bytes(saved(notebook([("code", MEAN + "\n# once more\n")])))
    kept = set(out.glob("kept/*.json"))
    assert run(course, *arguments).returncode == 0
    assert len(set(out.glob("kept/*.json")) - kept) == 1
    assert rows(out)[changed.stem]["mean"] == "1"
