"""The tiny models that the chapters' tests run on."""

from tests.tiny import D_LATENTS, D_MODEL


def test_dimensions_differ():
    """The tiny models' dimensions are pairwise different, so that a wrong transpose cannot pass."""
    assert len({D_MODEL, D_LATENTS, 5, 2, 7}) == 5
