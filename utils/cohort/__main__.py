"""`python -m utils.cohort release | grade | gradescope`: for teachers. See instructions/teachers.md.

Here are the options; `commands` does the work.
"""

import argparse
import sys
from pathlib import Path

from utils import __version__


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done, 2: it could not be done, and one sentence says why, 1: it was stopped."""
    options = parser().parse_args(arguments)
    from utils.cohort import commands  # it imports PyTorch, which `--help` does not need

    return commands.run(options)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m utils.cohort", description="Hand out, grade, pack an autograder.")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(required=True)

    command = commands.add_parser("release", help="write the notebooks that students get")
    command.add_argument("--chapters", metavar="N-M", help="such as 1-3 or 1,3; all by default")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    command.add_argument("--no-hints", action="store_true", help="leave the folded hints out")
    command.add_argument("--no-solutions", action="store_true", help="leave the folded solutions out")
    command.add_argument("--repository", metavar="URL", help="your fork; by default the address in pyproject.toml")
    command.set_defaults(work="release")

    command = commands.add_parser("grade", help="grade a folder or a zip of notebooks")
    command.add_argument("submissions", type=Path)
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for grades, reports, and results so far"
    )
    command.add_argument("--chapters", metavar="N-M", help="only notebooks of these chapters count")
    command.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="how many notebooks at a time (default: 1)"
    )
    command.add_argument(
        "--timeout",
        type=at_least(1),
        default=60,
        metavar="S",
        help="seconds of processor time for an exercise (default: 60)",
    )
    command.add_argument(
        "--memory", type=at_least(100), default=2000, metavar="MB", help="memory for an exercise (default: 2000)"
    )
    command.add_argument("--hidden", type=Path, metavar="DIR", help="a folder with tests of your own")
    command.add_argument("--roster", type=Path, metavar="CSV", help="your class, to see who handed nothing in")
    command.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://10.0.0.5:8786")
    command.set_defaults(work="grade")

    command = commands.add_parser("gradescope", help="pack an autograder for Gradescope")
    command.add_argument("--chapter", dest="chapters", required=True, metavar="N")
    command.add_argument("--out", type=Path, required=True, metavar="ZIP")
    command.add_argument("--hidden", type=Path, metavar="DIR", help="a folder with tests of your own")
    command.set_defaults(work="gradescope")

    command = commands.add_parser("classroom", help="say the points of one result in the words of GitHub Actions")
    command.add_argument("result", type=Path, help="a file of results/")
    command.set_defaults(work="classroom", chapters=None)
    return top


def at_least(least: int):
    """A type of option: a whole number that is not too small."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return int(text)

    return number


if __name__ == "__main__":
    sys.exit(main())
