"""Examples, and a hypothesis that can be counted."""

import torch

from solutions import chapter2_transcoders as chapter2
from utils.atlas.case import Case
from utils.grading import expect, expect_close, expect_equal

GOOD = 0.6


def activations():
    """Six sentences of five tokens; the latent is silent in one of them and fires three times in another."""
    acts = torch.zeros(6, 5)  # with two silent ones, answers that show them could order these in two ways
    acts[1, 2], acts[1, 3], acts[1, 4] = 3.5, 4.5, 4.0
    acts[3, 0], acts[4, 1], acts[5, 4], acts[0, 2] = 2.0, 5.0, 0.5, 0.25
    return acts


def test_each_sentence_is_shown_once(top_examples):
    """Each sentence is an example once, at its strongest position, the strongest sentence first."""
    found = [tuple(example) for example in top_examples(activations(), 3)]
    expect_equal(found, [(4, 1, 5.0), (1, 3, 4.5), (3, 0, 2.0)], "The examples as (row, position, activation)")


def test_silent_sentences_are_no_examples(top_examples):
    """Where the latent fires on fewer sentences than asked for, fewer are shown."""
    rows = [example[0] for example in top_examples(activations(), 9)]
    expect_equal(rows, [4, 1, 3, 5, 0], "The rows of the examples when nine are asked for")


def flags(text: str):
    return torch.tensor([letter == "1" for letter in text])


def test_precision_recall_and_their_mean(hypothesis_f1):
    """Precision, recall and F1 of an example that was counted by hand."""
    precision, recall, f1 = hypothesis_f1(flags("1111100000"), flags("1100011100"))
    expect_close(precision, 2 / 5, "The precision")
    expect_close(recall, 2 / 5, "The recall")
    expect_close(f1, 2 / 5, "F1")


def test_a_cautious_hypothesis(hypothesis_f1):
    """A hypothesis that is right but misses most has a high precision and a low recall."""
    precision, recall, f1 = hypothesis_f1(flags("1100000000"), flags("1111111100"))
    expect_close(precision, 1.0, "The precision")
    expect_close(recall, 1 / 4, "The recall")
    expect_close(f1, 2 / 5, "F1")


def test_nothing_predicted(hypothesis_f1):
    """A hypothesis that predicts nothing, or nothing right, has a precision, a recall and an F1 of 0."""
    for predicted in ("0000", "0011"):
        for name, share in zip(("Precision", "Recall", "F1"), hypothesis_f1(flags(predicted), flags("1100"))):
            expect_close(share, 0.0, f"{name} of the prediction {predicted} where 1100 is true", atol=1e-12)


def test_nothing_fires(hypothesis_f1):
    """Where the latent never fires, precision, recall and F1 are 0, whatever is predicted."""
    for predicted in ("0110", "0000"):
        for name, share in zip(("Precision", "Recall", "F1"), hypothesis_f1(flags(predicted), flags("0000"))):
            expect_close(share, 0.0, f"{name} of the prediction {predicted} where the latent never fires", atol=1e-12)


def grade(hypothesis, observations):
    predicted = torch.tensor([bool(hypothesis & observation.facts) for observation in observations])
    fires = torch.tensor([observation.fires for observation in observations])
    return chapter2.hypothesis_f1(predicted, fires)


def test_your_hypothesis_holds_on_new_sentences(case_study, case):
    """Your hypothesis says on which new sentences the latent fires (F1 of at least 0.6)."""
    hypothesis = case_study(Case(case.layer, case.latent, case.study, ()))
    is_set = isinstance(hypothesis, set | frozenset) and all(
        isinstance(fact, tuple) and len(fact) == 2 for fact in hypothesis
    )
    expect(is_set, "A hypothesis is a set of (kind, value) pairs.", got=hypothesis)
    known = {fact for observation in case.study for fact in observation.facts}
    unknown = sorted(set(hypothesis) - known)
    expect(not unknown, "Every fact must be one that occurs in the study's sentences.", got=unknown)
    precision, recall, f1 = grade(set(hypothesis), case.test)
    # what was named stays out of the message, not out of the fingerprint
    expect(
        f1 >= GOOD,
        f"Your hypothesis must reach F1 of {GOOD} on sentences that nobody has looked at.",
        got=f"F1 {f1:.2f}, precision {precision:.2f} (of the sentences you named, it fires on this share), "
        f"recall {recall:.2f} (of those it fires on, you named this share)",
    )
