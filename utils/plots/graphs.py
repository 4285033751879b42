"""The pictures of the course, one function each. Every function takes numbers and returns a plotly figure.

All figures stand on white paper with dark ink, so that they read alike in light and in dark notebooks. Colours are those of the
dashboard: a kind of node has one colour everywhere.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.graph import GraphNodes, NodeType

PAPER, INK, SOFT, RULE, BAND = "#ffffff", "#1c2330", "#5d6675", "#d9dde4", "#f5f6f8"
RAISES, LOWERS, FROZEN = "#1769aa", "#c2410c", "#e08a1e"
NODE_COLOURS = {
    NodeType.EMBEDDING: "#4d7c4f",
    NodeType.LATENT: "#3f6fb5",
    NodeType.MLP_ERROR: "#9aa1ad",
    NodeType.LOGIT: "#8a4fb0",
}
NODE_SYMBOLS = {
    NodeType.EMBEDDING: "square",
    NodeType.LATENT: "circle",
    NodeType.MLP_ERROR: "diamond",
    NodeType.LOGIT: "hexagon",
}
NODE_WORDS = {
    NodeType.EMBEDDING: "embedding",
    NodeType.LATENT: "latent",
    NodeType.MLP_ERROR: "MLP error",
    NodeType.LOGIT: "logit",
}
MAX_CELLS = 400  # cells a side that a heatmap of edges is drawn with; a larger matrix is thinned


def plot_frozen_block() -> go.Figure:
    """One block of the local replacement model: what stays linear, what is frozen, and where the gradient stops."""
    figure = _figure("One block of the frozen model", height=400)
    stream, branch, above, top = 0.0, 1.6, 3.0, 4.2
    live, frozen, cut = (RAISES, "#e8f1f9"), (FROZEN, "#fdf1e0"), (SOFT, "#eceef1")

    _arrow(figure, (0, stream), (100, stream), RAISES, width=4)
    for x, text in ((2, "r_pre"), (58, "r_mid"), (98, "r_post")):
        _text(figure, x, stream - 0.5, text, SOFT)

    attention = [(8, 19, "norm ln1"), (22, 31, "values"), (34, 45, "mix positions"), (48, 55, "W_O")]
    mlp = [(63, 74, "norm ln2"), (77, 86, "W_skip")]
    for boxes, leave, join in ((attention, 4, 57.5), (mlp, 60, 88.5)):
        _line(figure, [(leave, stream), (leave, branch), (boxes[0][0], branch)], RAISES)
        for (_, right, _), (left, _, _) in zip(boxes, boxes[1:]):
            _arrow(figure, (right, branch), (left, branch), RAISES)
        _line(figure, [(boxes[-1][1], branch), (join, branch)], RAISES)
        _arrow(figure, (join, branch), (join, stream + 0.08), RAISES)
        for left, right, text in boxes:
            _box(figure, left, right, branch, text, *live)

    for left, right, y, text, into in (
        (9, 18, above, "scale", 13.5),
        (34, 45, above, "pattern", 39.5),
        (64, 73, above, "scale", 68.5),
    ):
        _box(figure, left, right, y, text, *frozen)
        _arrow(figure, (into, y - 0.42), (into, branch + 0.42), FROZEN)
    _box(figure, 34, 45, top, "Q·K, softmax", *cut)
    _line(figure, [(39.5, top - 0.42), (39.5, above + 0.42)], SOFT, dash="dot")
    _box(figure, 8, 19, top, "mean square", *cut)
    _line(figure, [(13.5, top - 0.42), (13.5, above + 0.42)], SOFT, dash="dot")
    _box(figure, 63, 74, top, "mean square", *cut)
    _line(figure, [(68.5, top - 0.42), (68.5, above + 0.42)], SOFT, dash="dot")

    _box(figure, 77, 86, above, "MLP", *cut)
    for x, kind, text in ((91.5, NodeType.LATENT, "latents"), (96.5, NodeType.MLP_ERROR, "error")):
        figure.add_scatter(
            x=[x],
            y=[above],
            mode="markers",
            marker={"size": 16, "color": NODE_COLOURS[kind], "symbol": NODE_SYMBOLS[kind]},
            hoverinfo="skip",
            showlegend=False,
        )
        _text(figure, x, above + 0.6, text, NODE_COLOURS[kind])
        _arrow(figure, (x, above), (x, stream + 0.08), NODE_COLOURS[kind], clear=(10, 0))
    _text(figure, 94, top + 0.1, "nodes write<br>from outside", SOFT)

    for colour, symbol, name in (
        (RAISES, "line-ew", "linear: the gradient flows back through it"),
        (FROZEN, "square", "a number frozen at its value on this prompt"),
        (SOFT, "square", "cut off: no gradient reaches it"),
    ):
        marker = {"color": colour, "symbol": symbol, "size": 12, "line": {"color": colour, "width": 3}}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
    figure.update_layout(legend=_legend_below(0), margin={"l": 10, "r": 10, "t": 40, "b": 50})
    figure.update_xaxes(visible=False, range=[-1, 101])
    figure.update_yaxes(visible=False, range=[-1, 5.1])
    return figure


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
    figure = _figure(f"{read_what}, as {of_what} is scaled", height=400)
    figure.set_subplots(1, 2, horizontal_spacing=0.1, subplot_titles=["near the model's own curve", "the whole of all"])
    styles = zip((LOWERS, FROZEN, RAISES), ("solid", "solid", "dash"))
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
    figure.update_xaxes(title="times (1 is the prompt itself)", **_grid())
    figure.update_yaxes(**_grid())
    figure.update_yaxes(title=read_what, range=[low - margin, high + margin], col=1)
    figure.update_annotations(font={"size": 12, "color": SOFT})
    figure.update_layout(legend=_legend_below(), margin_t=75)
    return figure


def plot_reconstruction(parts: Mapping[str, Float[Tensor, " n_layers"]]) -> go.Figure:
    """What share of the MLPs' output is left unexplained, layer by layer, one group of bars for each way to explain it.

    Args:
        parts: a name for every way, and the unexplained share (0 to 1) of every layer.
    """
    figure = _figure("What is left of the MLPs' output", height=340)
    for (name, shares), colour in zip(parts.items(), (NODE_COLOURS[NodeType.MLP_ERROR], NODE_COLOURS[NodeType.LATENT])):
        layers = [f"layer {layer}" for layer in range(len(shares))]
        figure.add_bar(x=layers, y=_list(shares), name=name, marker_color=colour)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(title="unexplained variance", tickformat=".0%", **_grid())
    figure.update_layout(legend=_legend_below(), bargap=0.35)
    return figure


def plot_node_counts(graph: GraphNodes, str_tokens: Sequence[str]) -> go.Figure:
    """How many latents became nodes at every layer and position."""
    counts = [[0] * graph.seq_len for _ in range(graph.n_layers)]
    for node in graph.nodes:
        if node.node_type is NodeType.LATENT:
            counts[int(node.layer)][node.ctx_idx] += 1
    figure = _figure("Latents that became nodes", height=130 + 30 * min(graph.n_layers, 18))
    figure.add_heatmap(
        z=counts,
        x=_columns(str_tokens),
        y=[f"layer {layer}" for layer in range(graph.n_layers)],
        colorscale=[[0, PAPER], [1, NODE_COLOURS[NodeType.LATENT]]],
        texttemplate="%{z}" if graph.seq_len <= 20 else None,
        hovertemplate="%{y}, %{x}: %{z} latents<extra></extra>",
        showscale=False,
        xgap=1,
        ygap=1,
    )
    return figure


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
    figure = _figure(f"Where {target} listens", height=150 + 32 * len(places))
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
    return figure


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
    figure = _figure("Edges: blue raises the target, orange lowers it", height=620)
    figure.add_heatmap(
        z=[[float(f"{value:.3g}") for value in row] for row in thinned.tolist()],
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
    names = [{"E": "emb.", "L": "logits"}.get(place, f"{place}") for place in graph.node_range_dict]
    ticks = {
        "tickmode": "array",
        "tickvals": centres,
        "ticktext": names,
        "showgrid": False,
        "zeroline": False,
        "tickangle": 0,
    }
    edges = [-0.5, n_nodes - 0.5]
    figure.update_xaxes(title="source (embeddings, layer 0, 1, …)", range=edges, constrain="domain", **ticks)
    figure.update_yaxes(title="target", range=edges[::-1], scaleanchor="x", constrain="domain", **ticks)
    figure.update_layout(width=720)
    return figure


def plot_completeness(
    sums: Float[Tensor, " n_targets"], values: Float[Tensor, " n_targets"], kinds: Sequence[NodeType]
) -> go.Figure:
    """What a target's edges and bias add up to, against the value that the model computed: all points belong on the line."""
    _require(len(sums) == len(values) == len(kinds), "sums, values and kinds need one length.")
    figure = _figure("Edges + bias, against what the model computed", height=440)
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
    figure.update_xaxes(title="value on this prompt", zeroline=False, **_grid())
    figure.update_yaxes(title="sum of edges + bias", zeroline=False, **_grid())
    figure.update_layout(legend=_legend_below(), width=620)
    return figure


