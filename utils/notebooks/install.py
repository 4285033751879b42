"""What the first cell of a notebook does once the course is there: install what is missing."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement


def missing(requirements: Path) -> list[str]:
    """The lines of a requirements file that this Python does not meet: not installed, or not in the range."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not is_met(Requirement(line))]


def is_met(requirement: Requirement) -> bool:
    """Whether the package is there in a version of the range, or not wanted on this Python."""
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


def install_missing(requirements: Path) -> None:
    """Install what is missing, and nothing else; say so first. Raises CalledProcessError if pip fails."""
    packages = missing(requirements)
    if packages:
        print("Installing", ", ".join(packages))
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *packages], check=True)
