"""What an answer may not leave behind, digits it may not lose, and how sure a diagnosis is."""

import gc
import signal

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import PROMPT, tiny_model, tiny_transcoders
from utils.engine.hooks import hooked
from utils.grading import expect_close, expect_equal
from utils.grading.compare.expectations import WRONG_PRECISION, Unexpected
from utils.grading.compare.fingerprints import Fingerprint, sketch
from utils.grading.diagnose.matching import diagnose, said_by_the_grader
from utils.grading.diagnose.variants import Mistake
from utils.grading.results import CaseResult
from utils.grading.run.leftovers import SENTENCES
from utils.grading.run.unchanged import guarded


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("qwen3"), "qwen3")


def same(value, hook):
    return None


def switches_gradients_off(model):
    torch.set_grad_enabled(False)


def leaves_a_hook(model):
    model.add_hook("blocks.1.hook_out", same)


def takes_all_hooks_away(model):
    model.add_hook("blocks.1.hook_out", same)
    model.reset_hooks()


def takes_all_hooks_of_a_place_away(model):
    point = model.get_hook_point("blocks.0.mlp.hook_in")
    point.add_hook(same)
    point.remove_hooks()


def freezes_the_weights(model):
    model.requires_grad_(not next(model.parameters()).requires_grad)


BAD = {
    switches_gradients_off: "off",
    leaves_a_hook: "stay",
    takes_all_hooks_away: "gone",
    takes_all_hooks_of_a_place_away: "gone",
    freezes_the_weights: "weights",
}


@pytest.mark.parametrize(("answer", "kind"), BAD.items(), ids=lambda value: getattr(value, "__name__", value))
def test_what_is_left_behind_is_said(model, answer, kind):
    flags = [parameter.requires_grad for parameter in model.parameters()]
    try:
        with pytest.raises(Unexpected) as error:
            guarded(answer, answer)(model)
    finally:
        torch.set_grad_enabled(True)
        model.reset_hooks()
        for parameter, flag in zip(model.parameters(), flags):
            parameter.requires_grad_(flag)
    assert str(error.value) == SENTENCES[kind]
    assert said_by_the_grader([CaseResult("test", "", "", str(error.value))]) == SENTENCES[kind]


def test_nothing_of_an_answer_runs_after_its_call():
    ran = []

    def note(*more):
        ran.append(more)

    class Watching(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            note(function)
            return function(*args, **(kwargs or {}))

    class WatchingBelow(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            note(function)
            return function(*args, **(kwargs or {}))

    def answer():
        gc.callbacks.append(note)
        signal.signal(signal.SIGVTALRM, note)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
        WatchingBelow().__enter__()
        Watching().__enter__()
        torch.ones(2).sum()

    guarded(answer, answer)()
    assert ran  # it did run, up to here
    ran.clear()
    gc.collect()
    for _ in range(1000):
        torch.ones(2).sum()
    assert not ran


def test_who_clears_up_is_left_alone(model):
    tokens = model.to_tokens(PROMPT)

    def answer(model):
        with torch.no_grad(), hooked(model, [("blocks.1.hook_out", same)]), model.hooks([("blocks.0.hook_in", same)]):
            model.run_with_hooks(tokens, fwd_hooks=[("blocks.1.hook_out", same)])
            return model.run_with_cache(tokens)[0]

    assert guarded(answer, answer)(model).shape[1] == tokens.shape[1]
    assert not any(point._forward_hooks for point in model.hook_points())


def test_models_inside_other_arguments_are_looked_at(model):
    def answer(parts):
        leaves_a_hook(parts["model"])

    try:
        with pytest.raises(Unexpected, match="^You leave hooks on the model"):
            guarded(answer, answer)({"model": model})
    finally:
        model.reset_hooks()


def test_to_make_a_model_draws_none_of_a_tests_numbers(model, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    tiny_transcoders(tiny_model(tmp_path, "gpt2"))
    assert torch.equal(torch.rand(2), expected)


def test_lost_digits_are_said():
    exact = torch.tensor([0.5, 0.25], dtype=torch.float64)
    with pytest.raises(Unexpected, match=f"expected float64, got float32: {WRONG_PRECISION}"):
        expect_close(exact.float(), exact, "The halves")
    expect_close(torch.tensor([1, 2]), torch.tensor([1.0, 2.0], dtype=torch.float64), "Whole numbers do no harm")
    expect_close(exact, exact.float(), "More digits do no harm")


def test_a_mask_is_no_number():
    mask = torch.tensor([True, False])
    with pytest.raises(Unexpected, match=r"The mask: expected True and False, got integers \(torch.int64\)|int64"):
        expect_equal(mask.long(), mask, "The mask")
    with pytest.raises(Unexpected, match="expected integers, got decimal numbers"):
        expect_equal(torch.tensor([1.0]), torch.tensor([1]), "The index")
    expect_equal(torch.tensor([1], dtype=torch.int32), torch.tensor([1]), "A smaller integer does no harm")


@pytest.mark.parametrize(
    ("value", "is_telling"),
    [
        (torch.zeros(5), False),
        ((False, None), False),
        ([1, 1, 0], False),
        (float("nan"), False),
        (-4e-16, False),
        (0.37, True),
        ([3, 1, 2], True),
        ((False, "a text"), True),
    ],
)
def test_values_that_many_mistakes_give_make_a_guess(value, is_telling):
    seen = Fingerprint([("what", sketch(value))], "unexpected")
    assert seen.is_telling is is_telling
    case = CaseResult("test", "It is right.", "", "wrong", fingerprint=seen)
    found = diagnose([case], [Mistake("one", "You are wrong.", source="-")], lambda mistake, index: seen)
    assert found.sentence == ("" if is_telling else "Perhaps: ") + "You are wrong."
