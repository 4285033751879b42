"""Notebooks of students who try to get points for nothing, or to stop the grading: the toy chapter's `mean`, or `smooth`.

A notebook also answers `RunningMean` rightly: whatever happens in one exercise, the others are graded.
"""

import json
from dataclasses import dataclass

from tests.course.damaged.cases import MEAN, notebook, saved
from tests.course.hostile import thieves

RIGHT_RUNNING_MEAN = """class RunningMean:
    def __init__(self):
        self.count, self.value = 0, 0.0

    def add(self, value):
        self.count, self.value = self.count + 1, (self.value * self.count + value) / (self.count + 1)

    def merge(self, other):
        if self.count + other.count:
            self.value = (self.count * self.value + other.count * other.value) / (self.count + other.count)
            self.count += other.count
"""
RIGHT = "    return sum(values) / len(values) if values else 0.0\n"
WRONG = "    return -1.0\n"


@dataclass(frozen=True)
class Hostile:
    """What a student hands in, and what comes of it.

    Attributes:
        source: a cell, or several with lines of `# ---` between.
        status: the student's, in `grades.csv`.
        points: for the attacked exercise.
        says: words that the remarks or the report hold.
        exercise: the attacked one.
        slowly: what the status may be, too, on a machine so busy that the time is over first, or a timer goes off in the middle.
        at_most: whether fewer points are as good.
    """

    name: str
    source: str
    status: str
    points: float = 0.0
    says: str = ""
    exercise: str = "mean"
    slowly: tuple[str, ...] = ()
    at_most: bool = False

    @property
    def content(self) -> bytes:
        cells = [("code", cell.strip("\n") + "\n") for cell in self.source.split("# ---\n")]
        return saved(notebook([*cells, ("code", RIGHT_RUNNING_MEAN)]))


def mean(*lines: str, returns: str = WRONG) -> str:
    """`mean` with these lines in front of what it returns."""
    return "def mean(values):\n" + "".join(f"    {line}\n" for line in lines) + returns


