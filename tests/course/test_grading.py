"""Grading, on the toy course: `check` and `progress`, pytest's side, the diagnosis, and what student code may do."""

import contextlib
import io
import json
import linecache
import os
import random
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.course.damaged.cases import HEALTHY, MEAN, RUNNING_MEAN, STUB, notebook, saved
from utils.grading import Alternate, Mistake, in_notebook, progress_file
from utils.grading.chapters import chapters
from utils.grading.compare.fingerprints import Fingerprint, sketch
from utils.grading.diagnose.failures import sentence
from utils.grading.diagnose.matching import explain, pairs_of
from utils.grading.diagnose.variants import VersionError, make_answer
from utils.grading.find.answers import NotebookAnswers
from utils.grading.find.cells import Cell
from utils.grading.pairs import prove_pairs
from utils.grading.proof import prove, prove_chapter
from utils.grading.results import Answer, CaseResult, ExerciseResult, earned
from utils.grading.run import exercise
from utils.grading.run.exercise import grade
from utils.grading.run.grader import TASK
from utils.grading.run.process_state import restore_watched, restored, watch
from utils.grading.show.tables import as_text

ROOT = Path(__file__).resolve().parents[2]
FORGETS = "The value becomes the latest one: what came before it is forgotten."
ONE_LESS = "You divide by one less than the number of values."


