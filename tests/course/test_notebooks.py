"""The notebook builder, on the toy course."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import packaging
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_output

from utils import ROOT
from utils.notebooks import __main__, install
from utils.notebooks.build import build, find_stale, numbers_of_cells, refuse_failing_answers, write, wrong_outputs
from utils.notebooks.errors import CourseError
from utils.notebooks.make_cells import build_notebook
from utils.notebooks.numbers import Number, said, unmarked
from utils.notebooks.outputs import difference, read_printed, shown_by
from utils.notebooks.page import read_page, read_pages

TOY = Path(__file__).parent / "toy"
GRADING = '''"""Stands in for grading: says what it was given."""


def check(answer):
    functions = [value for value in [answer, *vars(answer).values()] if hasattr(value, "__code__")]
    is_stub = any("NotImplementedError" in function.__code__.co_names for function in functions)
    print(f"{answer.__name__}: {'not started' if is_stub else 'done'}")


def progress():
    print("all done")
'''
RESTLESS = """```{code-cell} python
import os, sys, uuid
print(object())
print(uuid.uuid4(), os.getcwd(), sys.prefix)
print("warning", file=sys.stderr)
```
"""
# text that takes numbers from cells: twice from the one above, once from the one above that, in an exercise, and a word
NUMBERS = """```{code-cell} python
share, low, kinds = 0.934, -0.25, {"a": 2}
```

Of the values, 93 %<!-- = share:.0% --> are high, and the lowest is −0.2<!-- = low:.1f -->; that is $0.93$<!-- = f"${share:.2f}$" -->.

```{code-cell} python
share = 0.5
```

Now it is **50 %<!-- = share:.0% -->**, in two<!-- = {2: 'two'}[kinds["a"]] --> kinds.

"""


def make_course(root: Path) -> Path:
    """A copy of the toy course with a stand-in for grading."""
    shutil.copytree(TOY, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "utils" / "grading").mkdir(parents=True)
    (root / "utils" / "__init__.py").write_text("")
    (root / "utils" / "grading" / "__init__.py").write_text(GRADING)
    (root / "utils" / "notebooks").mkdir()
    (root / "utils" / "notebooks" / "__init__.py").write_text("")
    shutil.copy(install.__file__, root / "utils" / "notebooks" / "install.py")
    (root / "README.md").write_text(
        "[badge](https://colab.research.google.com/github/a/b/blob/main/chapters/x.ipynb)\n"
        "[![CI](https://github.com/a/b/actions/workflows/ci.yml/badge.svg)](https://github.com/a/b/actions/workflows/ci.yml)\n"
        "[paper](https://github.com/other/tool)\n"
    )
    return root


@pytest.fixture
def toy(tmp_path) -> Path:
    return make_course(tmp_path / "toy")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A toy course that was built, with a cell whose output differs each time. Leave it as it is."""
    root = make_course(tmp_path_factory.mktemp("built") / "toy")
    change(page(root), "## Streams", f"{RESTLESS}\n{NUMBERS}## Streams")
    change(page(root), "Write the sliding mean", "Write, for 3.0<!-- = mean([1.0, 2.0, 6.0]) --> say, the sliding mean")
    build(root)
    return root


@pytest.fixture
def copy(built, tmp_path) -> Path:
    """A copy of the course that was built."""
    return Path(shutil.copytree(built, tmp_path / "toy"))


def page(root: Path) -> Path:
    return root / "instructions" / "chapter9_toy.md"


def solutions(root: Path) -> Path:
    return root / "solutions_toy" / "averages.py"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is in {path.name} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def line_of(path: Path, text: str) -> int:
    return path.read_text()[: path.read_text().index(text)].count("\n") + 1


def cells(notebook) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells}


def read_notebook(path: Path):
    return nbformat.read(path, as_version=4)


# reading


def test_a_page_is_read_in_order():
    chapter = read_page(page(TOY))
    assert [exercise.name for exercise in chapter.exercises] == ["mean", "RunningMean", "smooth"]
    assert [exercise.number for exercise in chapter.exercises] == ["9.1", "9.2", "9.3"]
    assert [exercise.points for exercise in chapter.exercises] == [1, 3, 2]
    second = chapter.exercises[1]
    assert (second.difficulty, second.importance, second.minutes) == (3, 4, 10)
    assert second.line == line_of(page(TOY), "::::{exercise} RunningMean")
    assert second.statement == "Write `add` and `merge` of a mean that stores no values."
    assert [hint.title for hint in second.hints][1] == "What are the weights of two means?"
    assert chapter.given_names == ("check_width",)
    assert [cell.text for cell in chapter.imports] == ["import math"]
    assert (chapter.root, chapter.tests) == (TOY, TOY / "checks")
    for cell in chapter.cells:
        assert page(TOY).read_text().splitlines()[cell.line - 1].strip()


