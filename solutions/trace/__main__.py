"""The command ``python -m solutions.trace``. What can go wrong through its input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # importing these takes seconds, which --help and a mistyped option should not cost
    from transformer_lens.model_bridge import TransformerBridge

    from solutions.trace.asking import Question
    from utils.engine.cross_layer import CrossLayerWeights
    from utils.engine.graph import AttributionResult
    from utils.engine.hooks import Transcoder

N_PATHS = 8
EXAMPLE = "The capital of the state containing Dallas is"


class _Parser(argparse.ArgumentParser):
    """An argument parser that complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}; see python -m solutions.trace --help.\n")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace.

    Raises:
        ValueError: the prompt is empty or not text, or a number is out of range.
        SystemExit: with code 2 after a sentence, for an unknown option or a value of the wrong type.
    """
    parser = _Parser(
        prog="python -m solutions.trace",
        description="Trace how a language model gets from a prompt to its next token.",
        epilog=f'example: python -m solutions.trace "{EXAMPLE}"',
    )
    parser.add_argument("prompt", help="the text to trace")
    add = parser.add_argument_group("model").add_argument
    add("--model", default="atlas", help="a model's name, or a folder (default: atlas, which is bundled)")
    add(
        "--dictionary",
        choices=("transcoders", "clt", "neurons"),
        help="per-layer transcoders (the default where there are any), a cross-layer transcoder (atlas has one), "
        "or the MLPs' own neurons (any model)",
    )
    add("--device", help="cpu, cuda or mps (default: the GPU if there is one)")
    add("--offload", action="store_true", help="keep the transcoders' large matrices on disk: less memory, more time")

    add = parser.add_argument_group("what is traced (default: the likeliest next tokens)").add_argument
    add("--target", nargs="+", metavar="TOKEN", help="these tokens; with or without a space in front, as is likelier")
    add(
        "--contrast",
        nargs="+",
        metavar="TOKEN",
        help="the target's logit less the mean logit of these tokens: why the target and not those",
    )
    add("--weights", nargs="+", type=float, metavar="W", help="one for each target (default: all weigh the same)")
    add("--position", type=int, metavar="N", help="trace the answer after token N (0 is the first, -1 the last)")

    add = parser.add_argument_group("size of the graph").add_argument
    add("--top-k", type=int, metavar="K", help="keep the K most active latents of a layer at a position")
    add(
        "--max-latent-nodes",
        type=int,
        metavar="N",
        help="keep the N latents with most influence, found as the graph is built (default: all; 300 neurons)",
    )
    add("--node-threshold", type=float, default=0.8, metavar="X", help="influence to keep, 0 to 1 (default: 0.8)")
    add("--edge-threshold", type=float, default=0.85, metavar="X", help="edge scores to keep, 0 to 1 (default: 0.85)")

    add = parser.add_argument_group("what is written").add_argument
    add("--out", type=Path, metavar="DIR", help="folder to write to (default: out/<model>-<prompt>)")
    add(
        "--examples",
        choices=("auto", "download", "none"),
        default="auto",
        help="what latents fire on: what can be had here (default), GemmaScope's files too, or nothing",
    )
    add(
        "--ablate",
        action="store_true",
        help="run the model without the latents of each box of the page, and without others of the same written length",
    )
    add("--circuit-tracer", action="store_true", help="also write a folder for circuit-tracer's local page")
    arguments = parser.parse_intermixed_args(argv)
    _check_arguments(arguments)
    return arguments


def _check_arguments(arguments: argparse.Namespace) -> None:
    if not arguments.prompt.strip():
        raise ValueError(f'The prompt is empty: give a text, for example "{EXAMPLE}".')
    if any("\ud800" <= c <= "\udfff" for c in arguments.prompt):
        raise ValueError("The prompt is not valid UTF-8 text.")
    if arguments.top_k is not None and arguments.top_k < 1:
        raise ValueError(f"--top-k must be at least 1, not {arguments.top_k}.")
    if arguments.max_latent_nodes is not None and arguments.max_latent_nodes < 1:
        raise ValueError(f"--max-latent-nodes must be at least 1, not {arguments.max_latent_nodes}.")
    if arguments.dictionary == "neurons" and arguments.top_k is not None:
        raise ValueError("Neurons are chosen by attribution: give --max-latent-nodes instead of --top-k.")
    if arguments.weights and len(arguments.weights) != len(arguments.target or ()):
        raise ValueError(f"--weights has {len(arguments.weights)} numbers for {len(arguments.target or ())} targets.")
    for name in ("node_threshold", "edge_threshold"):
        value = getattr(arguments, name)
        if not 0 <= value <= 1:
            raise ValueError(f"--{name.replace('_', '-')} must lie between 0 and 1, not {value:g}.")


def run(arguments: argparse.Namespace) -> str:
    """Do what the command line asks for and return the summary.

    Raises:
        ValueError, OSError, MemoryError, ImportError: with one sentence for the user.
    """
    from solutions.trace.output import staged
    from utils.dashboard import slugify
    from utils.models import default_dictionary

    arguments.dictionary = arguments.dictionary or default_dictionary(arguments.model)
    name = Path(arguments.model).name
    which = "" if arguments.dictionary == "transcoders" else f"-{arguments.dictionary}"
    folder = arguments.out or Path("out") / f"{slugify(name)}{which}-{slugify(arguments.prompt)}"
    with staged(folder) as temporary:
        return _trace_into(temporary, folder, arguments)


def _trace_into(temporary: Path, folder: Path, arguments: argparse.Namespace) -> str:
    """Load, trace, write everything into ``temporary``, and say in the summary that it is in ``folder``."""
    from tqdm import tqdm

    layout = "{desc:<24}|{bar:32}| {percentage:3.0f} %  {elapsed}"
    # disable=None: no bar where stderr is not a terminal
    with tqdm(total=1, desc="loading the model", bar_format=layout, leave=False, disable=None) as bar:

        def progress(what: str) -> Callable[[int, int], None]:
            def show(done: int, total: int) -> None:
                bar.total = total
                bar.n = done
                bar.set_description_str(what)

            return show

        _say_what_it_takes()
        from solutions.trace.asking import ask
        from solutions.trace.output import CIRCUIT_TRACER, GRAPH, PAGE, RESULT
        from solutions.trace.paths import strongest_paths
        from solutions.trace.summary import summarize
        from utils.dashboard import build_graph, open_with_boxes, write_for_circuit_tracer, write_graph, write_page
        from utils.latents.examples import describe_latents, dictionary_key, kept_latents, why_left_out
        from utils.latents.labels import labels

        kind = arguments.dictionary
        model, dictionary, transcoders = _load(arguments)
        question = ask(model, arguments)
        show = progress("tracing the prompt")
        result = _attribute(model, dictionary, question, arguments, show)
        latents = describe_latents(
            arguments.model,
            model,
            transcoders,
            kept_latents(result),
            kind=kind,
            examples="none" if kind == "neurons" else arguments.examples,
        )
        bar.set_description_str("writing the files")
        names = {} if kind == "neurons" else labels(arguments.model, kind)
        paths = strongest_paths(result, N_PATHS)
        graph = build_graph(
            result,
            names,
            paths=paths,
            dictionary_key="" if kind == "neurons" else dictionary_key(arguments.model, kind),
        )
        graph = open_with_boxes(graph)
        ablations = None
        if arguments.ablate:
            bar.set_description_str("ablating the boxes")
            ablations = _ablate(model, dictionary, result, graph, arguments.position)
        write_graph(graph, temporary / GRAPH)
        write_page(graph, temporary / PAGE, latents=latents)
        result.save(temporary / RESULT)
        files = [folder / name for name in (PAGE, GRAPH, RESULT)]
        if arguments.circuit_tracer:
            write_for_circuit_tracer(graph, latents, temporary / CIRCUIT_TRACER)
            files.append(folder / CIRCUIT_TRACER)
        summary = summarize(result, question.top_tokens, paths, names, files, question.notes, ablations)
        left_out = "" if kind == "neurons" or arguments.examples == "none" else why_left_out(arguments.model, kind)
        return f"{summary}\n{left_out}" if left_out else summary


def _load(arguments: argparse.Namespace) -> tuple[TransformerBridge, object, Mapping[int, object]]:
    """The model, the dictionary it is traced with, and layer -> what has the latents' writing vectors as `W_dec`."""
    from utils.models import load, load_clt, load_model

    name, device = arguments.model, arguments.device
    if arguments.dictionary == "neurons":
        from utils.engine.neurons import check_neurons, neuron_weights

        model = load_model(name, device=device)
        check_neurons(model)
        return model, None, {layer: neuron_weights(model, layer) for layer in range(model.cfg.n_layers)}
    if arguments.dictionary == "clt":
        clt = load_clt(name, device=device)
        return load_model(name, device=device), clt, clt.transcoders()
    model, transcoders = load(name, device=device, offload=arguments.offload)
    if not transcoders:
        raise ValueError(f"There are no transcoders of {name}: leave out --dictionary, and its own neurons are traced.")
    return model, transcoders, transcoders


