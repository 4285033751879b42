"""Tests and answers in processes of their own: what crosses between them, what stays, and that looking has an end."""

import dataclasses
import os
import socket
import time
import warnings
import zipfile
from contextvars import ContextVar
from pathlib import Path

import cloudpickle
import pytest
import torch
from torch import nn

from utils.cohort.batch import shown
from utils.cohort.collect.submissions import find_students
from utils.cohort.isolate import sandbox
from utils.cohort.isolate.closing import run_and_leave
from utils.cohort.isolate.ending import new_home, remove
from utils.cohort.isolate.errors import described, rebuilt
from utils.cohort.isolate.left_behind import LeftBehind, leave_behind
from utils.cohort.isolate.limited import LimitedProcess, NoResult
from utils.cohort.isolate.peer import OtherSideGone, Peer
from utils.cohort.isolate.student_process import Settings, start_answers
from utils.cohort.isolate.tests_process import NotSaid, TestsSide
from utils.cohort.isolate.tests_ready import ReadyTests
from utils.cohort.isolate.values import LENGTHS, Malformed, pack
from utils.cohort.isolate.wire import Remote, Shared, StaysHere, Theirs, load, modules_in, to_answer, to_tests
from utils.cohort.judge.looking import named
from utils.grading.chapters import chapters
from utils.grading.compare.expectations import Unexpected
from utils.grading.find.statements import parse_cell

ROOT = Path(__file__).resolve().parents[2]


class Answering(Peer):
    """The side of an answer without a sandbox: it has one function."""

    def __init__(self, connection: socket.socket, function, shared: Shared):
        super().__init__(connection)
        self.held = [function]
        self.shared = shared

    def serve(self, request):
        from utils.cohort.isolate.wire import OPERATIONS

        name, number, *arguments = request["value"]
        return OPERATIONS[name](self.held[number], *arguments)

    def write(self, message):
        def hold(value):
            self.held.append(value)
            return len(self.held) - 1

        more = {"grad": torch.is_grad_enabled(), "printed": "", "changes": []}
        return to_tests({**message, **more}, self.shared, self.said_of, hold)

    def read(self, data, wrap):
        import pickle

        what, lives, body = pickle.loads(data)
        known = wrap(what, pickle.loads(lives))

        def named(name):
            kind, *place = name
            if kind == "module":
                return self.shared.at(*place)
            return (
                Theirs(self.ask, place[0]) if kind == "function" else (known if kind == "live" else self.held)[place[0]]
            )

        return {**what, "value": load(body, named)}

    def raised(self, error):
        return described(error)

    def error(self, raised):
        return rebuilt(raised)


@pytest.fixture
def remote():
    """`remote(function, *modules)`: the same function, run in another process; all models that it may be given."""
    opened = []

    def start(function, *modules: nn.Module) -> Remote:
        here, there = socket.socketpair()
        shared = Shared(modules)
        pid = os.fork()
        if not pid:
            here.close()

            def serve():
                side = Answering(there, function, shared)
                while True:
                    side.next_request()

            run_and_leave(serve)
        there.close()
        opened.append((pid, here))
        side = TestsSide(here, shared, (str(Path(__file__).parent) + "/",))
        return Remote(side.ask, 0, "function")

    yield start
    for _, connection in opened:  # later processes hold the connections of earlier ones
        connection.close()
    for pid, _ in opened:
        os.waitpid(pid, 0)


@dataclasses.dataclass
class Pair:
    """Two values."""

    first: object
    second: object


def test_values_cross_both_ways(remote):
    same = remote(lambda *values: values)
    for value in (None, 2, 0.5, "x", [1, (2,)], {"a": {1, 2}}, torch.float32, torch.arange(6.0).reshape(2, 3).T):
        (found,) = same(value)
        assert type(found) is type(value) and str(found) == str(value)
    half = same(torch.tensor([1.5], dtype=torch.bfloat16))[0]
    assert half.dtype == torch.bfloat16 and half.item() == 1.5


def test_objects_come_back_with_their_fields(remote):
    from utils.engine.graph import NodeInfo, NodeType

    found = remote(lambda: [Pair(1, [2]), NodeType.LATENT])()
    assert (type(found[0]).__name__, found[0].first, found[0].second) == ("Pair", 1, [2])
    assert found[1] is NodeType.LATENT and NodeInfo  # the course's own kinds are what they are here


