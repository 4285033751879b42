"""The cohort tools besides running student code: who handed in what, values, verdicts, hand-outs, autograders."""

import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.course.damaged.cases import HEALTHY, MEAN, RUNNING_MEAN, WRONG_MEAN, notebook, saved
from utils.cohort import __main__ as command
from utils.cohort.batch import GRADED, Result, chapter_of, digest_of_tests, read_file
from utils.cohort.collect.submissions import NoSubmissions, Student, find_students, strays, whose
from utils.cohort.isolate import sandbox
from utils.cohort.isolate.closing import codes_in, uses
from utils.cohort.isolate.values import LENGTHS, Malformed, Other, decode, encode, pack, unpack
from utils.cohort.judge.hidden_tests import folder_of_tests
from utils.cohort.judge.judge import Judge, Verdict, read_sent, why_not
from utils.cohort.judge.likeness import is_like
from utils.cohort.judge.records import Record, read_record, record
from utils.cohort.release.handout import RUN, NoRelease, bodies, refuse_secrets, release, runs_of, secrets, texts_in
from utils.cohort.report.cohort_html import as_page
from utils.cohort.report.student_files import as_classroom, as_gradescope, as_markdown, file_names, plain
from utils.cohort.report.table import StudentRow, as_csv, misconceptions, pass_rates, rows_of, unexplained
from utils.grading.chapters import chapters
from utils.grading.compare.expectations import Check
from utils.grading.diagnose.variants import Alternate, make_answer
from utils.grading.find.cells import Cell
from utils.grading.results import Answer
from utils.notebooks.make_cells import build_notebook

ROOT = Path(__file__).resolve().parents[2]


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------


def through(value: object) -> object:
    """A value as it arrives."""
    block = bytearray()
    ((message, numbers),) = unpack(pack({"value": encode(value, block)}, bytes(block)))
    return decode(message["value"], numbers)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "text 😀 \n",
        10**40,
        -0.1,
        float("inf"),
        2 + 3j,
        [1, [2.5, "x"]],
        (1, (2,)),
        {"a": {1: [None]}, 2: 3},
        {1, "b", (2, 3)},
        [],
        {},
    ],
    ids=lambda value: type(value).__name__ + str(len(repr(value))),
)
def test_plain_values_arrive_as_they_are(value):
    found = through(value)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.bool, torch.complex64, torch.uint8])
def test_tensors_arrive_as_they_are(dtype):
    for value in (
        torch.arange(6).reshape(2, 3).T.to(dtype),
        torch.ones((), dtype=dtype),
        torch.empty(0, 3, dtype=dtype),
    ):
        found = through([torch.ones(3), value])[1]
        assert found.dtype == dtype and torch.equal(found, value)


def test_a_number_that_is_spread_out_arrives():
    for value in (torch.tensor(2.5).expand(1), torch.tensor([1, 2]).expand(3, 2), torch.ones(2, 3).T[1:]):
        assert torch.equal(through(value), value)


def test_half_precision_and_parameters_and_numpy_arrive_as_plain_values():
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(through(torch.tensor([1.5, 2.0], dtype=dtype)), torch.tensor([1.5, 2.0], dtype=dtype))
    assert type(through(torch.nn.Parameter(torch.ones(2)))) is torch.Tensor
    assert through(np.float32(0.5)) == 0.5 and type(through(np.int64(3))) is int


def test_subclasses_cannot_lie():
    class Number(float):
        def __eq__(self, other):
            return True

        def __float__(self):
            return 7.0

        def hex(self):
            return "0x1.0p+3"

        __hash__ = None

    class List(list):
        def __iter__(self):
            return iter([5])

    assert through(Number(1.5)) == 1.5
    assert through(List([1, 2])) == [1, 2]
    assert through(range(3)) == [0, 1, 2]
    other = through(object())
    assert other == Other("object", "<object object at 0x>")


@pytest.mark.parametrize(
    "value",
    [
        {"tensor": "float64", "shape": [10**9], "at": 0},
        {"tensor": "float64", "shape": [-1], "at": 0},
        {"tensor": "object", "shape": [1], "at": 0},
        {"tensor": "float64", "shape": ["1"], "at": 0},
        {"tensor": "float64", "shape": [1], "at": -8},
        {"tensor": "float64", "shape": [1] * 100, "at": 0},
        {"tensor": "float64", "shape": [10**4000], "at": 0},
        {"float": "__import__('os')"},
        {"int": "1" * 5000},
        {"class": "os.system"},
        {"list": 5},
        {"dict": [[{"list": []}, 1]]},
        {"list": [], "tuple": []},
        {"other": []},
        5,
        [1],
    ],
    ids=str,
)
def test_what_is_no_value_is_refused(value):
    with pytest.raises(Malformed):
        decode(value, b"12345678")