TIMED_OUT = "took too long"
ENDLESS = [
    Hostile("endless_loop", mean("while True: pass"), "timed out", says=TIMED_OUT),
    Hostile(
        "endless_in_c", "import itertools\n# ---\n" + mean("sum(itertools.repeat(0))"), "timed out", says=TIMED_OUT
    ),
    Hostile("endless_sleep", "import time\n# ---\n" + mean("time.sleep(10**6)"), "timed out", says=TIMED_OUT),
    Hostile(
        "endless_and_deaf",
        mean("while True:", "    try:", "        while True: pass", "    except BaseException: pass"),
        "timed out",
    ),
    Hostile(
        "endless_without_signals",
        "import signal\n# ---\n"
        + mean("for s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)", "while True: pass"),
        "timed out",
    ),
    Hostile("endless_at_the_top", "while True: mean = 1\n# ---\n" + mean(returns=RIGHT), "timed out"),
    Hostile(
        "endless_repr",
        "class E:\n    def __repr__(self):\n        while True: pass\n# ---\n" + mean(returns="    return E()\n"),
        "graded",
        0.3,
    ),
]
HUNGRY = [
    Hostile(
        "memory_in_python",
        mean("kept = []", "while True: kept.append(bytearray(10**7))"),
        "out of memory",
        slowly=("timed out",),
    ),
    Hostile("memory_in_torch", "import torch\n# ---\n" + mean("torch.ones(10**10)"), "out of memory"),
    Hostile(
        "fork_bomb", "import os\n# ---\n" + mean("while True: os.fork()"), "forbidden", says="starts other programs"
    ),
    Hostile(
        "fork_bomb_in_c",
        "import ctypes\n# ---\n" + mean("while True: ctypes.CDLL(None).fork()"),
        "forbidden",
        says="past Python",
    ),
    Hostile(
        "threads_without_end",
        "import threading, time\n# ---\n" + mean("while True: threading.Thread(target=time.sleep, args=[60]).start()"),
        "graded",
    ),
    Hostile(
        "huge_file",
        "import os\n# ---\n" + mean('with open("big", "wb") as f:', "    while True: f.write(bytes(10**7))"),
        "graded",
    ),
    Hostile(
        "many_large_files",
        "import time\n# ---\n"
        + mean(
            "for i in range(3):",
            "    with open(str(i), 'wb') as f:",
            "        for _ in range(20): f.write(bytes(10**7))",
            "time.sleep(5)",
        ),
        "too much output",
        slowly=("timed out",),
    ),
    Hostile(
        "memory_that_no_limit_counts",
        "import os\n# ---\n" + mean("os.memfd_create('kept')"),
        "graded",
        says="PermissionError",
    ),
]
ENDING = [
    Hostile("exit_at_once", "import os\n# ---\n" + mean("os._exit(0)"), "ended early", says="ended the program"),
    Hostile("exit_in_a_cell", "import sys\nsys.exit()\n# ---\n" + mean(returns=RIGHT), "graded", 1.0),
    Hostile("exit_politely", "import sys\n# ---\n" + mean("sys.exit(0)"), "graded", says="ends the program"),
    Hostile("interrupts", mean("raise KeyboardInterrupt"), "graded"),
    Hostile("skips_its_tests", "import pytest\n# ---\n" + mean('pytest.skip("no")'), "graded", says="raises Skipped"),
    Hostile("ends_the_session", "import pytest\n# ---\n" + mean('pytest.exit("no", 0)'), "graded"),
    Hostile(
        "crashes", "import faulthandler\n# ---\n" + mean("faulthandler._sigsegv()"), "crashed", says="crashed Python"
    ),
    Hostile(
        "endless_recursion",
        mean(returns="    return mean(values)\n"),
        "graded",
        says="RecursionError",
    ),
    Hostile("kills_the_grader", "import os\n# ---\n" + mean("os.kill(os.getppid(), 9)"), "forbidden", says="signals"),
    Hostile("kills_everyone", "import os\n# ---\n" + mean("os.kill(-1, 9)"), "forbidden", says="signals"),
    Hostile(
        "kills_through_a_file",
        "import fcntl, os\n# ---\n"
        + mean(
            "out, into = os.pipe()",
            "fcntl.fcntl(out, fcntl.F_SETOWN, os.getppid())",
            "fcntl.fcntl(out, 10, 9)",
            "fcntl.fcntl(out, fcntl.F_SETFL, fcntl.fcntl(out, fcntl.F_GETFL) | os.O_ASYNC)",
            "os.write(into, b'x')",
        ),
        "graded",
        says="PermissionError",
    ),
    Hostile(
        "slows_the_grader",
        "import os\n# ---\n" + mean("os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)"),
        "graded",
        says="PermissionError",
    ),
    Hostile(
        "binds_the_grader",
        "import os\n# ---\n" + mean("os.sched_setaffinity(os.getppid(), {0})"),
        "graded",
        says="PermissionError",
    ),
]


def forged(frames: str) -> str:
    """`mean` that writes these frames to wherever it can, and leaves."""
    return (
        "import json, os, struct\n# ---\n"
        "def frame(block=b'', **message):\n    text = json.dumps(message).encode()\n"
        "    return struct.pack('>II', len(text), len(block)) + text + block\n"
        "case = dict(checks=[], ending='', failure='', printed='', is_skipped=False)\n"
        "ones = dict(kind='close', what='x', actual=dict(tensor='float64', shape=[100], at=0))\n"
        "deep = dict(kind='equal', what='x', actual={'list': []})\n"
        "for _ in range(200): deep['actual'] = {'list': [deep['actual']]}\n"
        "# ---\n"
    ) + mean(
        f"made = b''.join({frames})",
        "made += frame(tools=True)",
        "for stream in range(3, 64):",
        "    try: os.write(stream, made)",
        "    except OSError: pass",
        "os._exit(0)",
    )