BAD_PAGES = {
    "unknown option": (":difficulty: 1", ":dificulty: 1", ":dificulty", "no option `dificulty`"),
    "missing option": (":importance: 5\n", "", "::::{exercise} mean", "`mean` has no `:importance:`"),
    "option twice": (":minutes: 2\n", ":minutes: 2\n:minutes: 3\n", ":minutes: 3", "`minutes` is given twice"),
    "difficulty out of range": (":difficulty: 1", ":difficulty: 6", ":difficulty: 6", "from 1 to 5, not `6`"),
    "no number": (":minutes: 2", ":minutes: two", ":minutes: two", "whole number"),
    "duplicate name": ("::::{exercise} RunningMean", "::::{exercise} mean", None, "`mean` is an exercise already"),
    "no name": ("::::{exercise} RunningMean", "::::{exercise}", None, "names one function or class"),
    "no points": ("    smooth: 2\n", "", "::::{exercise} smooth", "`smooth` has no points"),
    "points of nothing": ("    smooth: 2\n", "    smooth: 2\n    median: 1\n", "    median: 1", "no exercise"),
    "points in another order": (
        "    mean: 1\n    RunningMean: 3\n",
        "    RunningMean: 3\n    mean: 1\n",
        "  points:",
        "order of the page",
    ),
    "half a point": ("    smooth: 2\n", "    smooth: 0.5\n", "    smooth: 0.5", "whole number above 0"),
    "one hint": (
        ":::{hint} Which slice is that?\n`values[start:end]`, where `end` is one more than the place of the value.\n:::\n",
        "",
        "::::{exercise} smooth",
        "at least 2 hints and has 1",
    ),
    "hint without text": (
        "By the number of values.\n",
        "",
        ":::{hint} What do you",
        "a title behind `{hint}` and text",
    ),
    "hint not closed": (
        "By the number of values.\n:::\n",
        "By the number of values.\n",
        ":::{hint} What do you divide by",
        "not closed",
    ),
    "no statement": ("Write the sliding mean, with your own `mean`.\n", "", "::::{exercise} smooth", "no statement"),
    "statement after hints": (
        "but never before the list does.\n:::\n",
        "but never before the list does.\n:::\nAlso do this.\n",
        "Also do this.",
        "before the hints",
    ),
    "unknown directive": (":::{given} check_width", ":::{taken} check_width", None, "no directive `taken`"),
    "option of a given": (":::{given} check_width", ":::{given} check_width\n:sort: 1", ":sort:", "no option `sort`"),
    "given nothing": (":::{given} check_width", ":::{given}", ":::{given}", "`given` has names behind it"),
    "words that are none": (
        "{expected} What to see in it\nThe third",
        "{expected} What\n:::\nThe third",
        None,
        "holds no text",
    ),
    "backticks for a directive": (
        ":::{given} check_width\n:::",
        "```{given} check_width\n```",
        None,
        "write directives in colons",
    ),
    "directive not closed": (":::{given} check_width\n:::\n", ":::{given} check_width\n", ":::{given}", "not closed"),
    "code cell in a directive": (
        ":::{given} check_width\n",
        ":::{given} check_width\n```{code-cell} python\n1\n```\n",
        ":::{given}",
        "before a code cell",
    ),
    "stray end": ("## Windows\n", "## Windows\n\n:::\n", None, "closes nothing"),
    "code block not closed": ("mean([1.0, 3.0])  # 2.0\n```", "mean([1.0, 3.0])  # 2.0", None, None),
    "wrong chapter": ("chapter: 9", "chapter: 8", "chapter: 8", "number in the file's name"),
    "unknown setting": ("  title: Averages", "  titel: Averages", "course:", "no `title`"),
    "no course": ("course:", "curse:", None, "no `course:`"),
    "front matter is no YAML": ("  title: Averages", "  title: [Averages", None, None),
    "options of a cell are no YAML": (":tags: [imports]", ":tags: [imports", None, "could not be read"),
}


@pytest.mark.parametrize("case", BAD_PAGES)
def test_a_bad_page_is_refused_with_its_line(toy, case):
    old, new, marked, sentence = BAD_PAGES[case]
    change(page(toy), old, new)
    with pytest.raises(CourseError) as error:
        read_page(page(toy))
    found = re.match(r".*chapter9_toy\.md:(\d+): (.+)", str(error.value))
    assert found, error.value
    assert sentence is None or sentence in found[2]
    if marked:
        # of a name that stands twice the second one is meant
        assert int(found[1]) == line_of(page(toy), marked)


def test_two_chapters_cannot_ask_for_the_same_function(toy):
    text = page(toy).read_text().replace("chapter: 9", "chapter: 10")
    (toy / "instructions" / "chapter10_again.md").write_text(text)
    with pytest.raises(
        CourseError, match=r"chapter10_again\.md:\d+: `mean` is an exercise of chapter9_toy\.md already"
    ):
        read_pages(toy)


def test_two_pages_cannot_have_one_number(toy):
    shutil.copy(page(toy), toy / "instructions" / "chapter9_other.md")
    with pytest.raises(CourseError, match="chapter9_other.md is chapter 9 too"):
        read_pages(toy)


# stubs


def test_a_stub_keeps_what_is_outside_the_markers():
    stub = read_page(page(TOY)).source("RunningMean").stub()
    assert (
        stub
        == '''class RunningMean:
    """The mean of all values added so far; the values themselves are not stored."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        """Take in one more value."""
        # YOUR CODE HERE
        raise NotImplementedError()

    def merge(self, other: "RunningMean") -> None:
        """Take in all that `other` has seen; `other` stays as it is."""
        total = self.count + other.count
        if total == 0:
            return
        # YOUR CODE HERE
        raise NotImplementedError()'''
    )


def test_an_answer_has_no_markers():
    answer = read_page(page(TOY)).source("mean").answer()
    assert answer.splitlines()[2:] == [
        "    if not values:",
        "        return 0.0",
        "    return sum(values) / len(values)",
    ]


def test_a_decorator_and_what_follows_a_region_stay(toy):
    change(solutions(toy), "def mean(", "@cache\ndef mean(")
    change(
        solutions(toy),
        "    return sum(values) / len(values)\n    ### END SOLUTION",
        "    ### END SOLUTION\n    return 1",
    )
    stub = read_page(page(toy)).source("mean").stub()
    assert stub.startswith("@cache\ndef mean(")
    assert stub.endswith("raise NotImplementedError()\n    return 1")