def test_what_is_no_frame_is_refused():
    assert list(unpack(b"")) == list(unpack(pack({"a": 1})[:-1])) == list(unpack(b"\xff" * 100)) == []
    for text in (b"{", b"[1]", b"[" * 100_000, b"\xff"):
        with pytest.raises(Malformed):
            list(unpack(LENGTHS.pack(len(text), 0) + text))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"checks": 5},
        {"checks": [{"kind": "close"}]},
        {"checks": [{"kind": "magic", "what": "x", "actual": None}]},
        {"checks": [{"kind": "property", "what": "x", "actual": True}]},
        {"checks": [], "ending": 5, "failure": "", "printed": "", "is_skipped": False},
        {"checks": [], "ending": "", "failure": "", "printed": "", "is_skipped": 1},
    ],
    ids=str,
)
def test_what_is_no_record_is_refused(message):
    with pytest.raises(Malformed):
        read_record(message, b"")


# ---------------------------------------------------------------------------------------------------------------------
# The judge
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chapter(toy_session):
    return toy_session[1]


@pytest.fixture(scope="module")
def judge(chapter):
    judge = Judge(chapter)
    yield judge
    judge.close()


def judged(judge, toy_session, name: str, answer: object) -> Verdict:
    """The verdict on an answer that is run here, as a student's process would run it."""
    from utils.cohort.isolate.processes import Reply

    session, _ = toy_session
    data = pack({"is_started": True, "problem": "", "remarks": []})
    for index, item in enumerate(session.items(name)):
        message, block = record(session.grader, item, Answer(name, answer), with_expected=False)
        data += pack({"case": index, **message}, block)
    return judge.judge(Reply(name, "over", False, [], data + pack({"tools": True})))


def test_right_answers_get_all_points_and_mistakes_their_sentence(judge, toy_session, chapter):
    judge.refuse_unfair()
    for name, points in chapter.points.items():
        reference = chapter.reference(name)
        for answer in (reference, *(make_answer(alternate, reference) for alternate in chapter.alternates(name))):
            verdict = judged(judge, toy_session, name, answer)
            assert (verdict.status, verdict.earned, verdict.mistake) == ("done", points, "")
        for mistake in chapter.mistakes(name):
            verdict = judged(judge, toy_session, name, make_answer(mistake, reference))
            assert (verdict.status, verdict.mistake, verdict.signature) == ("failing", mistake.name, "")
            assert verdict.earned < points


def test_failures_that_nobody_foresaw_are_told_apart_by_their_values(judge, toy_session):
    signatures = [judged(judge, toy_session, "mean", lambda values, x=x: x).signature for x in (4.25, 4.25, 6.0)]
    assert signatures[0] == signatures[1] != signatures[2] and signatures[0]


def test_other_comparisons_than_the_judges_are_worth_nothing():
    expected = Record([Check("close", "a", 1.0, 1.0), Check("equal", "b", [1], [1])])
    assert why_not(expected, expected) == ""
    right, wrong = Check("close", "a", 1.0, 5.0, rtol=9.0), Check("equal", "b", [2], [2])
    assert why_not(expected, Record([right, expected.checks[1]])) == ""
    assert why_not(expected, Record([right, wrong])) == "b: expected 1, got 2 at [0]."
    for checks in ([], [right], [expected.checks[1], right], [*expected.checks, wrong]):
        assert "not those of a right answer" in why_not(expected, Record(checks))


def test_what_came_is_read_with_care():
    sent = read_sent(
        pack({"case": 7}) + pack({"noticed": 5}) + pack({"is_started": 1, "remarks": "x", "problem": 3}), {0, 1, 2}
    )
    assert (sent.records, sent.noticed, sent.is_started, sent.remarks, sent.problem) == ({}, [], True, [], "")
    assert not sent.is_over and not sent.tools_work
    with pytest.raises(Malformed):
        read_sent(pack({"case": 1, "checks": "many"}), {0, 1, 2})


# ---------------------------------------------------------------------------------------------------------------------
# Likeness
# ---------------------------------------------------------------------------------------------------------------------


def like(source: str, reference: str = MEAN) -> bool:
    import ast

    return is_like(ast.parse(source).body[0], reference)


def test_other_names_comments_and_docstrings_are_still_a_copy():
    assert like(MEAN) and like(
        'def average(xs):\n    """Mine."""\n    if not xs:\n        return 0.0\n    return sum(xs)/len(xs) # !'
    )
    assert like(RUNNING_MEAN.replace("value", "number").replace(".number", ".value"), RUNNING_MEAN)


def test_another_structure_is_no_copy():
    assert (
        not like(WRONG_MEAN)
        and not like(MEAN.replace("sum", "len"))
        and not like("mean = sum")
        and not is_like(None, MEAN)
    )


CLASSES = [
    pytest.param(chapter, name, id=name)
    for chapter in chapters(ROOT)
    for name in chapter.points
    if isinstance(chapter.reference(name), type)
]


