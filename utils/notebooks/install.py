"""What the first cell of a notebook does once the course is there: see that what the course needs is installed, on Colab install it;
and keep the lines of text short.

It runs before anything is installed: of what does not come with Python it imports `packaging` only, which a kernel has.
"""

import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

# The README's line, for a computer of one's own.
PREPARE = "python3 -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt -c constraints.txt"
# Sizes of downloads: PyTorch 2.9 for Linux on PyPI, and the libraries for GPUs that it asks for.
PYTORCH = "about 0.9 GB for PyTorch, on Linux with some gigabytes of CUDA libraries besides, and less for all the rest"
OTHERS = "up to some hundred megabytes"
# About 90 characters a line: JupyterLab and Notebook 7 take these styles from an output, other programs leave them out.
NARROW_TEXT = "<style>.jp-RenderedMarkdown { max-width: 46em; }</style>"
RAW_PROGRESS = Version("24.1")  # the pip from which on progress can be read


class Stop(RuntimeError):
    """The notebook cannot go on; the text says why and what to do. A notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def install_missing(requirements: Path) -> None:
    """Nothing if all is there. Otherwise install what is missing on Colab, and elsewhere say what to do.

    Raises:
        Stop: this is not Colab, pip failed, or the kernel must be restarted.
    """
    packages = missing(requirements)
    if not packages:
        return
    if not is_colab():
        print(f"In {requirements.parent} run this, and open the notebook with the Python of .venv:\n\n    {PREPARE}\n")
        raise Stop(f"This notebook's Python ({sys.executable}) lacks {', '.join(packages)}: run the line above.")
    size = PYTORCH if any(Requirement(package).name == "torch" for package in packages) else OTHERS
    print(f"Installing {', '.join(packages)}. To download: {size}.", flush=True)
    before = imported_versions()
    run_pip(packages)
    importlib.invalidate_caches()
    replaced = [f"{name} {old}" for name, old in before.items() if installed_version(name) != old]
    if replaced:
        raise Stop(
            f"Restart the runtime (menu Runtime, Restart session) and run this cell again: it still uses {', '.join(replaced)}, "
            "which has just been replaced by another version."
        )


def limit_text_width() -> None:
    """Keep the lines of a notebook's text to about 90 characters. Nothing happens outside a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if hasattr(shell, "kernel") and not is_colab():
        ipython.display.display({"text/html": NARROW_TEXT}, raw=True)


def is_colab() -> bool:
    """Whether this runs on Colab, where each session begins with a new machine."""
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def missing(requirements: Path) -> list[str]:
    """The lines of a requirements file that this Python does not meet: not installed, or not in the range."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not is_met(Requirement(line))]


def is_met(requirement: Requirement) -> bool:
    """Whether the package is there in a version of the range, or not wanted on this Python."""
    if requirement.marker and not requirement.marker.evaluate():
        return True
    there = installed_version(requirement.name)
    return there is not None and requirement.specifier.contains(there, prereleases=True)


def installed_version(name: str) -> str | None:
    """The version of a package on disk, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def imported_versions() -> dict[str, str | None]:
    """The packages that this program has imported from, with their versions on disk."""
    homes = packages_distributions()
    modules = {name.partition(".")[0] for name in sys.modules}
    return {name: installed_version(name) for module in sorted(modules) for name in homes.get(module, ())}


def run_pip(packages: list[str]) -> None:
    """Install, and show what pip says as it comes: a notebook shows nothing that is not printed. Raises Stop if pip fails."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *packages]
    if Version(installed_version("pip") or "0") >= RAW_PROGRESS:
        command.append("--progress-bar=raw")
    tenth = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            progress = re.match(r"Progress (\d+) of (\d+)", line)
            if progress:
                before, tenth = tenth, 10 * int(progress[1]) // max(int(progress[2]), 1)
                if tenth > before:
                    print(f"  {10 * tenth} %", flush=True)
            elif not line.startswith("Requirement already satisfied"):
                tenth = 0
                print(line, end="", flush=True)
    if process.returncode:
        raise Stop("pip could not install what is missing: its last lines, above, say why.")
