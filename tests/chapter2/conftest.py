"""The fixtures of chapter 2. What they need is imported in them: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def mlp(tiny):
    """`mlp(architecture, layer=1, skip=True)`: what an MLP reads and writes on 3 rows of 7 random tokens, token by token."""
    from tests.chapter2.shared import mlps_of

    return mlps_of(tiny)


@pytest.fixture(scope="session")
def sae():
    """A random SAE of a tiny MLP's output."""
    from tests.chapter2.shared import random_sae

    return random_sae()


@pytest.fixture(scope="session")
def case(chosen):
    """A latent of the model, and sentences to study and to be graded on."""
    from utils.atlas.case import blind_case

    model, transcoders = chosen
    return blind_case(model, transcoders)
