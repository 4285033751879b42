"""What tests compare with: right values pass, wrong ones are told apart in words, and leave a fingerprint."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from utils.grading import expect, expect_close, expect_equal
from utils.grading.compare.expectations import Unexpected
from utils.grading.compare.fingerprints import Fingerprint, noting, sketch
from utils.grading.diagnose.failures import sentence

T = torch.tensor
CLOSE = [
    (T([[1.0, 2.0]]), T([[1.0, 2.0]])),
    (T([1.0, 2.0]), T([1.0, 2.0001])),
    (T([1e-9, 1.0]), T([0.0, 1.0])),
    (T([1.0], dtype=torch.float64), T([1.0])),
    (T([1, 2]), T([1.0, 2.0])),
    (T([True, False]), T([True, False])),
    (T([float("nan"), float("inf")]), T([float("nan"), float("inf")])),
    (T([]), T([])),
    (T([1.0], requires_grad=True), T([1.0])),
    (T([1.0 + 1j]), T([1.0 + 1j])),
    (2.0, 2.00001),
    (2, 2.0),
    (T(2.0), 2.0),
    (T([[2.0]]), 2.0),
    (np.float32(2.0), 2.0),
]
NOT_CLOSE = [
    (T([1.0, 2.0]), T([1.0, 2.5]), "expected 2.5 at [1], got 2 (1 of 2 values differ)"),
    (T([[0.0, 1.0], [5.0, 6.0]]), T([[0.0, 1.0], [2.0, 3.0]]), "expected 2 at [1, 0], got 5 (2 of 4 values differ)"),
    (T([1.0, 2.0]), T([[1.0, 2.0]]), "expected shape (1, 2), got shape (2,)"),
    (T([[1.0], [2.0]]), T([1.0, 2.0]), "expected shape (2,), got shape (2, 1)"),
    (None, T([1.0]), "expected a tensor of shape (1,), got None. Is a `return` missing?"),
    (None, 1.0, "expected the number 1, got None. Is a `return` missing?"),
    (None, None, "expected a tensor or a number, got None. Is a `return` missing?"),
    (None, "text", "expected a tensor or a number, got None. Is a `return` missing?"),
    ((1.0, 2.0), (1.0, 2.0), "expected a tensor or a number, got (1, 2)."),
    ([1.0], T([1.0]), "expected a tensor of shape (1,), got [1]"),
    (T([1.0, 2.0]), 1.0, "expected the number 1, got [1, 2]"),
    (T([float("nan")]), T([0.0]), "expected 0 at [0], got nan"),
    (T([0.0]), T([float("nan")]), "expected nan at [0], got 0"),
    (T([float("inf")]), T([float("-inf")]), "expected -inf at [0], got inf"),
    (1.00032, 1.0, "expected 1, got 1.00032"),
    (2.0, 1.0, "expected 1, got 2"),
    ("2", 2.0, "expected the number 2, got '2'"),
    (T([1e-3, 1.0]), T([0.0, 1.0]), "expected 0 at [0], got 0.001"),
]
EQUAL = [
    ({1, 2}, {2, 1}),
    ([1, 2], (1, 2)),
    ([[1], [2, 3]], [[1], [2, 3]]),
    ("text", "text"),
    (5, 5),
    (5.0, 5),
    (True, True),
    (None, None),
    (T(5), 5),
    (T([1, 2]), T([1, 2])),
    ({"a": [1]}, {"a": [1]}),
    ([T([1]), "x"], [T([1]), "x"]),
    (int, int),
]
NOT_EQUAL = [
    ({1, 4}, {1, 2, 3}, "2, 3 missing; 4 too many"),
    ([1, 2, 4], [1, 2, 3], "expected 3, got 4 at [2]"),
    ([1, 2], [1, 2, 3], "expected 3 elements, got 2: [1, 2, 3] and [1, 2]"),
    ([[1, 2], [3, 5]], [[1, 2], [3, 4]], "expected 4, got 5 at [1, 1]"),
    ("a", "b", "expected 'b', got 'a'"),
    (5, 6, "expected 6, got 5"),
    ("5", 5, "expected 5, got '5'"),
    (T([1, 3]), T([1, 2]), "expected 2, got 3 at [1]"),
    (T([1, 2]), T([[1, 2]]), "expected shape (1, 2), got shape (2,)"),
    (T([1, 2]), [1, 2], "expected [1, 2], got [1, 2]"),
    ({"a": 1}, {"b": 1}, "keys 'b' missing; 'a' too many"),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "at 'b', expected 3, got 2"),
    ([1], {1}, "expected {1}, got [1]"),
    (int, str, "expected the class str, got the class int"),
]


@pytest.mark.parametrize(("actual", "expected"), CLOSE)
def test_close_values_pass(actual, expected):
    expect_close(actual, expected, "It")


@pytest.mark.parametrize(("actual", "expected", "words"), NOT_CLOSE)
def test_other_values_are_told_with_the_place(actual, expected, words):
    with pytest.raises(Unexpected) as error:
        expect_close(actual, expected, "The answer")
    assert str(error.value).startswith(f"The answer: {words}")
    assert "\n" not in str(error.value)


def test_tolerances_can_be_set():
    expect_close(1.05, 1.0, "It", rtol=0.1)
    expect_close(1.05, 1.0, "It", rtol=0, atol=0.1)
    for tolerances in ({"rtol": 0.01}, {"rtol": 0, "atol": 0.01}):
        with pytest.raises(Unexpected):
            expect_close(1.05, 1.0, "It", **tolerances)


@pytest.mark.parametrize(("actual", "expected"), EQUAL)
def test_equal_things_pass(actual, expected):
    expect_equal(actual, expected, "It")


@pytest.mark.parametrize(("actual", "expected", "words"), NOT_EQUAL)
def test_different_things_are_told_apart(actual, expected, words):
    with pytest.raises(Unexpected) as error:
        expect_equal(actual, expected, "The answer")
    assert str(error.value) == f"The answer: {words}."


@pytest.mark.parametrize("expected", [[1], "text", 3, {1}])
def test_nothing_in_place_of_something_may_be_a_missing_return(expected):
    with pytest.raises(Unexpected) as error:
        expect_equal(None, expected, "The answer")
    assert str(error.value).endswith(", got None. Is a `return` missing?")


def test_a_property_says_its_rule():
    expect(True, "More must be kept.", got=1)
    for got, text in ((None, "More must be kept."), ([2, 1], "More must be kept. Got: [2, 1].")):
        with pytest.raises(Unexpected) as error:
            expect(0, "More must be kept.", got=got)
        assert str(error.value) == text


def print_of(*calls) -> Fingerprint:
    """The fingerprint of some comparisons."""
    with noting() as found:
        for call, *arguments in calls:
            try:
                call(*arguments)
            except Unexpected:
                found.ending = "unexpected"
    return found


def test_fingerprints_are_alike_up_to_rounding():
    first = print_of((expect_close, T([1.0, 2.0]), T([5.0, 5.0]), "It"))
    assert first.is_like(print_of((expect_close, T([1.0, 2.000001]), T([5.0, 5.0]), "It")))
    others = [
        print_of((expect_close, T([1.0, 2.01]), T([5.0, 5.0]), "It")),
        print_of((expect_close, T([1.0, 2.0]), T([5.0, 5.0]), "That")),
        print_of((expect_close, T([1.0, 2.0]), T([1.0, 2.0]), "It")),
        print_of((expect_close, T([[1.0, 2.0]]), T([5.0, 5.0]), "It")),
        print_of((expect, True, "So"), (expect_close, T([1.0, 2.0]), T([5.0, 5.0]), "It")),
        print_of(),
    ]
    assert [first.is_like(other) for other in others] == [False] * len(others)


def test_what_is_noted_outside_a_test_is_not_kept():
    with noting() as outer:
        with noting() as inner:
            expect(True, "In")
        expect(True, "Out")
    expect(True, "Nowhere")
    assert [what for what, _ in inner.notes] == ["In"] and [what for what, _ in outer.notes] == ["Out"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (T([1.0, 2.0]), T([1.0, 3.0])),
        (T([1.0, 2.0]), T([[1.0, 2.0]])),
        ([1, 2], [1, 3]),
        ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"b": 1}),
        ({1, 2}, {1, 3}),
        ("a", "b"),
        (1, "1"),
        (None, 0),
        (torch.arange(10_000.0), torch.arange(10_000.0).flip(0)),
        (torch.zeros(10_000), torch.zeros(10_000).index_fill(0, T([123]), 1.0)),
    ],
)
def test_sketches_tell_values_apart(one, other):
    assert sketch(one).is_like(sketch(one)) and sketch(other).is_like(sketch(other))
    assert not sketch(one).is_like(sketch(other)) and not sketch(other).is_like(sketch(one))


def test_what_rounding_leaves_of_a_zero_is_a_zero():
    assert sketch(T([0.0, 1e-15])).is_like(sketch(T([-4e-16, 0.0])))
    assert not sketch(1e-9).is_like(sketch(2e-9))


def test_sketches_forget_addresses_and_order():
    class Thing:
        pass

    assert sketch(Thing()).is_like(sketch(Thing()))
    assert sketch({3, 1, 2}).is_like(sketch({2, 3, 1}))


def test_fingerprints_are_small_and_fit_into_json():
    found = print_of((expect_close, torch.ones(1000, 1000), 1.0, "It"), (expect_equal, {"a": {1}}, 1, "That"))
    assert len(json.dumps(asdict(found))) < 100_000


def raised_by(source: str) -> BaseException:
    """The error of student code, whose source is in no file."""
    names: dict = {"pytest": pytest}
    exec(compile(source, "<cell 1>", "exec"), names)
    try:
        names["answer"]()
    except BaseException as error:
        return error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise NotImplementedError()", "A part is not written yet: in line 2 of answer"),
        ("[][1]", "Your code raised IndexError: list index out of range\nin line 2 of answer"),
        ("raise ValueError", "Your code raised ValueError\nin line 2 of answer"),
        ("assert False, 'no'", "Your code raised AssertionError: no\nin line 2 of answer"),
        ("x = __import__('torch').ones(2, 2) > 0; x @ x", "Your code raised NotImplementedError: "),
        ("__import__('json').loads('x')", "Your code raised JSONDecodeError: Expecting value"),
    ],
)
def test_errors_of_the_students_code_are_placed(body, words):
    assert sentence(raised_by(f"def answer():\n    {body}")).startswith(words)


def test_what_pytorch_cannot_do_with_truth_values_comes_with_advice():
    error = raised_by("def answer():\n    x = __import__('torch').ones(2, 2) > 0\n    x @ x")
    assert "with tensors of type Bool: convert them with .float() first." in sentence(error)


def raised_here(function) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error


def test_errors_of_a_test_are_put_into_words():
    assert sentence(raised_here(lambda: "one" + 1)).startswith("The test, given your answer, raised TypeError: ")
    many = AssertionError("\n".join(f"line {i}" for i in range(50)))
    assert sentence(many).splitlines()[0] == "line 0" and len(sentence(many).splitlines()) < 12
    assert sentence(AssertionError()) == "A check in the test failed."

    def refuses_nothing():
        with pytest.raises(ValueError):
            pass

    assert sentence(raised_here(refuses_nothing)) == "Expected ValueError, but nothing was raised."


def test_a_long_list_is_cut():
    with pytest.raises(Unexpected, match=r"0, 1, 10, 100, 101, 102, 103, 104, 105, 106 … and 150 more too many"):
        expect_equal(set(range(160)), set(), "The names")
