"""The pictures of chapter 3: the frozen model, and attribution graphs."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.engine.graph import GraphNodes, NodeType
from utils.plots.style import (
    BAND,
    CONTRAST,
    CONTRAST_PALE,
    INK,
    LATENT,
    LOGIT,
    LOWERS,
    NEUTRAL,
    NODE_COLOURS,
    NODE_SYMBOLS,
    NODE_WORDS,
    PAPER,
    RAISES,
    RAISES_PALE,
    RULE,
    SOFT,
    arrow,
    box,
    empty,
    legend_below,
    line,
    plain,
    style,
    text,
    without_axes,
)

MAX_CELLS = 400  # cells a side that a heatmap of edges is drawn with; a larger matrix is thinned


def plot_frozen_block() -> go.Figure:
    """One block of the local replacement model: what stays linear, what is frozen, and where the gradient stops."""
    figure = empty(
        "One block of the frozen model", 400, legend=legend_below(0), margin={"l": 10, "r": 10, "t": 40, "b": 50}
    )
    stream, branch, above, top = 0.0, 1.6, 3.0, 4.2
    live, frozen, cut = (RAISES, RAISES_PALE), (CONTRAST, CONTRAST_PALE), (SOFT, BAND)

    def part(left: float, right: float, y: float, words: str, colours: tuple[str, str]) -> None:
        box(figure, (left + right) / 2, y, words, colours[0], (right - left, 0.84), colours[1], 1.5)

    arrow(figure, (0, stream), (100, stream), RAISES, 4, arrowsize=0.6)
    for x, words in ((2, "r_pre"), (58, "r_mid"), (98, "r_post")):
        text(figure, x, stream - 0.5, words, SOFT)

    attention = [(8, 19, "norm ln1"), (22, 31, "values"), (34, 45, "mix positions"), (48, 55, "W_O")]
    mlp = [(63, 74, "norm ln2"), (77, 86, "W_skip")]
    for parts, leave, join in ((attention, 4, 57.5), (mlp, 60, 88.5)):
        line(figure, [(leave, stream), (leave, branch), (parts[0][0], branch)], RAISES)
        for (_, right, _), (left, _, _) in zip(parts, parts[1:]):
            arrow(figure, (right, branch), (left, branch), RAISES)
        line(figure, [(parts[-1][1], branch), (join, branch)], RAISES)
        arrow(figure, (join, branch), (join, stream + 0.08), RAISES)
        for left, right, words in parts:
            part(left, right, branch, words, live)

    for x, half, words, made_by in (
        (13.5, 4.5, "scale", "mean square"),
        (39.5, 5.5, "pattern", "Q·K, softmax"),
        (68.5, 4.5, "scale", "mean square"),
    ):
        part(x - half, x + half, above, words, frozen)
        arrow(figure, (x, above - 0.42), (x, branch + 0.42), CONTRAST)
        part(x - 5.5, x + 5.5, top, made_by, cut)
        line(figure, [(x, top - 0.42), (x, above + 0.42)], SOFT, dash="dot")

    part(77, 86, above, "MLP", cut)
    for x, kind, words in ((91.5, NodeType.LATENT, "latents"), (96.5, NodeType.MLP_ERROR, "error")):
        colour = NODE_COLOURS[kind]
        marker = {"size": 16, "color": colour, "symbol": NODE_SYMBOLS[kind]}
        figure.add_scatter(x=[x], y=[above], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
        text(figure, x, above + 0.6, words, colour)
        arrow(figure, (x, above), (x, stream + 0.08), colour, startstandoff=10)
    text(figure, 94, top + 0.1, "nodes write<br>from outside", SOFT)

    for colour, symbol, name in (
        (RAISES, "line-ew", "linear: the gradient flows back through it"),
        (CONTRAST, "square", "a number frozen at its value on this prompt"),
        (SOFT, "square", "cut off: no gradient reaches it"),
    ):
        marker = {"color": colour, "symbol": symbol, "size": 12, "line": {"color": colour, "width": 3}}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
    return without_axes(figure, (-1, 101), (-1, 5.1))


def plot_linearity(
    factors: Float[Tensor, " n"], readings: Mapping[str, Float[Tensor, " n"]], of_what: str, read_what: str
) -> go.Figure:
    """One reading as one embedding is scaled: a straight line if, and only if, the model is linear.

    Args:
        factors: what the embedding is multiplied by.
        readings: a name for every curve, and its values; the model itself first, the linear one last. These two are in full
            view at the left, where one between them may leave the picture; at the right is the whole of all.
        of_what: the embedding that is scaled, in words.
        read_what: what is read, in words.
    """
    panels = ("near the model's own curve", "the whole of all")
    figure = make_subplots(1, 2, horizontal_spacing=0.1, subplot_titles=panels)
    style(figure, f"{read_what}, as {of_what} is scaled", 400, legend=legend_below(), margin={"t": 75})
    styles = zip((LOWERS, CONTRAST, RAISES), ("solid", "solid", "dash"))
    for (name, values), (colour, dash) in zip(readings.items(), styles):
        curve = {"x": _list(factors), "y": _list(values), "name": name, "mode": "lines", "legendgroup": name}
        curve["line"] = {"color": colour, "width": 2.5, "dash": dash}
        for column in (1, 2):
            figure.add_scatter(**curve, showlegend=column == 1, row=1, col=column)
    curves = list(readings.values())
    shown = torch.cat([curves[0], curves[-1]]).detach().float().cpu()
    low, high = float(shown.min()), float(shown.max())
    margin = 0.3 * (high - low) or 1.0
    figure.add_vline(x=1, line={"color": RULE, "width": 1.5, "dash": "dot"})
    figure.update_xaxes(title="times (1 is the prompt itself)")
    figure.update_yaxes(title=read_what, range=[low - margin, high + margin], col=1)
    return figure.update_annotations(font={"size": 12, "color": SOFT})


def plot_reconstruction(parts: Mapping[str, Float[Tensor, " n_layers"]]) -> go.Figure:
    """What share of the MLPs' output is left unexplained, layer by layer, one group of bars for each way to explain it.

    Args:
        parts: a name for every way, and the unexplained share (0 to 1) of every layer.
    """
    figure = empty("What is left of the MLPs' output", 340, legend=legend_below(), bargap=0.35)
    for (name, shares), colour in zip(parts.items(), (NEUTRAL, LATENT)):
        layers = [f"layer {layer}" for layer in range(len(shares))]
        figure.add_bar(x=layers, y=_list(shares), name=name, marker_color=colour)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(title="unexplained variance", tickformat=".0%")
    return figure


def plot_node_counts(graph: GraphNodes, str_tokens: Sequence[str]) -> go.Figure:
    """How many latents became nodes at every layer and position."""
    counts = [[0] * graph.seq_len for _ in range(graph.n_layers)]
    for node in graph.nodes:
        if node.node_type is NodeType.LATENT:
            counts[int(node.layer)][node.ctx_idx] += 1
    figure = empty("Latents that became nodes", 130 + 30 * min(graph.n_layers, 18))
    figure.add_heatmap(
        z=counts,
        x=_columns(str_tokens),
        y=[f"layer {layer}" for layer in range(graph.n_layers)],
        colorscale=[[0, PAPER], [1, LATENT]],
        texttemplate="%{z}" if graph.seq_len <= 20 else None,
        hovertemplate="%{y}, %{x}: %{z} latents<extra></extra>",
        showscale=False,
        xgap=1,
        ygap=1,
    )
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def plot_gradient(
    norms: Float[Tensor, "n_places seq"], places: Sequence[int | str], str_tokens: Sequence[str], target: str
) -> go.Figure:
    """Where one target listens: the size of its gradient at every place and position where sources write.

    Args:
        norms: size of the gradient; NaN where the target cannot listen.
        places: "E" or a layer for every row, the first at the bottom.
        str_tokens: the prompt's tokens.
        target: the target, in words.
    """
    _require(norms.shape == (len(places), len(str_tokens)), "norms needs one row a place and one column a token.")
    figure = empty(f"Where {target} listens", 150 + 32 * len(places))
    figure.add_heatmap(
        z=_list(norms),
        x=_columns(str_tokens),
        y=["embedding" if place == "E" else f"after layer {place}" for place in places],
        colorscale=[[0, PAPER], [0.25, "#bcd4ec"], [1, RAISES]],
        hovertemplate="%{y}, %{x}: %{z:.3g}<extra></extra>",
        colorbar={"title": "size of<br>gradient", "thickness": 12, "outlinewidth": 0},
        zmin=0,
        xgap=1,
        ygap=1,
    )
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def plot_swaps(scores: Float[Tensor, "n_layers seq"], str_tokens: Sequence[str], title: str) -> go.Figure:
    """A score of the answer for every layer and position at which latents were exchanged.

    Args:
        scores: blue above 0, orange below; NaN where nothing was exchanged.
        str_tokens: the prompt's tokens.
        title: of the figure.
    """
    _require(scores.ndim == 2 and scores.shape[1] == len(str_tokens), "scores needs one column a token.")
    figure = empty(title, 150 + 32 * len(scores))
    figure.add_heatmap(
        z=_list(scores),
        x=_columns(str_tokens),
        y=[f"layer {layer}" for layer in range(len(scores))],
        colorscale=[[0, LOWERS], [0.5, PAPER], [1, RAISES]],
        zmid=0,
        hovertemplate="%{y}, %{x}: %{z:.3g}<extra></extra>",
        colorbar={"title": "score", "thickness": 12, "outlinewidth": 0},
        xgap=1,
        ygap=1,
    )
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def plot_adjacency(matrix: Float[Tensor, "n_nodes n_nodes"], graph: GraphNodes) -> go.Figure:
    """The matrix of edges as a heatmap: a row a target, a column a source, lines between the groups of nodes.

    The colour grows with the logarithm of an edge's size, so that weak edges can be seen. Of a matrix with more than a few hundred
    nodes, each cell shows the strongest edge of a square of them.
    """
    n_nodes = len(graph)
    _require(
        matrix.shape == (n_nodes, n_nodes), f"The matrix needs one row and one column for each of {n_nodes} nodes."
    )
    thinned, step = _thin(matrix.detach().float().cpu())
    largest = float(thinned.abs().max()) or 1.0
    figure = empty("Edges: blue raises the target, orange lowers it", 620, width=720)
    figure.add_heatmap(
        # most cells are 0, which is shorter than 0.0 in a file
        z=[[float(f"{value:.3g}") or 0 for value in row] for row in thinned.tolist()],
        x0=(step - 1) / 2,
        dx=step,
        y0=(step - 1) / 2,
        dy=step,
        zmin=-largest,
        zmax=largest,
        colorscale=_log_scale(),
        hovertemplate="target %{y}, source %{x}: %{z}<extra></extra>",
        colorbar={"thickness": 12, "outlinewidth": 0},
    )
    ends = [end - 0.5 for _, end in graph.node_range_dict.values()]
    for end in ends[:-1]:
        figure.add_hline(y=end, line={"color": SOFT, "width": 0.6})
        figure.add_vline(x=end, line={"color": SOFT, "width": 0.6})
    centres = [(start + end - 1) / 2 for start, end in graph.node_range_dict.values()]
    names = [f"{place}" for place in graph.node_range_dict]
    ticks = {
        "tickmode": "array",
        "tickvals": centres,
        "ticktext": names,
        "showgrid": False,
        "zeroline": False,
        "tickangle": 0,
    }
    edges = [-0.5, n_nodes - 0.5]
    figure.update_xaxes(title="source (E: embeddings, L: logits)", range=edges, constrain="domain", **ticks)
    figure.update_yaxes(title="target", range=edges[::-1], scaleanchor="x", constrain="domain", **ticks)
    return figure


def plot_completeness(
    sums: Float[Tensor, " n_targets"], values: Float[Tensor, " n_targets"], kinds: Sequence[NodeType]
) -> go.Figure:
    """What a target's edges and bias add up to, against the value that the model computed: all points belong on the line."""
    _require(len(sums) == len(values) == len(kinds), "sums, values and kinds need one length.")
    figure = empty("Edges + bias, against what the model computed", 440, legend=legend_below(), width=620)
    ends = [float(min(values.min(), sums.min())), float(max(values.max(), sums.max()))]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": RULE, "width": 2}, name="equal", hoverinfo="skip")
    for kind in dict.fromkeys(kinds):
        chosen = torch.tensor([other is kind for other in kinds])
        figure.add_scatter(
            x=_list(values[chosen.to(values.device)]),
            y=_list(sums[chosen.to(sums.device)]),
            mode="markers",
            marker={"color": NODE_COLOURS[kind], "symbol": NODE_SYMBOLS[kind], "size": 8, "opacity": 0.7},
            name=NODE_WORDS[kind],
        )
    figure.update_xaxes(title="value on this prompt", zeroline=False)
    figure.update_yaxes(title="sum of edges + bias", zeroline=False)
    return figure


