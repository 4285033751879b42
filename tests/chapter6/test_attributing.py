"""All neurons in one backward pass."""

import pytest
import torch

from tests.chapter6.shared import ALL, D_MLP, N_LAYERS
from utils.engine.hooks import FINAL_HOOK, hooked
from utils.engine.neurons import acts_hook
from utils.grading import expect_close


@pytest.mark.parametrize("architecture", ALL)
def test_embeddings_add_up(all_attributions, linear_prompt, architecture):
    """The attributions of the embeddings, with the constants of the model, add up to the target."""
    x = linear_prompt(architecture)
    with torch.no_grad():
        found = all_attributions(x)
    expect_close(
        found.embeddings.sum(1), found.values - found.bias, "The sum over the embeddings", rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_an_attribution_is_what_an_intervention_does(all_attributions, linear_prompt, architecture):
    """In the linear model, a neuron that writes twice as much moves every target by exactly its attribution."""
    x = linear_prompt(architecture, 2)
    with torch.no_grad():
        found = all_attributions(x)
    expect_close(torch.tensor(found.neurons.shape), torch.tensor([2, N_LAYERS, x.tokens.shape[1], D_MLP]), "The shape")
    places = [(0, 2, 5), (1, 7, 26), (2, 7, 0), (0, 0, 11), (1, 3, 8), (2, 4, 3)]
    measured = torch.stack([moved(x, *place) for place in places], 1)
    attributed = torch.stack([found.neurons[:, layer, position, neuron] for layer, position, neuron in places], 1)
    expect_close(attributed, measured, "The attributions", rtol=1e-7, atol=1e-9)


def moved(x, layer: int, position: int, neuron: int) -> torch.Tensor:
    """By how much the targets change in the linear model when one neuron writes twice as much."""

    def twice(acts, hook):
        acts = acts.clone()
        acts[0, position, neuron] += x.hooks.acts[layer][position, neuron]
        return acts

    def targets(more: list) -> torch.Tensor:
        seen = []
        end = (FINAL_HOOK, lambda value, hook: seen.append(value))
        with torch.no_grad(), hooked(x.model, [*x.freeze.fwd_hooks, *x.hooks.live_hooks, *more, end]):
            x.model(x.tokens)
        return x.vectors @ seen[0][0, -1].to(x.vectors)

    return targets([(acts_hook(layer), twice)]) - targets([])


def test_the_linear_model_of_a_real_one_adds_up(all_attributions, smollm):
    """In SmolLM2, too, the embeddings add up to the contrast, to the precision of float32."""
    from solutions.chapter6_real_models import linearise
    from utils.engine.arguments import TracingArguments
    from utils.engine.targets import contrast

    given = TracingArguments(target_tokens=contrast(smollm, " Paris", [" London", " Rome"]))
    with torch.no_grad():
        found = all_attributions(linearise(smollm, smollm.to_tokens("The capital of France is"), given))
    expect_close(found.embeddings.sum(), found.values[0], "The sum over the embeddings", rtol=1e-4, atol=1e-4)
