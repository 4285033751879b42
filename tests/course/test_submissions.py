"""Submissions as they really come: several platforms, groups, attempts, a roster, corrections by hand, and grades that go back."""

import csv
import io
import unicodedata
import zipfile
from pathlib import Path

import pytest

from tests.course.damaged.cases import HEALTHY
from tests.course.test_cohort import put, verdict, zipped
from utils import ROOT
from utils.cohort.batch import GRADED, Result
from utils.cohort.collect.roster import beside, read_roster
from utils.cohort.collect.submissions import NoSubmissions, find_students, is_course_name
from utils.cohort.report.by_hand import apply, read_by_hand
from utils.cohort.report.gradebooks import gradebooks
from utils.cohort.report.student_files import as_markdown
from utils.cohort.report.table import StudentRow, as_csv, rows_of
from utils.grading.chapters import chapters


@pytest.fixture(scope="module")
def toy() -> list:
    return chapters(ROOT / "tests" / "course" / "toy")


def names_in(place: Path) -> list[tuple[str, str]]:
    return [(student.name, student.number) for student in find_students(place)]


def rows_from(place: Path, toy: list, roster: Path | None = None) -> list[StudentRow]:
    """The rows of a cohort in which every notebook has all points of `mean` and half of those of `smooth`."""
    students = find_students(place)
    result = Result(GRADED, "", 9, [verdict(), verdict("smooth", "failing", 1.0)])
    results = {file.path: result for student in students for file in student.files}
    return rows_of(beside(students, read_roster(roster)) if roster else students, results, toy)


def test_two_files_of_one_group_are_one_student(tmp_path):
    put(tmp_path, "projectgroup1_LATE_77_456_chapter1.ipynb", "projectgroup1_77_457_chapter3.ipynb")
    (student,) = find_students(tmp_path)
    assert (student.name, student.number, len(student.files), len(student.late)) == ("projectgroup1", "77", 2, 1)


@pytest.mark.parametrize("name", ["chapter3", "chapter3_attribution_graphs", "Chapter 3 (1)", "copy of chapter3"])
def test_a_zip_with_one_students_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as file:
        file.writestr(f"Ada/{name}.ipynb", HEALTHY)
    assert names_in(tmp_path / "one.zip") == [("Ada", "")]


def test_names_of_the_course_are_no_names_of_students(tmp_path):
    assert not is_course_name("chapter3_ada") and not is_course_name("ada") and is_course_name("chapter3_transcoders-2")
    whole = put(tmp_path / "Ada", "chapter1.ipynb", "chapter3_attribution_graphs.ipynb")
    for place in (whole, zipped(whole)):
        (student,) = find_students(place)
        assert student.name == "Ada" and len(student.files) == 2
    named = put(tmp_path / "handed in", "chapter3_ada.ipynb", "chapter3_bob.ipynb")
    assert names_in(named) == names_in(zipped(named)) == [("chapter3_ada", ""), ("chapter3_bob", "")]


def test_the_file_that_names_a_student_is_said(tmp_path, toy):
    put(tmp_path / "Ada", "chapter9.ipynb")
    (row,) = rows_from(zipped(tmp_path / "Ada"), toy)
    (row_of_root,) = rows_from(tmp_path / "Ada", toy)
    assert row.remarks == [] and row_of_root.remarks == ["Named after Ada: the files say no name."]


def test_of_several_attempts_the_last_counts(tmp_path, toy):
    first, last = "Homework_ada_attempt_2026-11-01-10-00-00", "Homework_ada_attempt_2026-11-03-09-00-00"
    put(
        tmp_path,
        f"{first}_a.ipynb",
        f"{last}_a.ipynb",
        f"{last}.txt",
        "Homework_bob_attempt_2026-11-02-10-00-00_b.ipynb",
    )
    ada, bob = rows_from(tmp_path, toy)
    assert [file.path for file in ada.student.files] == [f"{last}_a.ipynb"]
    assert ada.remarks == ["2 attempts: the last one counts (2026-11-03-09-00-00)."] and bob.remarks == []


