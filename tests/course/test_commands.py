"""Every command that the README and the pages of `instructions/` show is run, in a copy of the course.

A new command is run like all others. If it takes long, needs the network or cannot be run here, list it in INSTEAD with what is
run in its place and why.
"""

import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from utils import ROOT
from utils.models import MODELS
from utils.models.packaged import gguf_file
from utils.notebooks.build import find_stale
from utils.notebooks.errors import CourseError

SECONDS = 600  # by the clock, on a machine with much else to do
PIP, NO_NETWORK = "python -m pip install --help", "needs the network; .ci/run and .ci/colab install for real"
TRAIN = "python -m utils.atlas.train --help"
COLAB = "bash -n .ci/colab && .ci/colab --help && grep '^from utils' .ci/colab | python -"
HOOKS = "python -c 'import yaml; assert yaml.safe_load(open(\".pre-commit-config.yaml\"))'"
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "instructions").glob("*.md"))]

# A command that is not run, what is run instead, and the reason.
INSTEAD = {
    "python3 -m venv .venv": ("python3 -m venv --without-pip .venv", "pip takes seconds to install"),
    "pip install -r requirements.txt -c constraints.txt": (PIP, NO_NETWORK),
    "pip install -r requirements-dev.txt -c constraints.txt": (PIP, NO_NETWORK),
    "pip install -r requirements-site.txt -c constraints.txt": (PIP, NO_NETWORK),
    "pip install -q -r requirements.txt": (PIP, NO_NETWORK),
    "pip install --no-deps -r requirements-real.txt": (PIP, NO_NETWORK),
    "pip install --no-deps -r requirements-real.txt -c constraints.txt": (PIP, NO_NETWORK),
    "pip install -r requirements-cluster.txt": (PIP, NO_NETWORK),
    "python -m distributed.cli.dask_scheduler --port 8786": (
        "python -m distributed.cli.dask_scheduler --help",
        "serves until it is stopped; test_many.py runs a cluster",
    ),
    "python -m distributed.cli.dask_worker tcp://127.0.0.1:8786 --nthreads 1": (
        "python -m distributed.cli.dask_worker --help",
        "serves until it is stopped; test_many.py runs a cluster",
    ),
    "python -m solutions.trace --prompts prompts.txt --out out/cluster --scheduler tcp://127.0.0.1:8786": (
        "python -m solutions.trace --help",
        "needs the cluster; test_many.py traces over one",
    ),
    "pip install pre-commit": (PIP, NO_NETWORK),
    "pre-commit install": (HOOKS, "pre-commit is not among the course's packages"),
    "pre-commit run --all-files": (HOOKS, "pre-commit is not among the course's packages"),
    "git clone https://github.com/attribution-graphs/course course": ("git clone -q . course", "needs the network"),
    "cd course": ("cd course", "each command is run in a shell of its own"),
    "python -m pytest --solutions -n auto": ("python -m pytest --solutions -n auto --version", "is this very run"),
    "python -m pytest tests/course -q": ("true", "is part of this very run"),
    "python -m pytest tests/chapter3 --solutions": (
        "python -m pytest tests/chapter3 --solutions -k normalize_matrix",
        "takes a minute, and is part of this very run",
    ),
    "python -m pytest tests/chapter3 --solutions --model qwen3-0.6b": (
        "python -m pytest tests/chapter3 --solutions --model qwen3-0.6b --version",
        "needs a model of 20 GB",
    ),
    "python -m utils.grading prove --chapter 3": (
        "python -m utils.grading prove --help",
        "takes minutes; test_proof.py does the same",
    ),
    "python -m utils.cohort grade submissions.zip --out graded --jobs 2": (
        "python -m utils.cohort grade --help",
        "takes minutes; test_cohort_notebooks.py grades for real",
    ),
    "python -m distributed.cli.dask_scheduler": (
        "python -m utils.cohort grade --help",
        "runs until it is stopped; test_cluster.py starts one",
    ),
    "python -m distributed.cli.dask_worker tcp://10.0.0.5:8786 --nthreads 1 --nworkers 4": (
        "python -m utils.cohort grade --help",
        "runs until it is stopped; test_cluster.py starts two",
    ),
    "python -m utils.cohort grade submissions.zip --out graded --scheduler tcp://10.0.0.5:8786": (
        "python -m utils.cohort grade --help",
        "takes minutes; test_cluster.py grades on a cluster",
    ),
    "python -m utils.atlas.train": (TRAIN, "takes over an hour"),
    "python -m utils.atlas.train --miniature --work out/miniature/work --out out/miniature": (
        TRAIN,
        "takes a minute; test_atlas.py runs it",
    ),
    "python -m utils.atlas.examples": (
        "python -m utils.atlas.examples --help",
        "takes two minutes; test_shipped_examples.py makes such files",
    ),
    "python -m utils.dashboard --serve out": (
        "python -m utils.dashboard --help",
        "serves until it is stopped; test_dashboard_command.py runs a server",
    ),
    "chromium --headless --hide-scrollbars --force-device-scale-factor=1.25 --window-size=900,620 --screenshot=instructions/images/graph.png "
    "out/picture/index.html": (
        "chromium --no-sandbox --headless --hide-scrollbars --force-device-scale-factor=1.25 --window-size=900,620 "
        "--screenshot=instructions/images/graph.png out/picture/index.html",
        "Chromium's own sandbox cannot be used as root, as in a container",
    ),
    "python -m sphinx -W docs out/site": ("python -m sphinx --version", "takes a minute; .ci/run builds the site"),
    "python docs/check_links.py out/site": ("python docs/check_links.py docs", "needs the built site"),
    ".ci/run": ("bash -n .ci/run", "runs this very test"),
    ".ci/colab out/colab": (COLAB, "installs gigabytes"),
    ".ci/colab out/colab 3 4": (COLAB, "installs gigabytes"),
}


