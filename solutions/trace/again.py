"""An earlier trace, pruned, weighed and drawn again. Nothing is traced: all edges are in its result."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from solutions.chapter3_attribution_graphs import prune_and_pack
from solutions.trace.files import write_files
from solutions.trace.output import RESULT, staged
from solutions.trace.summary import quoted, summarize
from solutions.trace.tracing import Tracer
from utils.engine.arguments import TracingArguments
from utils.engine.graph import AttributionResult, GraphNodes, NodeInfo, NodeType
from utils.models import dictionary_name
from utils.models.registry import resolve

# What only a new trace can do.
NEEDS_TRACING = (
    "top_k",
    "max_latent_nodes",
    "n_output_nodes",
    "probability_mass",
    "max_output_nodes",
    "start_posn",
    "position",
    "chat",
    "direction",
)
KINDS = ("transcoders", "clt", "neurons")
NO_TOKEN = 2**31 - 1  # number of a target that is no token; a second one counts down


def draw_again(arguments: Namespace) -> str:
    """Do what the command line asks for with ``--from`` and return the summary.

    Raises:
        ValueError: there is no result, an option needs a new trace, or a token was not traced.
    """
    for name in NEEDS_TRACING:
        if getattr(arguments, name) not in (None, False):
            raise ValueError(f"--{name.replace('_', '-')} needs a new trace: give the prompt instead of --from.")
    place = arguments.result / RESULT if (arguments.result / RESULT).is_dir() else arguments.result
    result = AttributionResult.load(place)
    source = place.absolute().parent if place.name == RESULT else place.absolute()
    folder = arguments.out or source.with_name(f"{source.name}-again")
    names = {name: getattr(arguments, name) or getattr(result, name) for name in ("model_name", "dictionary_name")}
    result = change(replace(result, **names), arguments)
    notes = [f"Drawn again from {place}; nothing was traced."]
    tracer = _tracer(arguments, result, notes)
    with staged(folder) as temporary:
        written = write_files(result, arguments, tracer, temporary, folder)
        logits = [result.graph.nodes[i] for i in result.graph.indices(NodeType.LOGIT)]
        tokens = sorted(((node.str_token, node.token_prob) for node in logits), key=lambda pair: -pair[1])
        files = [folder / name for name in written.files]
        return summarize(result, tokens, written.paths, written.names, files, notes, written.ablations)


def change(result: AttributionResult, arguments: Namespace) -> AttributionResult:
    """The result with other targets, weights and thresholds, where the command line names them."""
    if arguments.target or arguments.contrast:
        result = retarget(result, arguments.target, arguments.contrast or (), arguments.weights)
    thresholds = {}
    for name in ("node_threshold", "edge_threshold"):
        value = getattr(arguments, name)
        thresholds[name] = getattr(result, name) if value is None else value
    given = TracingArguments(
        keep_embeddings=arguments.keep_embeddings,
        model_name=result.model_name,
        dictionary_name=result.dictionary_name,
        **thresholds,
    )
    edges = (result.adjacency_matrix, result.bias, result.values)
    return prune_and_pack(None, result.prompt, result.graph, *edges, given)


def retarget(
    result: AttributionResult,
    targets: Sequence[str] | None = None,
    others: Sequence[str] = (),
    weights: Sequence[float] | None = None,
) -> AttributionResult:
    """The same graph seen from other targets: some of the tokens it was traced from, or differences of their logits.

    A token's edges are those of its demeaned logit, so that the edges of a difference are the difference of the edges: exact.
    Latents are those of the earlier trace. Where it kept only the strongest, they are the strongest for the earlier targets.

    Args:
        targets: tokens that were traced, as text (with or without the space in front) or as "#id"; None: the likeliest one.
        others: contrast each target with the mean of these.
        weights: one for each target.

    Returns:
        The result, pruned by `change` only: `kept_indices` is every node.

    Raises:
        ValueError: a token was not traced, is contrasted with itself, or no weight is above 0.
    """
    graph = result.graph
    n_before = graph.node_range_dict["L"][0]
    logits = graph.indices(NodeType.LOGIT)
    likeliest = max(logits, key=lambda i: graph.nodes[i].token_prob)
    chosen = [_traced(graph, text) for text in targets] if targets else [likeliest]
    rest = [_traced(graph, text) for text in dict.fromkeys(others)]
    if both := set(chosen) & set(rest):
        raise ValueError(f"{quoted(graph.nodes[both.pop()].str_token)} cannot be contrasted with itself.")
    total = sum(weights or [1.0] * len(chosen))
    if min(weights or [1.0]) < 0 or not 0 < total < float("inf"):
        raise ValueError("The targets weigh nothing: give weights of at least 0, and at least one above 0.")
    shares = [weight / total for weight in weights or [1.0] * len(chosen)]

    def rows(values: Tensor) -> Tensor:
        """The targets' rows of something that is linear in the logit, behind the rows of all other nodes."""
        new = values[chosen] - (values[rest].mean(0) if rest else 0)
        return torch.cat([values[:n_before], new])

    n_nodes = n_before + len(chosen)
    adjacency = torch.nn.functional.pad(rows(result.adjacency_matrix)[:, :n_before], (0, len(chosen)))
    nodes = [_node(graph, i, rest, number, share) for number, (i, share) in enumerate(zip(chosen, shares, strict=True))]
    ranges = graph.node_range_dict | {"L": (n_before, n_nodes)}
    vectors = {name: rows(getattr(graph, name)) for name in ("reading_vecs", "writing_vecs", "reading_bias")}
    graph = replace(graph, nodes=[*graph.nodes[:n_before], *nodes], node_range_dict=ranges, **vectors)
    every = torch.arange(n_nodes, device=adjacency.device)
    parts = {"bias": rows(result.bias), "values": rows(result.values), "influence": rows(result.influence)}
    return replace(
        result, graph=graph, adjacency_matrix=adjacency, kept_indices=every, pruned_matrix=adjacency, **parts
    )