BAD_SOURCES = {
    "missing function": ("def smooth(", "def smoother(", "defines no `smooth`"),
    "defined twice": (
        "def check_width",
        "def mean():\n    pass\n\n\ndef check_width",
        "`mean` is defined more than once",
    ),
    "no end": (
        "    return sum(values) / len(values)\n    ### END SOLUTION",
        "    return 0",
        "has no `### END SOLUTION`",
    ),
    "no beginning": ("### BEGIN SOLUTION\n    if not", "if not", "`### BEGIN SOLUTION` should come first"),
    "two beginnings": (
        "    if not values",
        "    ### BEGIN SOLUTION\n    if not values",
        "`### END SOLUTION` should come",
    ),
    "another spelling": ("### BEGIN SOLUTION\n    if", "# begin solution\n    if", "not as `# begin solution`"),
    "a constant": (
        "def smooth(values: list[float], width: int) -> list[float]:",
        "smooth = 1\n\n\ndef _smooth(values: list[float], width: int) -> list[float]:",
        "must be a function or a class",
    ),
    "not Python": ("def mean(", "def mean(((", "this is not Python"),
    "markers elsewhere": (
        "    if width < 1:",
        "    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION\n    if width < 1:",
        "only exercises have regions",
    ),
    "nothing to write": (
        "    ### BEGIN SOLUTION\n    if not values:\n        return 0.0\n    return sum(values) / len(values)\n    ### END SOLUTION",
        "    return 0.0",
        "nothing is left to the student",
    ),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_a_bad_solution_is_refused_with_its_line(toy, case):
    old, new, sentence = BAD_SOURCES[case]
    change(solutions(toy), old, new)
    assert_refused(toy, sentence)


BAD_MATERIAL = {
    "no test": ("checks/test_averages.py", "(mean)", "()", "`mean` has no test"),
    "no mistakes": (
        "checks/mistakes.py",
        '    "smooth": [',
        '    "RunningMean": [',
        "`smooth` needs 5 planted mistakes",
    ),
    "mistakes of nothing": ("checks/mistakes.py", '    "smooth": [', '    "median": [', "MISTAKES names `median`"),
    "mistakes that cannot be read": (
        "checks/mistakes.py",
        "MISTAKES = {",
        "MISTAKES = { 1 / 0: [],",
        "ZeroDivisionError",
    ),
    "own solutions": ("instructions/chapter9_toy.md", "import math", "from solutions_toy import mean", "own chapter"),
    "own solutions, deeper": (
        "instructions/chapter9_toy.md",
        "import math",
        "import solutions_toy.averages",
        "own chapter",
    ),
    "code that is none": ("instructions/chapter9_toy.md", "import math", "import math math", "is not Python"),
    "given an exercise": ("instructions/chapter9_toy.md", "{given} check_width", "{given} mean", "cannot be given"),
    "given nothing there": (
        "instructions/chapter9_toy.md",
        "{given} check_width",
        "{given} check",
        "defines no `check`",
    ),
    "a name that nobody gave": (
        "solutions_toy/averages.py",
        "    check_width(width)\n",
        "    check_width(min(width, WIDEST))\n",
        "`smooth` uses `WIDEST`, which this page neither imports nor gives",
    ),
    "a type that nobody gave": (
        "solutions_toy/averages.py",
        "list[float], width",
        "Values, width",
        "`smooth` uses `Values`",
    ),
    "dead link": (
        "instructions/chapter9_toy.md",
        "## Windows",
        "## [Windows](windows.md)",
        "`windows.md` leads nowhere",
    ),
    "dead image": (
        "instructions/chapter9_toy.md",
        "## Windows",
        "![Windows](images/w.png)",
        "`images/w.png` leads nowhere",
    ),
    "no address": ("pyproject.toml", "repository", "depository", "there is no `repository"),
    "bad address": ("pyproject.toml", "https://github.com/", "git@github.com:", "must be like"),
}


@pytest.mark.parametrize("case", BAD_MATERIAL)
def test_bad_material_is_refused_with_its_line(toy, case):
    name, old, new, sentence = BAD_MATERIAL[case]
    path = toy / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert_refused(toy, sentence)


def assert_refused(root: Path, sentence: str) -> None:
    """Building says `file:line: sentence` and writes nothing."""
    with pytest.raises(CourseError) as error:
        build(root)
    lines = [line for line in str(error.value).splitlines() if sentence in line]
    assert lines, error.value
    assert re.match(r"\S+\.(md|py|toml):\d+: ", lines[0])
    assert not list(root.rglob("*.ipynb"))


def test_all_problems_are_said_at_once(toy):
    change(solutions(toy), "def smooth(", "def smoother(")
    change(page(toy), "import math", "import solutions_toy")
    with pytest.raises(CourseError) as error:
        build(toy)
    # the function, its regions under another name, and the import
    assert len(str(error.value).splitlines()) == 3


def test_a_test_of_two_exercises_belongs_to_the_later_one(toy):
    tests = toy / "checks" / "test_averages.py"
    tests.write_text(tests.read_text().replace("(mean)", "(mean, smooth)"))
    assert_refused(toy, "`mean` has no test")


# building


def test_the_cells_of_a_student(built):
    notebook = read_notebook(built / "chapters" / "chapter9_toy.ipynb")
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.cells[0].source.startswith("[![Open in Colab]")
    assert "/github/toy-owner/toy-course/blob/main/chapters/chapter9_toy.ipynb" in notebook.cells[0].source
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].id == "setup"
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    place = ids.index("answer-smooth")
    assert ids[place - 1 : place + 3] == ["exercise-smooth", "answer-smooth", "check-smooth", "help-smooth"]
    statement, answer, check, folded = notebook.cells[place - 1 : place + 3]
    assert statement.source.startswith(
        "### Exercise 9.3 · `smooth`\n\n*difficulty ●●○○○ · importance ●●●○○ · about 5 minutes"
    )
    assert "    check_width(width)\n    # YOUR CODE HERE\n    raise NotImplementedError()" in answer.source
    assert check.source == "check(smooth)"
    assert folded.source.count("<details>") == folded.source.count("</details>") == 3
    assert "return means" in folded.source.split("<summary>")[-1]
    assert answer.metadata.tags == ["answer"]
    assert answer.metadata.nbgrader.grade_id == "smooth" and answer.metadata.nbgrader.solution
    assert check.metadata.nbgrader.points == 2 and check.metadata.nbgrader.locked
    assert cells(notebook)["given-check_width"].startswith("def check_width(")