def plot_path_lengths(flow: Float[Tensor, " n_steps"]) -> go.Figure:
    """How much of the answers' weight is still on its way after each step back: one bar a term of the series."""
    figure = _figure("Weight that arrives after exactly k steps back", height=320)
    steps = list(range(1, len(flow) + 1))
    figure.add_bar(
        x=steps,
        y=_list(flow),
        marker_color=NODE_COLOURS[NodeType.LATENT],
        text=[f"{value:.2g}" for value in flow.tolist()],
        textposition="outside",
        cliponaxis=False,
    )
    figure.update_xaxes(title="k, edges on the path", tickvals=steps, showgrid=False)
    figure.update_yaxes(title="sum of w · A_normᵏ", **_grid())
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
    figure = _figure("Cumulative influence", height=420)
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
    figure.update_xaxes(title="nodes, most influential first", range=[0, 1.02 * len(order) + 1], **_grid())
    figure.update_yaxes(title="share of all influence", range=[0, 1.02], tickformat=".0%", **_grid())
    figure.update_layout(legend=_legend_below())
    return figure


def plot_thresholds(
    node_thresholds: Sequence[float],
    edge_thresholds: Sequence[float],
    n_nodes: Float[Tensor, "n_edge_thresholds n_node_thresholds"],
    n_edges: Float[Tensor, "n_edge_thresholds n_node_thresholds"],
) -> go.Figure:
    """How many nodes and edges are left, for every pair of thresholds. Rows of the counts are edge thresholds."""
    shape = (len(edge_thresholds), len(node_thresholds))
    _require(n_nodes.shape == n_edges.shape == shape, f"The counts need the shape {shape}.")
    figure = make_subplots(1, 2, subplot_titles=("nodes kept", "edges kept"), horizontal_spacing=0.1)
    _style(figure, "Higher thresholds keep more", height=400)
    figure.update_layout(margin={"t": 80})
    shades = ("#c3d3e8", "#93b1d9", "#6390c9", RAISES, "#0d3d66")
    for column, counts in enumerate((n_nodes, n_edges), start=1):
        for row, threshold in enumerate(edge_thresholds):
            figure.add_scatter(
                x=list(node_thresholds),
                y=_list(counts[row]),
                name=f"edge threshold {threshold:g}",
                line={"color": shades[row % len(shades)], "width": 2.5},
                marker={"size": 6},
                mode="lines+markers",
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_xaxes(title="node threshold", **_grid())
    figure.update_yaxes(rangemode="tozero", **_grid())
    figure.update_layout(legend=_legend_below())
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
    figure = _figure(title, height=420)
    ends = [float(predicted.min()), float(predicted.max())]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": RULE, "width": 2}, name="as predicted", hoverinfo="skip"
    )
    for (name, values), colour, symbol in zip(measured.items(), (RAISES, LOWERS, SOFT), ("circle", "x", "diamond")):
        _require(
            len(values) == len(predicted), f"{name!r} needs one value for each of the {len(predicted)} predictions."
        )
        marker = {"color": colour, "size": 9, "symbol": symbol, "opacity": 0.8}
        figure.add_scatter(x=_list(predicted), y=_list(values), mode="markers", marker=marker, name=name)
    figure.update_xaxes(title="change predicted by the edges", **_grid())
    figure.update_yaxes(title="change measured", **_grid())
    figure.update_layout(legend=_legend_below(), width=640)
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
    figure = _figure(title, height=130 + 105 * (int(max(rows) - min(rows)) + 1))
    shares = matrix.abs() / matrix.abs().sum(1, keepdim=True).clamp(min=1e-12)
    for target, source in matrix.nonzero().tolist():
        weight = float(matrix[target, source])
        colour, share = (RAISES if weight > 0 else LOWERS), float(shares[target, source])
        tail, head = (columns[source], rows[source]), (columns[target], rows[target])
        _arrow(figure, tail, head, colour, width=1 + 4 * share, clear=(10, 13))
        if numbers:
            # nearer to the source, so that the numbers of edges into one target stay apart
            place = [start + 0.38 * (end - start) for start, end in zip(tail, head)]
            _text(figure, *place, f"{weight:.4g}", colour, background=PAPER)
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
        _text(figure, x, y, _plain(label), INK, **side)
    figure.update_xaxes(visible=False, range=[min(columns) - 0.35 * width, max(columns) + 0.35 * width])
    figure.update_yaxes(visible=False, range=[min(rows) - 0.35, max(rows) + 0.35])
    figure.update_layout(legend=_legend_below(0), margin={"l": 10, "r": 10, "t": 50, "b": 40}, width=720)
    return figure