class Outcome(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    output: str


def commands_of(page: Path) -> list[str]:
    """The commands of a page in order: the lines of its bash blocks and the `!` and `%cd` lines of its other blocks."""
    found, language = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = re.match(r"\s*(`{3,})(.*)", line)
        if fence:
            language = None if language is not None else fence[2].strip()
        elif language == "bash":
            found += parts_of(line)
        elif language is not None and (cell := re.match(r"!(.*)|%(cd .*)", line)):
            found += parts_of(cell[1] or cell[2])
    return found


def parts_of(line: str) -> list[str]:
    """The commands of a line, without its comment."""
    return [part.strip() for part in re.sub(r"(^|\s+)#\s.*$", "", line).split(" && ") if part.strip()]


def commands_by_page() -> dict[str, list[str]]:
    """What is run for each page that shows commands. What two pages show is run for the first."""
    seen: set[str] = set()
    found = {}
    for page in PAGES:
        found[page] = [command for command in commands_of(ROOT / page) if command not in seen]
        seen |= set(found[page])
    return {page: commands for page, commands in found.items() if commands}


COMMANDS = commands_by_page()


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Path:
    """A copy of the course as a fork that can be pushed, with the files that commands of the pages use."""
    folder = tmp_path_factory.mktemp("commands") / "course"
    others = shutil.ignore_patterns(
        ".git", ".venv", ".*_cache", ".env", "out", "graded*", "submissions*", "autograder*.zip"
    )
    at_top = {*others(str(ROOT), os.listdir(ROOT))}
    shutil.copytree(
        ROOT, folder, ignore=lambda place, names: at_top if Path(place) == ROOT else {"__pycache__"} & {*names}
    )
    (folder / "work").mkdir()
    shutil.copy(next(folder.glob("chapters/chapter3_*.ipynb")), folder / "work" / "ada.ipynb")
    for command in (
        "git init -q --bare ../fork.git",
        "git init -q -b main .",
        "git config user.name Ada && git config user.email ada@example.org",
        "git add README.md pyproject.toml && git commit -q -m 'The fork'",
        "git remote add origin ../fork.git && git push -q -u origin main",
        "echo '# our fork' >> pyproject.toml",
    ):
        outcome = in_shell(command, folder)
        assert outcome.code == 0, f"{command}\n{outcome.output}"
    return folder


def in_shell(command: str, folder: Path) -> Outcome:
    """Run a command in a shell, with this Python first on the path and the hub out of reach."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GIT_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**kept, "PATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return Outcome(done.returncode, done.stdout)


def in_this_process(command: str) -> Outcome:
    """Run `python -m module ...` as Python does, but without another start of Python and PyTorch, which takes seconds."""
    module, *arguments = shlex.split(command)[2:]
    printed, before = io.StringIO(), sys.argv
    sys.argv = [module, *arguments]
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Outcome(code, printed.getvalue())


def run(command: str, folder: Path) -> Outcome:
    """Run a command as it stands on its page, or what INSTEAD names."""
    command = INSTEAD.get(command, (command,))[0]
    course_command = re.match(r"python -m (utils|solutions)\.", command)
    return in_this_process(command) if course_command else in_shell(command, folder)


def needs_hub(command: str) -> bool:
    """Whether the command loads a model that has to be downloaded here."""
    model = re.search(r"solutions\.trace .*--model (\S+)", command)
    spec = MODELS[model[1]] if model else None
    return bool(spec and spec.hub_id) and not (spec.package and gguf_file(spec.package))


def cannot_run(command: str) -> str:
    """Why the command cannot be run on this machine, or nothing."""
    tool = command.split()[0]
    if tool in ("ruff", "chromium") and not shutil.which(
        tool, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ):
        return f"{tool} is not installed"
    uses_notebooks = re.match(r"python -m (utils\.notebooks|pytest tests/chapter)", command)
    if command.startswith("python -m sphinx") and not find_spec("sphinx"):
        return "Sphinx is not installed (requirements-site.txt)"
    return why_not_built() if uses_notebooks and "--solutions" not in command else ""


@cache
def why_not_built() -> str:
    """Why building would take minutes or fail: something on the pages is not finished. CI builds and checks before its tests."""
    try:
        return "the notebooks are stale, and building them takes minutes" if find_stale(ROOT) else ""
    except CourseError as error:
        return f"the notebooks cannot be built: {str(error).splitlines()[0]}"


def complaint(command: str, outcome: Outcome) -> str:
    """What is wrong with how a command ended, or nothing."""
    if not needs_hub(command):
        return "" if outcome.code == 0 else f"`{command}` ended with {outcome.code}:\n{outcome.output[-2000:]}"
    sentences = [line for line in outcome.output.splitlines() if line.strip()]
    refused = outcome.code == 2 and len(sentences) == 1
    return "" if refused else f"`{command}` should refuse with one sentence, not {outcome.code}:\n{outcome.output}"


@pytest.mark.parametrize("page", COMMANDS)
def test_every_command_of_a_page_works(page, course, monkeypatch):
    monkeypatch.chdir(course)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    left_out = []
    for command in COMMANDS[page]:
        if reason := cannot_run(command):
            left_out.append(f"`{command}`: {reason}")
            continue
        wrong = complaint(command, run(command, course))
        assert not wrong, wrong
    if left_out:
        pytest.skip("all other commands work; not run: " + "; ".join(left_out))


def test_what_is_not_run_is_shown_on_a_page():
    """INSTEAD holds no command that has left the pages."""
    assert set(INSTEAD) <= {command for commands in COMMANDS.values() for command in commands}


def test_commands_are_found_on_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`python inline.py`\n\n```bash\n# a comment\none && two --x '#3'   # another\n```\n\n"
        "```{code-cell} python\n!three\nx = 1\n```\n\n```\n%cd four\nno command\n```\n"
    )
    assert commands_of(page) == ["one", "two --x '#3'", "three", "cd four"]


def test_a_command_that_fails_is_told(course, monkeypatch):
    """A mistyped option in a new command makes the test of its page fail."""
    monkeypatch.chdir(course)
    for command in (
        "python -m solutions.trace 'A prompt' --no-such-option",
        "python -m pytest --no-such-option",
        "false",
    ):
        assert command in complaint(command, run(command, course))
