"""The fixtures of chapter 7. What they need is imported in them: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def opened(tiny):
    """`opened(architecture, cross_layer=False)`: a graph of a tiny model, opened again, made once."""
    from tests.chapter7.shared import graphs_of

    return graphs_of(tiny)
