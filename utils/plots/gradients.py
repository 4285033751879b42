"""The pictures of chapter 1: Jacobians, slopes and what really happens, and what attention heads carry."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float, Int
from plotly.subplots import make_subplots
from torch import Tensor

from utils.plots.style import (
    BAND,
    EMBEDDING,
    INK,
    LOGIT,
    LOWERS,
    RAISES,
    RAISES_PALE,
    RULE,
    SOFT,
    arrow,
    box,
    empty,
    legend_below,
    plain,
    style,
    without_axes,
)

SCALE = [[0.0, "#9a3412"], [0.25, "#f0a874"], [0.5, "#ffffff"], [0.75, "#8fb8de"], [1.0, "#0f4c81"]]


def plot_route(early: int, later: int, with_names: Sequence[str] = ("latents", "later latents")) -> go.Figure:
    """The way from latents to later latents: decode, run the model on, encode."""
    figure = empty("From latents to later latents", 230)
    boxes = [
        (with_names[0], "few numbers"),
        ("decode", f"SAE of layer {early}"),
        ("residual stream", f"after layer {early}"),
        (f"layers {early + 1} to {later}", "the model itself"),
        ("residual stream", f"after layer {later}"),
        ("encode", f"SAE of layer {later}"),
        (with_names[1], "few numbers"),
    ]
    for x, (title, below) in enumerate(boxes):
        words = f"<b>{title}</b><br><span style='font-size:11px;color:{SOFT}'>{below}</span>"
        colours = (RAISES, RAISES_PALE) if x % 2 else (SOFT, BAND)  # every other box is a function
        box(figure, x, 0.5, words, colours[0], (0.82, 0.8), colours[1], 1.5)
    for x in range(6):
        arrow(figure, (x + 0.42, 0.5), (x + 0.58, 0.5), INK, 1)
    arrow(figure, (2, 1.45), (2, 0.92), LOWERS, 1, text="+ error (if wanted)")
    return without_axes(figure, (-0.5, 6.5), (0, 1.7))


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
    figure = empty(title, height or 120 + 24 * max(6, min(len(rows), 24)))
    bound = max(1e-9, matrix.abs().max().item())
    figure.add_heatmap(
        z=[[round(value, 4) for value in row] for row in matrix.tolist()],
        x=[plain(name) for name in columns],
        y=[plain(name) for name in rows],
        zmin=-bound,
        zmax=bound,
        colorscale=SCALE,
        texttemplate=f"%{{z:.{digits}f}}" if matrix.numel() <= 300 else None,
        textfont={"size": 10},
        hovertemplate="%{y}<br>%{x}<br>%{z:.3f}<extra></extra>",
        colorbar={"thickness": 12},
    )
    figure.update_yaxes(autorange="reversed", title=row_title, automargin=True)
    return figure.update_xaxes(title=column_title, automargin=True)


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
    figure = empty(title, 620)
    bound = max(1e-9, matrix.abs().flatten().float().quantile(0.995).item())
    figure.add_heatmap(
        z=[[round(value, 3) for value in row] for row in matrix.tolist()],
        zmin=-bound,
        zmax=bound,
        colorscale=SCALE,
        colorbar={"thickness": 12},
        hovertemplate="row %{y}, column %{x}: %{z:.3f}<extra></extra>",
    )
    for positions, draw_line, update_axis in (
        (positions_to, figure.add_hline, figure.update_yaxes),
        (positions_from, figure.add_vline, figure.update_xaxes),
    ):
        ends = [int((positions <= position).sum()) for position in range(len(str_tokens))]
        starts = [0, *ends[:-1]]
        middles = [(start + end - 1) / 2 for start, end in zip(starts, ends)]
        names = [
            f"{plain(token)} {position}" if start < end else ""
            for position, (token, start, end) in enumerate(zip(str_tokens, starts, ends))
        ]
        for end in ends[:-1]:
            draw_line(end - 0.5, line={"color": SOFT, "width": 0.5})
        update_axis(tickvals=middles, ticktext=names, automargin=True)
    figure.update_yaxes(autorange="reversed", title="later latents, by position")
    return figure.update_xaxes(tickangle=60, title="earlier latents, by position")


def plot_predictions(
    predicted: Mapping[str, Float[Tensor, " n"]], measured: Mapping[str, Float[Tensor, " n"]], title: str
) -> go.Figure:
    """What slopes predict against what really happens, one panel a case; points on the line are right."""
    names = list(predicted)
    figure = make_subplots(cols=len(names), subplot_titles=[plain(name) for name in names])
    for column, name in enumerate(names, start=1):
        x, y = predicted[name].flatten(), measured[name].flatten()
        bound = 1.05 * max(x.abs().max().item(), y.abs().max().item(), 1e-9)
        ends, panel = [-bound, bound], {"row": 1, "col": column}
        figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": RULE}, hoverinfo="skip", **panel)
        figure.add_scatter(
            x=[round(v, 5) for v in x.tolist()],
            y=[round(v, 5) for v in y.tolist()],
            mode="markers",
            marker={"color": RAISES, "size": 5, "opacity": 0.6},
            **panel,
        )
        figure.update_xaxes(title="slope × change", range=ends, **panel)
        figure.update_yaxes(range=ends, **panel)
    figure.update_yaxes(title="what happened", row=1, col=1)
    return style(figure, title, 380, showlegend=False)


def plot_tangents(
    steps: Float[Tensor, " n"], curves: Mapping[str, Float[Tensor, " n"]], slopes: Mapping[str, float], title: str
) -> go.Figure:
    """Real curves, and the straight lines that their slopes at the left end promise."""
    figure = empty(title, 400, legend=legend_below())
    x = [round(v, 4) for v in steps.tolist()]
    for (name, curve), colour in zip(curves.items(), (RAISES, LOWERS, EMBEDDING, LOGIT)):
        real = [round(v, 4) for v in curve.tolist()]
        promised = [round(slopes[name] * v, 4) for v in steps.tolist()]
        figure.add_scatter(x=x, y=real, name=f"{plain(name)}: real", line={"color": colour, "width": 2.5})
        dotted = {"color": colour, "dash": "dot", "width": 1.5}
        figure.add_scatter(x=x, y=promised, name=f"{plain(name)}: by the slope", line=dotted)
    figure.update_xaxes(title="share of the latent taken away", tickformat=".0%")
    return figure.update_yaxes(title="change of the demeaned logit")


def plot_bars(names: Sequence[str], values: Sequence[float], title: str, y_title: str) -> go.Figure:
    """Some named numbers."""
    figure = empty(title, 320)
    figure.add_bar(x=[plain(name) for name in names], y=[round(v, 4) for v in values], marker_color=RAISES, width=0.5)
    return figure.update_yaxes(title=y_title)
