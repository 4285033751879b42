"""Trace all cases: ``python -m solutions.case_studies [--out DIR] [--model NAME]``."""

import argparse
import html
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from solutions.case_studies.cases import CASES, Case
from solutions.trace.__main__ import parse_arguments, run
from utils import __version__

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Five cases</title>
<style>body{font:16px/1.5 Arial,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c2330;background:#fff}
pre{white-space:pre-wrap;background:#eceef1;padding:1em;overflow-wrap:anywhere}</style>
<h1>Five cases</h1>
<p>Each page opens with supernodes. Under its link stand the strongest paths, and what the answer loses when each supernode is
silenced in the real model, beside others that write as much. A supernode whose removal costs no more than its control is no step.</p>
"""


def trace_case(case: Case, model: str, folder: Path) -> str:
    """Write a case's page into `folder` and return the summary of `python -m solutions.trace`."""
    options = ["--model", model, "--target", case.answer, "--contrast", *case.others, "--out", str(folder), "--ablate"]
    return run(parse_arguments([case.prompt, *options]))


def folder_name(case: Case) -> str:
    """A case's name without spaces."""
    return case.name.replace(" ", "-")


def index_page(summaries: Sequence[tuple[Case, str]]) -> str:
    """The page that leads to all cases."""
    parts = [HEAD]
    for case, summary in summaries:
        parts.append(f'<h2><a href="{folder_name(case)}/index.html">{html.escape(case.name)}</a></h2>\n')
        parts.append(
            f"<p>{html.escape(case.prompt)} … <b>{html.escape(case.answer)}</b>. {html.escape(case.question)}</p>\n"
        )
        parts.append(f"<pre>{html.escape(summary)}</pre>\n")
    return "".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one sentence on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parser = argparse.ArgumentParser(
        prog="python -m solutions.case_studies", description="Trace five prompts of a real model."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--model", default="smollm2-135m", help="a model's name, or a folder")
    parser.add_argument("--out", type=Path, default=Path("out/case-studies"), help="folder to write to")
    arguments = parser.parse_args(argv)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        summaries = []
        for case in tqdm(CASES, desc="cases", disable=None):
            summaries.append((case, trace_case(case, arguments.model, arguments.out / folder_name(case))))
            tqdm.write(f"\n{case.name.upper()}\n{summaries[-1][1]}")
        page = arguments.out / "index.html"
        page.write_text(index_page(summaries), encoding="utf-8")
        print(f"\nAll pages: {page}")
    except (ValueError, OSError, MemoryError) as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
