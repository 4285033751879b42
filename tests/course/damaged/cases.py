"""The toy chapter's notebook as it may come back: the same three answers, after something has happened to the file.

In the healthy notebook `mean` is right, `RunningMean` is a planted mistake, and `smooth` is the untouched stub.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

Cell = tuple[str, str]

MEAN = """def mean(values: list[float]) -> float:
    if not values:
        return 0.0
    return sum(values) / len(values)
"""
WRONG_MEAN = "def mean(values):\n    return 0.0\n"
RUNNING_MEAN = '''class RunningMean:
    """The mean of all values added so far."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.value = value

    def merge(self, other: "RunningMean") -> None:
        total = self.count + other.count
        if total == 0:
            return
        self.value = (self.count * self.value + other.count * other.value) / total
        self.count = total
'''
STUB = '''def smooth(values: list[float], width: int) -> list[float]:
    """For each value the mean of it and those before it."""
    check_width(width)
    # YOUR CODE HERE
    raise NotImplementedError()
'''
CELLS: list[Cell] = [
    ("markdown", "# Chapter 9: averages"),
    ("code", "from utils.grading import check, progress"),
    ("code", "import math"),
    ("code", MEAN),
    ("code", "check(mean)"),
    ("code", 'print(f"{mean([1.0, 2.0, 6.0]):.1f}")'),
    ("code", RUNNING_MEAN),
    ("code", "check(RunningMean)"),
    ("code", "def check_width(width):\n    pass"),
    ("code", STUB),
    ("code", "check(smooth)"),
]
STATUSES = {"mean": "done", "RunningMean": "failing", "smooth": "not started"}


@dataclass(frozen=True)
class Case:
    """A notebook file and what grading should make of it.

    Attributes:
        statuses: what differs from `STATUSES`.
        says: exercise -> words that its result must hold.
        refused: words of the one sentence by which the whole file is refused.
    """

    name: str
    content: bytes
    statuses: dict[str, str] = field(default_factory=dict)
    says: dict[str, str] = field(default_factory=dict)
    refused: str = ""


def notebook(cells: list[Cell] = CELLS, **changes) -> dict:
    """A notebook as Jupyter saves it."""
    made = [
        {"cell_type": kind, "id": f"c{i}", "metadata": {}, "source": source} for i, (kind, source) in enumerate(cells)
    ]
    for cell in made:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | changes


def saved(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def changed(old: str, *new: str | Cell) -> bytes:
    """The healthy notebook with one cell replaced by others."""
    cells = [cell if isinstance(cell, tuple) else ("code", cell) for cell in new]
    return saved(notebook([other for cell in CELLS for other in (cells if cell[1] == old else [cell])]))


def with_cells(change: Callable[[dict], None]) -> bytes:
    """The healthy notebook with something done to every cell."""
    content = notebook()
    for cell in content["cells"]:
        change(cell)
    return saved(content)


def on_colab(cell: dict) -> None:
    cell["source"] = cell["source"].splitlines(keepends=True)
    cell["metadata"] = {"id": cell.pop("id"), "colab": {"base_uri": "https://localhost:8080/"}, "outputId": "x"}
    if cell["cell_type"] == "code":
        cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"text/html": ["<p>", "</p>"]}}]


def in_vs_code(cell: dict) -> None:
    cell["metadata"] = {"vscode": {"languageId": "python"}, "notebookRunGroups": {"groupValue": "1"}}
    cell["source"] = cell["source"].splitlines(keepends=True)


def on_kaggle(cell: dict) -> None:
    times = {"iopub.execute_input": "2026-01-01T00:00:00Z", "shell.execute_reply": "2026-01-01T00:00:01Z"}
    cell["metadata"] = {"_uuid": cell.pop("id"), "_cell_guid": "b1076dfc", "trusted": True, "execution": times}


def in_version_3() -> dict:
    """The format before 4: worksheets, and `input` for the source of code."""
    cells = [
        {"cell_type": "code", "language": "python", "input": source.splitlines(keepends=True), "outputs": []}
        if kind == "code"
        else {"cell_type": kind, "source": [source]}
        for kind, source in CELLS
    ]
    return {"worksheets": [{"cells": cells}], "metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}


HEALTHY = saved(notebook())
CONFLICT = HEALTHY.decode().replace(
    '"metadata": {},\n   "source": "import math"', "<<<<<<< HEAD\n=======\n>>>>>>> mine"
)
ONLY_CODE = [cell for cell in CELLS if cell[0] == "code"]

READABLE = [
    Case("healthy", HEALTHY),
    Case("copied", changed(MEAN, MEAN, MEAN), says={"mean": "`mean` is defined 2 times (cells 4 and 5): the last one"}),
    Case("wrong_then_right", changed(MEAN, WRONG_MEAN, MEAN), says={"mean": "defined 2 times"}),
    Case("right_then_wrong", changed(MEAN, MEAN, WRONG_MEAN), {"mean": "failing"}, {"mean": "defined 2 times"}),
    Case("two_in_one_cell", changed(MEAN, WRONG_MEAN + "\n" + MEAN), says={"mean": "2 times (in cell 4)"}),
    Case(
        "stub_left_below",
        changed(MEAN, MEAN, "def mean(values):\n    # YOUR CODE HERE\n    raise NotImplementedError()"),
    ),
    Case("only_answers", saved(notebook([("code", MEAN), ("code", RUNNING_MEAN)])), says={"smooth": "No cell defines"}),
    Case("no_answers", saved(notebook([])), dict.fromkeys(STATUSES, "not started")),
    Case("imports_deleted", changed("import math", MEAN.replace("sum(", "math.fsum(")), says={"mean": "2 times"}),
    Case(
        "split",
        changed(MEAN, "def total(xs):\n    return sum(xs, start=ZERO)", "ZERO = 0.0", MEAN.replace("sum(", "total(")),
    ),
    Case(
        "table_filled_in_a_loop",
        changed(
            MEAN,
            "ONE = {}",
            "for n in range(1, 9):\n    ONE[n] = 1 / n",
            MEAN.replace("/ len(values)", "* ONE[len(values)]"),
        ),
    ),
    Case(
        "list_sorted_below",
        changed(
            MEAN, "ONE = [2, 1]", "if ONE:\n    ONE.sort()", MEAN.replace("/ len(values)", "/ len(values) * ONE[0]")
        ),
    ),
    Case(
        "calls_counted",
        changed(MEAN, "CALLS = 0", MEAN.replace("    if not", "    global CALLS\n    CALLS += 1\n    if not")),
    ),
    Case("shown_in_the_notebook", changed(MEAN, MEAN.replace("    if not", "    display(values)\n    if not"))),
    Case("many_terms", changed(MEAN, MEAN.replace("sum(values)", "(sum(values)" + " + 0" * 400 + ")"))),
    Case(
        "helper_bound_again",
        changed(MEAN, "def total(xs):\n    return sum(xs)", MEAN.replace("sum(", "total("), "total = mean([1.0])"),
        {"mean": "failing"},
        {"mean": "`total`, which `mean` needs, means something else from cell 6 on"},
    ),
    Case("reversed", saved(notebook(CELLS[::-1]))),
    Case("default_defined_below", changed(MEAN, MEAN.replace("float])", "float], zero=ZERO)"), "ZERO = 0.0")),
    Case("merged", saved(notebook([("code", "\n".join(source for _, source in ONLY_CODE))]))),
    Case("answer_as_markdown", changed(MEAN, ("markdown", MEAN)), says={"mean": "cell 4, which is text"}),
    Case("answer_as_raw", changed(MEAN, ("raw", MEAN)), says={"mean": "cell 4, which is text"}),
    Case("old_version_as_raw", changed(MEAN, MEAN, ("raw", WRONG_MEAN))),
    Case("solution_in_a_hint", changed("check(smooth)", ("markdown", "<details>\n\n```python\ndef smooth(): 1\n```"))),
    Case("metadata_stripped", with_cells(lambda cell: [cell.pop(key, None) for key in ("id", "metadata", "outputs")])),
    Case("saved_by_colab", with_cells(on_colab)),
    Case("saved_by_vs_code", with_cells(in_vs_code)),
    Case("saved_by_kaggle", with_cells(on_kaggle)),
    Case("version_3", saved(in_version_3())),
    Case("wrong_nbformat", saved(notebook(nbformat=99, nbformat_minor="x"))),
    Case("byte_order_mark_and_crlf", b"\xef\xbb\xbf" + HEALTHY.replace(b"\n", b"\r\n").replace(b"\\n", b"\\r\\n")),
    Case("nonsense_among_cells", saved(notebook() | {"cells": [None, 3, {}, {"source": 5}, *notebook()["cells"]]})),
    Case("no_cell_types", with_cells(lambda cell: cell.pop("cell_type"))),
    Case("null_byte_elsewhere", changed("import math", "import math\0")),
    Case(
        "pip_and_magics",
        changed(MEAN, "!pip install x \\\n    y\n%cd /\nfiles = !ls\nmean?\n" + MEAN + "%matplotlib inline"),
    ),
    Case("time_magic", changed(MEAN, "%%time\n" + MEAN)),
    Case("bash_magic", changed("import math", "%%bash\ndef mean(")),
    Case(
        "percent_in_a_docstring",
        changed(MEAN, MEAN.replace("    if", '    """\n%cd is no magic here\n    """\n    if')),
    ),
    Case("plot_that_raises", changed(MEAN, "import no_such_library\nno_such_library.plot()\n" + MEAN + "1 / 0\n")),
    Case(
        "cells_that_end_all", changed("check(mean)", "import sys; sys.exit()", "while True: pass", "raise SystemExit")
    ),
    Case("top_level_await", changed(MEAN, "await something()\n" + MEAN)),
    Case("unfinished_elsewhere", changed("check(mean)", "print('never closed", 'text = """')),
    Case(
        "syntax_error",
        changed(RUNNING_MEAN, RUNNING_MEAN.replace("self.count += 1", "self.count +=")),
        says={"RunningMean": "Cell 7, line 9, invalid syntax: self.count +="},
    ),
    Case(
        "body_not_indented",
        changed(RUNNING_MEAN, "class RunningMean:\ncount = 0"),
        says={"RunningMean": "Cell 7, line 1, expected an indented block"},
    ),
    Case(
        "syntax_error_beside_an_answer",
        saved(notebook([("code", MEAN + "\nclass RunningMean:\n    def add(self:\n\n" + "x = 1\n")])),
        says={"RunningMean": "Cell 1, line 7, '(' was never closed"},
    ),
    Case(
        "conflict_in_a_cell",
        changed(RUNNING_MEAN, f"<<<<<<< HEAD\n{RUNNING_MEAN}=======\n{RUNNING_MEAN}>>>>>>> mine\n"),
    ),
    Case(
        "name_used_for_a_result",
        changed("check(mean)", "mean = mean([1.0])"),
        {"mean": "failing"},
        {"mean": "is no function or class"},
    ),
    Case(
        "decorated_later",
        changed(MEAN, MEAN, "import functools", "mean = functools.wraps(mean)(lambda *a, old=mean: old(*a))"),
    ),
    Case("method_added_later", changed("check(RunningMean)", "RunningMean.extra = lambda self: 1")),
    Case("imported_answer", changed(MEAN, "from solutions_toy import mean"), {"mean": "not started"}),
    Case("imported_from_a_cell", changed(MEAN, "%%writefile helper.py\n" + MEAN, "from helper import mean")),
    Case("ten_thousand_cells", saved(notebook(CELLS + [("code", "x = 1")] * 10_000))),
]
REFUSED = [
    Case("truncated", HEALTHY[: len(HEALTHY) // 2], refused="is damaged in line"),
    Case("empty", b" \n", refused="is empty"),
    Case("no_json", b"my homework", refused="is not JSON"),
    Case("html", b"<!DOCTYPE html><html></html>", refused="is not JSON"),
    Case("python_file", MEAN.encode(), refused="is not JSON"),
    Case("merge_conflict", CONFLICT.encode(), refused="conflict markers of git in line"),
    Case("a_list", b"[1, 2]", refused="has no cells"),
    Case("no_cells", b'{"nbformat": 4}', refused="has no cells"),
    Case("cells_no_list", b'{"cells": 5}', refused="has no cells"),
    Case("zip", b"PK\x03\x04\x80\x81\xff", refused="is not text"),
    Case("utf_16", HEALTHY.decode().encode("utf-16"), refused="is not text"),
    Case("digits_without_end", HEALTHY.replace(b"null", b"1" * 5000, 1), refused="is damaged in line"),
    Case("deep", b"[" * 100_000, refused="is not JSON"),
]
