"""`python -m utils.grading prove`: that the tests of the chapters grade rightly."""

import argparse
import sys
import time

from utils import __version__
from utils.grading.chapters import chapters
from utils.notebooks.errors import CourseError
from utils.notebooks.place import course_folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m utils.grading", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prove", help="right answers pass, planted mistakes fail with their own sentences")
    command.add_argument(
        "--pairs",
        action="store_true",
        help="instead: an answer with two of the planted mistakes is told both sentences, or one of them as the first cause",
    )
    command.add_argument("--chapter", type=int, metavar="N", help="this chapter only")
    options = parser.parse_args(arguments)
    from utils.grading.run.session import CollectionError  # it imports PyTorch, which `--help` does not need

    try:
        course = chapters(course_folder())
        chosen = [chapter for chapter in course if options.chapter in (None, chapter.number)]
        if not chosen:
            parser.error(f"there is no chapter {options.chapter}")
        say = report_pairs if options.pairs else report
        return int(sum(say(chapter) for chapter in chosen) > 0)
    except (CourseError, CollectionError) as error:
        print(error, file=sys.stderr)
        return 1


def report(chapter) -> int:
    """Print what the proof finds in a chapter; returns the number of problems."""
    from utils.grading.proof import prove_chapter

    print(f"Chapter {chapter.number}: {chapter.title}")
    total, start = 0, time.perf_counter()
    for name, problems in prove_chapter(chapter):
        seconds, start = time.perf_counter() - start, time.perf_counter()
        mistakes, alternates = len(chapter.mistakes(name)), len(chapter.alternates(name))
        mark = "✗" if problems else "✓"
        print(f"  {mark} {name}: {mistakes} mistakes, {alternates} alternates, {seconds:.1f} s", flush=True)
        for problem in problems:
            print("      " + problem.replace("\n", "\n      "))
        total += len(problems)
    return total


def report_pairs(chapter) -> int:
    """Print what answers with two mistakes are told in a chapter; returns the number of problems."""
    from utils.grading.pairs import prove_pairs_of_chapter

    print(f"Chapter {chapter.number}: {chapter.title}")
    total, start = 0, time.perf_counter()
    for name, tried, problems in prove_pairs_of_chapter(chapter):
        seconds, start = time.perf_counter() - start, time.perf_counter()
        print(f"  {'✗' if problems else '✓'} {name}: {tried} pairs, {seconds:.1f} s", flush=True)
        for problem in problems:
            print("      " + problem.replace("\n", "\n      "))
        total += len(problems)
    return total


if __name__ == "__main__":
    sys.exit(main())
