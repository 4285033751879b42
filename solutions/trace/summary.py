"""A traced prompt in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from solutions.trace.paths import Path, direct_inputs, likeliest_answer, top_sources
from utils.engine.graph import GAP_LIMIT, AttributionResult, NodeInfo, NodeType
from utils.latents.labels import latent_word

Labels = Mapping[tuple[int, int], str]

MAX_LABEL = 48
N_INPUTS = 5
N_SOURCES = 3
RAISES, LOWERS = "→", "⊣"


def printable(text: str, limit: int = MAX_LABEL) -> str:
    """``text`` on one line, without characters that could steer a terminal, at most ``limit`` letters."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def quoted(token: str) -> str:
    """A token in quotes, so that its spaces can be seen."""
    return f"'{printable(token)}'"


def percent(share: float) -> str:
    """``0.0312`` as ``3.1 %``."""
    return f"{100 * share:.1f} %" if share >= 0.001 else "<0.1 %"


def position_in_words(position: int, tokens: Sequence[str]) -> str:
    """The token at ``position``, with its number where the same token comes more than once."""
    token = tokens[position]
    return quoted(token) + (f"[{position}]" if tokens.count(token) > 1 else "")


def node_in_words(node: NodeInfo, tokens: Sequence[str], labels: Labels, at: bool = True, word: str = "latent") -> str:
    """``Texas (state) @ ' is' layer 2``, ``latent 3/512 @ ' is'``, or a token in quotes. ``at``: say the position."""
    if node.node_type is NodeType.EMBEDDING:
        return position_in_words(node.ctx_idx, tokens)
    if node.node_type is NodeType.LOGIT:
        return quoted(node.str_token)
    where = f" @ {position_in_words(node.ctx_idx, tokens)}" if at else ""
    if node.node_type is NodeType.MLP_ERROR:
        return f"MLP error{where} layer {node.layer}"
    label = labels.get((int(node.layer), node.feature)) or node.label
    return f"{printable(label)}{where} layer {node.layer}" if label else f"{word} {node.layer}/{node.feature}{where}"


def _in_words(result: AttributionResult, i: int, labels: Labels, at: bool = True) -> str:
    word = latent_word(result.dictionary_name)
    return node_in_words(result.graph.nodes[i], result.str_tokens, labels, at, word)


def path_in_words(path: Path, result: AttributionResult, labels: Labels) -> str:
    """``' Dallas' → Texas (state) @ ' is' layer 2 → say Austin layer 4 → ' Austin'``: positions where they change."""
    words, previous = "", -1
    for step, i in enumerate(path.nodes):
        node = result.graph.nodes[i]
        if step:
            words += f" {RAISES if path.signs[step - 1] > 0 else LOWERS} "
        words += _in_words(result, i, labels, at=node.ctx_idx != previous)
        previous = node.ctx_idx
    return words


def summarize(
    result: AttributionResult,
    top_tokens: Iterable[tuple[str, float]],
    paths: Sequence[Path],
    labels: Labels,
    files: Sequence[FilePath],
    notes: Sequence[str] = (),
    ablations: Mapping[str, Any] | None = None,
) -> str:
    """The whole summary: answers, what was traced (``notes``), direct inputs, paths, numbers, files."""
    answers = "   ".join(f"{quoted(token)} {percent(prob)}" for token, prob in top_tokens)
    lines = ["", printable(result.prompt, 400), f"  {RAISES} {answers}", *(f"  {note}" for note in notes)]
    lines += [*_lost_targets(result), "", *_input_lines(result, labels), *_path_lines(result, paths, labels)]
    lines += [*_source_lines(result, labels), *_ablation_lines(ablations), ""]
    lines += [f"{name:<14}{text}" for name, text in _numbers(result)]
    lines += [f"{'Files':<14}{files[0]}", *(f"{'':<14}{file}" for file in files[1:])]
    return "\n".join(lines)