def test_no_solution_is_left_outside_the_folds(built):
    notebook = read_notebook(built / "chapters" / "chapter9_toy.ipynb")
    text = "\n".join(cell.source for cell in notebook.cells if not cell.id.startswith("help-"))
    assert "SOLUTION" not in text and "sum(values)" not in text and "means" not in text


def test_hints_and_solutions_can_be_left_out():
    chapter = read_page(page(TOY))
    neither = cells(build_notebook(chapter, hints=False, solutions=False))
    assert not [identity for identity in neither if identity.startswith("help-")]
    hints = cells(build_notebook(chapter, solutions=False))["help-mean"]
    assert "Hint 2" in hints and "Solution" not in hints
    solution = cells(build_notebook(chapter, hints=False))["help-mean"]
    assert "Hint" not in solution and "Solution" in solution


def test_a_cell_keeps_its_id_when_others_come(toy):
    before = cells(build_notebook(read_page(page(toy))))
    change(page(toy), "## Lists\n", "## Lists\n\n```{code-cell} python\nprint(1)\n```\n\n## Lists\n")
    after = cells(build_notebook(read_page(page(toy))))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_metadata_of_the_page_is_kept(toy):
    change(page(toy), "course:", "accelerator: GPU\ncolab:\n  gpuType: T4\ncourse:")
    metadata = build_notebook(read_page(page(toy))).metadata
    assert metadata.accelerator == "GPU" and metadata.colab.gpuType == "T4"
    assert metadata.kernelspec.name == "python3" and metadata.course.chapter == 9


def test_images_come_along_and_links_are_moved(toy):
    (toy / "instructions" / "images").mkdir()
    (toy / "instructions" / "images" / "dot.png").write_bytes(b"dot")
    text = "![A dot](images/dot.png) [here](../solutions_toy/averages.py) [there](chapter9_toy.md#lists) [web](https://a.b)"
    odd = "`f[0](x)` $A[t](s)$\n\n```python\nf[0](x)\n```"
    change(page(toy), "## Lists\n", f"## Lists\n\n{text}\n\n{odd}\n")
    notebook = build_notebook(read_page(page(toy)))
    source = next(source for source in cells(notebook).values() if source.startswith("## Lists"))
    assert "![A dot](data:image/png;base64,ZG90)" in source
    assert (
        "[here](../solutions_toy/averages.py) [there](../instructions/chapter9_toy.md#lists) [web](https://a.b)"
        in source
    )
    assert odd in source


def test_titles_of_hints_are_shown_as_written(toy):
    change(page(toy), "{hint} Which slice is that?", "{hint} Is `a < b`, or <b>?")
    folded = cells(build_notebook(read_page(page(toy))))["help-smooth"]
    assert "<summary>Hint 2: Is <code>a &lt; b</code>, or &lt;b&gt;?</summary>" in folded


@pytest.mark.parametrize(
    ("before", "value", "found"),
    [
        ("it loses 2.3", "2.3", "2.3"),
        ("it falls by −2.3", "2.3", "−2.3"),
        ("it falls by -2.3", "2.3", "-2.3"),
        ("it rises by +2.3", "2.3", "2.3"),
        ("it changes by −2.3", "−0.1", "−2.3"),
        ("layers 1-2", "2", "2"),
        ("head 3/840", "3/841", "3/840"),
    ],
    ids=[
        "positive",
        "a minus before a positive value",
        "a hyphen as a minus",
        "a plus",
        "negative",
        "a range",
        "a latent",
    ],
)
def test_what_the_text_says_where_a_value_is_meant(before, value, found):
    assert said(Number("x", before, 1, len(before)), value) == found


# executing


def test_the_answer_notebook_is_filled_in_and_executed(built):
    notebook = read_notebook(built / "solutions" / "chapter9_toy.ipynb")
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert "NotImplementedError" not in "".join(cells(notebook).values())
    for name in ("mean", "RunningMean", "smooth"):
        assert outputs[f"check-{name}"][0].text == f"{name}: done\n"
    assert [output.data for output in outputs["setup"]] == [{"text/html": install.NARROW_TEXT}]
    assert "toy-course/blob/main/solutions/" in cells(notebook)["badge"]
    assert "Solution" not in cells(notebook)["help-mean"]


@pytest.fixture
def never_executed(monkeypatch):
    monkeypatch.setattr("utils.notebooks.build.execute", lambda *args: pytest.fail("executed"))


def test_building_again_changes_nothing(copy):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.glob("*/*.ipynb")}
    assert build(copy) == [] and find_stale(copy) == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_another_address_points_all_links_to_it_and_changes_nothing_else(copy, never_executed):
    files = [copy / "README.md", *sorted(copy.glob("*/*.ipynb"))]
    before = [path.read_text() for path in files]
    change(copy / "pyproject.toml", "toy-owner/toy-course", "new/home")
    assert set(build(copy)) == set(files)
    for path, text in zip(files, before):
        assert "github/new/home/blob/main/" in path.read_text()
        assert path.read_text() == text.replace("toy-owner/toy-course", "new/home").replace(
            '\\"toy-course\\"', '\\"home\\"'
        )
    readme = (copy / "README.md").read_text()
    assert readme.count("https://github.com/new/home/actions/workflows/ci.yml") == 2
    assert "https://github.com/other/tool" in readme


def test_a_word_on_the_page_does_not_execute_the_answers_again(copy, never_executed):
    before = read_notebook(copy / "solutions" / "chapter9_toy.ipynb")
    change(page(copy), "A course so small", "A course as small")
    assert len(build(copy)) == 2 and find_stale(copy) == []
    after = read_notebook(copy / "solutions" / "chapter9_toy.ipynb")
    assert "A course as small" in str(after.cells)
    assert [cell for cell in after.cells if cell.cell_type == "code"] == [
        cell for cell in before.cells if cell.cell_type == "code"
    ]


