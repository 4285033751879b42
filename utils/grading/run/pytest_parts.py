"""What grading uses of pytest beyond its public interface, all of it in this one place.

`requirements.txt` caps pytest at the versions that have it, and `tests/course/test_pytest_parts.py` says what is gone from another one.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

PRIVATE = (
    "_pytest.runner:runtestprotocol",
    "_pytest.runner:SetupState.teardown_exact",
    "_pytest.config:_prepareconfig",
    "_pytest.config:Config._do_configure",
    "_pytest.config:Config._ensure_unconfigure",
    "_pytest.config:Config._tmp_path_factory",
    "_pytest.main:Session._setupstate",
    "_pytest.tmpdir:TempPathFactory._basetemp",
)
NOT_DECLARED = {"_pytest.config:Config._tmp_path_factory"}  # pytest sets it when it begins


class PytestChanged(RuntimeError):
    """The installed pytest lacks something that grading needs; the text says what, and what to do."""


def find_gone() -> list[str]:
    """The names of `PRIVATE` that this pytest does not have."""
    return [name for name in PRIVATE if name not in NOT_DECLARED and not _is_there(name)]


def refuse_changed_pytest() -> None:
    """Raises PytestChanged if this pytest does not have all that is used."""
    gone = find_gone()
    if gone:
        names = ", ".join(name.partition(":")[2] for name in gone)
        raise PytestChanged(
            f"pytest changed: version {pytest.__version__} has no {names}, which grading uses. "
            "Install a version that `requirements.txt` allows: pip install -r requirements.txt"
        )


def _is_there(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        owner = import_module(module)
    except ImportError:
        return False
    *classes, last = path.split(".")
    for part in classes:
        owner = getattr(owner, part, None)
    # what a class only declares has no value yet
    return (
        hasattr(owner, last) or last in getattr(owner, "__annotations__", {}) or last in getattr(owner, "__slots__", ())
    )


def run_test(item: pytest.Item, nextitem: pytest.Item | pytest.Collector, log: bool = True) -> None:
    """Set up, run and tear down one test; `log` reports it."""
    from _pytest.runner import runtestprotocol

    runtestprotocol(item, log=log, nextitem=nextitem)


def end_fixtures(session: pytest.Session, nextitem: pytest.Item | None = None) -> None:
    """End all fixtures that are open, but those that `nextitem` needs too."""
    session._setupstate.teardown_exact(nextitem)


def open_config(args: Sequence[str], plugins: Sequence[object]) -> pytest.Config:
    """The configuration of a session that is not run by pytest itself. Close it with `close_config`."""
    from _pytest.config import _prepareconfig

    return _prepareconfig(list(args), list(plugins))


def configure(config: pytest.Config) -> None:
    """Call the plugins' `pytest_configure`."""
    config._do_configure()


def close_config(config: pytest.Config) -> None:
    """Call the plugins' `pytest_unconfigure`."""
    config._ensure_unconfigure()


def move_temporary_folder(config: pytest.Config, folder: Path) -> None:
    """Have `tmp_path` made in `folder` from now on."""
    config._tmp_path_factory._basetemp = folder
