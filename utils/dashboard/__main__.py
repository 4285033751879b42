"""Graph files as pages, from a terminal.

python -m utils.dashboard graph.json -o page.html
python -m utils.dashboard first.json second.json -o compared.html
python -m utils.dashboard --serve out
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from utils import __version__
from utils.dashboard.read_graph import read_graph
from utils.dashboard.render import render_page
from utils.engine.json_input import GraphFormatError, need
from utils.latents.files import latents_of, read_latents

PORT = 8080


class _Parser(argparse.ArgumentParser):
    """An argument parser that complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}; see python -m utils.dashboard --help.\n")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace.

    Raises:
        SystemExit: with code 2 after a sentence, if it is not a sensible one.
    """
    parser = _Parser(
        prog="python -m utils.dashboard",
        description="Turn graph files (of this course, circuit-tracer or Neuronpedia) into a page, or serve a folder of them.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("graphs", nargs="*", type=Path, metavar="graph.json", help="one graph, or two to compare")
    parser.add_argument("-o", "--out", type=Path, metavar="page.html", help="the page to write")
    parser.add_argument(
        "--latents", type=Path, metavar="DIR", help="a folder of files about latents (Anthropic's form)"
    )
    parser.add_argument(
        "--serve", type=Path, metavar="DIR", help="list and show the graphs of a folder, on this machine only"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"for --serve (default: {PORT}; 0 takes a free one)")
    arguments = parser.parse_args(argv)
    for name in ("out", "latents", "serve"):
        setattr(arguments, name, getattr(arguments, name) and getattr(arguments, name).expanduser())
    arguments.graphs = [path.expanduser() for path in arguments.graphs]
    if arguments.serve is None and (not 1 <= len(arguments.graphs) <= 2 or arguments.out is None):
        parser.error("give one or two graph files and -o page.html, or --serve DIR")
    if arguments.serve is not None and (arguments.graphs or arguments.out):
        parser.error("--serve takes a folder and no other files")
    if not 0 <= arguments.port < 65536:
        parser.error(f"there is no port {arguments.port}")
    return arguments


def write(arguments: argparse.Namespace) -> Path:
    """Write the page that the command line asks for; nothing is left half-written.

    Raises:
        GraphFormatError: a file is damaged, or the page's place holds something else than a page or cannot be written.
    """
    for path in arguments.graphs:
        inner = path / "graph.json"
        need(
            not path.is_dir(),
            f"{path} is a folder: {f'did you mean {inner}' if inner.is_file() else 'give a file of it'}?",
        )
    graphs = [read_graph(path) for path in arguments.graphs]
    latents: dict = {}
    for graph in graphs:
        latents |= known_latents(graph, arguments.latents)
    out = arguments.out.absolute()
    need(not out.is_dir(), f"{out} is a folder: give a file's name with -o.")
    is_page = not out.exists() or out.suffix.lower() in (".html", ".htm")
    need(is_page, f"{out} is there already and is not a page: choose another -o.")
    page = render_page(*graphs, latents=latents)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace", dir=out.parent, delete=False) as file:
            file.write(page)
        os.chmod(file.name, 0o644)
        os.replace(file.name, out)
    except OSError as error:
        raise GraphFormatError(f"{out} cannot be written ({error.strerror}): choose another -o.") from None
    return arguments.out


def known_latents(graph: Mapping[str, Any], folder: Path | None) -> dict[tuple[int, int], dict[str, Any]]:
    """What is known of a graph's latents: from a folder, or for the bundled model from its own file.

    The bundled model's are only taken for a graph that was made with the model as it is now.
    """
    try:
        wanted = latents_of(graph)
    except (KeyError, TypeError, ValueError):  # a file of another tool, without paired numbers
        wanted = None
    if folder is not None:
        return read_latents(folder, wanted)
    settings = graph["metadata"].get("generation_settings")
    stamp = settings.get("dictionary_key") if isinstance(settings, Mapping) else None
    if not isinstance(stamp, str) or not wanted:
        return {}
    from utils.latents.examples import BUNDLED, bundled_latents, dictionary_key  # only now: it imports torch

    kinds = [kind for kind in ("transcoders", "clt") if stamp == dictionary_key(BUNDLED, kind)]
    return bundled_latents(wanted, kinds[0]) if kinds else {}


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a letter of a file's name gets its number
            stream.reconfigure(errors="backslashreplace")
    arguments = parse_arguments(argv)
    try:
        if arguments.serve is not None:
            from utils.dashboard.serve import serve

            serve(arguments.serve, arguments.port)
        else:
            print(f"Wrote {write(arguments)}.")
    except (GraphFormatError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
