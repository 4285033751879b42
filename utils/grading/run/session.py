"""A pytest session that stays open: the tests of a chapter, collected once, with shared fixtures kept from run to run."""

import atexit
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from utils.grading.chapters import Chapter
from utils.grading.run.grader import GRADER, TASK, Grader
from utils.grading.run.pytest_parts import (
    PytestChanged,
    close_config,
    configure,
    move_temporary_folder,
    open_config,
    refuse_changed_pytest,
)

# not needed here, and they would change the program that the session runs in
WITHOUT = ("cacheprovider", "faulthandler", "threadexception", "unraisableexception")


class CollectionError(RuntimeError):
    """The tests of a chapter cannot be read."""


class TestSession:
    """The tests of one chapter, ready to be run on answers."""

    __test__ = False

    def __init__(self, chapter: Chapter, hidden: Path | None = None):
        """`hidden` is a folder with more tests of the chapter. Raises CollectionError, in one sentence."""
        collected = _Collected()
        try:
            refuse_changed_pytest()  # before anything of it is used
        except PytestChanged as error:
            raise CollectionError(str(error)) from error
        args = [str(chapter.tests), f"--rootdir={chapter.root}", f"--confcutdir={chapter.root}"]
        args += ["-c", str(chapter.root / "pyproject.toml"), "--import-mode=importlib", "--capture=no"]
        # the answers come from elsewhere: no notebook is looked at
        args += ["--solutions", "-p", "utils.grading.plugin", *(f"-pno:{name}" for name in WITHOUT)]
        with _no_other_plugins(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            self._config = open_config(args, [collected])
            self._session = pytest.Session.from_config(self._config)
            configure(self._config)
            self._config.hook.pytest_sessionstart(session=self._session)
            try:
                self._config.hook.pytest_collection(session=self._session)
            except pytest.UsageError as error:
                collected.errors.append(str(error))
            if hidden is not None and not collected.errors:
                self._collect_hidden(hidden)
        atexit.register(self.close)
        if not any("caplog" in getattr(item, "fixturenames", ()) for item in self._session.items):
            # it adds and removes a handler at dozens of loggers, six times a test, which takes longer than a short test
            self._config.pluginmanager.unregister(name="logging-plugin")
        if collected.errors:
            self.close()
            raise CollectionError(f"The tests of chapter {chapter.number} cannot be read: {collected.errors[0]}")

    @property
    def grader(self) -> Grader:
        return self._config.stash[GRADER]

    def _collect_hidden(self, folder: Path) -> None:
        """More tests, as if they stood in the chapter's own folder: they have its fixtures."""
        home = self._session.items[0].getparent(pytest.Module).parent
        for path in sorted(folder.glob("test_*.py")):
            module = pytest.Module.from_parent(home, path=path)
            report = module.ihook.pytest_make_collect_report(collector=module)
            self._config.hook.pytest_collectreport(report=report)
            self._session.items += [item for node in report.result or () for item in self._session.genitems(node)]

    def items(self, name: str) -> list[pytest.Item]:
        """The tests of one exercise."""
        return [item for item in self._session.items if TASK in item.stash and item.stash[TASK].name == name]

    def move_temporary_folder(self, folder: Path) -> None:
        """Have `tmp_path` of the tests made in `folder` from now on."""
        move_temporary_folder(self._config, folder)

    def close(self) -> None:
        """End shared fixtures."""
        atexit.unregister(self.close)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            self._config.hook.pytest_sessionfinish(session=self._session, exitstatus=pytest.ExitCode.OK)
            close_config(self._config)
        self.grader.watched.forget()


class _Collected:
    """A plugin that keeps what goes wrong while tests are collected."""

    def __init__(self):
        self.errors: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(report.longreprtext.strip().splitlines()[-1])


@contextmanager
def _no_other_plugins() -> Iterator[None]:
    """Leave out what else is installed for pytest, and a user's own options."""
    names = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
