"""The pictures of chapter 1: Jacobians, slopes and what really happens, and what attention heads carry.

Every function takes numbers and returns a plotly figure. Colours: blue raises, orange lowers, grey is neutral.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float, Int
from plotly.subplots import make_subplots
from torch import Tensor

INK, SOFT, RULE = "#1c2330", "#5d6675", "#d9dde4"
BLUE, ORANGE = "#1769aa", "#c2410c"
SCALE = [[0.0, "#9a3412"], [0.25, "#f0a874"], [0.5, "#ffffff"], [0.75, "#8fb8de"], [1.0, "#0f4c81"]]


def plot_route(early: int, later: int, with_names: Sequence[str] = ("latents", "later latents")) -> go.Figure:
    """The way from latents to later latents: decode, run the model on, encode."""
    figure = _figure("From latents to later latents", 230)
    boxes = [
        (0, with_names[0], "few numbers"),
        (1, "decode", f"SAE of layer {early}"),
        (2, "residual stream", f"after layer {early}"),
        (3, f"layers {early + 1} to {later}", "the model itself"),
        (4, "residual stream", f"after layer {later}"),
        (5, "encode", f"SAE of layer {later}"),
        (6, with_names[1], "few numbers"),
    ]
    for x, title, below in boxes:
        is_function = x in (1, 3, 5)
        figure.add_shape(
            type="rect",
            x0=x - 0.41,
            x1=x + 0.41,
            y0=0.1,
            y1=0.9,
            line={"color": BLUE if is_function else SOFT, "width": 1.5},
            fillcolor="#e8f1f9" if is_function else "#f5f6f8",
        )
        text = f"<b>{title}</b><br><span style='font-size:11px;color:{SOFT}'>{below}</span>"
        figure.add_annotation(x=x, y=0.5, text=text, showarrow=False, font={"size": 12, "color": INK})
    for x in range(6):
        arrow = {"ax": x + 0.42, "ay": 0.5, "axref": "x", "ayref": "y", "xref": "x", "yref": "y"}
        figure.add_annotation(x=x + 0.58, y=0.5, **arrow, showarrow=True, arrowhead=2, arrowcolor=INK, text="")
    error = {"ax": 2, "ay": 1.45, "axref": "x", "ayref": "y", "xref": "x", "yref": "y"}
    figure.add_annotation(
        x=2, y=0.92, **error, showarrow=True, arrowhead=2, arrowcolor=ORANGE, text="+ error (if wanted)"
    )
    figure.update_xaxes(visible=False, range=[-0.5, 6.5])
    figure.update_yaxes(visible=False, range=[0, 1.7])
    return figure


def plot_matrix(
    matrix: Float[Tensor, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    row_title: str = "",
    column_title: str = "",
    digits: int = 2,
    height: int | None = None,
) -> go.Figure:
    """A matrix with a name for every row and column; blue is positive, orange negative. Small ones show their numbers."""
    figure = _figure(title, height or 120 + 24 * max(6, min(len(rows), 24)))
    values = [[round(value, 4) for value in row] for row in matrix.tolist()]
    bound = max(1e-9, matrix.abs().max().item())
    shows_numbers = matrix.numel() <= 300
    figure.add_heatmap(
        z=values,
        x=[_plain(name) for name in columns],
        y=[_plain(name) for name in rows],
        zmin=-bound,
        zmax=bound,
        colorscale=SCALE,
        texttemplate=f"%{{z:.{digits}f}}" if shows_numbers else None,
        textfont={"size": 10},
        hovertemplate="%{y}<br>%{x}<br>%{z:.3f}<extra></extra>",
        colorbar={"thickness": 12},
    )
    figure.update_yaxes(autorange="reversed", title=row_title, automargin=True)
    figure.update_xaxes(title=column_title, automargin=True)
    return figure


def plot_jacobian(
    matrix: Float[Tensor, "n_to n_from"],
    positions_to: Int[Tensor, " n_to"],
    positions_from: Int[Tensor, " n_from"],
    str_tokens: Sequence[str],
    title: str,
) -> go.Figure:
    """A Jacobian as a heatmap, with lines between positions and their tokens at the edges.

    The colour scale ends at the 99.5th percentile, so that a few large entries do not hide all others.
    """
    figure = _figure(title, 620)
    bound = max(1e-9, matrix.abs().flatten().float().quantile(0.995).item())
    values = [[round(value, 3) for value in row] for row in matrix.tolist()]
    figure.add_heatmap(
        z=values,
        zmin=-bound,
        zmax=bound,
        colorscale=SCALE,
        colorbar={"thickness": 12},
        hovertemplate="row %{y}, column %{x}: %{z:.3f}<extra></extra>",
    )
    for positions, axis in ((positions_to, "y"), (positions_from, "x")):
        ends = [int((positions <= position).sum()) for position in range(len(str_tokens))]
        starts = [0, *ends[:-1]]
        middles = [(start + end - 1) / 2 for start, end in zip(starts, ends)]
        names = [
            f"{_plain(token)} {position}" if start < end else ""
            for position, (token, start, end) in enumerate(zip(str_tokens, starts, ends))
        ]
        for end in ends[:-1]:
            line = {"line": {"color": SOFT, "width": 0.5}}
            figure.add_hline(y=end - 0.5, **line) if axis == "y" else figure.add_vline(x=end - 0.5, **line)
        update = {"tickvals": middles, "ticktext": names, "automargin": True}
        figure.update_yaxes(autorange="reversed", **update) if axis == "y" else figure.update_xaxes(
            **update, tickangle=60
        )
    figure.update_layout(xaxis_title="earlier latents, by position", yaxis_title="later latents, by position")
    return figure


def plot_predictions(
    predicted: Mapping[str, Float[Tensor, " n"]], measured: Mapping[str, Float[Tensor, " n"]], title: str
) -> go.Figure:
    """What slopes predict against what really happens, one panel a case; points on the line are right."""
    names = list(predicted)
    figure = make_subplots(cols=len(names), subplot_titles=[_plain(name) for name in names])
    for column, name in enumerate(names, start=1):
        x, y = predicted[name].flatten(), measured[name].flatten()
        bound = 1.05 * max(x.abs().max().item(), y.abs().max().item(), 1e-9)
        figure.add_scatter(
            x=[-bound, bound],
            y=[-bound, bound],
            mode="lines",
            line={"color": RULE},
            row=1,
            col=column,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=[round(v, 5) for v in x.tolist()],
            y=[round(v, 5) for v in y.tolist()],
            mode="markers",
            marker={"color": BLUE, "size": 5, "opacity": 0.6},
            row=1,
            col=column,
        )
        figure.update_xaxes(title="slope × change", range=[-bound, bound], row=1, col=column)
        figure.update_yaxes(range=[-bound, bound], row=1, col=column)
    figure.update_yaxes(title="what happened", row=1, col=1)
    _style(figure, title, 380)
    figure.update_layout(showlegend=False)
    return figure


def plot_tangents(
    steps: Float[Tensor, " n"], curves: Mapping[str, Float[Tensor, " n"]], slopes: Mapping[str, float], title: str
) -> go.Figure:
    """Real curves, and the straight lines that their slopes at the left end promise."""
    figure = _figure(title, 400)
    x = [round(v, 4) for v in steps.tolist()]
    for (name, curve), colour in zip(curves.items(), (BLUE, ORANGE, "#4d7c4f", "#8a4fb0")):
        shown = _plain(name)
        figure.add_scatter(
            x=x, y=[round(v, 4) for v in curve.tolist()], name=f"{shown}: real", line={"color": colour, "width": 2.5}
        )
        figure.add_scatter(
            x=x,
            y=[round(slopes[name] * v, 4) for v in steps.tolist()],
            name=f"{shown}: by the slope",
            line={"color": colour, "dash": "dot", "width": 1.5},
        )
    figure.update_xaxes(title="share of the latent taken away", tickformat=".0%")
    figure.update_yaxes(title="change of the demeaned logit")
    return figure


def plot_bars(names: Sequence[str], values: Sequence[float], title: str, y_title: str) -> go.Figure:
    """Some named numbers."""
    figure = _figure(title, 320)
    figure.add_bar(x=[_plain(name) for name in names], y=[round(v, 4) for v in values], marker_color=BLUE, width=0.5)
    figure.update_yaxes(title=y_title)
    return figure


def _figure(title: str, height: int) -> go.Figure:
    figure = go.Figure()
    _style(figure, title, height)
    return figure


def _style(figure: go.Figure, title: str, height: int) -> None:
    figure.update_layout(
        title={"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 15}},
        height=height,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        font={"color": INK, "size": 12},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
    )
    figure.update_xaxes(gridcolor=RULE, linecolor=RULE, zerolinecolor=RULE)
    figure.update_yaxes(gridcolor=RULE, linecolor=RULE, zerolinecolor=RULE)


def _plain(text: str) -> str:
    """Text that plotly does not read as markup: it knows no escapes, so that `<bos>` would vanish."""
    return text.replace("<", "‹").replace(">", "›").replace("\n", "⏎")