def plot_path_lengths(flow: Float[Tensor, " n_steps"]) -> go.Figure:
    """How much of the answers' weight is still on its way after each step back: one bar a term of the series."""
    figure = empty("Weight that arrives after exactly k steps back", 320)
    steps = list(range(1, len(flow) + 1))
    figure.add_bar(
        x=steps,
        y=_list(flow),
        marker_color=LATENT,
        text=[f"{value:.2g}" for value in flow.tolist()],
        textposition="outside",
        cliponaxis=False,
    )
    figure.update_xaxes(title="k, edges on the path", tickvals=steps, showgrid=False)
    figure.update_yaxes(title="sum of w · A_normᵏ")
    return figure


def plot_influence_curve(
    influence: Float[Tensor, " n_nodes"], graph: GraphNodes, thresholds: Sequence[float] = (0.8,)
) -> go.Figure:
    """The running sum of influence, most influential node first, and how many nodes each threshold keeps.

    The points' colours say what kind each node is. Logits are the end of all paths and are left out.
    """
    _require(len(influence) == len(graph), f"influence needs one number for each of {len(graph)} nodes.")
    order = [i for i in influence.argsort(descending=True).tolist() if graph.nodes[i].node_type is not NodeType.LOGIT]
    running = influence[order].double().cumsum(0)
    running = running / running[-1].clamp(min=torch.finfo(running.dtype).tiny)
    figure = empty("Cumulative influence", 420, legend=legend_below())
    ranks = list(range(1, len(order) + 1))
    figure.add_scatter(
        x=ranks, y=_list(running), mode="lines", line={"color": RULE, "width": 2}, showlegend=False, hoverinfo="skip"
    )
    for kind in (NodeType.EMBEDDING, NodeType.LATENT, NodeType.MLP_ERROR):
        of_kind = [place for place, i in enumerate(order) if graph.nodes[i].node_type is kind]
        figure.add_scatter(
            x=[ranks[place] for place in of_kind],
            y=_list(running[of_kind]),
            mode="markers",
            marker={"color": NODE_COLOURS[kind], "symbol": NODE_SYMBOLS[kind], "size": 6},
            name=NODE_WORDS[kind],
            hovertemplate="the first %{x} nodes carry %{y:.1%}<extra></extra>",
        )
    for threshold in thresholds:
        n_kept = int((running < threshold).sum()) + 1
        figure.add_hline(y=threshold, line={"color": LOWERS, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=ranks[-1],
            y=threshold,
            xanchor="right",
            yanchor="top",
            showarrow=False,
            text=f"{threshold:g}: {n_kept} nodes",
        )
    figure.update_xaxes(title="nodes, most influential first", range=[0, 1.02 * len(order) + 1])
    figure.update_yaxes(title="share of all influence", range=[0, 1.02], tickformat=".0%")
    return figure


def plot_interventions(
    predicted: Float[Tensor, " n"], measured: Mapping[str, Float[Tensor, " n"]], title: str
) -> go.Figure:
    """The change of a reading that the edges predict, against what was measured in one or more models.

    Args:
        predicted: what the graph says.
        measured: a name for every model, and what happened there.
        title: what was done, in words.
    """
    figure = empty(title, 420, legend=legend_below(), width=640)
    ends = [float(predicted.min()), float(predicted.max())]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": RULE, "width": 2}, name="as predicted", hoverinfo="skip"
    )
    styles = list(zip((RAISES, LOWERS, SOFT, CONTRAST, LOGIT), ("circle", "x", "diamond", "square-open", "star")))
    _require(len(measured) <= len(styles), f"There are styles for {len(styles)} models, not for {len(measured)}.")
    for (name, values), (colour, symbol) in zip(measured.items(), styles):
        _require(
            len(values) == len(predicted), f"{name!r} needs one value for each of the {len(predicted)} predictions."
        )
        marker = {"color": colour, "size": 9, "symbol": symbol, "opacity": 0.8}
        figure.add_scatter(x=_list(predicted), y=_list(values), mode="markers", marker=marker, name=name)
    figure.update_xaxes(title="change predicted by the edges")
    figure.update_yaxes(title="change measured")
    return figure