class Kernel:
    """A stand-in for a notebook's kernel: cells run in one namespace, and their sources are known to Python."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: dict = {"__name__": "__main__"}
        self.count = 0
        self.run("from utils.grading import check, progress")

    def run(self, source: str) -> str:
        """What a cell prints."""
        self.count += 1
        filename = f"/tmp/no_kernel/{id(self)}_{self.count}.py"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        printed = io.StringIO()
        with inside(self.folder), contextlib.redirect_stdout(printed):
            exec(compile(source, filename, "exec"), self.names)
        return printed.getvalue()


@contextlib.contextmanager
def inside(folder: Path):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture
def kernel(toy_course, toy_session, monkeypatch):
    """A fresh kernel in the toy course, without progress so far."""
    (toy_course / progress_file.NAME).unlink(missing_ok=True)
    session, chapter = toy_session
    monkeypatch.setattr(in_notebook, "open_session", lambda chapter: session)
    return Kernel(toy_course)


@pytest.fixture
def graded(toy_session):
    """`graded(source, name)`: the result of an answer that stands in a notebook."""

    def make(source: str, name: str = "mean", seconds: float = 10):
        session, chapter = toy_session
        answer = NotebookAnswers(chapter, [Cell("code", source, 1)], "notebook").answer(name)
        return grade(session.grader, session.items(name), answer, seconds)

    return make


# ---------------------------------------------------------------------------------------------------------------------
# check and progress
# ---------------------------------------------------------------------------------------------------------------------


def test_check_says_what_passes(kernel):
    kernel.run(MEAN)
    assert kernel.run("check(mean)").splitlines() == [
        "mean: done, 3 of 3 tests passed, 1 point.",
        "  ✓ The mean of three numbers is right.",
        "  ✓ The mean of no numbers is 0.",
        "  ✓ The list is the same afterwards.",
    ]


def test_check_names_the_mistake_and_folds_the_rest(kernel):
    kernel.run(RUNNING_MEAN)
    said = kernel.run("check(RunningMean)").splitlines()
    assert said[0] == "RunningMean: failing, 0 of 3 tests passed, 0 of 3 points."
    assert said[1] == f"  {FORGETS}"
    assert sum(line.startswith("  ✗") for line in said) == 3 and "Traceback" not in "".join(said)
    assert said[-1] == "  For the traceback: check(RunningMean, traceback=True)"
    assert "Unexpected: the mean after 8.0 was added" in kernel.run("check(RunningMean, traceback=True)")


def test_check_says_expected_and_got_where_no_mistake_is_known(kernel):
    kernel.run("def mean(values):\n    return 7.25")
    said = kernel.run("check(mean)")
    assert "the mean of 1, 2 and 7: expected 3.333, got 7.25." in said
    assert not any(sentence in said for sentence in (FORGETS, ONE_LESS))


def test_check_says_where_the_code_fails(kernel):
    kernel.run("def mean(values):\n    total = sum(values)\n    return total / missing")
    said = kernel.run("check(mean)")
    assert "Your code raised NameError: name 'missing' is not defined" in said
    assert "in line 3 of mean: return total / missing" in said


def test_check_of_a_stub_says_not_started(kernel):
    kernel.run(STUB)
    assert kernel.run("check(smooth)") == "smooth: not started.\n"


def test_check_of_a_half_written_answer_says_what_is_missing(kernel):
    kernel.run(RUNNING_MEAN.replace("self.value = value\n", "raise NotImplementedError()\n"))
    said = kernel.run("check(RunningMean)")
    assert "failing" in said and "A part is not written yet: in line 10 of add" in said


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("check('mean')", "Give check the function itself, without quotes: check(mean)."),
        ("check(3.0)", "Give check the function itself, not what it returns: check(name), without brackets behind it."),
        ("check(len)", "`len` is not an exercise; progress() shows all there are."),
    ],
)
def test_check_of_what_is_no_exercise_is_one_sentence(kernel, call, sentence):
    assert kernel.run(call) == sentence + "\n"


def test_check_finds_an_answer_by_its_name_in_the_notebook(kernel):
    kernel.run("mean = lambda values: sum(values) / len(values) if values else 0.0")
    assert kernel.run("check(mean)").startswith("mean: done")


def test_check_of_another_exercise_under_a_name_is_refused(kernel):
    kernel.run(MEAN)
    kernel.run("smooth = mean")
    assert kernel.run("check(smooth)") == (
        "This is your function `mean`, under the name `smooth`: define `smooth` itself.\n"
    )
    assert "0 done, 0 failing" in kernel.run("progress()"), "nothing is recorded"


def test_two_checks_on_a_line(kernel):
    kernel.run(MEAN)
    kernel.run(RUNNING_MEAN)
    said = kernel.run("check(mean); check(RunningMean)")
    assert "mean: done" in said and "\nRunningMean: " in said


@pytest.mark.parametrize("broken", [MEAN.replace("float:", "float", 1), MEAN + "\nprint("])
def test_check_after_a_syntax_error_says_so(kernel, broken):
    """What was run before the broken cell would be graded otherwise."""
    kernel.names["In"] = ["", MEAN, broken, "check(mean)"]
    kernel.run(MEAN)
    said = kernel.run("check(mean)")
    assert said.startswith("The cell of `mean` that you ran last has a syntax error (line ")
    assert "0 done, 0 failing" in kernel.run("progress()"), "nothing is recorded"
    kernel.names["In"] += [MEAN, "check(mean)"]
    assert kernel.run("check(mean)").startswith("mean: done")


def test_the_same_error_is_shown_once(kernel):
    kernel.run("def mean(values):\n    return len(missing)")
    said = kernel.run("check(mean)")
    assert said.count("NameError: name 'missing' is not defined") == 1
    assert "(the same in 2 more tests)" in said


def test_a_hook_that_cannot_be_called_is_explained():
    with pytest.raises(TypeError) as caught:
        (lambda value, point: value)(1, hook=2)
    assert "A hook is called as f(value, hook=…)" in sentence(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ((1, 2), "must return 3 things; yours returns "),
        (7, "yours returns one, of type int."),
        (None, "The test got None from your answer where it needs a value: is a `return` missing?"),
        ((1,) * 4, "yours returns "),
    ],
)
def test_the_wrong_number_of_results_is_explained(value, says):
    with pytest.raises((TypeError, ValueError)) as caught:
        first, second, third = value
    assert says in sentence(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({0: "gradient"}, "each element must be several things; one of yours is one, of type int."),
        ({"E": "gradient"}, "each element must be 2 things; one of yours is 1."),
        ([(1, 2, 3)], "each element must be 2 things; one of yours is "),
    ],
)
def test_a_dict_in_place_of_pairs_is_explained(value, says):
    with pytest.raises((TypeError, ValueError)) as loop:
        for _place, _grad in value:
            pass
    with pytest.raises((TypeError, ValueError)) as comprehension:
        [place for place, _ in value]
    for caught in (loop, comprehension):
        assert says in sentence(caught.value) and "keys alone" in sentence(caught.value)


@pytest.mark.parametrize(
    "use", [len, float, lambda value: value.shape, lambda value: value[0], lambda value: value + 1]
)
def test_a_missing_return_is_asked_for_whatever_the_test_does(use):
    with pytest.raises((TypeError, AttributeError)) as caught:
        use(None)
    assert "The test got None from your answer where it needs a value: is a `return` missing?" in sentence(caught.value)


def test_none_inside_an_answer_is_no_missing_return(kernel):
    kernel.run("def mean(values):\n    return None.shape")
    said = kernel.run("check(mean)")
    assert "return None.shape" in said and "missing" not in said


@pytest.mark.parametrize(
    ("value", "says"), [("(1, 2, 3)", "takes 2 things apart, and gets "), ("None", "gets one, of type NoneType")]
)
def test_an_unpacking_inside_an_answer_is_told_as_that(kernel, value, says):
    kernel.run(f"def mean(values):\n    first, second = {value}\n    return first")
    said = kernel.run("check(mean)")
    assert "first, second = " in said and says in said and "must return" not in said


def test_check_grades_each_exercise_on_its_own(kernel):
    """With a wrong mean, a right smooth that calls it is right."""
    kernel.run("def mean(values):\n    return -1.0")
    kernel.run("def mine(values):\n    return mean(values)")
    kernel.run(
        STUB.replace(
            "raise NotImplementedError()",
            "return [mine(values[max(0, i - width + 1) : i + 1]) for i in range(len(values))]",
        )
    )
    assert kernel.run("check(smooth)").startswith("smooth: done")
    assert kernel.names["mean"]([1.0]) == -1.0, "the notebook's own functions are back"
    assert kernel.run("check(mean)").startswith("mean: failing")


def test_check_puts_nothing_into_the_notebook(kernel):
    kernel.run(MEAN)
    before = set(kernel.names)
    kernel.run("check(mean)")
    assert set(kernel.names) == before


def test_check_leaves_random_numbers_alone(kernel):
    kernel.run("def mean(values):\n    import random\n    random.random()\n    return 0.0")
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = float(torch.rand(())), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    kernel.run("check(mean)")
    assert (float(torch.rand(())), np.random.rand(), random.random()) == expected


def test_progress_shows_the_latest_check_of_each_exercise(kernel):
    kernel.run(MEAN), kernel.run(RUNNING_MEAN), kernel.run(STUB)
    for name in ("RunningMean", "smooth", "mean"):
        kernel.run(f"check({name})")
    said = [" ".join(line.split()) for line in kernel.run("progress()").splitlines()]
    assert said == [
        "Chapter 9: Averages",
        "✓ mean done 3 of 3 tests 1 of 1",
        "✗ RunningMean failing 0 of 3 tests 0 of 3",
        "· smooth not started 0 of 2",
        "1 done, 1 failing, 1 not started; 1 of 6 points.",
    ]
    assert kernel.run("progress(4)") == "There is no chapter 4; there are 9.\n"


def test_progress_survives_a_damaged_file(kernel):
    kernel.run(MEAN)
    kernel.run("check(mean)")
    path = kernel.folder / progress_file.NAME
    good = path.read_text()
    entry = json.loads(good)
    bad = [
        "{", "[]", "null", "5", '"text"', "\0", json.dumps(entry | {"passed": 10**9}), json.dumps(entry | {"status": "x"}),
        json.dumps(entry | {"exercise": []}), json.dumps(entry | {"chapter": "9"}), "[" * 100_000, good.strip()[:-5],
    ]  # fmt: skip
    path.write_bytes("\n".join([*bad[:6], good, *bad[6:]]).encode() + b"\xff\xfe")
    assert "1 done, 0 failing, 2 not started" in kernel.run("progress()")
    kernel.run("def mean(values):\n    return 1.0")
    kernel.run("check(mean)")
    assert "0 done, 1 failing, 2 not started" in kernel.run("progress()"), "an unfinished line spoils no later one"


def test_progress_that_cannot_be_written_is_said(kernel):
    path = kernel.folder / progress_file.NAME
    path.mkdir()
    try:
        kernel.run(MEAN)
        said = kernel.run("check(mean)")
        assert said.startswith("mean: done") and "Your progress could not be written down: " in said
    finally:
        path.rmdir()


def test_several_programs_may_write_progress_at_once(toy_course, toy_session, graded):
    (toy_course / progress_file.NAME).unlink(missing_ok=True)
    result = graded(MEAN)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: progress_file.record(toy_course, number, result), range(200)))
    assert all(progress_file.latest(toy_course, number)["mean"]["status"] == "done" for number in range(200))


def test_in_a_real_kernel_the_result_is_html(toy_course, tmp_path):
    """Through Jupyter: a wrong class, a stub, progress; tracebacks are folded."""
    import nbformat
    from nbclient import NotebookClient

    cells = [MEAN.replace("len(values)", "max(len(values) - 1, 1)"), "check(mean)", STUB, "check(smooth)", "progress()"]
    course = shutil.copytree(toy_course, tmp_path / "toy")
    (course / progress_file.NAME).unlink(missing_ok=True)
    setup = f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\nos.chdir({str(course)!r})\n"
    cells.insert(0, setup + "from utils.grading import check, progress")
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(made, timeout=300, kernel_name="python3").execute()
    html = [cell.outputs[0]["data"]["text/html"] for cell in made.cells if cell.outputs]
    assert [len(cell.outputs) for cell in made.cells] == [0, 0, 1, 0, 1, 1]
    assert ONE_LESS in html[0] and "<summary>Traceback</summary>" in html[0]
    assert "smooth: not started." in html[1]
    assert "1 failing, 2 not started" in html[2] and "<table>" in html[2]


def test_html_shows_code_as_text(kernel):
    kernel.run("def mean(values):\n    print('<script>')\n    raise ValueError('<b>&')")
    shown = []
    kernel.names["check"].__globals__["show"], before = lambda text, html: shown.append(html), in_notebook.show
    try:
        kernel.run("check(mean)")
    finally:
        in_notebook.show = before
    assert "<script>" not in shown[0] and "&lt;script&gt;" in shown[0] and "&lt;b&gt;&amp;" in shown[0]


# ---------------------------------------------------------------------------------------------------------------------
# pytest
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_pytest(toy_course):
    """`run_pytest(content, *options)`: exit code and text of pytest on the toy course, with this notebook."""

    def run(content: bytes | None, *options: str) -> tuple[int, str]:
        path = toy_course / "chapters" / "chapter9_toy.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        args = ["checks", "-p", "utils.grading.plugin", f"--rootdir={toy_course}", "-c", "pyproject.toml", *options]
        args += ["--import-mode=importlib", "-p", "no:cacheprovider", "--capture=sys"]
        printed = io.StringIO()
        with inside(toy_course), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = pytest.main(args)
        return int(code), printed.getvalue()

    return run


def test_pytest_grades_the_notebook(run_pytest):
    code, said = run_pytest(HEALTHY)
    assert code == 1
    assert "3 failed, 3 passed, 3 skipped" in said
    failures = said.partition("test_running_mean_of_a_stream ___")[2].splitlines()
    assert failures[1:5] == [
        FORGETS,
        "the mean after 8.0 was added: expected 6, got 8.",
        "Test: After each value the mean is right.",
        "For the traceback add --tb=short.",
    ]
    table = [" ".join(line.split()) for line in said.partition("Chapter 9: Averages")[2].splitlines()[2:8]]
    assert table == [
        "✓ mean done 3 of 3 tests 1 of 1",
        "✗ RunningMean failing 0 of 3 tests 0 of 3",
        FORGETS,
        "· smooth not started 0 of 2",
        "1 done, 1 failing, 1 not started; 1 of 6 points.",
        "=========================== short test summary info ============================",
    ]


def test_nothing_done_is_not_started_and_no_failure(run_pytest):
    code, said = run_pytest(saved(notebook([("code", STUB)])), "-rs")
    assert code == 0
    assert "9 skipped" in said and said.count("not started") > 3
    assert "0 done, 0 failing, 3 not started; 0 of 6 points." in said


def test_the_reference_answers_pass(run_pytest):
    code, said = run_pytest(None, "--solutions")
    assert code == 0 and "9 passed" in said


def test_another_notebook_can_be_named(run_pytest, tmp_path):
    path = tmp_path / "mine.ipynb"
    path.write_bytes(saved(notebook([("code", MEAN)])))
    code, said = run_pytest(HEALTHY, f"--notebook={path}")
    assert code == 0 and "1 done, 0 failing, 2 not started" in said


@pytest.mark.parametrize(("content", "why"), [(None, "There is no notebook"), (HEALTHY[:99], "is damaged in line")])
def test_a_notebook_that_cannot_be_read_is_one_sentence(run_pytest, content, why):
    code, said = run_pytest(content)
    assert code == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in said.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1 and why in errors[0]
    assert "Traceback" not in said


def test_tracebacks_are_shown_when_asked_for(run_pytest):
    said = run_pytest(HEALTHY, "--tb=short")[1]
    assert "in test_running_mean_of_a_stream\n" in said and "expect_close(stream.value" in said


def test_the_table_needs_all_tests(run_pytest):
    assert "points" not in run_pytest(HEALTHY, "-k", "stream")[1]


def test_a_chapter_is_found_from_the_command_line(toy_course, run_pytest):
    """In a process of its own, as students run it."""
    run_pytest(saved(notebook([("code", MEAN)])))
    command = [sys.executable, "-m", "pytest", "checks", "-q", "-p", "utils.grading.plugin"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=toy_course, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 done, 0 failing, 2 not started; 1 of 6 points." in done.stdout


def run_apart(folder: Path, *arguments: str) -> tuple[int, str, float]:
    """A Python program in a process of its own: exit code, what it says, and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, done.stdout + done.stderr, seconds


