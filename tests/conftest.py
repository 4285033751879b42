"""Fixtures that several folders of tests share."""

from collections.abc import Callable
from functools import cache

import pytest
import torch

from tests.tiny import PROMPT, tiny_model, tiny_transcoders
from tests.tracing import Traced, trace
from utils.grading.run.process_state import watch, watch_data
from utils.models import LoadedModel, load, registry

pytest_plugins = ["utils.grading.plugin"]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several processes of pytest-xdist: they share the cores
        torch.set_num_threads(1)
    # TransformerBridge says so whenever a norm's scale is frozen, which is what chapter 3 is about
    config.addinivalue_line("filterwarnings", "ignore:A forward hook edited hook_scale")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`tiny(architecture, n_layers=3, dtype=torch.float64, skip=True)`: a model and its transcoders, each made once.

    Leave them as you found them.
    """

    @cache
    def model(architecture: str, n_layers: int, dtype: torch.dtype):
        made = tiny_model(tmp_path_factory.mktemp(architecture), architecture, n_layers, dtype)
        watch(made)
        return made

    @cache
    def make(architecture: str, n_layers: int = 3, dtype: torch.dtype = torch.float64, skip: bool = True):
        made = model(architecture, n_layers, dtype)
        transcoders = tiny_transcoders(made, skip)
        watch(*transcoders.values())
        return made, transcoders

    return make


@pytest.fixture(scope="session")
def traced(tiny: Callable) -> Callable[..., Traced]:
    """`traced(architecture, ...)`: see `tiny` and `trace`; each prompt is traced once."""
    done: dict = {}

    def make(architecture: str, prompt: str = PROMPT, start_posn: int = 0, top_k: int | None = None, **kinds) -> Traced:
        key = (architecture, prompt, start_posn, top_k, *sorted(kinds.items(), key=str))
        if key not in done:
            done[key] = trace(*tiny(architecture, **kinds), prompt, start_posn, top_k)
            watch_data(done[key])
        return done[key]

    return make


@pytest.fixture(scope="session")
def atlas() -> LoadedModel:
    """The bundled model and its transcoders."""
    if not (registry.ATLAS_FOLDER / "config.json").exists() and not any(registry.ATLAS_FOLDER.glob("*/config.json")):
        pytest.skip("the bundled model is not there yet (utils/atlas/weights)")
    return load_and_watch("atlas")


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> LoadedModel:
    """The model that `--model` names (atlas if it names none) and its transcoders."""
    name = request.config.getoption("model")
    if name == "atlas":
        return request.getfixturevalue("atlas")
    try:
        return load_and_watch(name)
    except (OSError, MemoryError) as error:  # no token, no network, no room: the message says what is missing
        pytest.skip(str(error))


def load_and_watch(name: str) -> LoadedModel:
    """A model and its transcoders, which graded answers cannot spoil for the tests that follow."""
    loaded = load(name)
    watch(loaded.model, *loaded.transcoders.values())
    return loaded
