"""Build the notebooks: `python -m utils.notebooks [--check] [--numbers] [--chapter N]`; or try them on another model: `--model NAME`.

Exit code 0: all is built (or nothing is stale), 1: `--check` found something stale, 2: something has to be changed first,
130: stopped by Ctrl-C.
"""

import argparse
import sys
from pathlib import Path

from utils import __version__
from utils.notebooks.build import build, chosen_chapters, find_stale
from utils.notebooks.errors import CourseError, shown
from utils.notebooks.other_model import execute_on, takes_models
from utils.notebooks.page import read_pages
from utils.notebooks.place import course_folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m utils.notebooks", description="Build the notebooks of the course.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say what is stale, exit code 1 if anything is"
    )
    parser.add_argument(
        "--numbers",
        action="store_true",
        help="write into the pages the numbers that outputs give; with --check, say which numbers in the text have no marker",
    )
    parser.add_argument("--chapter", type=int, metavar="N", help="only this chapter")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="build nothing: execute the answer notebooks on this model (or folder), and write them into --out",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("out/notebooks"), help="for --model (default: out/notebooks)"
    )
    arguments = parser.parse_args()
    if arguments.model and (arguments.check or arguments.numbers):
        parser.error("--model builds nothing: leave out --check and --numbers")
    course = course_folder()
    try:
        if arguments.model:
            try_model(course, arguments.chapter, arguments.model, arguments.out)
            return 0
        if arguments.check:
            if arguments.numbers:
                say_unmarked(course, arguments.chapter)
            stale = find_stale(course, arguments.chapter)
            for file in stale:
                print(file)
            print("Build with `python -m utils.notebooks`." if stale else "All notebooks are up to date.")
            return 1 if stale else 0
        for path in build(course, arguments.chapter, arguments.numbers):
            print(f"wrote {shown(path)}")
        return 0
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130


def try_model(course: Path, number: int | None, model: str, folder: Path) -> None:
    """Execute one chapter on another model, or all that have a line for it."""
    for chapter in chosen_chapters(course, number):
        if number is not None or takes_models(chapter):
            print(f"wrote {shown(execute_on(chapter, model, folder))}")


def say_unmarked(course: Path, chapter: int | None) -> None:
    """Print the numbers in prose that no marker holds against an output."""
    for page in read_pages(course, chapter):
        for line, words in page.unmarked:
            print(f"{shown(page.path)}:{line}: no marker: {words}")


if __name__ == "__main__":
    sys.exit(main())
