"""Pictures of chapter 7: how a pattern changes."""

from collections.abc import Mapping

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import CONTRAST, INK, RAISES, SOFT, empty, legend_below, plain

COLOURS = (RAISES, CONTRAST, INK)


def plot_changes(predicted: Float[Tensor, " n"], measured: Mapping[str, Float[Tensor, " n"]], title: str) -> go.Figure:
    """Measured changes over predicted ones, and the line on which both are equal.

    Args:
        predicted: a change for each node.
        measured: a name for each kind of run, and its changes.
        title: of the figure.
    """
    figure = empty(title, 420, legend=legend_below())
    ends = [float(predicted.min()), float(predicted.max())]
    line = {"color": SOFT, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", name="as predicted", line=line)
    for (name, values), colour in zip(measured.items(), COLOURS):
        marker = {"color": colour, "size": 7, "opacity": 0.7}
        points = {"x": _short(predicted), "y": _short(values), "mode": "markers", "marker": marker}
        figure.add_scatter(name=plain(name), **points)
    figure.update_xaxes(title="predicted change")
    return figure.update_yaxes(title="measured change")


def plot_strength(shares: Float[Tensor, " n"], lines: Mapping[str, Float[Tensor, " n"]], title: str) -> go.Figure:
    """A weight of a pattern while more and more of a write is taken away.

    Args:
        shares: of the write that are taken away, from 0 to 1.
        lines: a name for each, and its weights.
        title: of the figure.
    """
    figure = empty(title, 380, legend=legend_below())
    for (name, values), colour, dash in zip(lines.items(), (INK, RAISES, CONTRAST), ("dot", "solid", "solid")):
        line = {"color": colour, "dash": dash, "width": 2.5}
        figure.add_scatter(x=_short(shares), y=_short(values), name=plain(name), mode="lines", line=line)
    figure.update_xaxes(title="share of the write that is taken away")
    return figure.update_yaxes(title="weight", range=[-0.02, 1.02])


def _short(values: Float[Tensor, " n"]) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
