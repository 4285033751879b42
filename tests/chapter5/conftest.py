"""The fixtures of chapter 5. What they need is imported in them: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def tiny_clt(tiny):
    """`tiny_clt(architecture)`: a tiny model and a random cross-layer transcoder, made once."""
    from tests.chapter5.shared import clts_of

    return clts_of(tiny)


@pytest.fixture(scope="session")
def traced5(tiny_clt):
    """`traced5(architecture, top_k=None)`: everything up to the nodes, made once."""
    from tests.chapter5.shared import traces_of

    return traces_of(tiny_clt)
