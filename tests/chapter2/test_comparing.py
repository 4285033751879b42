"""An MLP explained by latents, and how well."""

import pytest
import torch

from tests.tiny import D_LATENTS
from utils.engine.mlp import mlp_function
from utils.grading import expect, expect_close


def data(seed: int = 0, n: int = 13, d: int = 5):
    """A target far from zero whose dimensions vary differently, and a poor reconstruction of it."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.arange(1.0, d + 1)
    target = torch.randn(n, d, generator=generator, dtype=torch.float64) * spread + 3 * spread
    return target, target + 0.8 * torch.randn(n, d, generator=generator, dtype=torch.float64)


def test_the_mean_explains_nothing(unexplained_variance):
    """Always saying the mean leaves a share of 1."""
    target, _ = data()
    expect_close(
        unexplained_variance(target, target.mean(0).expand_as(target)), 1.0, "What the mean leaves unexplained"
    )


def test_share_of_a_small_example(unexplained_variance):
    """The share agrees with sums written out one by one."""
    target, reconstruction = data()
    error = total = 0.0
    for column in range(target.shape[1]):
        mean = sum(target[:, column].tolist()) / len(target)
        for t, r in zip(target[:, column].tolist(), reconstruction[:, column].tolist()):
            error, total = error + (t - r) ** 2, total + (t - mean) ** 2
    expect_close(unexplained_variance(target, reconstruction), error / total, "The unexplained variance")


def test_worse_than_the_mean(unexplained_variance):
    """A reconstruction that is worse than the mean leaves more than 1."""
    target, _ = data()
    expected = 1 + len(target) * target.mean(0).pow(2).sum().item() / (target - target.mean(0)).pow(2).sum().item()
    expect_close(unexplained_variance(target, torch.zeros_like(target)), expected, "What zeros leave unexplained")


def by_hand(target, reconstruction):
    return ((target - reconstruction).pow(2).sum() / (target - target.mean(0)).pow(2).sum()).item()


def test_the_sae_reads_what_the_mlp_writes(compare_dictionaries, mlp, sae):
    """The SAE rebuilds the MLP's output from the MLP's output."""
    case = mlp("gemma3")
    result = compare_dictionaries(case.x, case.y, sae, case.transcoder)
    acts = (case.y @ sae.W_enc + sae.b_enc).relu()
    acts = acts * (acts > sae.threshold)
    expected = by_hand(case.y, acts @ sae.W_dec + sae.b_dec)
    expect_close(result["SAE"][0], expected, "What the SAE leaves unexplained")


def test_the_transcoder_reads_what_the_mlp_reads(compare_dictionaries, mlp, sae):
    """The transcoder rebuilds the MLP's output from its input, with the skip."""
    case = mlp("gemma3")
    result = compare_dictionaries(case.x, case.y, sae, case.transcoder)
    expected = by_hand(case.y, rebuilt(case.transcoder, case.x))
    expect_close(result["transcoder"][0], expected, "What the transcoder leaves unexplained")


def rebuilt(transcoder, x):
    """The transcoder's output, one token and one latent at a time."""
    rows = []
    for token in x:
        row = transcoder.b_dec + torch.einsum("oi,i->o", transcoder.W_skip, token)
        for latent in range(D_LATENTS):
            pre = token @ transcoder.W_enc[:, latent] + transcoder.b_enc[latent]
            if pre > transcoder.threshold[latent]:
                row = row + pre * transcoder.W_dec[latent]
        rows.append(row)
    return torch.stack(rows).detach()


def test_a_transcoder_without_a_skip_is_compared(compare_dictionaries, mlp, sae):
    """A transcoder without `W_skip` is compared as well: it rebuilds the output from its latents alone."""
    case = mlp("gemma3", skip=False)
    acts = case.x @ case.transcoder.W_enc + case.transcoder.b_enc
    acts = acts * (acts > case.transcoder.threshold)
    expected = by_hand(case.y, acts @ case.transcoder.W_dec + case.transcoder.b_dec)
    found = compare_dictionaries(case.x, case.y, sae, case.transcoder)["transcoder"][0]
    expect_close(found, expected, "What a transcoder without a skip leaves unexplained")


