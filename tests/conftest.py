"""Fixtures that several folders of tests share. What they need is imported in them: `pytest` starts quickly, and answers an
untouched notebook without it."""

import sys
from collections.abc import Callable
from functools import cache

import pytest

pytest_plugins = ["utils.grading.plugin"]


def pytest_configure(config: pytest.Config) -> None:
    # TransformerBridge says so whenever a norm's scale is frozen, which is what chapter 3 is about
    config.addinivalue_line("filterwarnings", "ignore:A forward hook edited hook_scale")


def pytest_collection_finish(session: pytest.Session) -> None:
    # one of several processes of pytest-xdist: they share the cores
    if hasattr(session.config, "workerinput") and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`tiny(architecture, n_layers=3, dtype=torch.float64, skip=True)`: a model and its transcoders, each made once.

    Leave them as you found them.
    """
    import torch

    from tests.tiny import tiny_model, tiny_transcoders
    from utils.grading.run.process_state import watch

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
def traced(tiny: Callable) -> Callable:
    """`traced(architecture, prompt=PROMPT, start_posn=0, top_k=None, ...)`: see `tiny` and `trace`; each prompt is traced once."""
    from tests.tiny import PROMPT
    from tests.tracing import trace
    from utils.grading.run.process_state import watch_data

    done: dict = {}

    def make(architecture: str, prompt: str = PROMPT, start_posn: int = 0, top_k: int | None = None, **kinds):
        key = (architecture, prompt, start_posn, top_k, *sorted(kinds.items(), key=str))
        if key not in done:
            done[key] = trace(*tiny(architecture, **kinds), prompt, start_posn, top_k)
            watch_data(done[key])
        return done[key]

    return make


@pytest.fixture(scope="session")
def atlas():
    """The bundled model and its transcoders, a `LoadedModel`."""
    from utils.models import registry

    if not (registry.ATLAS_FOLDER / "config.json").exists() and not any(registry.ATLAS_FOLDER.glob("*/config.json")):
        pytest.skip("the bundled model is not there yet (utils/atlas/weights)")
    return load_and_watch("atlas")


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest):
    """The model that `--model` names (atlas if it names none) and its transcoders, a `LoadedModel`."""
    name = request.config.getoption("model")
    if name == "atlas":
        return request.getfixturevalue("atlas")
    try:
        return load_and_watch(name)
    except (OSError, MemoryError) as error:  # no token, no network, no room: the message says what is missing
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm():
    """SmolLM2-135M, a real language model, loaded once. Where its weights cannot be had, the tests that need it are skipped."""
    try:
        return load_and_watch("smollm2-135m").model
    except (OSError, ImportError) as error:  # the sentence says how to get the weights
        pytest.skip(str(error))


def load_and_watch(name: str):
    """A model and its transcoders, which graded answers cannot spoil for the tests that follow."""
    from utils.grading.run.process_state import watch
    from utils.models import load

    loaded = load(name)
    watch(loaded.model, *loaded.transcoders.values())
    return loaded