def test_an_output_that_a_new_page_expects_otherwise_is_refused(copy, never_executed):
    change(page(copy), "3.0 True\n", "3.0 False\n")
    with pytest.raises(CourseError, match="expected `3.0 False`, but the cell above prints `3.0 True`"):
        build(copy)


def test_outputs_tell_nothing_of_the_machine(built):
    notebook = read_notebook(built / "solutions" / "chapter9_toy.ipynb")
    assert notebook.metadata.language_info == {"name": "python"}
    text = str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert "object object at 0x…" in text and " course python" in text
    assert str(built) not in text and sys.prefix not in text and "stderr" not in text


def test_expected_outputs_are_filled_in(built):
    student = read_notebook(built / "chapters" / "chapter9_toy.ipynb")
    texts = [cell.source for cell in student.cells if "<summary>Expected output</summary>" in cell.source]
    assert ["```text\n3.0 True\n```" in texts[0], "```text\n[4.0, 6.0, 7.0, 4.0]\n```" in texts[1]] == [True, True]
    words = "<summary>What to see in it</summary>\n\nThe third value is the mean"
    for folder in ("chapters", "solutions"):
        notebook = read_notebook(built / folder / "chapter9_toy.ipynb")
        assert sum(words in source for source in cells(notebook).values()) == 1
    # a notebook for release takes them from the answer notebook too
    assert cells(build_notebook(read_page(page(built)), hints=False)).items() >= {
        (cell.id, cell.source) for cell in student.cells if "Expected output" in cell.source
    }


def test_stubs_are_not_started_for_the_real_check(toy):
    shutil.rmtree(toy / "utils")
    (toy / "utils").symlink_to(ROOT / "utils")
    notebook = build_notebook(read_page(page(toy)))
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(toy / "instructions")}}).execute()
    texts = {cell.id: shown_by(cell) for cell in notebook.cells if cell.cell_type == "code"}
    for name in ("mean", "RunningMean", "smooth"):
        assert texts[f"check-{name}"] == f"{name}: not started."
    failed = [cell for cell in notebook.cells if any(o.output_type == "error" for o in cell.get("outputs", []))]
    assert [cell.outputs[0].ename for cell in failed] == ["NotImplementedError"] * 2


STALE = {
    "page": (page, "A course so small", "A course as small", {"chapters", "solutions"}),
    "stub": (solutions, "-> float:\n", "-> int:\n", {"chapters", "solutions"}),
    "a line of a solution": (solutions, "return 0.0", "return 0.00", {"chapters", "solutions"}),
    "code that is used": (
        lambda root: root / "utils" / "notebooks" / "install.py",
        "Install, and show",
        "Install; show",
        {"solutions"},
    ),
    "a test": (lambda root: root / "checks" / "test_averages.py", "three numbers is", "3 numbers is", {"solutions"}),
    "a hand": (lambda root: root / "chapters" / "chapter9_toy.ipynb", "A course so small", "Course", {"chapters"}),
    "answers by hand": (lambda root: root / "solutions" / "chapter9_toy.ipynb", "so small", "too small", {"solutions"}),
    "an output by hand": (
        lambda root: root / "solutions" / "chapter9_toy.ipynb",
        '"3.0 True\\n"',
        '"4.0 True\\n"',
        {"solutions"},
    ),
    "address": (
        lambda root: root / "pyproject.toml",
        "toy-owner/toy-course",
        "new/home",
        {"chapters", "solutions", "README.md"},
    ),
}


@pytest.mark.parametrize("case", STALE)
def test_what_is_stale_is_found(copy, case):
    where: Callable[[Path], Path]
    where, old, new, stale = STALE[case]
    change(where(copy), old, new)
    found = {file.path.relative_to(copy).parts[0] for file in find_stale(copy)}
    assert found == stale


def test_a_change_elsewhere_makes_nothing_stale(copy):
    (copy / "utils" / "unused.py").write_text("")
    (copy / "checks" / "mistakes.py").write_text((copy / "checks" / "mistakes.py").read_text() + "# one more word\n")
    assert find_stale(copy) == []


def test_data_of_a_package_that_is_used_counts(copy):
    (copy / "solutions_toy" / "tables").mkdir()
    (copy / "solutions_toy" / "tables" / "table.csv").write_text("1")
    assert "solutions_toy/tables/table.csv" in str(find_stale(copy)[0])


def test_a_notebook_without_a_page_is_found(copy):
    shutil.copy(copy / "chapters" / "chapter9_toy.ipynb", copy / "chapters" / "chapter8_gone.ipynb")
    assert [str(file) for file in find_stale(copy)] == [
        f"{copy}/chapters/chapter8_gone.ipynb has no page in instructions/; delete it."
    ]


def test_a_cell_that_fails_is_named_and_nothing_is_written(copy):
    before = {path: path.read_bytes() for path in copy.glob("*/*.ipynb")}
    change(page(copy), "import math", "1 / 0")
    line = line_of(page(copy), "1 / 0") - 3
    with pytest.raises(
        CourseError, match=rf"chapter9_toy\.md:{line}: the cell made from here fails: ZeroDivisionError"
    ):
        build(copy)
    assert {path: path.read_bytes() for path in copy.glob("*/*.ipynb")} == before


def test_an_output_that_is_not_as_expected_is_refused(copy):
    printed = read_printed(copy / "solutions" / "chapter9_toy.ipynb")
    assert wrong_outputs(read_page(page(copy)), printed) == []
    change(page(copy), "3.0 True\n", "3.0 False\n")
    line = line_of(page(copy), ":::{expected}")
    (error,) = wrong_outputs(read_page(page(copy)), printed)
    assert f":{line}: expected `3.0 False`, but the cell above prints `3.0 True`" in str(error)