@pytest.mark.parametrize(("chapter", "name"), CLASSES)
def test_the_reference_class_is_known_by_its_code(chapter, name):
    """It, and what is derived from it; but not a class that a student has written in the same words."""
    reference = chapter.reference(name)
    codes = codes_in(reference, inspect.getfile(reference))
    written = make_answer(Alternate("same", source=chapter.page.source(name).text), reference)
    assert codes and uses(reference, codes) and uses(type("Mine", (reference,), {}), codes)
    assert not uses(written, codes) and not uses(lambda: 0, codes)


# ---------------------------------------------------------------------------------------------------------------------
# Submissions
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace_123_assignsubmission_file_", ("Ada Lovelace", "123", False)),
        ("Ada Lovelace_123_assignsubmission_file", ("Ada Lovelace", "123", False)),
        ("lovelaceada_LATE_77_881_chapter1", ("lovelaceada", "77", True)),
        ("lovelaceada_77_881_chapter1-2", ("lovelaceada", "77", False)),
        ("lovelaceada_77_text", ("lovelaceada", "77", False)),
        ("LATE_anon_1aB2c_881_chapter1", ("anon", "1aB2c", True)),
        ("projectgroup1_LATE_77_456_chapter3", ("projectgroup1", "77", True)),
        ("smith2ann_LATE_1_2_c", ("smith2ann", "1", True)),
        ("प्रिया_LATE_123_456_chapter3", ("प्रिया", "123", True)),
        ("Homework 3_ada_attempt_2026-11-30-21-33-39_chapter3", ("ada", "", False)),
        ("ada_lovelace", ("ada_lovelace", "", False)),
        ("chapter3 (1)", ("chapter3 (1)", "", False)),
    ],
)
def test_names_of_students(name, expected):
    assert whose(name)[:3] == expected


def test_a_zip_is_read_like_a_folder(tmp_path):
    files = {
        "ada/a.ipynb": b"1",
        "bob.ipynb": b"2",
        "ada/deep/er.ipynb": b"3",
        "__MACOSX/x.ipynb": b"",
        "eve/e.pdf": b"4",
    }
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "all" / name).write_bytes(content)
    for place in (tmp_path / "all.zip", tmp_path / "all"):
        students = find_students(place)
        assert [student.name for student in students] == ["ada", "bob", "eve"]
        assert [file.read() for student in students for file in student.files] == [b"1", b"3", b"2"]
        assert students[2].others == ["eve/e.pdf"]


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(HEALTHY if name.endswith(".ipynb") else b"-")
    return folder


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))


def test_a_zip_of_a_folder_is_that_folder(tmp_path):
    """Whoever zips a folder puts it into the zip as well; but the folder of a student is no such folder."""
    whole = put(tmp_path / "hand in", "ada.ipynb", "Bob_12_assignsubmission_file_/a.ipynb", "eve/b.ipynb", "names.txt")
    students = find_students(zipped(whole))
    assert [(student.name, student.number) for student in students] == [("Bob", "12"), ("ada", ""), ("eve", "")]
    assert [student.files[0].read() for student in students] == [HEALTHY] * 3
    (whole / "none").mkdir()
    assert find_students(zipped(whole))[-1].name == "none" and strays(zipped(whole)) == ["hand in/names.txt"]
    (student,) = find_students(zipped(put(tmp_path / "Kim_7_assignsubmission_file_", "a.ipynb")))
    assert (student.name, student.number) == ("Kim", "7")


def test_a_folder_of_folders_inside_is_opened(tmp_path):
    whole = put(tmp_path, "download/ada/a.ipynb", "download/bob/b.ipynb")
    assert [student.name for student in find_students(whole)] == ["ada", "bob"]
    one = put(tmp_path / "one", "ada/a.ipynb", "ada/old/b.ipynb")
    assert [student.name for student in find_students(one)] == ["ada"]


def test_notebooks_with_odd_names_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("ada.ipynb", "../bob.ipynb", ".eve.ipynb", "__MACOSX/ada.ipynb", "._ada.ipynb"):
            archive.writestr(name, HEALTHY)
    assert [student.name for student in find_students(tmp_path / "a.zip")] == ["ada"]
    assert strays(tmp_path / "a.zip") == ["../bob.ipynb", ".eve.ipynb"]


def test_names_that_are_no_text_stay_apart(tmp_path):
    for name in (b"M\xfcller.ipynb", b"M\xf6ller.ipynb"):
        try:
            (Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))).write_bytes(HEALTHY)
        except OSError:
            pytest.skip("This system's names of files are always text.")
    assert len({student.name for student in find_students(tmp_path)}) == 2


