"""What the tests of chapter 3 share."""

import pytest
import torch

from tests.tracing import Traced, trace
from utils.grading.run.process_state import watch_data

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.1}
QUESTION = "The capital of the state containing Dallas is"


@pytest.fixture(scope="session")
def traced_chosen(chosen) -> Traced:
    """A question traced on the model of `--model`, with a few latents a position."""
    traced = trace(*chosen, QUESTION, top_k=8)
    watch_data(traced)
    return traced


@pytest.fixture(scope="session")
def tolerance(chosen) -> float:
    """The relative rounding error to expect of the model of `--model`."""
    return TOLERANCE[chosen.model.W_U.dtype]