def test_a_reference_that_is_not_exported_is_one_sentence(toy_course, tmp_path):
    course = Path(shutil.copytree(toy_course, tmp_path / "toy"))
    exports = course / "solutions_toy" / "__init__.py"
    exports.write_text(exports.read_text().replace("mean, smooth\n", "mean\n"))
    for options in ([], ["--solutions"]):
        code, said, _ = run_apart(course, "-m", "pytest", "checks", "-p", "utils.grading.plugin", *options)
        assert code == pytest.ExitCode.USAGE_ERROR and "INTERNALERROR" not in said and "Traceback" not in said
        (line,) = [line for line in said.splitlines() if line.startswith("ERROR")]
        assert "solutions_toy/__init__.py:3: `smooth` is an exercise, but the package does not export it" in line


HELP = {"utils.grading": "prove", "utils.cohort": "gradescope"}


@pytest.mark.parametrize("module", HELP)
def test_help_is_quick(module):
    """It takes 0.1 s of processor time on an idle core; PyTorch alone would take more than the bound."""
    script = (
        f"import runpy, sys\nsys.argv = ['x', '--help']\ntry:\n    runpy.run_module('{module}', run_name='__main__')\n"
    )
    script += "except SystemExit:\n    print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    code, said, _ = run_apart(ROOT, "-c", script)
    assert code == 0 and HELP[module] in said and said.splitlines()[-1] == "[]"
    assert min(run_apart(ROOT, "-m", module, "--help")[2] for _ in range(2)) < 1.0


