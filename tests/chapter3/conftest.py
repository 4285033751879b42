"""The fixtures of chapter 3. What they need is imported in them: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def traced_chosen(chosen):
    """A question traced on the model of `--model`, with a few latents a position."""
    from tests.chapter3.shared import QUESTION
    from tests.tracing import trace
    from utils.grading.run.process_state import watch_data

    traced = trace(*chosen, QUESTION, top_k=8)
    watch_data(traced)
    return traced


@pytest.fixture(scope="session")
def tolerance(chosen) -> float:
    """The relative rounding error to expect of the model of `--model`."""
    from tests.chapter3.shared import TOLERANCE

    return TOLERANCE[chosen.model.W_U.dtype]
