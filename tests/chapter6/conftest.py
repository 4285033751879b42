"""The fixtures of chapter 6. What they need is imported in them: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def linear_prompt(tiny):
    """`linear_prompt(architecture, n_targets=1)`: a prompt on which a tiny model is linear, made once."""
    from tests.chapter6.shared import prompts_of

    return prompts_of(tiny)