def _figure(title: str, height: int) -> go.Figure:
    figure = go.Figure()
    _style(figure, title, height)
    return figure


def _style(figure: go.Figure, title: str, height: int) -> None:
    """White paper, dark ink, little else."""
    figure.update_layout(
        title={"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 15}},
        height=height,
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK, "size": 12, "family": "system-ui, sans-serif"},
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": RULE, "activecolor": SOFT},
    )


def _grid() -> dict:
    return {"gridcolor": RULE, "linecolor": RULE, "zerolinecolor": RULE}


def _legend_below(y: float = -0.2) -> dict:
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "top"}


def _columns(str_tokens: Sequence[str]) -> list[str]:
    """Tokens as column names: numbered, because a token may come twice, and with their spaces made visible."""
    return [f"{_plain(token.replace(' ', '·'))}<br>{place}" for place, token in enumerate(str_tokens)]


def _plain(text: str) -> str:
    """Text that plotly does not read as markup: it knows no escapes, so that `<bos>` would vanish."""
    return text.replace("<", "‹").replace(">", "›").replace("\n", "⏎")


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


def _arrow(
    figure: go.Figure,
    tail: Sequence[float],
    head: Sequence[float],
    colour: str,
    width: float = 1.6,
    clear: tuple[float, float] = (0, 0),
) -> None:
    """A straight line in data coordinates that ends in a small head; it stays `clear` pixels away from its two ends."""
    figure.add_annotation(
        x=head[0],
        y=head[1],
        ax=tail[0],
        ay=tail[1],
        xref="x",
        yref="y",
        axref="x",
        ayref="y",
        text="",
        showarrow=True,
        arrowhead=2,
        arrowsize=max(0.6, 1.4 - 0.2 * width),
        arrowwidth=width,
        arrowcolor=colour,
        startstandoff=clear[0],
        standoff=clear[1],
    )


def _line(
    figure: go.Figure, points: Sequence[Sequence[float]], colour: str, dash: str = "solid", width: float = 1.6
) -> None:
    path = "M " + " L ".join(f"{x},{y}" for x, y in points)
    figure.add_shape(type="path", path=path, line={"color": colour, "width": width, "dash": dash}, layer="below")


def _box(figure: go.Figure, left: float, right: float, y: float, text: str, colour: str, fill: str) -> None:
    figure.add_shape(
        type="rect", x0=left, x1=right, y0=y - 0.42, y1=y + 0.42, line={"color": colour, "width": 1.5}, fillcolor=fill
    )
    _text(figure, (left + right) / 2, y, text, INK)


def _text(
    figure: go.Figure, x: float, y: float, text: str, colour: str, background: str | None = None, **place
) -> None:
    font = {"color": colour, "size": 12}
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, font=font, bgcolor=background, borderpad=1, **place)