def stubs_of(chapter) -> bytes:
    return saved(notebook([("code", chapter.page.source(name).stub()) for name in chapter.points]))


def test_a_chapter_that_is_untouched_is_answered_without_pytorch(tmp_path):
    """Chapter by chapter: neither tests nor their fixtures nor the libraries are imported."""
    script = """import pytest, sys
code = pytest.main(sys.argv[1:])
print([name for name in ("torch", "transformer_lens", "sae_lens", "transformers") if name in sys.modules])
sys.exit(code)"""
    for chapter in chapters(ROOT):
        path = tmp_path / chapter.notebook.name
        path.write_bytes(stubs_of(chapter))
        tests, n = str(chapter.tests), len(chapter.points)
        choices = [[], ["-n", "2"], ["-k", next(iter(chapter.points))]] if chapter.number == 3 else [[]]
        for options in choices:
            counts = "1 skipped" if "-k" in options else f"{n} skipped"
            arguments = ["-c", script, tests, "-p", "no:cacheprovider", f"--notebook={path}", *options]
            code, said, seconds = run_apart(ROOT, *arguments)
            assert code == 0 and counts in said and said.splitlines()[-1] == "[]", said
            assert "is started: replace `raise NotImplementedError()` in an exercise." in said
            assert (
                "-k" in options
            ) or f"0 done, 0 failing, {n} not started; 0 of {sum(chapter.points.values())} points." in said
            assert seconds < 4


@pytest.mark.parametrize("options", [[], ["-n", "1"]])
def test_of_two_chapters_the_untouched_one_is_not_imported(toy_course, tmp_path, options):
    course = Path(shutil.copytree(toy_course, tmp_path / "toy"))
    page = (course / "instructions" / "chapter9_toy.md").read_text()
    page = page.replace("chapter: 9", "chapter: 8").replace("tests: checks", "tests: others")
    (course / "instructions" / "chapter8_other.md").write_text(page)
    (course / "others").mkdir()
    (course / "others" / "test_no_python.py").write_text("This cannot be imported.")
    (course / "chapters").mkdir(exist_ok=True)
    (course / "chapters" / "chapter9_toy.ipynb").write_bytes(HEALTHY)
    stubs = [("code", stub_of(name)) for name in ("mean", "RunningMean", "smooth")]
    (course / "chapters" / "chapter8_other.ipynb").write_bytes(saved(notebook(stubs)))
    arguments = ["-m", "pytest", "checks", "others", "-p", "utils.grading.plugin", "--import-mode=importlib", *options]
    code, said, _ = run_apart(course, *arguments)
    assert code == 1 and "3 failed, 3 passed, 6 skipped" in said, said
    assert "Nothing in chapters/chapter8_other.ipynb is started" in said and "chapter9_toy.ipynb is started" not in said


def test_solutions_and_single_tests_are_not_answered_without_tests(run_pytest):
    stub = saved(notebook([("code", stub_of(name)) for name in ("mean", "RunningMean", "smooth")]))
    assert "3 skipped" in run_pytest(stub)[1]
    assert "9 passed" in run_pytest(stub, "--solutions")[1]
    assert "1 skipped, 8 deselected" in run_pytest(stub, "-k", "stream")[1]
    assert "1 skipped, 2 deselected" in run_pytest(stub, "-k", "smooth")[1]
    assert "9 tests collected" in run_pytest(stub, "--collect-only")[1]
    assert "9 skipped" in run_pytest(saved(notebook([("code", stub_of("mean"))])))[1], "what is missing is said"
    started = [("code", stub_of("mean")), ("code", stub_of("RunningMean")), ("code", stub_of("smooth"))]
    for kind in ("code", "markdown"):
        assert "3 passed, 6 skipped" in run_pytest(saved(notebook([*started, (kind, MEAN)])))[1], kind


def stub_of(name: str) -> str:
    return chapters(ROOT / "tests" / "course" / "toy")[0].page.source(name).stub()


# ---------------------------------------------------------------------------------------------------------------------
# What student code may do
# ---------------------------------------------------------------------------------------------------------------------