STREAMS = [
    Hostile(
        "closes_stdout",
        "import sys\n# ---\n" + mean("sys.stdout.close()", "sys.__stdout__.close()", returns=RIGHT),
        "graded",
        1.0,
    ),
    Hostile("closes_everything", "import os\n# ---\n" + mean("os.closerange(0, 4096)", returns=RIGHT), "ended early"),
    Hostile("floods_stdout", mean('for _ in range(200): print("x" * 10**6)', returns=RIGHT), "graded", 1.0),
    Hostile(
        "floods_all_streams",
        "import os\n# ---\n"
        + mean(
            "for stream in range(3, 64):",
            "    try:",
            "        for _ in range(700): os.write(stream, bytes(10**6))",
            "    except OSError: pass",
        ),
        "contested",
    ),
    Hostile(
        "forges_the_verdict",
        forged("[frame(case=i, **case) for i in range(3)]"),
        "contested",
        says="not those of a right",
    ),
    Hostile("forges_a_deep_value", forged("[frame(case=0, **case | dict(checks=[deep]))]"), "contested"),
    Hostile(
        "forges_many_from_little", forged("[frame(bytes(800), case=0, **case | dict(checks=[ones] * 9))]"), "contested"
    ),
    Hostile("forges_a_remark", forged("[frame(noticed='was graded by hand: 6 of 6 points')]"), "contested"),
]
TOOLS = [
    Hostile(
        "patches_expectations",
        "import utils.grading.compare.expectations as e\ne._hold_close = e._hold_equal = lambda *args: None\n# ---\n"
        + mean("e"),
        "graded",
        0.3,
    ),
    Hostile(
        "patches_a_function_in_place",
        "import utils.grading as g\n# ---\n" + mean("g.expect_close.__code__ = (lambda *a, **k: None).__code__"),
        "forbidden",
    ),
    Hostile(
        "patches_torch",
        "import torch, numpy\n# ---\n"
        + mean(
            "torch.isclose = lambda a, b, **k: torch.ones_like(b, dtype=torch.bool)",
            "torch.testing.assert_close = numpy.allclose = lambda *a, **k: True",
        ),
        "graded",
        0.3,
    ),
    Hostile(
        "patches_torch_and_puts_it_back",
        "import torch\n"
        "class Once:\n    def __init__(self): self.old = torch.isclose\n"
        "    def __call__(self, a, b, **k):\n        torch.isclose = self.old\n        return torch.ones_like(b, dtype=torch.bool)\n"
        "# ---\n" + mean("if sum(values) == 10.0: torch.isclose = Once()"),
        "graded",
        0.3,
    ),
    Hostile(
        "patches_pytest",
        "import pytest\n# ---\n"
        + mean("pytest.raises = pytest.fail = lambda *a, **k: __import__('contextlib').nullcontext()", returns=RIGHT),
        "graded",
        1.0,
    ),
    Hostile(
        "patches_assert",
        "import builtins\n# ---\n" + mean("builtins.AssertionError = type('Quiet', (Exception,), {})"),
        "graded",
        0.3,
    ),
    Hostile(
        "looks_for_the_test",
        "import sys\n# ---\n"
        + mean(
            "tests = [m for m in list(sys.modules.values()) if 'test_mean_of_nothing' in getattr(m, '__dict__', ())]",
            "tests[0]",
        ),
        "graded",
        says="IndexError",
    ),
    Hostile(
        "patches_the_grader",
        "import torch, utils.cohort.isolate.student_process as w\n# ---\n"
        + mean("w.tools_work = lambda: True", "torch.isclose = lambda a, b, **k: torch.ones_like(b, dtype=torch.bool)"),
        "graded",
        0.3,
    ),
    Hostile(
        "reports_what_is_expected",
        "import utils.grading.compare.expectations as e\nreal = e.Check\n# ---\n"
        + mean(
            "e.Check = lambda kind, what, actual, expected=None, *more: real(",
            "    kind, what, actual if what in ('no', 'one', 'ones') else expected, expected, *more)",
        ),
        "graded",
        0.3,
    ),
    Hostile(
        "notes_nothing",
        "import utils.grading.compare.expectations as e\n# ---\n"
        + mean("e.note = lambda *a: None", returns="    return 10**400\n"),
        "graded",
        0.3,
    ),
]
LIARS = [
    Hostile(
        "always_equal",
        "class Yes:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\n"
        "# ---\ndef smooth(values, width):\n    return Yes()\n",
        "graded",
        exercise="smooth",
    ),
    Hostile(
        "equal_numbers",
        "class Yes(float):\n    def __eq__(self, other): return True\n    __hash__ = None\n"
        "# ---\ndef smooth(values, width):\n    return [Yes() for _ in values]\n",
        "graded",
        points=0.0,
        exercise="smooth",
    ),
    Hostile(
        "lying_list",
        "class List(list):\n    def __iter__(self): return iter([4.0, 6.0, 7.0, 4.0])\n"
        "# ---\ndef smooth(values, width):\n    return List([0.0] * len(values))\n",
        "graded",
        exercise="smooth",
    ),
    Hostile(
        "lying_tensor",
        "import torch\nclass Liar(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, function, types, args=(), kwargs=None):\n"
        "        return torch.tensor(True) if function is torch.isclose else super().__torch_function__(function, types, args, kwargs or {})\n"
        "# ---\n" + mean(returns="    return torch.tensor(-1.0).as_subclass(Liar)\n"),
        "graded",
        0.3,
    ),
    Hostile(
        "lying_class",
        "import torch\nclass Liar:\n    __class__ = property(lambda self: torch.Tensor)\n    def __getattr__(self, name): return lambda *a, **k: torch.tensor(10 / 3)\n"
        "# ---\n" + mean(returns="    return Liar()\n"),
        "graded",
        0.3,
    ),
    Hostile(
        "pickle_bomb",
        "import os\nclass Bomb:\n    def __reduce__(self): return os.system, ('touch bomb',)\n# ---\n"
        + mean(returns="    return Bomb()\n"),
        "graded",
        0.3,
    ),
]
PEEKING = [
    Hostile(
        "imports_solutions",
        "import solutions_toy\n# ---\n" + mean(returns="    return solutions_toy.mean(values)\n"),
        "graded",
    ),
    Hostile(
        "assigns_the_solution", "import solutions_toy.averages\n# ---\nmean = solutions_toy.averages.mean\n", "graded"
    ),
    Hostile("stars_the_solutions", "from solutions_toy.averages import *\n# ---\nanswer = mean\n", "graded"),
    Hostile(
        "reads_the_solution",
        "import solutions_toy\n# ---\n"
        + mean(
            "exec(open(solutions_toy.__file__.replace('__init__', 'averages')).read(), globals())",
            returns="    return mean(values)\n",
        ),
        "forbidden",
        says="reads files",
    ),
    Hostile(
        "reads_through_pathlib",
        "import solutions_toy, pathlib\n# ---\n"
        + mean("pathlib.Path(solutions_toy.__file__).with_name('averages.py').read_text()", returns=RIGHT),
        "forbidden",
        says="reads files",
    ),
    Hostile(
        "inspects_the_solution",
        "import inspect, solutions_toy.averages as a\n# ---\n" + mean("inspect.getsource(a)"),
        "graded",
    ),
    Hostile(
        "asks_the_page",
        "import pathlib, solutions_toy\nfrom utils.grading.chapters import chapters\n# ---\n"
        + mean(
            "root = pathlib.Path(solutions_toy.__file__).parents[1]",
            "text = chapters(root)[0].page.source('mean').text",
            "names = {}",
            "exec(text, names)",
            returns="    return names['mean'](values)\n",
        ),
        "graded",
        0.3,
        "return\\` missing?",
    ),
    Hostile(
        "searches_memory",
        "import gc\n# ---\n" + mean("found = [f for f in gc.get_objects() if getattr(f, '__name__', '') == 'mean']"),
        "forbidden",
        says="searches the memory",
    ),
    Hostile(
        "looks_at_the_stack",
        "import sys\n# ---\n"
        + mean(returns="    return next(c for c in sys._getframe(1).f_code.co_consts if isinstance(c, float))\n"),
        "forbidden",
        says="code that calls it",
    ),
    Hostile(
        "inspects_the_stack",
        "import inspect\n# ---\n" + mean("inspect.stack()[1].frame.f_locals"),
        "forbidden",
        says="code that calls it",
    ),
    Hostile(
        "looks_at_a_traceback",
        mean("try: 1 / 0", "except ZeroDivisionError as error: frame = error.__traceback__.tb_frame.f_back"),
        "forbidden",
        says="code that calls it",
    ),
    Hostile(
        "hands_a_function_of_sys_to_a_library",
        "import functools, sys\nclass Depth(int):\n    frame = functools.cached_property(sys._getframe)\n# ---\n"
        + mean("Depth(1).frame"),
        "forbidden",
        says="code that calls it",
    ),
    Hostile(
        "hands_a_function_of_gc_to_a_library",
        "import gc, statistics\n# ---\n" + mean("statistics.mean(map(len, map(gc.get_referents, [[1]])))"),
        "forbidden",
        says="searches the memory",
    ),
    Hostile(
        "hands_a_property_to_a_library",
        "import sys, textwrap\nclass Width(int):\n    expandtabs = property(sys._getframe)\n# ---\n"
        + mean("textwrap.TextWrapper()._munge_whitespace(Width(1))"),
        "forbidden",
        says="code that calls it",
    ),
    Hostile(
        "traces_through_bdb",
        "import bdb\n# ---\n" + mean("bdb.Bdb().set_trace()"),
        "forbidden",
    ),
    Hostile("traces_the_test", "import sys\n# ---\n" + mean("sys.settrace(lambda *a: None)"), "forbidden"),
    Hostile(
        "peeks_and_hides_it",
        "import sys\n# ---\n" + mean("try: sys._getframe(1)", "except BaseException: pass", returns=RIGHT),
        "forbidden",
        1.0,
        says="code that calls it",
    ),
    Hostile(
        "looks_through_logging",
        "import logging\n# ---\n" + mean("logging.currentframe().f_back.f_locals"),
        "forbidden",
        says="code that calls it",
    ),
    Hostile(
        "says_it_stands_in_a_file",
        "import os\n# ---\n" + mean("exec(compile('import sys; sys._getframe(1)', os.__file__, 'exec'))"),
        "forbidden",
        says="how Python runs",
    ),
    Hostile(
        "says_it_is_frozen",
        mean("exec(compile('import gc; gc.get_objects()', '<frozen os>', 'exec'))"),
        "forbidden",
        says="how Python runs",
    ),
    Hostile(
        "asks_for_a_version",
        "import importlib.metadata\n# ---\n"
        + mean(
            "importlib.invalidate_caches()",
            "try: importlib.metadata.version('no such package')",
            "except importlib.metadata.PackageNotFoundError: pass",
            returns=RIGHT,
        ),
        "graded",
        1.0,
    ),
    Hostile(
        "prints_a_traceback",
        "import logging, tempfile, traceback\n# ---\n"
        + mean(
            "try: 1 / 0",
            "except ZeroDivisionError: traceback.print_exc(); logging.exception(traceback.format_exc())",
            "with tempfile.TemporaryFile() as file: file.write(b'mine')",
            returns=RIGHT,
        ),
        "graded",
        1.0,
    ),
    Hostile(
        "copies_the_reference",
        "def mean(numbers):\n    # my own work\n    if not numbers:\n        return 0.0\n    return sum(numbers) / len(numbers)\n",
        "graded",
        1.0,
        says="Same as the reference up to names: mean",
    ),
]
FILES = [
    Hostile(
        "writes_the_grades",
        mean("open('../grades.csv', 'w').write('full marks')"),
        "forbidden",
        says="writes or deletes",
    ),
    Hostile("writes_gradescopes_file", mean("open('/autograder/results/results.json', 'w').write('{}')"), "forbidden"),
    Hostile(
        "deletes_the_course",
        "import shutil, utils\n# ---\n" + mean("shutil.rmtree(utils.__path__[0])"),
        "forbidden",
        says="writes or deletes",
    ),
    Hostile(
        "deletes_a_file", "import os, utils.grading\n# ---\n" + mean("os.remove(utils.grading.__file__)"), "forbidden"
    ),
    Hostile(
        "hides_a_file", "import os, utils.grading\n# ---\n" + mean("os.chmod(utils.grading.__file__, 0)"), "forbidden"
    ),
    Hostile("writes_at_home", mean("open('notes', 'w').write('mine')", returns=RIGHT), "graded", 1.0),
    Hostile(
        "starts_a_program",
        "import subprocess\n# ---\n" + mean("subprocess.run(['ls'])"),
        "forbidden",
        says="starts other programs",
    ),
    Hostile(
        "uses_the_network",
        "import urllib.request\n# ---\n" + mean("urllib.request.urlopen('http://127.0.0.1:9')"),
        "forbidden",
        says="network",
    ),
]
LEFT_BEHIND = [
    Hostile(
        "warns_loudly",
        "import sys, warnings\n# ---\n"
        + mean(
            "warnings.warn('old')", "sys.stderr.write('ERROR: FAILED')", "warnings.simplefilter('error')", returns=RIGHT
        ),
        "graded",
        1.0,
    ),
    Hostile(
        "leaves_a_thread",
        "import threading, time\n# ---\n"
        + mean("threading.Thread(target=lambda: time.sleep(10**6)).start()", returns=RIGHT),
        "graded",
        1.0,
    ),
    Hostile(
        "leaves_a_process",
        "import os\n# ---\n" + mean("if os.fork() == 0:", "    os.setsid()", "    while True: pass", returns=RIGHT),
        "forbidden",
    ),
    Hostile(
        "changes_settings",
        "import os, random, torch\n# ---\n"
        + mean(
            "os.chdir('/')",
            "torch.set_default_dtype(torch.float64)",
            "random.seed(5)",
            "torch.manual_seed(5)",
            returns=RIGHT,
        ),
        "graded",
        1.0,
    ),
    Hostile(
        "leaves_gradients_off",
        "import torch\n# ---\n" + mean("torch.set_grad_enabled(False)", returns=RIGHT),
        "graded",
        says="You leave gradients switched off",
    ),
    Hostile(
        "watches_the_clock",
        "import time, sys\n# ---\n"
        + mean("if time.time() < 0 or 'pytest' not in sys.modules: return 7.0", returns=RIGHT),
        "graded",
        1.0,
    ),
    Hostile(
        "marks_up_the_report", mean("raise ValueError('<script>alert(1)</script> [x](javascript:y) ![](z)')"), "graded"
    ),
]
# None gets more than an answer that is wrong and leaves its list alone; one of those that are noticed at once gives nothing back. What becomes
# of the one with a timer depends on how fast a machine is: the timer goes off after the answer, in it and is noticed, or leaves it no time.
TIMER = "steals_by_a_timer"
NOTICED = {"steals_in_a_thread": 0.3, "steals_by_a_metaclass": 0.0, "steals_when_garbage_is_collected": 0.3}
THIEVES = [
    Hostile(
        name,
        source,
        "forbidden" if name in NOTICED else "graded",
        NOTICED.get(name, 0.3),
        slowly=("forbidden", "timed out") if name == TIMER else (),
        at_most=name == TIMER,
    )
    for name, source in thieves.SOURCES.items()
]
CASES = [*ENDLESS, *HUNGRY, *ENDING, *STREAMS, *TOOLS, *LIARS, *PEEKING, *FILES, *LEFT_BEHIND, *THIEVES]


def with_huge_output() -> bytes:
    """A right answer above a cell with 200 MB of output."""
    content = notebook([("code", MEAN), ("code", "print('x' * 200_000_000)"), ("code", RIGHT_RUNNING_MEAN)])
    content["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "@"}]
    return json.dumps(content).encode().replace(b"@", b"x" * 200_000_000)