def test_active_latents_are_counted_by_token(compare_dictionaries, mlp, sae):
    """Active latents are counted, for each token, and averaged."""
    case = mlp("gemma3")
    result = compare_dictionaries(case.x, case.y, sae, case.transcoder)
    expected = {"SAE": sae.encode(case.y), "transcoder": case.transcoder.encode(case.x)}
    for name, acts in expected.items():
        count = sum(1 for row in acts.tolist() for value in row if value > 0) / len(acts)
        expect_close(result[name][1], count, f"Active latents of the {name} on a token")


def test_gradients_agree_with_finite_differences(input_gradients, mlp):
    """Through a real MLP, the gradients agree with finite differences."""
    case = mlp("qwen3")
    function, generator = mlp_function(case.model, 1), torch.Generator().manual_seed(1)
    v = torch.randn(case.x.shape[1], generator=generator, dtype=torch.float64)
    direction = torch.randn(case.x.shape, generator=generator, dtype=torch.float64)

    def read(x):
        return function(x) @ v

    step = 1e-5
    with torch.no_grad():
        slopes = (read(case.x + step * direction) - read(case.x - step * direction)) / (2 * step)
    gradients = input_gradients(read, case.x)
    expect(gradients.shape == case.x.shape, "There must be one gradient a token.", got=tuple(gradients.shape))
    expect_close((gradients * direction).sum(1), slopes, "The slope of each token's reading", rtol=1e-5)


def test_a_linear_reading_has_one_gradient(input_gradients, mlp):
    """A linear reading, like a transcoder latent's, has the same gradient at every token."""
    case = mlp("gemma3")
    w = case.transcoder.W_enc[:, 4].detach()
    gradients = input_gradients(lambda x: x @ w, case.x)
    expect_close(gradients, w.expand_as(case.x), "The gradient of a linear reading")


def test_gradients_leave_no_trace(input_gradients, mlp):
    """It works where gradients are switched off, and leaves nothing on its input or its result."""
    x = mlp("gemma3").x.clone()
    with torch.no_grad():
        gradients = input_gradients(lambda x: x.pow(3).sum(1), x)
    expect(not x.requires_grad and x.grad is None, "The input must be left as it was: nothing may be recorded on it.")
    expect(not gradients.requires_grad, "The gradients must be detached.")
    expect_close(gradients, 3 * x.pow(2), "The gradients")


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_the_four_parts_add_up(split_mlp_output, mlp, architecture):
    """The four parts add up to what the MLP writes."""
    case = mlp(architecture)
    parts = split_mlp_output(case.transcoder, case.x, case.y)
    expect(len(parts) == 4, "There must be four parts: latents, skip, bias, error.", got=len(parts))
    expect_close(sum(part.detach() for part in parts), case.y, "The sum of the four parts", rtol=1e-9)


def test_each_part_is_what_it_should_be(split_mlp_output, mlp):
    """Latents, skip and bias agree with the transcoder, computed token by token."""
    case = mlp("gemma3")
    latents, skip, bias, error = split_mlp_output(case.transcoder, case.x, case.y)
    expect_close(skip, torch.einsum("oi,ti->to", case.transcoder.W_skip, case.x).detach(), "The skip")
    expect_close(bias, case.transcoder.b_dec.detach().expand_as(case.y), "The bias")
    expected = rebuilt(case.transcoder, case.x)
    expect_close(error, case.y - expected, "The error")
    expect_close(
        latents,
        expected
        - case.transcoder(case.x).detach()
        + case.transcoder.decode(case.transcoder.encode(case.x)).detach()
        - case.transcoder.b_dec.detach(),
        "What the latents write",
    )


def test_a_transcoder_without_a_skip(split_mlp_output, mlp):
    """A transcoder without `W_skip` has a skip of zero."""
    case = mlp("gemma3", skip=False)
    parts = split_mlp_output(case.transcoder, case.x, case.y)
    expect_close(parts[1], torch.zeros_like(case.y), "The skip of a transcoder that has none")
    expect_close(parts[3], case.y - case.transcoder(case.x).detach(), "The error")