BEHAVE = "    return sum(values) / len(values) if values else 0.0\n"
MISCHIEF = {
    "prints": "    for i in range(20_000):\n        print('x' * 1000)\n",
    "closes_the_streams": "    import sys\n    sys.stdout = sys.stderr = None\n",
    "default_dtype": "    import torch\n    torch.set_default_dtype(torch.float64)\n",
    "default_device": "    import torch\n    torch.set_default_device('meta')\n",
    "grad_mode": "    import torch\n    torch.set_grad_enabled(False)\n",
    "inference_mode": "    import torch\n    global kept\n    kept = torch.inference_mode()\n    kept.__enter__()\n",
    "threads": "    import torch\n    torch.set_num_threads(torch.get_num_threads() + 1)\n",
    "deterministic": "    import torch\n    torch.use_deterministic_algorithms(True)\n",
    "seeds": "    import random, numpy, torch\n    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)\n",
    "folder": "    import os\n    os.chdir('/')\n",
    "environment": "    import os\n    os.environ['HOME'] = 'x'\n    del os.environ['PATH']\n",
    "path": "    import sys\n    sys.path.clear()\n",
    "recursion": "    import sys\n    sys.setrecursionlimit(5000)\n",
    "numpy_errors": "    import numpy\n    numpy.seterr(all='raise')\n",
}


NOTICED = ("grad_mode", "inference_mode")  # a fault of the answer: whoever calls it next has no gradients


def program_state() -> dict:
    """All that the mischief above changes."""
    return {
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "dtype": torch.get_default_dtype(),
        "device": (torch.get_default_device(), len(torch.overrides._get_current_function_mode_stack())),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": (random.getstate(), float(torch.get_rng_state().double().sum()), np.random.get_state()[1].sum()),
        "folder": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "numpy": np.geterr(),
    }


@pytest.mark.parametrize("mischief", MISCHIEF)
def test_what_code_does_to_the_program_is_undone(graded, mischief):
    source = f"def mean(values):\n{MISCHIEF[mischief]}{BEHAVE}"
    graded(MEAN)
    before = program_state()
    assert graded(source).status == ("failing" if mischief in NOTICED else "done")
    assert program_state() == before
    assert graded(MEAN).status == "done", "the next answer is graded as if nothing had happened"


@pytest.mark.parametrize("mischief", MISCHIEF)
def test_mischief_is_mischief(mischief):
    """Each of them does change something, so that the test above can fail."""
    names = {}
    exec(f"def mean(values):\n{MISCHIEF[mischief]}{BEHAVE}", names)
    with restored(), contextlib.redirect_stdout(io.StringIO()) as printed:
        before = program_state()
        names["mean"]([1.0])
        changed_state = program_state()
    assert changed_state != before or mischief == "prints" and printed.getvalue()


TRICKS = {
    "torch": "import torch; torch.isclose = lambda a, b, **k: torch.ones_like(b, dtype=torch.bool)",
    "a_method_of_tensors": "import torch; torch.Tensor.any = lambda self, *a: False",
    "an_operator_of_tensors": "import torch; torch.Tensor.__invert__ = lambda self: torch.zeros_like(self)",
    "expect_close": "import utils.grading.compare.expectations as e; e.expect_close = lambda *a, **k: None",
    "what_it_calls": "import utils.grading.compare.expectations as e; e._hold_close = lambda *a: None",
    "its_code": "import utils.grading as g; g.expect_close.__code__ = (lambda *a, **k: None).__code__",
    "its_defaults": "import utils.grading as g; g.expect_close.__defaults__ = (1e9, 1e9)",
    "the_class": "import utils.grading.compare.expectations as e; e.Check.hold = lambda self: None",
    "a_name_that_hides_a_builtin": "import utils.grading.compare.expectations as e; e.isinstance = lambda *a: False",
    "a_builtin": "import builtins; builtins.any = lambda values: False",
    "the_package": "import utils.grading as g; g.expect_close = lambda *a, **k: None",
    "pytest": "import contextlib, pytest; pytest.raises = lambda *a, **k: contextlib.suppress(Exception)",
    "numpy": "import numpy; numpy.allclose = numpy.testing.assert_allclose = lambda *a, **k: True",
    "the_test_file": """import sys
    frame = sys._getframe()
    while frame:
        if 'test_mean_of_nothing' in frame.f_globals:
            frame.f_globals['expect_close'] = frame.f_globals['expect_equal'] = lambda *a, **k: None
        frame = frame.f_back""",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_what_tests_compare_by_cannot_be_replaced(graded, trick):
    tricked = graded(f"def mean(values):\n    {TRICKS[trick]}\n    return 7.25\n")
    assert tricked.status == "failing" and tricked.passed == 0
    assert any(case.failure.startswith("You replace `") for case in tricked.cases), tricked.cases
    wrong = graded("def mean(values):\n    return 7.25\n")
    assert [case.failure for case in wrong.cases] == [
        "the mean of 1, 2 and 7: expected 3.333, got 7.25.",
        "the mean of an empty list: expected 0, got 7.25.",
        "",
    ]
    assert graded(MEAN).status == "done"


@pytest.mark.parametrize("trick", ["torch", "expect_close", "its_code", "the_class"])
def test_what_a_cell_has_replaced_is_put_back_before_the_check(kernel, trick):
    kernel.run(TRICKS[trick])
    kernel.run("def mean(values):\n    return 7.25")
    said = kernel.run("check(mean)")
    assert "the mean of 1, 2 and 7: expected 3.333, got 7.25." in said
    assert "which tests compare by, had been replaced: it was put back." in said


def test_a_notebook_that_replaces_what_tests_compare_by_is_judged_all_the_same(run_pytest):
    code, said = run_pytest(
        saved(notebook([("code", TRICKS["torch"] + "\ndef mean(values):\n    return torch.tensor(7.25)")]))
    )
    assert code == 1 and "the mean of 1, 2 and 7: expected 3.333, got 7.25." in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import sys; sys.exit(0)", "Your code ends the program (sys.exit)."),
        ("raise KeyboardInterrupt", "Your code raises KeyboardInterrupt."),
        ("raise GeneratorExit", "Your code raises GeneratorExit."),
        ("import pytest; pytest.exit('bye')", "Your code ends the test session."),
        ("class Odd(BaseException): pass\n    raise Odd('x')", "Your code raised Odd: x"),
        ("return mean(values)", "Your code raised RecursionError"),
    ],
)
def test_code_cannot_end_the_tests(graded, line, sentence):
    result = graded(f"def mean(values):\n    {line}\n")
    assert result.status == "failing" and result.passed == 0 and len(result.tests) == 3
    assert all(case.failure.startswith(sentence) for case in result.cases)
    assert graded(MEAN).status == "done"


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="the system has no timers")
@pytest.mark.parametrize(
    "loop",
    ["while True: pass", "while True:\n        try:\n            while True: pass\n        except Exception: pass"],
)
def test_an_endless_loop_is_stopped_once(graded, toy_session, monkeypatch, loop):
    with monkeypatch.context() as impatient:
        impatient.setattr(toy_session[0].grader, "seconds", 0.5)
        result = graded(f"def mean(values):\n    {loop}\n")
    assert result.problem.startswith("Your code was stopped after 0.5 seconds: does a loop never end")
    assert result.status == "failing" and len(result.cases) == 1, "the other tests are not waited for"
    assert graded(MEAN).status == "done"


