"""What a neuron stands for: the logit lens, the strongest firings, and the score of a description."""

import pytest
import torch

from utils.grading import expect, expect_close


def some_vectors(model, n: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, model.cfg.d_model, generator=generator, dtype=torch.float64) + 0.3


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_the_lens_reads_what_the_model_would_read(centred_logit_lens, tiny, architecture):
    """Up to the norm's scale, a vector's logits are those of the model that ends with it, less their mean."""
    model, _ = tiny(architecture)
    vectors = some_vectors(model)
    with torch.no_grad():
        logits = model.ln_final(vectors[None])[0] @ model.W_U
    scale = (vectors.pow(2).mean(-1, keepdim=True) + model.cfg.eps).sqrt()
    expected = (logits - logits.mean(-1, keepdim=True)) * scale
    expect_close(centred_logit_lens(model, vectors), expected, "The logits of five vectors", 1e-3, 1e-3)


def test_the_lens_takes_the_mean_of_all_logits_away(centred_logit_lens, tiny):
    """The logits of each vector have mean 0."""
    model, _ = tiny("qwen3")
    found = centred_logit_lens(model, some_vectors(model))
    expect_close(found.mean(-1), torch.zeros(5, dtype=torch.float64), "The mean logit of each vector", atol=1e-6)


def test_the_lens_is_linear(centred_logit_lens, tiny):
    """A vector twice as long has logits twice as large, and the opposite vector has the opposite logits."""
    model, _ = tiny("qwen3")
    vectors = some_vectors(model)
    once = centred_logit_lens(model, vectors)
    expect_close(centred_logit_lens(model, -2 * vectors), -2 * once, "The logits of -2 times the vectors", 1e-6, 1e-9)


PREDICTED = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]).bool()
FIRES = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]).bool()


def test_both_kinds_of_sentences_weigh_the_same(detection_score):
    """The score is the mean of the share found among firings and the share ruled out among the others."""
    expect_close(detection_score(PREDICTED, FIRES), (1 / 2 + 6 / 8) / 2, "The score of a description")
    expect_close(detection_score(FIRES, FIRES), 1.0, "The score of a perfect description")


def test_guessing_gets_one_half(detection_score):
    """Whoever always says yes, or always no, gets 0.5, however rare the firings are."""
    for name, guess in {"yes": torch.ones(10).bool(), "no": torch.zeros(10).bool()}.items():
        expect_close(detection_score(guess, FIRES), 0.5, f"The score of always saying {name}")


def test_the_opposite_description(detection_score):
    """A description that is always wrong gets 0."""
    expect_close(detection_score(~FIRES, FIRES), 0.0, "The score of the opposite", atol=1e-9)


def test_no_score_without_both_kinds(detection_score):
    """A neuron that fires on all sentences, or on none, has no score: ValueError."""
    for name, fires in {"on none": torch.zeros(10).bool(), "on all": torch.ones(10).bool()}.items():
        try:
            found = detection_score(PREDICTED, fires)
        except ValueError:
            continue
        expect(False, f"A neuron that fires {name} has no score: raise a ValueError.", got=found)
