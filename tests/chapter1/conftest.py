"""The fixtures of chapter 1. What they need is imported in them: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def case(tiny):
    """`case(architecture)`: a tiny random model of three layers in float64, its SAEs and a prompt. "gpt2" computes wholly in float64."""
    from tests.chapter1.shared import cases_of

    return cases_of(tiny)


@pytest.fixture(scope="session")
def real(request):
    """The model chosen by --model (the bundled one) on a short prompt."""
    from tests.chapter1.shared import real_case

    return real_case(request.config.getoption("model", default="atlas"))
