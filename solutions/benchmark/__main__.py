"""What a graph costs. Close other programs first: times taken on a busy machine mean little (seconds of CPU mean more).

    python -m solutions.benchmark                      # by tokens and by latents kept, and against the obvious way
    python -m solutions.benchmark --plot cost.html     # the same, with a picture
    python -m solutions.benchmark --peer PYTHON        # beside circuit-tracer, which PYTHON (of its own environment) has

circuit-tracer needs other versions of the libraries, so it cannot share this environment: `python3 -m venv peer &&
peer/bin/pip install torch circuit-tracer==0.5.0`, then `--peer peer/bin/python`.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from solutions.benchmark.random_models import SHAPES, write_random_model
from solutions.benchmark.side_by_side import compare, make_case, peer_problem
from solutions.benchmark.sizes import compare_sizes, compare_with_loop
from utils import __version__
from utils.models import load


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m solutions.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has circuit-tracer: measure both, in turn")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=["atlas", *SHAPES],
        default=["atlas", "gemma-3-270m", "gemma-3-1b"],
        help="what is measured beside circuit-tracer",
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side; their median counts")
    parser.add_argument("--offload", action="store_true", help="beside the peer: leave our dictionaries on disk")
    parser.add_argument("--batch-size", type=int, default=64, help="targets that are walked back together, both sides")
    parser.add_argument("--folder", type=Path, help="where random models are kept (default: a temporary folder)")
    parser.add_argument("--model", default="atlas", help="without --peer: a name of utils.models, or 'stand-in'")
    parser.add_argument("--device", default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="threads of PyTorch")
    parser.add_argument("--tokens", type=int, nargs="+", default=[8, 16, 32, 64], help="prompt lengths, in words")
    parser.add_argument("--top-k", type=int, nargs="*", default=[1, 4], help="latents kept a position, besides all")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="without --peer: write a picture, an HTML file")
    return parser.parse_args(argv)


def beside_the_peer(arguments: argparse.Namespace, folder: Path) -> None:
    """Both sides on every case; this course alone where circuit-tracer is not to be had."""
    if (problem := peer_problem(arguments.peer)) is not None:
        print(problem)
    for name in arguments.cases:
        case = make_case(name, folder)
        python = None if problem else arguments.peer
        try:
            compare(case, python, folder, arguments.rounds, arguments.batch_size, arguments.offload)
        except RuntimeError as error:
            print(f"\n{error}")


def by_size(arguments: argparse.Namespace, folder: Path) -> None:
    """Time and memory against tokens and latents, and against the obvious way."""
    name = arguments.model
    model, transcoders = load(
        write_random_model(SHAPES[name], folder / name) if name in SHAPES else name, device=arguments.device
    )
    n_ctx = getattr(model.cfg, "n_ctx", None) or 10**9
    fitting = [n for n in arguments.tokens if n < n_ctx] or [4]
    costs = compare_sizes(model, transcoders, fitting, [None, *arguments.top_k], arguments.repeats)
    if arguments.plot:
        from utils.plots.cost import plot_cost

        plot_cost(costs, f"What a graph of {name} costs").write_html(arguments.plot, include_plotlyjs=True)
        print(f"picture: {arguments.plot}")
    print()
    compare_with_loop(model, transcoders, arguments.repeats)


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    load_now = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {torch.get_num_threads()} threads{load_now}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (beside_the_peer if arguments.peer else by_size)(arguments, folder)


if __name__ == "__main__":
    main()