def plot_graph(
    labels: Sequence[str],
    kinds: Sequence[NodeType],
    columns: Sequence[float],
    rows: Sequence[float],
    matrix: Float[Tensor, "n_nodes n_nodes"],
    title: str = "",
    numbers: bool = True,
) -> go.Figure:
    """A small graph: nodes at given places, an arrow for every edge, from source to target.

    Args:
        labels: names of the nodes.
        kinds: their types.
        columns, rows: where they stand; rows grow upwards.
        matrix: edges, [target, source]; 0 means none. A line's width grows with its share of the target's row.
        title: a title.
        numbers: write every edge's value beside it.
    """
    n_nodes = len(labels)
    _require(
        matrix.shape == (n_nodes, n_nodes), f"The matrix needs one row and one column for each of {n_nodes} nodes."
    )
    height = 130 + 105 * (int(max(rows) - min(rows)) + 1)
    margin = {"l": 10, "r": 10, "t": 50, "b": 40}
    figure = empty(title, height, legend=legend_below(0), margin=margin, width=720)
    shares = matrix.abs() / matrix.abs().sum(1, keepdim=True).clamp(min=1e-12)
    for target, source in matrix.nonzero().tolist():
        weight = float(matrix[target, source])
        colour, share = (RAISES if weight > 0 else LOWERS), float(shares[target, source])
        tail, head = (columns[source], rows[source]), (columns[target], rows[target])
        width = 1 + 4 * share
        arrow(figure, tail, head, colour, width, arrowsize=max(0.6, 1.4 - 0.2 * width), startstandoff=10, standoff=13)
        if numbers:
            # nearer to the source, so that the numbers of edges into one target stay apart
            place = [start + 0.38 * (end - start) for start, end in zip(tail, head)]
            text(figure, *place, f"{weight:.4g}", colour, bgcolor=PAPER)
    for kind in dict.fromkeys(kinds):
        chosen = [i for i, other in enumerate(kinds) if other is kind]
        figure.add_scatter(
            x=[columns[i] for i in chosen],
            y=[rows[i] for i in chosen],
            mode="markers",
            marker={"color": NODE_COLOURS[kind], "symbol": NODE_SYMBOLS[kind], "size": 20},
            name=NODE_WORDS[kind],
            hoverinfo="skip",
        )
    middle, width = (max(columns) + min(columns)) / 2, max(columns) - min(columns) or 1.0
    for label, x, y in zip(labels, columns, rows):
        side = {"xshift": -15, "xanchor": "right"} if x < middle else {"xshift": 15, "xanchor": "left"}
        text(figure, x, y, plain(label), INK, **side)
    x_ends = (min(columns) - 0.35 * width, max(columns) + 0.35 * width)
    return without_axes(figure, x_ends, (min(rows) - 0.35, max(rows) + 0.35))


