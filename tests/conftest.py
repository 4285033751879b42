"""Fixtures that several folders of tests share."""

from collections.abc import Callable
from functools import cache

import pytest
import torch

from tests.tiny import tiny_model, tiny_transcoders
from utils import models


def pytest_configure(config: pytest.Config) -> None:
    # TransformerBridge says so whenever a norm's scale is frozen, which is what chapter 3 is about
    config.addinivalue_line("filterwarnings", "ignore:A forward hook edited hook_scale")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`tiny(architecture, n_layers=3, dtype=torch.float64, skip=True)`: a model and its transcoders, each made once.

    Leave them as you found them.
    """

    @cache
    def model(architecture: str, n_layers: int, dtype: torch.dtype):
        return tiny_model(tmp_path_factory.mktemp(architecture), architecture, n_layers, dtype)

    @cache
    def make(architecture: str, n_layers: int = 3, dtype: torch.dtype = torch.float64, skip: bool = True):
        loaded = model(architecture, n_layers, dtype)
        return loaded, tiny_transcoders(loaded, skip)

    return make


@pytest.fixture(scope="session")
def atlas():
    """The bundled model and its transcoders."""
    if not (models.ATLAS_FOLDER / "config.json").exists() and not any(models.ATLAS_FOLDER.glob("*/config.json")):
        pytest.skip("the bundled model is not there yet (utils/atlas/weights)")
    loaded = models.load("atlas")
    return loaded.model, loaded.transcoders