def _input_lines(result: AttributionResult, labels: Labels) -> list[str]:
    """What reaches the answer directly, and how much of it pruning dropped."""
    answer = likeliest_answer(result)
    kept, dropped = direct_inputs(result, answer)
    lines = [f"Direct inputs of {quoted(result.graph.nodes[answer].str_token)} (share of all that reaches it)"]
    for source in kept[:N_INPUTS]:
        words = _in_words(result, source.node, labels)
        lines.append(f"  {percent(source.share):>6}  {'' if source.sign > 0 else LOWERS + ' '}{words}")
    if more := kept[N_INPUTS:]:
        share = percent(sum(source.share for source in more))
        lines.append(f"  {share:>6}  {len(more)} more {'input' if len(more) == 1 else 'inputs'} in the pruned graph")
    return [*lines, f"  {percent(dropped):>6}  dropped by pruning", ""]


def _path_lines(result: AttributionResult, paths: Sequence[Path], labels: Labels) -> list[str]:
    if not paths:
        return [
            "No path leads from a token to the answer in the pruned graph: "
            "raise the thresholds, or read what the error nodes do.",
        ]
    answer = quoted(result.graph.nodes[paths[0].nodes[-1]].str_token)
    together = percent(sum(path.strength for path in paths))
    lines = [f"Strongest paths to {answer} (share of all that reaches it; together {together})"]
    lines += [f"  {percent(path.strength):>6}  {path_in_words(path, result, labels)}" for path in paths]
    if any(sign < 0 for path in paths for sign in path.signs):
        lines.append(f"  {RAISES} raises the next node, {LOWERS} lowers it.")
    return lines


def _lost_targets(result: AttributionResult) -> list[str]:
    """A sentence for each target to which pruning left no edge."""
    rows = {i: row for row, i in enumerate(result.kept_indices.tolist())}
    lost = []
    for i, weight in zip(result.graph.indices(NodeType.LOGIT), result.graph.logit_weights.tolist()):
        if not bool(result.pruned_matrix[rows[i]].any()):
            name = quoted(result.graph.nodes[i].str_token)
            lost.append(f"  No edge to {name} is left: it weighs {percent(weight)}. Trace it with --target.")
    return lost


def _source_lines(result: AttributionResult, labels: Labels) -> list[str]:
    """The strongest sources two steps before the answer."""
    sources = top_sources(result, likeliest_answer(result), N_SOURCES, order=2)
    told = [
        f"  {percent(source.share):>6}  {'' if source.sign > 0 else LOWERS + ' '}"
        f"{_in_words(result, source.node, labels)}"
        for source in sources
    ]
    return ["", "Strongest inputs of its inputs, before pruning", *told] if told else []


def _ablation_lines(ablations: Mapping[str, Any] | None) -> list[str]:
    """What the target was worth without each box of the page, and without others that write as much."""
    if not ablations or not ablations["boxes"]:
        return []
    name, before = quoted(ablations["target"]), ablations["baseline"]
    lines = [
        "",
        f"Boxes removed in the real model: {name} {before:.2f} before (a token: its logit less the mean logit)",
    ]
    for box, title in zip(ablations["boxes"], ablations["names"], strict=True):
        control = "no control" if box["control"] is None else f"control {box['control']:.2f}"
        lines.append(f"  {box['removed']:>6.2f}  without {printable(title)} ({control})")
    return lines


def _numbers(result: AttributionResult) -> list[tuple[str, str]]:
    kept, edges = len(result.kept_indices), int((result.pruned_matrix != 0).sum())
    n, all_edges = len(result.graph.nodes), int((result.adjacency_matrix != 0).sum())
    thresholds = f"thresholds {result.node_threshold:g} for nodes, {result.edge_threshold:g} for edges"
    scores = result.scores
    too_large = "" if scores["completeness_gap"] <= GAP_LIMIT else "; too large: half precision is too coarse here"
    return [
        ("Graph", f"{kept:,} of {n:,} nodes, {edges:,} of {all_edges:,} edges kept ({thresholds})"),
        (
            "Completeness",
            f"gap {scores['completeness_gap']:.1e}: what a node's inputs add up to, against its value{too_large}",
        ),
        (
            "Scores",
            f"replacement {scores['replacement']:.2f}, share not from errors {scores['completeness']:.2f} "
            "(before pruning; 1 means that error nodes play no part)",
        ),
        ("Model", f"{printable(result.model_name)}, read through {printable(result.dictionary_name, 120)}"),
    ]