def test_attempts_at_two_tasks_are_apart(tmp_path):
    names = ["One_ada_attempt_2026-11-01-10-00-00_a.ipynb", "Two_ada_attempt_2026-11-03-09-00-00_b.ipynb"]
    (ada,) = find_students(put(tmp_path, *names))
    assert len(ada.files) == 2 and ada.remarks == []


def test_one_name_stored_in_two_ways_is_one_student(tmp_path):
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "Zoë Müller")
        put(tmp_path / form, f"{name}/a.ipynb")
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as file:
        for form in ("NFC", "NFD"):
            file.writestr(f"{unicodedata.normalize(form, 'Zoë Müller')}/{form}.ipynb", HEALTHY)
    (student,) = find_students(tmp_path / "both.zip")
    assert student.name == unicodedata.normalize("NFC", "Zoë Müller") and len(student.files) == 2


CANVAS_ROSTER = """Student,ID,SIS User ID,SIS Login ID,Section,Chapter 9 (4711)
    Points Possible,,,,,6
"Lovelace, Ada",77,s77,ada,A,
"Curie, Marie",78,s78,marie,A,
"Noether, Emmy",79,s79,emmy,A,
"""


def written(folder: Path, text: str, name: str = "roster.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_who_is_in_the_roster_and_handed_nothing_in(tmp_path, toy):
    put(tmp_path / "in", "lovelaceada_LATE_77_456_hw.ipynb", "mariecurie.ipynb", "stranger.ipynb")
    rows = rows_from(tmp_path / "in", toy, written(tmp_path, CANVAS_ROSTER))
    found = [(row.student.name, row.student.number, row.status, row.earned) for row in rows]
    assert found == [
        ("Lovelace, Ada", "77", "graded", 2.0),
        ("Curie, Marie", "78", "graded", 2.0),
        ("Noether, Emmy", "79", "no notebook", 0.0),
        ("stranger", "", "graded", 2.0),
    ]
    assert rows[2].remarks == ["Handed nothing in."] and rows[3].remarks == ["Not in the roster."]


def test_a_group_hands_in_for_its_members(tmp_path, toy):
    put(tmp_path / "in", "projectgroup1_77_456_hw.ipynb")
    roster = written(
        tmp_path, "name;number;group\nAda;1;Project Group 1\nBob;2;Project Group 1\nEve;3;Project Group 2\n"
    )
    rows = rows_from(tmp_path / "in", toy, roster)
    assert [(row.student.name, row.earned) for row in rows] == [("Ada", 2.0), ("Bob", 2.0), ("Eve", 0.0)]
    assert rows[0].remarks == ["Handed in by the group projectgroup1."]


def test_namesakes_are_told_apart_by_number_alone(tmp_path, toy):
    put(tmp_path / "in", "kimlee_1_456_hw.ipynb", "kimlee_2_457_hw.ipynb")
    rows = rows_from(tmp_path / "in", toy, written(tmp_path, "name,number\nKim Lee,2\nKim Lee,3\n"))
    assert [(row.student.name, row.student.number, len(row.student.files)) for row in rows] == [
        ("Kim Lee", "2", 1),
        ("Kim Lee", "3", 0),
        ("kimlee", "1", 1),
    ]


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "name,number\n", None], ids=["empty", "no name", "nobody", "no file"]
)
def test_a_roster_that_is_none(tmp_path, text):
    path = tmp_path / "roster.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NoSubmissions, match=r"^The roster [^\n]+\.$"):
        read_roster(path)


def corrected(folder: Path, toy: list, *lines: str) -> list[StudentRow]:
    rows = rows_from(put(folder / "in", "ada_LATE_77_456_hw.ipynb", "bob_78_457_hw.ipynb"), toy)
    path = written(folder, "student,number,exercise,points,comment\n" + "\n".join(lines) + "\n", "by_hand.csv")
    before = path.read_bytes()
    apply(read_by_hand(path, toy), rows, path)
    assert path.read_bytes() == before
    return rows