def test_an_endless_definition_is_stopped(toy_session, monkeypatch):
    monkeypatch.setattr("utils.grading.find.answers.SECONDS", 0.5)
    source = "def size():\n    while True: pass\n\nSIZE = size()\n\ndef mean(values, size=SIZE):\n    return 0.0\n"
    answer = NotebookAnswers(toy_session[1], [Cell("code", source, 1)], "notebook").answer("mean")
    assert answer.problem.startswith("Your code was stopped after 0.5 seconds")


def test_a_long_print_is_cut(graded):
    case = graded("def mean(values):\n    print('x' * 10**7)\n    return 1.0\n").cases[0]
    assert case.printed.startswith("xxx") and len(case.printed) < 10_000


def test_hooks_and_gradients_left_on_a_shared_model_are_taken_off(tiny):
    model, transcoders = tiny("gemma3")
    watch(model, transcoders[0])  # another test may have made the watch forget it
    point, weight = model.hook_dict["blocks.0.hook_in"], transcoders[0].W_enc
    before = weight.requires_grad
    model.add_hook("blocks.0.hook_in", lambda value, hook: value * 0)
    model.original_model.register_forward_hook(lambda *_: None)
    weight.requires_grad_(not before)
    weight.grad = torch.zeros_like(weight)
    model.train()
    assert restore_watched()
    assert not point.fwd_hooks and not point._forward_hooks and not model.original_model._forward_hooks
    assert weight.requires_grad is before and weight.grad is None and not model.training


def test_changed_weights_are_noticed():
    layer = torch.nn.Linear(2, 3)
    watch(layer)
    assert restore_watched()
    with torch.no_grad():
        layer.weight += 1
    assert not restore_watched(), "shared fixtures are then made anew"


# ---------------------------------------------------------------------------------------------------------------------
# Diagnosis
# ---------------------------------------------------------------------------------------------------------------------


def test_a_mistake_is_recognised_however_it_is_written(graded):
    loop = "def mean(values):\n    total, n = 0.0, -1\n    for v in values:\n        total += v\n        n += 1\n    return total / max(n, 1)\n"
    result = graded(loop)
    assert result.mistake == ONE_LESS
    assert [case.mistake for case in result.cases] == [ONE_LESS, "", ""]


def test_an_error_is_recognised(graded):
    result = graded("def mean(values):\n    a = sum(values)\n    return a / len(values)\n")
    assert result.mistake.startswith("An empty list has a length of 0")


def test_another_error_is_not_recognised(graded):
    result = graded("def mean(values):\n    return values['x']\n")
    assert result.mistake == "" and "TypeError" in result.cases[0].failure


def test_without_time_there_is_no_diagnosis(graded):
    assert graded("def mean(values):\n    return sum(values)\n", seconds=10).mistake
    assert not graded("def mean(values):\n    return sum(values)\n", seconds=0).mistake


def test_planted_mistakes_run_once_in_many_checks(toy_session, monkeypatch):
    """The next check of an exercise has its time for what is not known yet."""
    session, chapter = toy_session
    session.grader.kept_fingerprints(session.items("smooth")[0].stash[TASK])  # of `mean` nothing is kept
    runs = []
    run = session.grader.run
    monkeypatch.setattr(session.grader, "run", lambda item, answer: runs.append(1) or run(item, answer))
    counts = []
    for _ in range(2):
        runs.clear()
        result = grade(session.grader, session.items("mean"), Answer("mean", lambda values: sum(values)), 10)
        assert result.mistake == "You add the values but do not divide by how many there are."
        counts.append(len(runs))
    assert counts[0] > counts[1] == len(result.cases)


def test_a_pair_that_fits_is_told_before_a_mistake_that_fails_elsewhere(toy_session, monkeypatch):
    """The last mistake gives what the first two give together, but it also sorts the list, which the answer does not."""
    session, chapter = toy_session
    total = "(sum(values) + 1) / len(values)"
    sorts = f"def mean(values):\n    values and values.sort()\n    return {total} if values else 5.0\n"
    mistakes = [
        Mistake("five", "Five.", [("return 0.0", "return 5.0")]),
        Mistake("one_more", "One more.", [("sum(values) / len(values)", total)]),
        Mistake("sorts", "Sorted.", source=sorts),
    ]
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: mistakes)
    answer = Answer("mean", lambda values: (sum(values) + 1) / len(values) if values else 5.0)
    assert grade(session.grader, session.items("mean"), answer, 10).mistake == "Five. Also: One more."