def test_a_damaged_part_of_a_zip_is_that_students_alone(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("ada.ipynb", HEALTHY)
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    whole[60:70] = bytes(10)
    (tmp_path / "a.zip").write_bytes(whole)
    (student,) = find_students(tmp_path / "a.zip")
    assert read_file(student.files[0], []).status == "unreadable"


def test_who_handed_in_no_notebook_is_there(tmp_path):
    folder = put(tmp_path, "ada.ipynb", "kimlee_12_345_hw.pdf", "liwei_13_text.html", "names.txt", "Moe_9/.hidden")
    (folder / "nobody").mkdir()
    assert strays(folder) == ["names.txt"]
    rows = rows_of(find_students(folder), {"ada.ipynb": Result(GRADED, "", 9, [verdict()])})
    assert [(row.student.name, row.status, row.remarks) for row in rows] == [
        ("Moe_9", "no notebook", ["No file."]),
        ("ada", "graded", []),
        ("kimlee", "no notebook", ["No notebook among kimlee_12_345_hw.pdf."]),
        ("liwei", "no notebook", ["No notebook among liwei_13_text.html."]),
        ("nobody", "no notebook", ["No file."]),
    ]


def test_what_canvas_marks_as_late_is_remarked(tmp_path):
    late, early = "ada_LATE_77_881_hw.ipynb", "chocolate_78_882_LATE.ipynb"
    results = {name: Result(GRADED, "", 9, [verdict()]) for name in (late, early)}
    rows = rows_of(find_students(put(tmp_path, late, early)), results)
    assert [row.remarks for row in rows] == [[f"Late, says Canvas: {late}."], []]


def test_a_damaged_file_in_a_zip_damages_no_other(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ada", "bob"):
            archive.writestr(f"{name}.ipynb", HEALTHY)
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[30 + len("ada.ipynb")] |= 6  # where its data begins: a kind of block that there is not
    (tmp_path / "all.zip").write_bytes(content)
    course = chapters(ROOT / "tests" / "course" / "toy")
    ada, bob = (read_file(student.files[0], course) for student in find_students(tmp_path / "all.zip"))
    assert ada.status == "unreadable" and not isinstance(bob, Result)


def test_a_locked_zip_is_unreadable(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("ada.ipynb", HEALTHY)
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[6] |= 1  # in the file's own head, and in the list at the end
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "all.zip").write_bytes(content)
    (student,) = find_students(tmp_path / "all.zip")
    assert read_file(student.files[0], chapters(ROOT / "tests" / "course" / "toy")).status == "unreadable"


def test_where_there_is_nothing_one_sentence_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("no notebook")
    for place in (tmp_path, tmp_path / "notes.txt", tmp_path / "nowhere"):
        with pytest.raises(NoSubmissions, match=r"^[^\n]+\.$"):
            find_students(place)


def test_the_chapter_of_a_notebook(chapter):
    course = chapters(ROOT)
    third = next(chapter for chapter in course if chapter.number == 3)

    def of(*sources: str, name: str = "homework.ipynb"):
        return chapter_of([Cell("code", source, 1) for source in sources], name, course)

    assert of("def prune_nodes(x):\n    pass") is third
    assert of("import math", name="my chapter 3 (2).ipynb") is third
    assert of("x = 1") is None and of(name="chapter99.ipynb") is None
    assert of("def prune_nodes(x): 1", "def prune_edges(x): 1", name="chapter1.ipynb") is third


# ---------------------------------------------------------------------------------------------------------------------
# Tables and reports
# ---------------------------------------------------------------------------------------------------------------------


def verdict(name="mean", status="done", earned=1.0, **changes) -> Verdict:
    points = {"mean": 1, "RunningMean": 3, "smooth": 2}[name]
    return Verdict(name, points, status, earned, **changes)


def row_of(name: str, *verdicts: Verdict) -> StudentRow:
    return StudentRow(Student(name), {9: (f"{name}.ipynb", Result(GRADED, "", 9, list(verdicts)))})


def test_misconceptions_are_counted_and_the_rest_is_grouped():
    wrong = {"status": "failing", "earned": 0.0}
    test = {"sentence": "It is right.", "passed": False, "failure": "expected 1, got 5.", "hidden": False}
    rows = [
        row_of("ada", verdict(mistake="sums", sentence="You only add.", **wrong)),
        row_of("bob", verdict(mistake="sums", sentence="You only add.", **wrong)),
        row_of("eve", verdict(signature="x 5", tests=[test], **wrong)),
        row_of("kim", verdict()),
    ]
    assert [(group.exercise, group.title, group.students) for group in misconceptions(rows)] == [
        ("mean", "You only add.", ("ada", "bob"))
    ]
    assert [(group.title, group.students) for group in unexplained(rows)] == [
        ("It is right. expected 1, got 5.", ("eve",))
    ]


def test_pass_rates(chapter):
    rows = [
        row_of("ada", verdict(), verdict("smooth", "not started", 0.0)),
        row_of("bob", verdict("mean", "failing", 0.5), verdict("smooth", "done", 2.0)),
    ]
    assert pass_rates(rows, chapter) == [("mean", 1, 2, 2), ("RunningMean", 0, 0, 0), ("smooth", 1, 1, 2)]


def test_a_spreadsheet_runs_nothing(chapter):
    """Also one that takes semicolons for the ends of cells."""
    text = as_csv([row_of("=cmd()", verdict()), row_of("@x\n,y", verdict()), row_of("a;=1+1;b", verdict())], [chapter])
    assert '"a;=1+1;b",' in text
    assert text.startswith(
        '\ufeff"student","number","status","total","of","percent","mean","RunningMean","smooth","remarks"\n"\'=cmd()","","graded","1","6","16.7","1",'
    )
    assert '"\'@x\n,y"' in text


def test_the_notebook_with_more_points_counts(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "ada" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ada" / f"{name}.ipynb").write_bytes(HEALTHY)
    (student,) = find_students(tmp_path)
    results = {
        "ada/a.ipynb": Result(GRADED, "", 9, [verdict(earned=0.5, status="failing")]),
        "ada/b.ipynb": Result(GRADED, "", 9, [verdict()]),
        "ada/c.ipynb": Result("empty", "The file is empty."),
    }
    (row,) = rows_of([student], results)
    assert (row.earned, row.status, row.counted[9][0]) == (1.0, "graded", "ada/b.ipynb")
    assert row.remarks == [
        "2 notebooks of chapter 9: ada/b.ipynb has the most points and counts.",
        "ada/c.ipynb: empty.",
    ]


def test_reports_hide_hidden_tests_and_markup(chapter):
    secret = {"sentence": "Secret 4711.", "passed": False, "failure": "", "hidden": True}
    open_test = {"sentence": "It is right.", "passed": False, "failure": "got <b>5</b>\n[x](y)", "hidden": False}
    row = row_of("ada", verdict(status="failing", earned=0.0, tests=[open_test, secret]))
    for text in (as_markdown(row, [chapter]), json.dumps(as_gradescope(row, [chapter]))):
        assert (
            "A hidden test" in text and "4711" not in text and "<b>" not in text.replace("\\<", "").replace("\\\\<", "")
        )
    assert plain("<a>\n`x` [y](z)\x00") == r"\<a\> \`x\` \[y\](z)"


def test_the_courses_own_sentences_keep_their_code(chapter):
    """Only what comes from students is made plain."""
    test = {"sentence": "`mean` is right.", "passed": False, "failure": "got `x`.", "hidden": False}
    found = {"status": "failing", "earned": 0.0}
    text = as_markdown(row_of("ada", verdict(tests=[test], **found)), [chapter])
    assert "- ✗ `mean` is right." in text and r"got \`x\`." in text
    row = row_of("ada", verdict(tests=[test], mistake="sums", sentence="You use `sum`, not <b>.", **found))
    assert "You use `sum`" in as_markdown(row, [chapter])
    page = as_page([row], [chapter], [])
    assert "You use <code>sum</code>, not &lt;b&gt;." in page and "width=device-width" in page


def test_a_long_list_of_misconceptions_is_folded(chapter):
    """The most frequent ones stay open, and the students are not far below."""
    wrong = {"status": "failing", "earned": 0.0}
    mistakes = [verdict(mistake=f"m{k}", sentence=f"Mistake {k}.", **wrong) for k in range(20)]
    page = as_page([row_of("ada", *mistakes), row_of("bob", mistakes[13])], [chapter], [])
    open_part, folded = page.split("<summary>8 more</summary>")
    assert "Mistake 13." in open_part and "Mistake 9." in folded
    assert sum(f"Mistake {k}." in open_part for k in range(20)) == 12
    assert "more</summary>" not in as_page([row_of("ada", *mistakes[:12])], [chapter], [])


def test_file_names_are_safe_and_unlike():
    names = ["../../etc/passwd", "Ada", "ada", "ada (2)", "...", "a/b:c*", "x" * 500, "李" * 150, "李", ""]
    found = file_names([row_of(name) for name in names])
    assert len({name.casefold() for name in found}) == len(names)
    assert all(name and "/" not in name and not name.startswith(".") and len(name.encode()) < 200 for name in found)
    assert found[3] == "ada _2_"


def test_results_for_classroom(chapter):
    lines = as_classroom(as_gradescope(row_of("ada", verdict(earned=0.6), verdict("smooth", "done", 2.0)), [chapter]))
    assert lines == [
        "::notice title=Autograding complete::Points 2.6/6",
        '::notice title=Autograding report::{"totalPoints": 2.6, "maxPoints": 6}',
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Hand-outs
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    return Path(shutil.copytree(Path(__file__).parent / "toy", tmp_path_factory.mktemp("teacher") / "toy"))


def test_a_hand_out_leads_to_the_fork(course, tmp_path):
    out = tmp_path / "week one"
    written = release(chapters(course), out, address="https://github.com/teacher/fork")
    notebook_file, manifest = (json.loads(path.read_text()) for path in written)
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook_file["cells"]}
    assert "github/teacher/fork/blob/main/week one/chapter9_toy.ipynb" in cells["badge"]
    assert (
        "`git clone https://github.com/teacher/fork`" in cells["badge"]
        and "`python -m pytest checks`" in cells["badge"]
    )
    assert 'ADDRESS = "https://github.com/teacher/fork"' in cells["setup"] and "toy-owner" not in json.dumps(
        notebook_file
    )
    assert "<summary>Solution" in cells["help-mean"] and "<summary>Hint" in cells["help-mean"]
    (entry,) = manifest["chapters"]
    assert entry["sha256"] == hashlib.sha256(written[0].read_bytes()).hexdigest()
    assert entry["tests"] == digest_of_tests(chapters(course)[0])
    with pytest.raises(NoRelease, match="is not empty"):
        release(chapters(course), out)
    with pytest.raises(NoRelease, match="no address"):
        release(chapters(course), tmp_path / "new", address="example.org")


def test_the_hash_of_tests_changes_with_them(course, tmp_path):
    copy = Path(shutil.copytree(course, tmp_path / "toy"))
    before = digest_of_tests(chapters(copy)[0])
    assert before == digest_of_tests(chapters(course)[0])
    with (copy / "checks" / "test_averages.py").open("a") as file:
        file.write("\n# another\n")
    assert digest_of_tests(chapters(copy)[0]) != before


def test_a_hand_out_without_solutions_has_none_of_the_real_course(tmp_path):
    """No 40 characters in a row of a solution's body, in whatever cell, hint, given code or metadata of any chapter."""
    course = chapters(ROOT)
    written = release(course, tmp_path / "out", hints=True, solutions=False)
    all_bodies = [body for chapter in course for _, body in bodies(chapter.page)]
    lines = {line.strip() for body in all_bodies for line in body.splitlines() if len(line.strip()) >= RUN}
    runs = {run for body in all_bodies for run in runs_of(body)}
    assert len(runs) > 10_000 and {len(run) for run in runs} == {RUN} and len(lines) > 100
    assert len(written) == len(course) + 1
    for path in written:
        for text in (path.read_text(), *texts_in(json.loads(path.read_text()))):
            assert not runs & set(runs_of(text)), path.name
            assert not [line for line in lines if line in text], path.name


def test_a_solution_in_a_hint_is_refused(course, tmp_path):
    copy = Path(shutil.copytree(course, tmp_path / "toy"))
    page = copy / "instructions" / "chapter9_toy.md"
    page.write_text(
        page.read_text().replace("By the number of values.", "`if not values:  return 0.0\n return sum(values)`")
    )
    assert "return sum" in release(chapters(copy), tmp_path / "a")[0].read_text()
    with pytest.raises(NoRelease, match="chapter9_toy.ipynb would give a part of mean away: .*other words"):
        release(chapters(copy), tmp_path / "b", solutions=False)
    assert not (tmp_path / "b").exists()
    release(chapters(copy), tmp_path / "b", hints=False, solutions=False)


def test_a_solution_in_metadata_is_noticed(course):
    page = chapters(course)[0].page
    made = build_notebook(page, solutions=False)
    refuse_secrets("a.ipynb", made, secrets([page]))
    made.cells[3].metadata["old"] = {"deep": [page.source("mean").answer()]}
    with pytest.raises(NoRelease, match="a.ipynb would give a part of mean away"):
        refuse_secrets("a.ipynb", made, secrets([page]))


# ---------------------------------------------------------------------------------------------------------------------
# The command, and autograders
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["grade", "nowhere", "--out", "out"], "There is no nowhere."),
        (["release", "--chapters", "9-", "--out", "out"], "Chapters are given as 1-3 or 1,3, not as '9-'."),
        (["release", "--chapters", "9-8", "--out", "out"], "Chapters are given as 1-3 or 1,3, not as '9-8'."),
        (["gradescope", "--chapter", "9", "--out", "checks"], "checks is a folder: name the zip file to write."),
        pytest.param(
            ["gradescope", "--chapter", "9", "--out", "/proc/a.zip"],
            "/proc/a.zip cannot be written: No such file or directory.",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="There is no /proc."),
        ),
        (["classroom", "pyproject.toml"], "pyproject.toml is no file of results/."),
        (
            ["grade", "instructions", "--out", "instructions/out"],
            "instructions/out is in instructions, whose folders are students': name another.",
        ),
        (["release", "--chapters", "7", "--out", "out"], "There is no chapter 7; there are 9."),
        (["release", "--chapters", "one", "--out", "out"], "Chapters are given as 1-3 or 1,3, not as 'one'."),
        (["gradescope", "--chapter", "9", "--out", "out", "--hidden", "none"], "none has no tests (test_*.py)."),
        (["gradescope", "--chapter", "8-9", "--out", "out"], "There is no chapter 8; there are 9."),
        (
            ["grade", "instructions", "--out", "out", "--hidden", "instructions"],
            "instructions has no tests (test_*.py).",
        ),
    ],
)
def test_bad_input_is_one_sentence(course, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(course)
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == sentence
    assert not (course / "out").exists() and not list(course.rglob(".packing*"))


@pytest.mark.parametrize("option", [["--jobs", "0"], ["--timeout", "x"], ["--memory", "5"]])
def test_limits_must_be_sensible(course, monkeypatch, capsys, option):
    monkeypatch.chdir(course)
    with pytest.raises(SystemExit):
        command.main(["grade", "instructions", "--out", "out", *option])
    assert "is no whole number from" in capsys.readouterr().err


HIDDEN_TEST = '''
from utils.grading import expect_close


def test_secret(mean):
    """Secret sentence 4711."""
    expect_close(mean([100.0, 23.0]), 61.5, "a secret mean")
'''
BY_HEART = "def mean(values):\n    return {3: 10 / 3 if 7.0 in values else 2.0}.get(len(values), 0.0)\n"


def test_gradescope_in_a_clean_folder(course, tmp_path):
    """Both scripts, as Gradescope runs them, but for installing packages; with a hidden test."""
    hidden = tmp_path / "mine"
    hidden.mkdir()
    (hidden / "test_hidden.py").write_text(HIDDEN_TEST)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    packed = subprocess.run(
        [
            sys.executable,
            "-m",
            "utils.cohort",
            "gradescope",
            "--chapter",
            "9",
            "--out",
            tmp_path / "a.zip",
            "--hidden",
            hidden,
        ],
        cwd=course,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )
    assert packed.returncode == 0
    autograder = tmp_path / "autograder"
    (autograder / "submission").mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", tmp_path / "a.zip", autograder / "source"], check=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert not any("test_cohort" in name or name.endswith(".ipynb") for name in modes)
    environment |= {"AUTOGRADER": str(autograder), "PYTHON": sys.executable}
    subprocess.run(["bash", autograder / "source" / "setup.sh"], env=environment, check=True)
    shutil.copy(autograder / "source" / "run_autograder", autograder / "run_autograder")
    results = autograder / "results" / "results.json"
    for content, score, words in [
        (saved(notebook([("code", BY_HEART)])), 0.7, "A hidden test"),
        (None, 0, "No notebook"),
    ]:
        (autograder / "submission" / "hand in.ipynb").unlink(missing_ok=True)
        if content:
            (autograder / "submission" / "hand in.ipynb").write_bytes(content)
        subprocess.run(["bash", autograder / "run_autograder"], env=environment, check=True, cwd=autograder)
        text = results.read_text()
        assert json.loads(text)["score"] == score and words in text and "4711" not in text and "61.5" not in text
    shutil.rmtree(autograder / "source" / "course" / "checks")  # what fails without the student's doing is no zero
    (autograder / "submission" / "hand in.ipynb").write_bytes(HEALTHY)
    failed = subprocess.run(["bash", autograder / "run_autograder"], env=environment, cwd=autograder)
    assert failed.returncode != 0 and not results.exists()


def test_the_workflow_for_classroom(course, tmp_path):
    """The template's own script grades a student's repository; it has the names and the notices that Classroom wants."""
    template = yaml.safe_load((ROOT / "utils" / "cohort" / "release" / "templates" / "classroom.yml").read_text())
    (job,) = template["jobs"]
    assert (template["name"], job) == ("Autograding Tests", "run-autograding-tests")
    steps = template["jobs"][job]["steps"]
    assert [step["with"]["path"] for step in steps[:2]] == ["cohort/student", "course"]
    put(tmp_path / "cohort" / "student", "README.md", ".github/workflows/classroom.yml", "homework.ipynb")
    shutil.copytree(course, tmp_path / "course")
    summary = tmp_path / "summary.md"
    tools = {"GITHUB_STEP_SUMMARY": str(summary), "CHAPTER": "9", "PYTHONPATH": str(ROOT)}
    tools["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = ["bash", "-e", "-c", steps[-1]["run"]]
    done = subprocess.run(
        script, cwd=tmp_path / steps[-1]["working-directory"], env=os.environ | tools, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "homework.ipynb: 1 of 6 points." in summary.read_text()
    assert '::notice title=Autograding report::{"totalPoints": 1.0, "maxPoints": 6}' in done.stdout.splitlines()


TRIES = """
import ctypes, json, os, platform, resource, socket, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from utils import cache_folder
from utils.cohort.isolate import sandbox
from utils.cohort.isolate.closing import readable_places

home, secret, inside = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[1]

def refused(work):
    try:
        work()
    except OSError:
        return True
    return False

def limit(kind):
    try:
        resource.setrlimit(kind, (10**6, 10**6))
    except ValueError as error:  # as Python says it
        raise OSError from error

library = ctypes.CDLL(None, use_errno=True)
queue = {"x86_64": 240, "aarch64": 180}[platform.machine()]

def called(number):
    if library.syscall(number, 0, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1:
        raise PermissionError

out = os.dup(1)
sandbox.enter(home, readable_places(), 5, 500)
cached = cache_folder() / "model" / "config.json"
found = {
    "fork": refused(os.fork),
    "exec": refused(lambda: os.execv("/bin/true", ["true"])),
    "socket": refused(socket.socket),
    "signal": refused(lambda: os.kill(os.getppid(), 0)),
    "signal to all": refused(lambda: os.kill(-1, 0)),
    "limits": refused(lambda: resource.prlimit(os.getppid(), 1)),
    "read": refused(secret.read_text),
    "list": refused(lambda: os.listdir(secret.parent)),
    "write": refused(lambda: secret.write_text("mine")),
    "create": refused(lambda: secret.with_name("new").write_text("mine")),
    "delete": refused(secret.unlink),
    "rename": refused(lambda: secret.rename(home / "mine")),
    "mode": refused(lambda: secret.chmod(0)),
    "write into the cache": refused(lambda: cached.write_text("mine")),
    "parent": refused(lambda: Path(f"/proc/{os.getppid()}/mem").open("r+b")),
    "users": refused(lambda: Path("/etc/passwd").read_text()),
    "queues": refused(lambda: called(queue)),
    "setxattrat": refused(lambda: called(463)),
    "more time": refused(lambda: limit(resource.RLIMIT_CPU)),
}
kept = {"write at home": not refused(lambda: (home / "notes").write_text("mine")), "read utils": bool(list(Path(inside, "utils").iterdir())),
        "read the cache": cached.read_text() == "{}"}
import threading
thread = threading.Thread(target=lambda: kept.update(threads=True))
thread.start()
thread.join()
os.write(out, json.dumps([found, kept]).encode())
"""


@pytest.mark.skipif(bool(sandbox.missing()), reason=" ".join(sandbox.missing()))
def test_the_system_itself_refuses(tmp_path):
    """Without any help from Python: what is not computing is refused, and what computing needs works."""
    home, secret = tmp_path / "home", tmp_path / "others" / "work.txt"
    home.mkdir()
    secret.parent.mkdir()
    secret.write_text("secret")
    cached = tmp_path / "cache" / "attribution-graphs" / "model" / "config.json"
    cached.parent.mkdir(parents=True)
    cached.write_text("{}")
    arguments = [sys.executable, "-c", TRIES, ROOT, home, secret]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600)
    found, kept = json.loads(done.stdout)
    assert all(found.values()), [name for name, is_refused in found.items() if not is_refused]
    assert kept == {"write at home": True, "read utils": True, "read the cache": True, "threads": True}
    assert secret.read_text() == "secret" and secret.stat().st_mode & 0o400


def test_what_a_system_lacks_is_said(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "other")
    assert len(sandbox.missing.__wrapped__()) == 2


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (HIDDEN_TEST.replace("(mean)", "(maen)"), "takes no exercise of chapter 9 as an argument. It takes maen."),
        (HIDDEN_TEST.replace("(mean)", "()"), "takes no exercise of chapter 9 as an argument. It takes nothing."),
        (HIDDEN_TEST.replace("(mean)", "(mean"), "cannot be read: "),
    ],
)
def test_a_hidden_test_that_tests_nothing_is_refused(course, tmp_path, monkeypatch, capsys, written, sentence):
    hidden = tmp_path / "mine"
    hidden.mkdir()
    (hidden / "test_hidden.py").write_text(written)
    monkeypatch.chdir(course)
    for arguments in (["grade", "instructions", "--out", "out"], ["gradescope", "--chapter", "9", "--out", "out"]):
        assert command.main([*arguments, "--hidden", str(hidden)]) == 2
        assert sentence in capsys.readouterr().err.strip() and not (course / "out").exists()