def test_gradients_cross(remote):
    x, factor = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    y = remote(lambda x, factor: (x**2 * factor, x.sum()))(x, 2 * factor)
    (y[0].sum() + y[1]).backward()
    assert x.grad.tolist() == [13.0, 25.0] and factor.grad.item() == 10.0


def run_of(x: torch.Tensor) -> list[torch.Tensor]:
    """Values that come from each other, two of them from one step, and another name for one."""
    square = x**2
    left, right = (square * x).split([1, 2])
    return [right.sum() * left + square.sum(), left, square, x, right, square.view_as(square)]


SLOPES = {
    "of one in one": lambda end, left, square, x, *rest: torch.autograd.grad(end.sum(), x),
    "past others": lambda end, left, square, x, *rest: torch.autograd.grad(end.sum() + left.sum(), [square, left, x]),
    "of what is made here": lambda end, left, square, x, right, same: torch.autograd.grad(
        (end * left).sum() + same @ x, [x, square]
    ),
    "many at once": lambda end, left, square, x, right, same: torch.autograd.grad(
        right * same[1:], [x, square], torch.tensor([[1.0, 0.0], [2.0, -1.0], [0.0, 3.0]]), is_grads_batched=True
    ),
}


@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES.keys())
def test_gradients_go_on_through_what_a_test_has_made(remote, slopes):
    x = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    for found, expected in zip(remote(slopes)(*run_of(x)), slopes(*run_of(x)), strict=True):
        torch.testing.assert_close(found, expected)


def test_what_crosses_again_is_the_same(remote):
    x = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    run = run_of(x)
    slope = remote(SLOPES["of what is made here"])
    for found, again in zip(slope(*run), slope(*run), strict=True):
        torch.testing.assert_close(found, again)
    assert remote(lambda x: x)(x) is x
    double = remote(lambda x: (2 * x).sum())
    before = double(x).item()
    with torch.no_grad():
        x += 1
    assert double(x).item() == before + 6
    double(x).backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_no_way_is_gone_twice(remote):
    """Backward through a result that was made from several values of one run: each path counts once."""

    def work(end, left, square, x, right, same):
        return end.sum() * x.sum() + (square * same).sum() + right.prod()

    one, other = (torch.tensor([1.0, 2.0, -3.0], requires_grad=True) for _ in range(2))
    remote(work)(*run_of(one)).backward()
    work(*run_of(other)).backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_gradients_between_what_an_answer_gives(remote):
    x = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    end, left, square, _, right, same = remote(lambda x: run_of(x.detach().requires_grad_()))(x)
    ours = run_of(x)
    for found, expected in [((end, square), (ours[0], ours[2])), ((right.sum(), left), (ours[4].sum(), ours[1]))]:
        one, other = (torch.autograd.grad(*pair, allow_unused=True, retain_graph=True) for pair in (found, expected))
        assert (one[0] is None) == (other[0] is None) and (one[0] is None or torch.equal(one[0], other[0]))
    end, left, square, same_x, *_ = remote(run_of)(x)
    (slope,) = torch.autograd.grad((end * left).sum(), x, retain_graph=True)
    torch.testing.assert_close(slope, torch.autograd.grad((ours[0] * ours[1]).sum(), x)[0])


def test_gradients_go_back_to_earlier_calls(remote):
    """An answer may keep what it was given, as hooks do, and use it in a later call."""

    class Skip:
        def __init__(self):
            self.kept = None

        def keep(self, x):
            self.kept = x

        def add(self, y):
            return y + self.kept**2

        def slope(self, y):
            return torch.autograd.grad(y.sum(), self.kept)[0]

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = 3 * x
    skip = remote(Skip)()
    skip.keep(x)
    assert skip.slope(y).tolist() == [3.0, 3.0] and skip.slope(x).tolist() == [1.0, 1.0]
    (skip.add(y) * skip.add(x)).sum().backward()
    one, other = x.grad, torch.tensor([1.0, 2.0], requires_grad=True)
    ((3 * other + other**2) * (other + other**2)).sum().backward()
    torch.testing.assert_close(one, other.grad)


def test_a_model_is_copied_with_what_its_variables_give_where_nothing_is_set():
    with_default, without = ContextVar("one", default=3), ContextVar("other")
    with_default.set(5)
    assert cloudpickle.loads(cloudpickle.dumps(with_default)).get() == 3
    with pytest.raises(LookupError):
        cloudpickle.loads(cloudpickle.dumps(without)).get()