def test_of_two_explanations_the_one_that_also_passes_the_same_tests_counts(toy_session, monkeypatch):
    """Both fail one test in the same way; one of them fails another test, too."""
    session, chapter = toy_session
    more = Mistake(
        "more", "Wrong in two ways.", source="def mean(values):\n    values and values.sort()\n    return 7.0\n"
    )
    less = Mistake("less", "Wrong in one.", source="def mean(values):\n    return 7.0 if values else 0.0\n")
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: [more, less])
    answer = Answer("mean", lambda values: 7.0 if values else 0.0)
    result = grade(session.grader, session.items("mean"), answer, 10)
    assert result.mistake == "Wrong in one."


def test_an_explanation_of_some_failures_is_a_first_cause(graded):
    """It sums, as a planted mistake does, but it is wrong about no values in a way that nobody has planted."""
    result = graded("def mean(values):\n    return sum(values) if values else 5.0\n")
    first = "Perhaps: You add the values but do not divide by how many there are."
    assert result.mistake == first
    assert [case.mistake for case in result.cases] == [first, "", ""]


def test_a_first_cause_passes_where_the_answer_passes(toy_session, monkeypatch):
    """Both explain the first failure, and neither the second; one of them fails where the answer passes."""
    session, chapter = toy_session
    sorts = "def mean(values):\n    values and values.sort()\n    return sum(values)\n"
    mistakes = [Mistake("sorts", "Sorted.", source=sorts), Mistake("sums", "Sums.", [(" / len(values)", "")])]
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: mistakes)
    answer = Answer("mean", lambda values: sum(values) if values else 5.0)
    assert grade(session.grader, session.items("mean"), answer, 10).mistake == "Perhaps: Sums."


def test_what_many_mistakes_give_is_no_first_cause(toy_session, monkeypatch):
    """The planted mistake and the answer have a 0 in common, and nothing else."""
    session, chapter = toy_session
    zero = Mistake("zero", "Wrong.", source="def mean(values):\n    return 0.0\n")
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: [zero])
    answer = Answer("mean", lambda values: 0.0 if values else 5.0)
    result = grade(session.grader, session.items("mean"), answer, 10)
    assert result.mistake == "" and sum(bool(case.failure) for case in result.cases) > 1


THREE_MISTAKES = [
    Mistake("one_more", "One more.", [("sum(values)", "(sum(values) + 1)")]),
    Mistake("doubled", "Doubled.", [("/ len(values)", "* 2")]),
    Mistake("five", "Five.", [("return 0.0", "return 5.0")]),
]


def told(toy_session, gives: dict, answers: list) -> str:
    """What an answer is told that gives `answers` in its failing tests, where `gives` says what is known of mistakes, by name."""
    chapter = toy_session[1]
    seen = [Fingerprint([("what", sketch(value))], "unexpected") for value in answers]
    cases = [
        CaseResult(f"test_{index}", "It is right.", "", "wrong", seconds=index, fingerprint=fingerprint)
        for index, fingerprint in enumerate(seen)
    ]

    def observe(mistake, index):
        values = gives.get(mistake.name, [])
        return Fingerprint([("what", sketch(values[index]))], "unexpected") if index < len(values) else None

    found = explain(cases, THREE_MISTAKES, observe, chapter.reference("mean"))
    return found.sentence if found else ""


def test_pairs_that_there_was_no_time_for_may_fit_too(toy_session):
    """All pairs give what the answer gives, as far as they have run; the time was up after the first two."""
    alone = {"one_more": [0.25], "doubled": [0.5], "five": [0.75]}
    ran = {"one_more and doubled": [0.0], "one_more and five": [0.0]}
    assert told(toy_session, alone | ran, [0.0]) == ""
    assert told(toy_session, alone | {"one_more and doubled": [3.0]}, [3.0]) == "One more. Also: Doubled."


def test_of_mistakes_that_explain_the_same_failures_none_is_told(toy_session):
    """Two mistakes give what the answer gives in one test, and what they give in the other is not known."""
    same = {"one_more": [3.0, 1.0], "doubled": [3.0, 1.5], "five": [4.0, 5.0]}
    assert told(toy_session, same, [3.0, 7.0]) == ""
    assert told(toy_session, same | {"doubled": [4.0, 1.5]}, [3.0, 7.0]) == "Perhaps: One more."


def test_two_mistakes_in_one_answer_are_both_told(toy_session):
    session, chapter = toy_session
    pairs = pairs_of(chapter.mistakes("RunningMean"), chapter.reference("RunningMean"))
    (both,) = [both for first, second, both in pairs if (first.name, second.name) == ("sums", "empties_the_other")]
    answer = Answer("RunningMean", make_answer(both, chapter.reference("RunningMean")))
    assert grade(session.grader, session.items("RunningMean"), answer, 10).mistake == (
        "You add the values up but do not divide by how many there are. Also: Merging resets the running mean that is merged in."
    )


def test_mistakes_that_touch_the_same_text_make_no_pair(toy_session):
    _, chapter = toy_session
    names = {both.name for _, _, both in pairs_of(chapter.mistakes("mean"), chapter.reference("mean"))}
    assert "divides_by_zero and one_less" in names and "only_sums and whole_numbers" not in names


def test_the_proof_of_pairs(toy_session, monkeypatch):
    session, chapter = toy_session
    for name in chapter.points:
        tried, problems = prove_pairs(session, chapter, name)
        assert tried == 3 and problems == []
    monkeypatch.setattr(exercise, "explain", lambda *_: None)
    assert len(prove_pairs(session, chapter, "smooth")[1]) == 3


def test_an_explanation_that_fails_elsewhere_is_a_perhaps(toy_session, monkeypatch):
    session, chapter = toy_session
    more = Mistake(
        "more", "Wrong in two ways.", source="def mean(values):\n    values and values.sort()\n    return 7.0\n"
    )
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: [more])
    answer = Answer("mean", lambda values: 7.0 if values else 0.0)
    assert grade(session.grader, session.items("mean"), answer, 10).mistake == "Perhaps: Wrong in two ways."