def _columns(str_tokens: Sequence[str]) -> list[str]:
    """Tokens as column names: numbered, because a token may come twice, and with their spaces made visible."""
    return [f"{plain(token.replace(' ', '·'))}<br>{place}" for place, token in enumerate(str_tokens)]


def _list(values: Tensor) -> list:
    """Numbers for JSON, rounded to what an eye can see; NaN becomes a gap."""
    if values.ndim > 1:
        return [_list(row) for row in values]
    return [None if value != value else float(f"{value:.5g}") for value in values.detach().cpu().tolist()]


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _thin(matrix: Float[Tensor, "n n"]) -> tuple[Float[Tensor, "m m"], int]:
    """The matrix with at most `MAX_CELLS` cells a side, each the strongest of a square, and the square's side."""
    step = -(-len(matrix) // MAX_CELLS)
    if step <= 1:
        return matrix, 1
    pad = -len(matrix) % step
    padded = torch.nn.functional.pad(matrix, (0, pad, 0, pad))[None, None]
    highest = torch.nn.functional.max_pool2d(padded, step)[0, 0]
    lowest = -torch.nn.functional.max_pool2d(-padded, step)[0, 0]
    return torch.where(highest >= -lowest, highest, lowest), step


def _log_scale() -> list:
    """Colours around white at 0 that change with every power of ten, four of them on each side."""
    steps = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    blues = ("#eef4fa", "#c9ddf0", "#8fb8de", "#4a8cc4", "#0f4c81")
    oranges = ("#fbf1ea", "#f6d7c0", "#eba878", "#d97434", "#8f2f08")
    low = [[0.5 - 0.5 * step, colour] for step, colour in zip(reversed(steps), reversed(oranges))]
    high = [[0.5 + 0.5 * step, colour] for step, colour in zip(steps, blues)]
    return [*low, [0.5, PAPER], *high]
