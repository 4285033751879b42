"""What grading uses of pytest beyond its public interface is there, and a pytest without it is refused in one sentence."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from utils import ROOT
from utils.grading.run import pytest_parts
from utils.grading.run.pytest_parts import PRIVATE, PytestChanged, find_gone, refuse_changed_pytest
from utils.grading.run.session import CollectionError, TestSession


def test_this_pytest_has_all_that_is_used(request):
    assert find_gone() == [], f"pytest changed: {pytest.__version__} has no {find_gone()}"
    for owner, name in ((request.session, "_setupstate"), (request.config, "_tmp_path_factory")):
        assert hasattr(owner, name), f"pytest changed: {pytest.__version__} has no {type(owner).__name__}.{name}"


def test_only_one_file_uses_what_is_private():
    found = [path for path in (ROOT / "utils").rglob("*.py") if "import_module(module)" not in path.read_text()]
    private = {name.rpartition(".")[2].rpartition(":")[2] for name in PRIVATE if "._" in name.partition(":")[2]} - {"_"}
    for path in found:
        text = path.read_text()
        assert "from _pytest" not in text and "import _pytest" not in text, path
        assert not [name for name in private if f".{name}" in text], path


def test_the_range_is_capped_at_what_is_tested():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    (line,) = [line.split("#")[0] for line in lines if line.startswith("pytest>")]
    allowed = Requirement(line).specifier
    assert version("pytest") in allowed and "8.4.2" in allowed, "the second is Colab's"
    assert "10.0" not in allowed and "7.4" not in allowed


@pytest.mark.parametrize("name", PRIVATE)
def test_a_pytest_that_has_changed_is_refused(toy_session, monkeypatch, name):
    monkeypatch.setattr(pytest_parts, "PRIVATE", (*PRIVATE, f"{name}_of_old"))
    says = f"pytest changed: version {pytest.__version__} has no .*{name.partition(':')[2]}_of_old, which grading uses"
    with pytest.raises(PytestChanged, match=says):
        refuse_changed_pytest()
    with pytest.raises(CollectionError, match=says):
        TestSession(toy_session[1])


def test_pytest_itself_then_says_one_sentence(tmp_path):
    course = shutil.copytree(Path(__file__).parent / "toy", tmp_path / "toy")
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import pytest; import _pytest.runner; "
        "from utils.grading.run import pytest_parts; pytest_parts.PRIVATE = ('_pytest.runner:no_such_thing',); "
        "sys.exit(pytest.main(['checks', '--solutions', '-p', 'utils.grading.plugin']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=course, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
    assert "pytest changed: version" in line and "has no no_such_thing" in line
