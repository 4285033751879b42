"""What a graph costs, drawn by `python -m solutions.benchmark --plot`."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from utils.plots.style import CONTRAST, LATENT, LOGIT, NEUTRAL, legend_below, style

COLOURS = (LATENT, CONTRAST, LOGIT, NEUTRAL)


class Cost(NamedTuple):
    """One traced prompt: which latents were kept, tokens, nodes, seconds, and MiB above what was in use before."""

    kept: str
    n_tokens: int
    n_nodes: int
    seconds: float
    mib: float


def plot_cost(costs: Sequence[Cost], title: str) -> go.Figure:
    """Seconds and memory against the number of nodes and against that of tokens; a line for each choice of latents."""
    panels = {
        "seconds, by nodes": ("n_nodes", "seconds"),
        "seconds, by tokens": ("n_tokens", "seconds"),
        "MiB, by nodes": ("n_nodes", "mib"),
        "MiB, by tokens": ("n_tokens", "mib"),
    }
    figure = make_subplots(rows=2, cols=2, subplot_titles=list(panels), vertical_spacing=0.16)
    for i, kept in enumerate(dict.fromkeys(cost.kept for cost in costs)):
        line = sorted((cost for cost in costs if cost.kept == kept), key=lambda cost: cost.n_nodes)
        for panel, (x, y) in enumerate(panels.values()):
            figure.add_scatter(
                x=[getattr(cost, x) for cost in line],
                y=[getattr(cost, y) for cost in line],
                text=[f"{cost.n_tokens} tokens, {cost.n_nodes:,} nodes" for cost in line],
                mode="lines+markers",
                name=kept,
                legendgroup=kept,
                showlegend=panel == 0,
                marker={"color": COLOURS[i % len(COLOURS)]},
                row=panel // 2 + 1,
                col=panel % 2 + 1,
            )
    return style(figure, title, 620, legend=legend_below(-0.08)).update_yaxes(rangemode="tozero")
