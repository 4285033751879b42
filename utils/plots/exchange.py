"""Curves of rates: which answer comes, as a function of how much was exchanged or where."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from utils.plots.interventions import wilson_interval
from utils.plots.style import CONTRAST, EMBEDDING, LOWERS, NEUTRAL, RAISES, empty, legend_below

COLOURS = (RAISES, LOWERS, CONTRAST, EMBEDDING)
DASHES = ("dash", "dot")


def plot_exchange(
    points: Sequence[int], curves: Mapping[str, Sequence[float]], n: int, title: str, x_title: str = "neurons exchanged"
) -> go.Figure:
    """Rates with 95 % intervals (Wilson's).

    Args:
        points: numbers of neurons, or layers, at equal distances on the axis.
        curves: a name for every curve, and its rates. Names that contain "control" are grey and broken.
        n: number of tries behind each rate.
        title: of the figure.
        x_title: what `points` are.
    """
    figure = empty(title, 420, width=820, legend=legend_below())
    colours, dashes = iter(COLOURS), iter(DASHES)
    for name, rates in curves.items():
        control = "control" in name
        line = {
            "color": NEUTRAL if control else next(colours),
            "width": 2.5,
            "dash": next(dashes) if control else "solid",
        }
        intervals = [wilson_interval(rate, n) for rate in rates]
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [high - rate for (_, high), rate in zip(intervals, rates)],
            "arrayminus": [rate - low for (low, _), rate in zip(intervals, rates)],
            "thickness": 1.2,
            "width": 4,
        }
        figure.add_scatter(
            x=list(range(len(points))), y=list(rates), error_y=bars, name=name, mode="lines+markers", line=line
        )
    figure.update_xaxes(
        title=x_title, tickvals=list(range(len(points))), ticktext=list(map(str, points)), zeroline=False
    )
    return figure.update_yaxes(title=f"share of {n} prompts", range=[-0.03, 1.05], tickformat=".0%")
