"""What the tests of chapter 6 share: tiny random models of several forms, made linear at a prompt."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions import Question
from solutions.chapter6_real_models import LinearPrompt, linearise
from tests.tiny import PROMPT
from utils.engine.arguments import TracingArguments
from utils.engine.neurons import NeuronWeights
from utils.engine.targets import contrast

N_LAYERS, D_MLP = 3, 27
GATED, ALL = ("qwen3", "llama", "gemma3"), ("qwen3", "llama", "gemma3", "gpt2")
ANSWER, OTHERS = "Austin", ["Paris", "France"]


def random_weights(gated: bool = True, d_model: int = 7, d_mlp: int = 11) -> NeuronWeights:
    """An MLP's weights, biases included."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    gate = (draw(d_model, d_mlp), draw(d_mlp)) if gated else (None, None)
    return NeuronWeights(draw(d_model, d_mlp), draw(d_mlp), *gate, draw(d_mlp, d_model))


def question_of(model: TransformerBridge) -> Question:
    """The tiny models' question, whatever they answer."""
    answer, *others = (model.to_single_token(token) for token in (ANSWER, *OTHERS))
    return Question(model.to_tokens(PROMPT), answer, others)


def prompts_of(tiny: Callable) -> Callable[..., LinearPrompt]:
    """`prompts_of(tiny)(architecture, n_targets)`: a prompt made linear, once; one target is a contrast, several are tokens."""

    @cache
    def make(architecture: str, n_targets: int = 1) -> LinearPrompt:
        model = tiny(architecture)[0]
        chosen = {"target_tokens": contrast(model, ANSWER, OTHERS)} if n_targets == 1 else {"n_output_nodes": n_targets}
        with torch.no_grad():
            return linearise(model, model.to_tokens(PROMPT), TracingArguments(**chosen))

    return make