def test_functions_of_tests_are_called_and_differentiated_through(remote):
    calls = []

    def cube(x):
        calls.append(x)
        return x**3

    x = torch.tensor([1.0, 2.0])
    slopes = remote(lambda f, x: torch.autograd.grad(f(x.requires_grad_()).sum(), x)[0])(cube, x)
    assert slopes.tolist() == [3.0, 12.0] and len(calls) == 1


def test_functions_and_objects_of_the_answer_stay_there(remote):
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self, by):
            self.count += by
            return self

    counter = remote(Counter)()
    assert counter.add(2).add(3).count == 5
    counter.count = 7
    assert counter.count == 7
    double = remote(lambda: lambda x: 2 * x)()
    assert double(torch.ones(2)).tolist() == [2.0, 2.0]
    assert list(remote(lambda: (n * n for n in range(4)))()) == [0, 1, 4, 9]


def test_errors_keep_their_kind_and_their_words(remote):
    def fail(kind):
        raise {"value": ValueError("no such thing"), "key": KeyError("k"), "own": Unexpected("not so")}[kind]

    failing = remote(fail)
    with pytest.raises(ValueError, match="no such thing"):
        failing("value")
    with pytest.raises(KeyError):
        failing("key")
    with pytest.raises(Unexpected, match="not so"):
        failing("own")


def test_a_shared_model_crosses_by_its_number():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    shared = Shared([model])
    data = to_answer({"value": [model, model[1]]}, shared, dict, id, ())
    assert len(data) < 1000 and modules_in([{"a": model}]) == [model]
    import pickle

    body = pickle.loads(data)[2]
    found = load(body, lambda name: shared.at(*name[1:]))
    assert found[0] is model and found[1] is model[1]


def test_what_cannot_be_sent_says_why(tmp_path):
    with pytest.raises(StaysHere, match="files of a test"):
        to_answer({"value": [tmp_path]}, Shared([]), dict, id, ())
    with pytest.raises(StaysHere):
        to_answer({"value": [(n for n in range(3))]}, Shared([]), dict, id, ())


def test_what_an_answer_leaves_on_a_model_is_seen_here():
    there, here = nn.Linear(2, 2), nn.Linear(2, 2)
    left = LeftBehind(Shared([there]))
    left.note(0)
    assert left.changes() == []
    there.weight.grad = torch.ones(2, 2)
    there.bias.requires_grad_(False)
    there.train(False)
    undo = leave_behind(Shared([here]), left.changes())
    assert here.weight.grad is not None and not here.bias.requires_grad and not here.training
    for put_back in undo:
        put_back()
    assert here.weight.grad is None and here.bias.requires_grad and here.training


ONE = {"tensor": "float32", "shape": [1], "at": 0}
REPLIES = {
    "no frame": b"\xff" * 40,
    "no message": pack({"value": 1}),
    "a giant shape": pack(
        {"what": "reply", "lives": [], "value": {"tensor": "float64", "shape": [10**9] * 666, "at": 0}}
    ),
    "a class that is not ours": pack({"what": "reply", "lives": [], "value": {"enum": ["os", "system", "x"]}}),
    "another's function": pack(
        {"what": "do", "lives": [], "value": {"list": ["call", {"int": "1"}, {"list": []}, {"dict": []}]}}
    ),
    "tensors made from each other": pack(
        {
            "what": "reply",
            "lives": 2 * [ONE],
            "value": None,
            "sent": 0,
            "parents": [[[True, 0, 1]], [[True, 0, 0]]],
            "again": [0, 0],
        },
        bytes(4),
    ),
    "a tensor made from what never crossed": pack(
        {"what": "reply", "lives": [ONE], "value": None, "sent": 0, "parents": [[[False, 3, 0]]], "again": [0]},
        bytes(4),
    ),
    "changes of nothing": pack(
        {"what": "reply", "lives": [], "value": None, "grad": True, "printed": "", "changes": [[9, "x", []]]}
    ),
}


@pytest.mark.parametrize("data", REPLIES.values(), ids=REPLIES.keys())
def test_what_no_answer_sends_ends_it(data):
    here, there = socket.socketpair()
    side = TestsSide(here, Shared([]), ())
    there.sendall(LENGTHS.pack(len(data), 0) + data)
    with pytest.raises(NotSaid):
        side.ask("answer")
    assert isinstance(side.lost, OtherSideGone)