def test_points_and_comments_by_hand(tmp_path, toy):
    lines = [
        'bob,,smooth,1.5,"Right, but for the ends."',
        "bob,,chapter9,-1,",
        "ada,77,RunningMean,2,",
        "ada,,mean,,Nice.",
    ]
    ada, bob = corrected(tmp_path, toy, *lines)
    assert (ada.earned, bob.earned) == (4.0, 1.5)
    assert bob.changes == [
        "smooth, by hand: 1.5 points in place of 1. Right, but for the ends.",
        "Chapter 9, by hand: -1 points.",
    ]
    assert ada.changes == ["RunningMean, by hand: 2 points.", "mean, by hand: Nice."]
    assert "Right, but for the ends." in as_markdown(bob, toy) and "With this: 1.5 points." in as_markdown(bob, toy)
    line = list(csv.DictReader(io.StringIO(as_csv([ada, bob], toy).removeprefix("\ufeff"))))[1]
    assert (line["total"], line["of"], line["percent"], line["smooth"]) == ("1.5", "6", "25.0", "1.5")


def test_a_rule_for_late_work(tmp_path, toy):
    ada, bob = corrected(tmp_path, toy, "*,,late,10%,The syllabus says so.")
    assert (ada.earned, bob.earned) == (1.8, 2.0)
    assert ada.changes == ["Chapter 9 is late: 10% taken off. The syllabus says so."] and bob.changes == []
    ada, bob = corrected(tmp_path, toy, "ada,,late,0%,Was ill.", "*,,late,10%,", "bob,,late,50%,By mail.")
    assert (ada.earned, bob.earned) == (2.0, 1.0)


@pytest.mark.parametrize(
    "line",
    [
        "eve,,mean,1,",
        "ada,99,mean,1,",
        "ada,,median,1,",
        "ada,,mean,one,",
        "ada,,mean,nan,",
        "*,,mean,1,",
        "*,,late,10,",
        "ada,,late,101%,",
        ",,mean,1,",
    ],
)
def test_a_line_that_cannot_be_meant_is_named(tmp_path, toy, line):
    with pytest.raises(NoSubmissions, match=r"^[^\n]*by_hand\.csv, line 2: [^\n]+\.$"):
        corrected(tmp_path, toy, line)


def test_the_file_for_corrections_is_made_once(tmp_path, toy):
    path = tmp_path / "by_hand.csv"
    assert read_by_hand(path, toy) == [] and path.read_text() == "student,number,exercise,points,comment\n"
    path.write_text("student,number\n")
    with pytest.raises(NoSubmissions, match="has no column exercise, points, comment"):
        read_by_hand(path, toy)


def test_canvas_gets_its_own_columns_back(tmp_path, toy):
    put(tmp_path / "in", "lovelaceada_77_456_hw.ipynb")
    roster = written(tmp_path, CANVAS_ROSTER)
    files = gradebooks(rows_from(tmp_path / "in", toy, roster), toy, read_roster(roster))
    assert files.keys() == {"canvas.csv"}
    lines = list(csv.reader(io.StringIO(files["canvas.csv"])))
    assert lines[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Chapter 9 (4711)"]
    assert lines[1] == ["    Points Possible", "", "", "", "", "6"]
    assert lines[2] == ["Lovelace, Ada", "77", "s77", "ada", "A", "2"] and lines[4][-1] == ""
    without = gradebooks(rows_from(tmp_path / "in", toy), toy, None)["canvas.csv"].splitlines()
    assert without[0].endswith("Section,Chapter 9") and without[2] == "lovelaceada,77,,,,2"


def test_moodle_gets_its_worksheet_back(tmp_path, toy):
    put(tmp_path / "in", "Ada Lovelace_123_assignsubmission_file_/a.ipynb")
    sheet = "Identifier,Full name,Status,Grade,Maximum grade,Feedback comments\nParticipant 123,Ada Lovelace,Submitted,,6,\n"
    roster = written(tmp_path, sheet)
    files = gradebooks(rows_from(tmp_path / "in", toy, roster), toy, read_roster(roster))
    assert files == {"moodle.csv": sheet.replace("Submitted,,6", "Submitted,2,6")}
    without = gradebooks(rows_from(tmp_path / "in", toy), toy, None)["moodle.csv"].splitlines()
    assert without[1] == "Participant 123,Ada Lovelace,2,6,"


def test_other_folders_get_no_files_of_platforms(tmp_path, toy):
    assert gradebooks(rows_from(put(tmp_path, "ada.ipynb"), toy), toy, None) == {}