def test_an_answer_that_fails_its_check_is_refused(built):
    chapter = read_page(page(built))
    notebook = read_notebook(built / "solutions" / "chapter9_toy.ipynb")
    refuse_failing_answers(chapter, notebook)
    cell = next(cell for cell in notebook.cells if cell.id == "check-smooth")
    said = "smooth: failing, 1 of 3 tests passed."
    cell.outputs = [new_output("display_data", {"text/html": "<b>", "text/plain": said})]
    line = line_of(page(built), "::::{exercise} smooth")
    with pytest.raises(CourseError, match=rf"chapter9_toy\.md:{line}: check\(smooth\) on the answer says: {said}"):
        refuse_failing_answers(chapter, notebook)


@pytest.mark.parametrize(
    ("expected", "printed", "fit"),
    [
        ("a b", "a b", True),
        ("a b", "a", False),
        ("a", "a b", False),
        ("a ... c", "a x y c", True),
        ("a ...", "a", True),
        ("... c", "a c d", False),
        ("... b ... d", "a b c b d", True),
    ],
)
def test_dots_stand_for_any_lines(expected, printed, fit):
    assert (difference(expected.replace(" ", "\n"), printed.replace(" ", "\n")) == "") is fit


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "notebook.ipynb"
    write(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# numbers in prose


def test_markers_are_in_no_notebook(built):
    for folder in ("chapters", "solutions"):
        text = "".join(cells(read_notebook(built / folder / "chapter9_toy.ipynb")).values())
        assert "<!--" not in text and "Of the values, 93 % are high, and the lowest is −0.2; that is $0.93$." in text
        assert "Now it is **50 %**, in two kinds." in text and "Write, for 3.0 say, the sliding mean" in text


def test_values_are_those_of_the_cell_above(built):
    kept = read_notebook(built / "solutions" / "chapter9_toy.ipynb").metadata.course.numbers
    found = sorted(sorted(values.values()) for values in kept.values())
    assert found == [["$0.93$", "93 %", "−0.2"], ["3.0"], ["50 %", "two"]]


def test_all_wrong_numbers_are_said_at_once_and_nothing_is_executed(copy, never_executed):
    for old, new in (("93 %<", "193 %<"), ("−0.2<", "0.2<"), ("two<", "three<"), ("3.0<", "4.0<")):
        change(page(copy), old, new)
    line = {text: line_of(page(copy), text) for text in ("193 %<", "three<", "4.0<")}
    before = {path: path.read_bytes() for path in copy.glob("*/*.*")}
    for look in (build, find_stale):
        with pytest.raises(CourseError) as refused:
            look(copy)
        said = [sentence.split("chapter9_toy.md:")[1] for sentence in str(refused.value).splitlines()]
        assert said == [
            f"{line['193 %<']}: the text says `193 %`, the output says `93 %` (`share:.0%`).",
            f"{line['193 %<']}: the text says `0.2`, the output says `−0.2` (`low:.1f`).",
            f"{line['three<']}: the text says `three`, the output says `two` (`{{2: 'two'}}[kinds[\"a\"]]`).",
            f"{line['4.0<']}: the text says `4.0`, the output says `3.0` (`mean([1.0, 2.0, 6.0])`).",
        ]
    assert {path: path.read_bytes() for path in before} == before


def test_numbers_can_be_put_in(copy, never_executed):
    right = page(copy).read_text()
    for old, new in (("93 %<", "7 %<"), ("−0.2<", "0.25<"), ("$0.93$<", "$1$<"), ("3.0<", "14<")):
        change(page(copy), old, new)
    assert page(copy) in build(copy, put_numbers=True)
    assert page(copy).read_text() == right and find_stale(copy) == []


def test_a_value_of_another_form_is_not_put_in(copy, never_executed):
    change(page(copy), "in two<", "in no<")
    before = page(copy).read_text()
    with pytest.raises(CourseError, match="`two` cannot take the place of `no`; write it yourself"):
        build(copy, put_numbers=True)
    assert page(copy).read_text() == before


def test_only_a_marker_that_is_new_or_changed_executes_the_answers_again(copy, monkeypatch):
    executed = []

    def stand_in(*args):
        executed.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr("utils.notebooks.build.execute", stand_in)
    change(page(copy), "A course so small", "A course as small")
    change(page(copy), " in two<!-- = {2: 'two'}[kinds[\"a\"]] --> kinds", " in two kinds")
    assert build(copy) and not executed and find_stale(copy) == []
    assert "two" not in str(read_notebook(copy / "solutions" / "chapter9_toy.ipynb").metadata.course.numbers)
    change(page(copy), "= share:.0% -->**", "= share + 0:.0% -->**")
    assert [file.path.parent.name for file in find_stale(copy)] == ["solutions"]
    with pytest.raises(KeyboardInterrupt):
        build(copy)
    assert len(executed) == 1


def test_a_value_that_was_changed_by_hand_is_found(copy):
    change(copy / "solutions" / "chapter9_toy.ipynb", '"93 %"', '"94 %"')
    assert "has outputs that the build did not make" in str(find_stale(copy)[0])


def test_a_marker_that_fails_is_named(copy):
    change(page(copy), "= share:.0% -->**", "= gone:.0% -->**")
    line = line_of(page(copy), "= gone")
    with pytest.raises(CourseError, match=rf"chapter9_toy\.md:{line}: `gone:\.0%` fails: NameError: name 'gone' is"):
        build(copy)


BAD_MARKERS = {
    "no expression": ("<!-- = 1 + -->", "`1 +` is not what can stand between the braces of an f-string"),
    "empty": ("<!-- = -->", "`` is not what can stand"),
    "two lines": ("<!-- = 1 +\n1 -->", "must end in its line"),
}


@pytest.mark.parametrize("case", BAD_MARKERS)
def test_a_bad_marker_is_refused_with_its_line(toy, case):
    marker, sentence = BAD_MARKERS[case]
    change(page(toy), "## Windows", f"## Windows\n\nSo 2{marker} it is.")
    line = line_of(page(toy), "So 2")
    with pytest.raises(CourseError, match=rf"chapter9_toy\.md:{line}: .*{re.escape(sentence)}"):
        read_page(page(toy))


def test_a_marker_on_a_page_without_cells_is_refused(toy):
    head = page(toy).read_text().split("# Chapter 9")[0]
    head = re.sub(r"  points:\n(    .*\n)+", "  points: {}\n", head)
    page(toy).write_text(f"{head}# Nothing\n\nIt has 1<!-- = 1 --> line.\n")
    with pytest.raises(
        CourseError, match=rf"chapter9_toy\.md:{line_of(page(toy), 'It has')}: no cell above gives this"
    ):
        numbers_of_cells(read_page(page(toy)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 93 % of all.", 1),
        ("It is 93 %<!-- = share:.0% --> of all, 93 %!", 0),
        ("It is 5<!-- = n -->, and 5 again.", 1),
        ("Head 4.0 looks; 4/830 fires.", 2),
        ("## The 3 parts\n\n3. `x = 4` and $y = 5$, $$z = 6$$\n```\n7\n```", 0),
        ("In layers 3 and 4, section 5.1, at position 12, dimension 2, of Gemma 3 in 2025: float32, W_2.", 0),
        ("All sum up to 1, none to 0; but 1 %, 0.1 and −1?", 3),
        ("[a page](https://arxiv.org/abs/2601.22594) <!-- 17 -->", 0),
    ],
)
def test_numbers_without_a_marker_are_found(text, found):
    assert len(unmarked(text)) == found


def test_numbers_without_a_marker_are_said_with_their_line(toy, monkeypatch, capsys):
    change(page(toy), "A course so small", "A course of 0.5<!-- = 0.5 --> hours, so small that 99 % fits,")
    change(page(toy), "By the number of values.", "By 7.")
    lines = [line_of(page(toy), text) for text in ("99 %", "By 7")]
    _, text = run_command(monkeypatch, capsys, toy, "--check", "--numbers")
    said = [line.split("chapter9_toy.md:")[1] for line in text.splitlines() if "no marker" in line]
    assert said[:2] == [
        f"{lines[0]}: no marker: 0.5 hours, so small that 99 % fits, that its machinery",
        f"{lines[1]}: no marker: By 7.",
    ]


# for each chapter the numbers that stand in its text without a marker, because they are no results: limits that code sets
NO_RESULTS = {
    1: (),
    2: (
        *2 * ("with an F1 between 0.5 and 0.8",),
        "An F1 of 0.6",
        "with an F1 of at least 0.8",
        # questions to answer in one's own words make up their numbers
        "recover 99 percent",
        "A latent has an F1 of 1.0",
    ),
    5: (*4 * ("Dictionary A has 20 active latents",), "until 8 are left a token"),
}


@pytest.mark.parametrize("chapter", NO_RESULTS)
def test_every_number_in_the_text_of_a_chapter_comes_from_an_output(chapter):
    (found,) = read_pages(ROOT, chapter)
    lines = found.path.read_text().splitlines()
    without = [line for line, _ in found.unmarked]
    assert len(without) == len(NO_RESULTS[chapter]), [f"{line}: {lines[line - 1]}" for line in without]
    for line, allowed in zip(without, NO_RESULTS[chapter]):
        assert allowed in lines[line - 1]


# the command


def run_command(monkeypatch, capsys, root: Path, *arguments: str) -> tuple[int, str]:
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["notebooks", *arguments])
    code = __main__.main()
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_command_says_what_is_stale(copy, monkeypatch, capsys):
    assert run_command(monkeypatch, capsys, copy, "--check") == (0, "All notebooks are up to date.\n")
    (copy / "chapters" / "chapter9_toy.ipynb").unlink()
    code, text = run_command(monkeypatch, capsys, copy, "--check", "--chapter", "9")
    assert code == 1 and "chapters/chapter9_toy.ipynb is not what its page" in text
    code, text = run_command(monkeypatch, capsys, copy)
    assert code == 0 and text == "wrote chapters/chapter9_toy.ipynb\n"