def test_an_error_that_is_none_is_refused():
    with pytest.raises(Malformed):
        rebuilt({"name": 5})
    assert isinstance(rebuilt(dict(name="E", base="SystemExit", own="", text="x", told="y")), Exception)


@pytest.fixture
def toy_settings(toy_course, tmp_path):
    return Settings(str(toy_course), 9, "", 5, 1000, str(tmp_path))


@pytest.mark.skipif(bool(sandbox.missing()), reason=" ".join(sandbox.missing()))
def test_all_tests_of_the_toy_chapter_run_apart(toy_course, toy_settings):
    chapter = chapters(toy_course)[0]
    answers = start_answers(chapter, toy_settings)
    ready = ReadyTests(chapter, toy_settings, answers)
    try:
        assert ready.reasons == {name: {} for name in chapter.points}
    finally:
        answers.close()
        ready.session.close()


# ---------------------------------------------------------------------------------------------------------------------
# Looking has an end
# ---------------------------------------------------------------------------------------------------------------------


def slow(question):
    if question == "loop":
        while True:
            pass
    if question == "memory":
        return len([bytearray(1 << 20) for _ in range(10**6)])
    return question


@pytest.mark.parametrize("question", ["loop", "memory"])
def test_a_question_that_costs_too_much_costs_only_itself(question):
    process = LimitedProcess(slow, seconds=1, megabytes=200)
    assert process.ask("one") == "one"
    start = time.monotonic()
    with pytest.raises(NoResult):
        process.ask(question)
    assert time.monotonic() - start < 60
    assert process.ask("two") == "two"
    process.close()


def test_folders_in_folders_without_end_are_removed(tmp_path):
    with new_home(str(tmp_path)) as home:
        before = os.open(".", os.O_RDONLY)
        try:
            os.chdir(home)
            for _ in range(1500):
                os.mkdir("d")
                os.chdir("d")
        finally:
            os.fchdir(before)
            os.close(before)
    assert not home.exists()


def test_folders_in_folders_are_looked_through(tmp_path):
    before, place = os.open(".", os.O_RDONLY), tmp_path / "ada"
    place.mkdir()
    (place / "a.ipynb").write_bytes(b"1")
    try:
        os.chdir(place)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.fchdir(before)
        os.close(before)
    (student,) = find_students(tmp_path)
    assert (student.name, [file.read() for file in student.files]) == ("ada", [b"1"])
    remove(place)


def test_files_of_one_name_in_a_zip_are_each_what_they_are(tmp_path):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        warnings.simplefilter("ignore")  # Python says that a name is there already
        archive.writestr("ada/a.ipynb", b"1")
        archive.writestr("ada/a.ipynb", b"2")
    (student,) = find_students(tmp_path / "all.zip")
    assert [(file.path, file.read()) for file in student.files] == [
        ("ada/a.ipynb", b"1"),
        ("ada/a.ipynb (2)", b"2"),
    ]


def test_many_spaces_before_a_line_take_no_time():
    start = time.monotonic()
    parse_cell("x = 1\n" + " " * 60_000 + "y = (\n", 1)
    assert time.monotonic() - start < 10


def test_a_terminal_is_not_moved_about_by_names():
    assert (
        shown("ada\x1b[2J\rbob\u202e")
        == "ada\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}bob\N{REPLACEMENT CHARACTER}"
    )


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    return x + 1", []),
        ("def f(x):\n    object.__setattr__(x, 'a', 1)", ["object.__setattr__"]),
        ("import gc\ndef f(x): gc.collect()", ["gc"]),
        ("def f(x): return x.f_locals, getattr(x, '__subclasses__')", ["__subclasses__", "f_locals"]),
        ("class T:\n    def __torch_function__(cls): pass", ["__torch_function__"]),
        ("from torch._C import x", ["torch._C"]),
        ("import ctypes.util", ["ctypes"]),
    ],
)
def test_what_no_answer_needs_is_named(source, names):
    import ast

    assert named([ast.parse(source)]) == names


@pytest.mark.parametrize("chapter", chapters(ROOT), ids=lambda chapter: f"chapter {chapter.number}")
def test_no_reference_answer_names_it(chapter):
    import ast

    for name in chapter.points:
        assert named([ast.parse(chapter.page.source(name).text)]) == [], name