def _attribute(
    model: TransformerBridge,
    dictionary: dict[int, Transcoder] | CrossLayerWeights | None,
    question: Question,
    arguments: argparse.Namespace,
    progress: Callable[[int, int], None],
) -> AttributionResult:
    """The graph, by chapter 3's pipeline, by chapter 5's for a cross-layer transcoder, or that of neurons."""
    from utils.models import dictionary_name

    settings = {
        "top_k": arguments.top_k,
        "max_latent_nodes": arguments.max_latent_nodes,
        "node_threshold": arguments.node_threshold,
        "edge_threshold": arguments.edge_threshold,
        "target_tokens": question.targets,
        "position": arguments.position,
        "dictionary_name": dictionary_name(arguments.model, arguments.dictionary),
        "progress": progress,
    }
    if arguments.dictionary == "neurons":
        from solutions.chapter6_real_models import attribute_neurons

        return attribute_neurons(model, arguments.prompt, **settings)
    if arguments.dictionary == "clt":
        from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, attribute_cross_layer

        return attribute_cross_layer(model, CrossLayerTranscoder.from_weights(dictionary), arguments.prompt, **settings)
    from solutions.chapter3_attribution_graphs import attribute

    return attribute(model, dictionary, arguments.prompt, **settings)


def _ablate(
    model: TransformerBridge,
    dictionary: dict[int, Transcoder] | CrossLayerWeights | None,
    result: AttributionResult,
    graph: dict,
    position: int | None,
) -> dict:
    """Measure the boxes with which the graph's page opens, and write the outcome into the graph; see `ablating`."""
    from solutions.trace.ablating import ablate_boxes, as_metadata

    kept = result.kept_indices.tolist()
    place = {node["node_id"]: i for i, node in zip(kept, graph["nodes"])}
    groups = [members for _, *members in graph["qParams"]["supernodes"]]
    grouped = {name for members in groups for name in members}
    boxes = groups + [[name] for name in graph["qParams"]["pinnedIds"] if name not in grouped]
    ablations = ablate_boxes(model, dictionary, result, [[place[name] for name in box] for box in boxes], position)
    graph["metadata"]["ablations"] = as_metadata(ablations, result, {i: name for name, i in place.items()})
    return graph["metadata"]["ablations"] | {"names": _box_names(graph)}


def _box_names(graph: dict) -> list[str]:
    """The names of the measured boxes, in their order."""
    named = {frozenset(members): name for name, *members in graph["qParams"]["supernodes"]}
    single = {node["node_id"]: node["clerp"] or node["node_id"] for node in graph["nodes"]}
    boxes = graph["metadata"]["ablations"]["boxes"]
    return [named.get(frozenset(box["nodes"])) or single[box["nodes"][0]] for box in boxes]


def _say_what_it_takes() -> None:
    """Let the line that says how many nodes a graph has, and what memory they take, appear on stderr before the work."""
    import logging

    from tqdm import tqdm

    from utils.engine.memory import log

    class Beside(logging.Handler):
        """Above the progress bar, not into it."""

        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(record.getMessage(), file=sys.stderr)

    log.handlers, log.propagate = [Beside()], False
    log.setLevel(logging.INFO)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one sentence on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        print(run(parse_arguments(argv)), flush=True)
    except BrokenPipeError:  # the reader of the summary had enough; the files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, MemoryError, ImportError) as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars are for people
    sys.exit(main())