def _traced(graph: GraphNodes, text: str) -> int:
    """The node of a token that was traced."""
    logits = {i: graph.nodes[i] for i in graph.indices(NodeType.LOGIT)}
    if re.fullmatch(r"#\d+", text):
        found = [i for i, node in logits.items() if node.feature == int(text[1:])]
    else:
        found = [i for form in (text, f" {text}") for i, node in logits.items() if node.str_token == form]
    if not found:
        traced = ", ".join(quoted(node.str_token) for node in logits.values())
        raise ValueError(
            f"{quoted(text)} is no target of this trace: choose among {traced}, or trace the prompt again."
        )
    return max(found, key=lambda i: graph.nodes[i].token_prob)


def _node(graph: GraphNodes, i: int, rest: Sequence[int], number: int, weight: float) -> NodeInfo:
    """The output node of a target, or of its difference from others."""
    node = replace(graph.nodes[i], weight=weight)
    if not rest:
        return node
    others = graph.nodes[rest[0]].str_token.strip() if len(rest) == 1 else f"mean of {len(rest)} others"
    return replace(node, str_token=f"{node.str_token.strip()} − {others}", feature=NO_TOKEN - number)


def _tracer(arguments: Namespace, result: AttributionResult, notes: list[str]) -> Tracer | None:
    """The model of the result, for what latents say; None where it is not asked for or not known. Sets `model` and `dictionary`."""
    arguments.model = arguments.model or result.model_name
    needs_model = arguments.ablate or arguments.attention
    try:
        resolve(arguments.model)
        fitting = [kind for kind in KINDS if dictionary_name(arguments.model, kind) == result.dictionary_name]
    except (ValueError, FileNotFoundError):
        fitting = []
    arguments.dictionary = arguments.dictionary or (fitting[-1] if fitting else None)
    if arguments.dictionary is None:
        if needs_model:
            raise ValueError(
                f"--ablate and --attention need the model: give its folder with --model ({result.model_name} is not known)."
            )
        notes.append(
            f"The model {result.model_name} is not known here: give --model, and the page says what latents are."
        )
        return None
    if arguments.examples == "none" and not needs_model:
        return None
    return Tracer(arguments)
