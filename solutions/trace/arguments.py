"""The command line of ``python -m solutions.trace``: its arguments, and what is refused before anything is loaded."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import NoReturn

from utils import __version__

EXAMPLE = "The capital of the state containing Dallas is"
USAGE = """%(prog)s PROMPT [options]
       %(prog)s --prompts FILE --out DIR [options]
       %(prog)s --from DIR [options]"""
DESCRIPTION = """\
Trace how a language model gets from a prompt to its next token.

The command prints the answer and the strongest paths to it, and writes a folder: index.html is the page to open in a
browser, graph.json is for other tools, result/ holds all numbers for Python."""
SHARES = ("node_threshold", "edge_threshold")
COUNTS = ("top_k", "max_latent_nodes", "n_output_nodes", "max_output_nodes", "batch_size")


class _Parser(argparse.ArgumentParser):
    """An argument parser that complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("required: prompt"):
            message = "there is no prompt: give it first, or put another option between it and an option that takes several words"
        self.exit(2, f"{message[:1].upper()}{message[1:]}; see python -m solutions.trace --help.\n")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace.

    Raises:
        ValueError: the prompt is empty or not text, or a number is out of range.
        SystemExit: with code 2 after a sentence, for an unknown option or a value of the wrong type.
    """
    parser = _make_parser()
    arguments = parser.parse_intermixed_args(argv)
    sources = [arguments.prompt is not None, arguments.prompts is not None, arguments.result is not None]
    if not any(sources):
        parser.error("the following arguments are required: prompt")
    if sum(sources) > 1:
        raise ValueError("Give a prompt, or --prompts FILE, or --from RESULT: only one of them.")
    _check_arguments(arguments)
    return arguments


def _make_parser() -> _Parser:
    parser = _Parser(
        prog="python -m solutions.trace",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=f'example: python -m solutions.trace "{EXAMPLE}" --target Austin --contrast Boise Denver',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_prompt(parser)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_model(parser)
    _add_target(parser)
    _add_size(parser)
    _add_output(parser)
    _add_many(parser)
    _add_again(parser)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add(
        "--model",
        metavar="NAME",
        help="atlas (the default, bundled), smollm2-135m, gemma-3-270m-it, gemma-3-1b-it, qwen3-0.6b; or a folder; or OWNER/NAME on "
        "the hub, with --release",
    )
    add(
        "--dictionary",
        choices=("transcoders", "clt", "neurons"),
        help="what the graph's latents are: those of one transcoder a layer (the default where there are any), those of a cross-layer "
        "transcoder (atlas and Gemma 3 have one), or the MLPs' own neurons (any model, no dictionary)",
    )
    add(
        "--release",
        metavar="SET",
        help="whose transcoders to take for --model OWNER/NAME: a release of SAELens (with --sae-id), or a repository in "
        "circuit-tracer's form",
    )
    add(
        "--sae-id",
        metavar="ID",
        help="the name in SAELens' release of one layer's transcoder, with {layer} in it; * stands for any text",
    )
    add("--device", help="cpu, cuda or mps (default: the GPU if there is one)")
    add("--dtype", help="float32, bfloat16 or float64 (default: float32 for models below 10 GB)")
    add("--offload", action="store_true", help="keep the transcoders' large matrices on disk: less memory, more time")
    add("--model-name", metavar="TEXT", help="what the files call the model (default: its own name)")
    add("--dictionary-name", metavar="TEXT", help="what the files call the dictionary (default: its own name)")


def _add_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        help="the text whose next token is traced; - reads it from standard input",
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="the prompt is a user's message: put it into the model's chat template, and hide what the template writes before it",
    )


def _add_target(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is traced (default: the three likeliest next tokens)").add_argument
    add(
        "--target",
        nargs="+",
        metavar="TOKEN",
        help="trace these next tokens; each is taken with or without a space in front, as is likelier; #123 is the token with that id",
    )
    add(
        "--contrast",
        nargs="+",
        metavar="TOKEN",
        help="trace the logit of --target (else of the likeliest token) less the mean logit of these tokens: why that answer and not these",
    )
    add("--weights", nargs="+", type=float, metavar="W", help="how much each --target counts (default: all the same)")
    add(
        "--direction",
        type=Path,
        metavar="FILE",
        help="trace no token but a direction, such as a probe's weights: how far the output of the final norm goes along it; d_model "
        "numbers in a .npy file",
    )
    add("--n-output-nodes", type=int, metavar="N", help="trace the N likeliest tokens (default: 3)")
    add(
        "--probability-mass",
        type=float,
        metavar="P",
        help="trace the likeliest tokens that together have this probability",
    )
    add(
        "--max-output-nodes", type=int, metavar="N", help="with --probability-mass: no more than N tokens (default: 10)"
    )
    add(
        "--position",
        type=int,
        metavar="N",
        help="trace what comes after token N of the prompt (0 is the first, -1 the last; default: -1)",
    )
    add(
        "--start-posn",
        type=int,
        metavar="N",
        help="leave the tokens before token N out of the pruned graph (default: only a beginning-of-sequence token is left out)",
    )


def _add_size(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("size of the graph").add_argument
    add("--top-k", type=int, metavar="K", help="keep the K most active latents of a layer at a position")
    add(
        "--max-latent-nodes",
        type=int,
        metavar="N",
        help="keep the N latents with most influence, found as the graph is built (default: all; 300 neurons)",
    )
    add(
        "--node-threshold",
        type=float,
        metavar="X",
        help="share of the influence that the kept nodes hold, 0 to 1: more keeps more (default: 0.8)",
    )
    add(
        "--edge-threshold",
        type=float,
        metavar="X",
        help="share of the score that the kept edges hold, 0 to 1 (default: 0.85)",
    )
    add(
        "--keep-embeddings",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the prompt's tokens in the graph, however little they do (the default), or prune them too",
    )
    add(
        "--batch-size",
        type=int,
        default=128,
        metavar="N",
        help="nodes whose inputs are found together: more is faster and needs more memory (default: 128)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is written").add_argument
    add("--out", type=Path, metavar="DIR", help="folder to write to (default: out/<model>-<prompt>)")
    add(
        "--examples",
        choices=("auto", "download", "neuronpedia", "none"),
        default="auto",
        help="the texts on the page on which each latent fires. auto: what is on this disk (the default); download: GemmaScope's files "
        "too; neuronpedia: what that site says of each latent, with its labels; none: none",
    )
    add(
        "--ablate",
        action="store_true",
        help="measure what the target loses in the model without the latents of each box of the page, and, as a control, without "
        "others that write as much",
    )
    add(
        "--attention",
        action="store_true",
        help="say which attention heads the strongest edges go through, where these heads look, and why",
    )
    add("--circuit-tracer", action="store_true", help="also write a folder for circuit-tracer's local page")


def _add_many(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("many prompts").add_argument
    add(
        "--prompts",
        metavar="FILE",
        help="trace every line of a file (- reads standard input): a folder for each below --out, and summary.csv with a line for "
        "each; the same command goes on where it was stopped",
    )
    add(
        "--scheduler",
        metavar="tcp://…",
        help="trace --prompts on the workers of this Dask scheduler (instructions/researchers.md)",
    )


def _add_again(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("an earlier trace").add_argument
    add(
        "--from",
        dest="result",
        type=Path,
        metavar="DIR",
        help="take the trace in this folder, and prune, weigh and draw it again with other options, without tracing: --target and "
        "--contrast choose among its tokens",
    )


def _check_arguments(arguments: argparse.Namespace) -> None:
    if arguments.prompt == "-":
        arguments.prompt = (
            standard_input().removesuffix("\n").removesuffix("\r")
        )  # the line break that echo puts behind it
    if arguments.prompt is not None:
        check_prompt(arguments.prompt)
    for name in COUNTS:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{_option(name)} must be at least 1, not {value}.")
    if arguments.dictionary == "neurons" and arguments.top_k is not None:
        raise ValueError("Neurons are chosen by attribution: give --max-latent-nodes instead of --top-k.")
    if arguments.weights and len(arguments.weights) != len(arguments.target or ()):
        raise ValueError(f"--weights has {len(arguments.weights)} numbers for {len(arguments.target or ())} targets.")
    for name in SHARES:
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{_option(name)} must lie between 0 and 1, not {value:g}.")
    mass = arguments.probability_mass
    if mass is not None and not 0 < mass <= 1:
        raise ValueError(f"--probability-mass must be above 0 and at most 1, not {mass:g}.")
    _check_combinations(arguments)
    if arguments.result is None:
        arguments.model = arguments.model or "atlas"
    arguments.out = arguments.out and arguments.out.expanduser()
    arguments.result = arguments.result and arguments.result.expanduser()
    arguments.direction = arguments.direction and arguments.direction.expanduser().absolute()  # for workers elsewhere


def _check_combinations(arguments: argparse.Namespace) -> None:
    """Refuse an option that would do nothing beside another one."""
    chosen = bool(arguments.target or arguments.contrast or arguments.direction)
    if arguments.direction and (arguments.target or arguments.contrast):
        raise ValueError("--direction is a target of its own: leave out --target and --contrast.")
    for name in ("n_output_nodes", "probability_mass", "max_output_nodes"):
        if chosen and getattr(arguments, name) is not None:
            raise ValueError(
                f"{_option(name)} chooses among the likeliest tokens: leave out --target, --contrast and --direction."
            )
    if arguments.n_output_nodes is not None and arguments.probability_mass is not None:
        raise ValueError("Give --n-output-nodes or --probability-mass, not both.")
    if arguments.max_output_nodes is not None and arguments.probability_mass is None:
        raise ValueError("--max-output-nodes limits --probability-mass: give both, or --n-output-nodes alone.")
    if arguments.sae_id is not None and arguments.release is None:
        raise ValueError("--sae-id names a dictionary of --release: give both.")
    if arguments.scheduler is not None and arguments.prompts is None:
        raise ValueError("--scheduler traces many prompts: give --prompts FILE with it.")
    if arguments.prompts is not None and arguments.out is None:
        raise ValueError("--prompts needs --out DIR, the folder for all its traces.")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_prompt(prompt: str) -> None:
    """Refuse what is no text.

    Raises:
        ValueError: the prompt is empty or not valid text.
    """
    if not prompt.strip():
        raise ValueError(f'The prompt is empty: give a text, for example "{EXAMPLE}".')
    if any("\ud800" <= c <= "\udfff" for c in prompt):
        raise ValueError("The prompt is not valid UTF-8 text.")


def standard_input() -> str:
    """All of standard input. What is not UTF-8 is refused later, by `check_prompt`."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    return sys.stdin.read()