def test_a_hidden_test_may_take_its_exercise_through_a_fixture(course, tmp_path):
    (tmp_path / "test_hidden.py").write_text(
        "import pytest\n@pytest.fixture\ndef three(mean):\n    return mean([3.0])\n"
        "def test_three(three):\n    assert three == 3\n"
    )
    assert folder_of_tests(tmp_path, chapters(course)) == tmp_path.resolve()


def test_a_hidden_test_that_the_reference_fails_is_refused(course, tmp_path, monkeypatch, capsys):
    hidden, handed_in = tmp_path / "mine", tmp_path / "handed_in"
    hidden.mkdir()
    (hidden / "test_hidden.py").write_text(HIDDEN_TEST.replace("61.5", "61.6"))
    handed_in.mkdir()
    (handed_in / "ada.ipynb").write_bytes(HEALTHY)
    monkeypatch.chdir(course)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which the command sets: so that it is put back
    grade, pack = ["grade", str(handed_in)], ["gradescope", "--chapter", "9"]
    for arguments in (grade, pack):
        assert command.main([*arguments, "--out", str(tmp_path / "out"), "--hidden", str(hidden)]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(
            "The reference answers of chapter 9 do not pass test_secret: a secret mean: expected 61.6"
        )
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert not (tmp_path / "out").exists()