def test_the_command_can_be_stopped(copy, monkeypatch, capsys):
    def stop(*args):
        raise KeyboardInterrupt

    change(page(copy), "import math", "import math, json")
    before = {path: path.read_bytes() for path in copy.glob("*/*.ipynb")}
    monkeypatch.setattr("utils.notebooks.build.execute", stop)
    assert run_command(monkeypatch, capsys, copy) == (130, "Stopped; nothing was written.\n")
    assert {path: path.read_bytes() for path in copy.glob("*/*.ipynb")} == before


def test_the_command_refuses_bad_input(copy, monkeypatch, capsys):
    assert run_command(monkeypatch, capsys, copy, "--chapter", "7")[0] == 2
    change(page(copy), ":difficulty: 1", ":difficulty: 0")
    for arguments in ([], ["--check"]):
        code, text = run_command(monkeypatch, capsys, copy, *arguments)
        assert code == 2 and re.search(r"chapter9_toy\.md:\d+: `difficulty` is", text)


def check_from_outside(folder: Path) -> tuple[int, str]:
    """`python -m utils.notebooks --check` in a process of its own, with this repository's code, on the course of `folder`."""
    command, environment = [sys.executable, "-m", "utils.notebooks", "--check"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_in_a_copy_the_copy_is_checked(tmp_path):
    """From its folder, and from one inside it; this repository's own notebooks are not looked at."""
    copy = Path(shutil.copytree(TOY, tmp_path / "toy", ignore=shutil.ignore_patterns("__pycache__")))
    for folder in (copy, copy / "instructions"):
        code, said = check_from_outside(folder)
        assert code == 1 and len(said.splitlines()) == 3, said
        assert "chapter9_toy.ipynb is not what" in said and "chapter9_toy.ipynb is missing." in said
    change(copy / "solutions_toy" / "__init__.py", "mean, smooth\n", "mean\n")
    code, said = check_from_outside(copy)
    assert code == 2 and said == (
        "solutions_toy/__init__.py:3: `smooth` is an exercise, but the package does not export it: "
        "import it here from `solutions_toy.averages`.\n"
    )


def test_a_course_without_pages_is_up_to_date(tmp_path, monkeypatch, capsys):
    (tmp_path / "instructions").mkdir()
    assert run_command(monkeypatch, capsys, tmp_path, "--check")[0] == 0


# the setup cell


@pytest.fixture
def set_up(toy, tmp_path) -> Callable[..., str]:
    """Run the setup cell twice in a folder; returns where it ended. The course's address leads to the toy course."""
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "toy"],
    ):
        subprocess.run(["git", *command], cwd=toy, check=True)
    cell = cells(build_notebook(read_page(page(toy))))["setup"]
    script = tmp_path / "setup_cell.py"
    script.write_text(f"{cell}\n{cell}\nprint(course, sys.path.count(str(course)), check.__name__)")
    environment = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{toy.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/toy-owner/toy-course",
    }

    def run(folder: Path, **more: str) -> str:
        return subprocess.check_output(
            [sys.executable, script], cwd=folder, env=environment | more, text=True, stderr=subprocess.STDOUT
        )

    return run