# ---------------------------------------------------------------------------------------------------------------------
# The proof
# ---------------------------------------------------------------------------------------------------------------------


def test_the_toy_course_is_proved(toy_session):
    session, chapter = toy_session
    for name in chapter.points:
        assert prove(session, chapter, name) == []


ACCEPTED = Mistake(
    "accepted", "It is right.", source="def mean(values):\n    return sum(values) / max(len(values), 1)\n"
)
UNFIT = Mistake("unfit", "Its patch does not fit.", [("no such text", "x")])
TWICE = Mistake("twice", "Its patch fits twice.", [("values", "x")])
BROKEN = Mistake("broken", "It is not Python.", source="def mean(")
EMPTY = Mistake("empty", "It has nothing.")
TWIN = Mistake(
    "twin", "The same as only_sums.", source="def mean(values):\n    return sum(values) if values else 0.0\n"
)


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (ACCEPTED, "Mistake accepted is accepted."),
        (UNFIT, "Mistake unfit: 'no such text' occurs 0 times, but it must occur once."),
        (TWICE, "Mistake twice: 'values' occurs 6 times, but it must occur once."),
        (BROKEN, "Mistake broken: its source cannot be run: SyntaxError: '(' was never closed"),
        (EMPTY, "Mistake empty: give either patches or a source."),
        (TWIN, "Mistake twin is taken for only_sums."),
        (Mistake("one_less", "Another.", TWIN.patches, TWIN.source), "Two mistakes have the name 'one_less'."),
        (Mistake("other", ONE_LESS, TWIN.patches, TWIN.source), f"Two mistakes have the sentence {ONE_LESS!r}."),
    ],
    ids=lambda value: value.name if isinstance(value, Mistake) else "",
)
def test_the_proof_finds_bad_mistakes(toy_session, monkeypatch, extra, problem):
    session, chapter = toy_session
    mistakes = [*chapter.mistakes("mean"), extra]
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: mistakes)
    assert any(found.startswith(problem) for found in prove(session, chapter, "mean")), prove(session, chapter, "mean")


def test_the_proof_counts(toy_session, monkeypatch):
    session, chapter = toy_session
    mistakes = chapter.mistakes("mean")[2:4]
    monkeypatch.setattr(type(chapter), "mistakes", lambda self, name: mistakes)
    monkeypatch.setattr(type(chapter), "alternates", lambda self, name: [])
    assert prove(session, chapter, "mean") == [
        "There are 2 planted mistakes; there must be 5.",
        "There is no alternate.",
        "test_mean_leaves_its_list_alone rejects no mistake: plant one for it, or delete it.",
        "test_mean_of_nothing rejects no mistake: plant one for it, or delete it.",
    ]


def test_the_proof_finds_a_wrong_alternate(toy_session, monkeypatch):
    session, chapter = toy_session
    wrong = Alternate("wrong", source="def mean(values):\n    return sum(values)\n")
    monkeypatch.setattr(type(chapter), "alternates", lambda self, name: [wrong])
    (problem,) = prove(session, chapter, "mean")
    assert problem.startswith(
        "Alternate wrong fails test_mean_of_three_numbers: the mean of 1, 2 and 7: expected 3.333, got 10"
    )


def test_the_proof_runs_the_reference_as_a_student_would(toy_session, monkeypatch):
    """Without what the page gives, the reference cannot be written in the notebook."""
    session, chapter = toy_session
    references = type(chapter).references

    def without_given(self, without):
        return {name: value for name, value in references(self, without).items() if name != "check_width"}

    monkeypatch.setattr(type(chapter), "references", without_given)
    problems = prove(session, chapter, "smooth")
    assert problems and all(problem.startswith("The reference in a notebook fails") for problem in problems)
    assert "name 'check_width' is not defined" in problems[0]


def test_a_version_must_define_the_exercise(toy_session):
    with pytest.raises(VersionError, match="does not define mean"):
        make_answer(Mistake("other", "x", source="def median(values): pass"), toy_session[1].reference("mean"))


def test_the_command_proves_the_toy_course(toy_course):
    command = [sys.executable, "-m", "utils.grading", "prove"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=toy_course, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["✓", "mean:"],
        ["✓", "RunningMean:"],
        ["✓", "smooth:"],
    ]


def test_tests_that_cannot_be_read_are_one_sentence(toy_course, tmp_path):
    from utils.grading.chapters import chapters
    from utils.grading.run.session import CollectionError

    course = Path(shutil.copytree(toy_course, tmp_path / "toy"))
    (course / "checks" / "test_more.py").write_text("import no_such_module")
    with pytest.raises(CollectionError, match="chapter 9 cannot be read: .*No module named 'no_such_module'"):
        list(prove_chapter(chapters(course)[0]))


@pytest.mark.parametrize(
    ("passed", "tests", "points", "share"),
    [(0, 3, 2, 0), (2, 3, 2, 1.3), (3, 3, 2, 2), (0, 0, 2, 0), (999, 1000, 1, 0.9)],
)
def test_points_are_rounded_down(passed, tests, points, share):
    assert earned(points, passed, tests) == share


def test_failing_cases_are_told_in_words():
    def shown(*cases):
        results = [CaseResult("test_it", "It holds.", case, failure="wrong" * fails) for case, fails in cases]
        return as_text(ExerciseResult("mean", 1, results), with_traceback=False).splitlines()[1].strip()

    assert shown(("seed 3", True), ("seed 4", True)) == "✗ It holds. (fails in all 2 cases)"
    assert shown(("seed 3", True), ("seed 4", False)) == "✗ It holds. (fails in 1 of 2 cases)"
    assert (
        shown(("skip-top_k 2", True), ("no skip-top_k 2", False))
        == "✗ It holds. (fails in 1 of 2 cases: skip, top_k 2)"
    )
    three = [("times -2", True), ("times 1", True), ("times 3", False)]
    assert shown(*three) == "✗ It holds. (fails in 2 of 3 cases, the first: times -2)"
    assert shown(("", True)) == "✗ It holds."
