"""An answer that changes what it is given fails with this as the cause, and spoils nothing for other answers."""

from types import SimpleNamespace

import pytest
import torch

from solutions import chapter3_attribution_graphs as chapter3
from utils.grading.chapters import chapters
from utils.grading.compare.expectations import Unexpected
from utils.grading.diagnose.variants import Mistake, make_answer
from utils.grading.results import Answer
from utils.grading.run.exercise import grade
from utils.grading.run.process_state import data_are_unchanged, restore_watched, watch_data
from utils.grading.run.session import TestSession
from utils.grading.run.unchanged import guarded
from utils.notebooks.place import course_folder

CHANGES = {
    "a method": lambda matrix: matrix.abs_(),
    "an assignment": lambda matrix: matrix.__setitem__(0, 7.0),
    "by way of a view": lambda matrix: matrix[1].mul_(2),
    "by way of data": lambda matrix: matrix.data.mul_(2),
    "by way of numpy": lambda matrix: matrix.numpy().fill(3),
    "another shape": lambda matrix: matrix.t_().unsqueeze_(0),
    "put back": lambda matrix: matrix.add_(1).sub_(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "hand_over", [lambda m: m, lambda m: [m], lambda m: {"a": (m,)}, lambda m: SimpleNamespace(m=m)]
)
def test_a_change_is_named_and_undone(change, hand_over):
    matrix = torch.tensor([[-1.0, 2.0, float("nan")], [3.0, -4.0, 5.0]])
    before, given = matrix.clone(), hand_over(matrix)

    def answer(n, adjacency):
        change(matrix)

    with pytest.raises(Unexpected, match="You change `adjacency`, which you were given"):
        guarded(answer, answer)(1, adjacency=given)
    assert matrix.shape == before.shape and torch.equal(matrix.nan_to_num(9), before.nan_to_num(9))


def test_a_change_before_an_error_is_undone():
    def answer(matrix):
        matrix += 1
        raise ValueError("mine")

    matrix = torch.zeros(2)
    with pytest.raises(ValueError, match="mine"):
        guarded(answer, answer)(matrix)
    assert not matrix.any()


def test_a_recorded_run_still_holds():
    """Autograd counts changes: a tensor that was put back can be walked back through."""

    def answer(scale):
        scale *= 2

    scale, x = torch.ones(2), torch.ones(2, requires_grad=True)
    y = (x * scale).sum()
    with pytest.raises(Unexpected):
        guarded(answer, answer)(scale)
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_weights_and_new_tensors_may_be_changed():
    def answer(layer, matrix):
        with torch.no_grad():
            layer.weight.zero_()
        new = matrix.clone()
        new += 1
        return new

    layer = torch.nn.Linear(2, 2)
    assert guarded(answer, answer)(layer, torch.zeros(2)).tolist() == [1.0, 1.0]
    assert not layer.weight.any()


def test_other_arguments_are_named():
    def reference(matrix, n_layers=3):
        pass

    def answer(matrix):
        pass

    with pytest.raises(Unexpected, match=r"^`reference` must take \(matrix, n_layers\); yours takes \(matrix\)\.$"):
        guarded(answer, reference)(torch.zeros(2), n_layers=2)


def test_shared_data_are_watched():
    shared = torch.zeros(2)
    watch_data({"a": [shared]})
    assert data_are_unchanged()
    shared += 1
    assert not data_are_unchanged() and not restore_watched(), "all fixtures are made anew"
    assert data_are_unchanged()


IN_PLACE = {
    "prune_edges": ("pruned = torch.where(chosen, adjacency_matrix, 0)",
                    "adjacency_matrix[~chosen] = 0\n    pruned = adjacency_matrix"),
    "prune_nodes": ("    scores = compute", "    adjacency_matrix.abs_()\n    scores = compute"),
    "compute_influence": ("    passing = weights", "    adjacency_matrix *= 2\n    passing = weights"),
    "completeness_gap": ("    gap = (adj", "    bias -= values\n    bias += values\n    gap = (adj"),
    "build_intermediate_nodes": ("errors = (y - tc_hooks.linear_part(layer, x)).index_add(0, positions, -writes)",
                                 "errors = y\n        errors -= tc_hooks.linear_part(layer, x)\n"
                                 "        errors = errors.index_add(0, positions, -writes)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def third():
    """Chapter 3, and its tests."""
    chapter = next(chapter for chapter in chapters(course_folder(chapter3.__file__)) if chapter.number == 3)
    session = TestSession(chapter)
    yield chapter, session
    session.close()


@pytest.mark.parametrize("name", IN_PLACE)
def test_one_answer_does_not_spoil_the_check_of_another(third, name):
    chapter, session = third
    answer = Answer(name, make_answer(Mistake("in_place", "", [IN_PLACE[name]]), chapter.reference(name)))
    wrong = grade(session.grader, session.items(name), answer, 0)
    assert any("You change `" in case.failure for case in wrong.cases), [case.failure for case in wrong.cases]
    for other in (name, "normalize_matrix"):
        right = grade(session.grader, session.items(other), Answer(other, chapter.reference(other)), 0)
        assert right.status == "done", [case.failure for case in right.cases]