def test_the_setup_cell_finds_the_course(toy, set_up):
    (toy / "chapters").mkdir()
    for folder in (toy, toy / "chapters"):
        assert set_up(folder) == f"{toy} 1 check\n"


def test_the_setup_cell_says_where_the_notebook_goes(tmp_path, set_up):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with pytest.raises(subprocess.CalledProcessError) as failed:
        set_up(downloads)
    last = failed.value.output.splitlines()[-1]
    assert f"NotInTheCourse: This notebook works in the folder of its course, and {downloads} is not there." in last
    assert "`git clone https://github.com/toy-owner/toy-course`" in last and not list(downloads.iterdir())


def test_the_setup_cell_fetches_the_course_on_colab(tmp_path, set_up):
    content = tmp_path / "content"
    content.mkdir()
    for _ in range(2):
        assert set_up(content, COLAB_RELEASE_TAG="release-colab") == f"{content / 'toy-course'} 1 check\n"
    assert [path.name for path in content.iterdir()] == ["toy-course"]


def test_what_is_missing_is_found(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# all\npytest>=1  # here\npytest<1\n\nno-such-package>=2\nabsent; python_version < '3'\n")
    assert install.missing(requirements) == ["pytest<1", "no-such-package>=2"]
    requirements.write_text("pytest>=1\n")
    install.install_missing(requirements)


def test_the_line_that_prepares_is_the_readmes():
    assert install.PREPARE in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """`bare(script, on_colab=False)`: run Python in a new, empty environment, which has pip, `packaging` and version 1 of a package.

    There is no network: pip finds versions 1 and 2 of that package in a folder.
    """
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    shutil.copytree(Path(packaging.__file__).parent, folder / "path" / "packaging")
    for number in ("1.0", "2.0"):
        make_wheel(folder, number)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "COLAB", "PYTHON"))
    }
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder / "path")])
    subprocess.run([python, "-m", "pip", "install", "-q", "tiny-package==1.0"], env=environment, check=True)

    def run(script: str, on_colab: bool = False) -> subprocess.CompletedProcess:
        colab = {"COLAB_RELEASE_TAG": "release"} if on_colab else {}
        command = [python, "-c", f"from pathlib import Path\nfrom utils.notebooks import install\n{script}"]
        return subprocess.run(command, cwd=folder, env=environment | colab, capture_output=True, text=True)

    return run


def make_wheel(folder: Path, number: str) -> None:
    """A package of one line."""
    info = f"tiny_package-{number}.dist-info"
    files = {
        "tiny_package.py": f"VERSION = '{number}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny-package\nVersion: {number}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/top_level.txt": "tiny_package\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"tiny_package-{number}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_elsewhere_than_on_colab_nothing_is_installed(bare):
    script = """
lines = Path("requirements.txt")
lines.write_text("torch>=2.6\\ntiny-package>=2")
install.install_missing(lines)
"""
    done = bare(script)
    assert done.returncode == 1 and f"\n    {install.PREPARE}\n" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("utils.notebooks.install.Stop: ") and last.endswith(
        "lacks torch>=2.6, tiny-package>=2: run the line above."
    )
    assert "tiny_package-2.0" not in done.stdout


def test_on_colab_pip_is_heard_and_a_restart_is_asked_for(bare):
    """First a version that is in use is replaced, then nothing is missing, then there is what cannot be installed."""
    script = """
import tiny_package
lines = Path("requirements.txt")
lines.write_text("tiny-package>=2")
try:
    install.install_missing(lines)
except install.Stop as stop:
    print("STOP", stop)
install.install_missing(lines)
print("again")
lines.write_text("torch>=2.6")
install.install_missing(lines)
"""
    done = bare(script, on_colab=True)
    said = done.stdout.splitlines()
    assert said[0] == f"Installing tiny-package>=2. To download: {install.OTHERS}."
    assert "Successfully installed tiny-package-2.0" in said
    (stop,) = [line for line in said if line.startswith("STOP")]
    assert stop.startswith("STOP Restart the runtime") and "it still uses tiny-package 1.0, which" in stop
    after = said[said.index("again") + 1 :]
    assert after[0] == f"Installing torch>=2.6. To download: {install.PYTORCH}."
    assert any("No matching distribution found for torch>=2.6" in line for line in after)
    assert "pip could not install what is missing" in done.stderr.splitlines()[-1]


def test_a_notebook_shows_the_sentence_without_a_traceback(tmp_path):
    cell = "from utils.notebooks.install import Stop\nraise Stop('One sentence.')"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", "--colors=NoColor", "-c", cell]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "One sentence." and "Traceback" not in done.stderr
