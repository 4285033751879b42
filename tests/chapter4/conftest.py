"""The fixture of chapter 4. What it needs is imported in it: an untouched notebook is answered without it."""

import pytest


@pytest.fixture(scope="session")
def traced4(tiny):
    """`traced4(architecture, skip=True)`: each is traced once."""
    from tests.chapter4.shared import traces_of

    return traces_of(tiny)
