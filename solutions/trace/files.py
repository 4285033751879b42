"""What a trace writes: the page, the graph for other tools, and the result with all its numbers."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from solutions.trace.ablating import ablate_graph
from solutions.trace.attending import attend_graph
from solutions.trace.output import CIRCUIT_TRACER, GRAPH, PAGE, RESULT, writing_errors
from solutions.trace.paths import Path as GraphPath
from solutions.trace.paths import strongest_paths
from solutions.trace.tracing import key_of, names_of
from utils.dashboard import build_graph, open_with_boxes, write_for_circuit_tracer, write_graph, write_page
from utils.engine.graph import AttributionResult

if TYPE_CHECKING:
    from solutions.trace.tracing import Tracer

N_PATHS = 8


class Written(NamedTuple):
    """What the files show, for the summary.

    Attributes:
        paths: the strongest paths.
        names: labels of latents.
        ablations: what the target loses without each box; None where nothing was ablated.
        files: the names of the files and folders.
    """

    paths: list[GraphPath]
    names: dict[tuple[int, int], str]
    ablations: Mapping[str, Any] | None
    files: tuple[str, ...]


def write_files(
    result: AttributionResult,
    arguments: Namespace,
    tracer: Tracer | None,
    temporary: Path,
    folder: Path,
    dated: bool = True,
) -> Written:
    """Write everything about a graph into `temporary`, which will become `folder`.

    Args:
        tracer: has the model, which knows about latents and can be ablated; None draws without it.
        dated: write the time into the files. Without it, the same graph gives the same bytes.

    Raises:
        OSError: the place cannot be written; one sentence names `folder`.
    """
    latents = tracer.describe(result) if tracer is not None else {}
    names, paths = names_of(arguments), strongest_paths(result, N_PATHS)
    names |= {pair: found["label"] for pair, found in latents.items() if "label" in found}
    graph = open_with_boxes(build_graph(result, names, paths=paths, dictionary_key=key_of(arguments)))
    if not dated:
        del graph["metadata"]["info"]["create_time_ms"]
    ablations = None
    if arguments.ablate:
        ablations = ablate_graph(tracer.model, tracer.dictionary, result, graph)
    if arguments.attention:
        attend_graph(tracer.model, tracer.dictionary, result, graph, names)
    files = (PAGE, GRAPH, RESULT)
    with writing_errors(folder):
        write_graph(graph, temporary / GRAPH)
        write_page(graph, temporary / PAGE, latents=latents)
        result.save(temporary / RESULT)
        if arguments.circuit_tracer:
            write_for_circuit_tracer(graph, latents, temporary / CIRCUIT_TRACER)
            files += (CIRCUIT_TRACER,)
    return Written(paths, names, ablations, files)
