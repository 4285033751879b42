"""Pictures of chapter 6: neurons of a real model."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.plots.style import (
    CONTRAST,
    EMBEDDING,
    INK,
    LATENT,
    LOWERS,
    NEUTRAL,
    RAISES,
    SOFT,
    empty,
    legend_below,
    plain,
    style,
)

# of lines that are compared, in their order; what is drawn at random is grey
COLOURS = (RAISES, CONTRAST, LOWERS, EMBEDDING)
WIDTH = 820


def plot_rules(
    shares: Float[Tensor, " n"], curve: Float[Tensor, " n"], lines: Mapping[str, Float[Tensor, " n"]]
) -> go.Figure:
    """A neuron's activation while what it reads grows from nothing to its value on the prompt, and what rules make of it.

    Args:
        shares: of what it reads, from 0 to 1.
        curve: the activation.
        lines: a name for each rule, and its line. Lines that lie on one another can be told by their dashes.
    """
    figure = empty("One neuron, and three ways to make it linear", 380, width=WIDTH, legend=legend_below())
    figure.add_scatter(x=shares.tolist(), y=curve.tolist(), name="the neuron", line={"color": INK, "width": 4})
    for (name, values), colour, dash in zip(lines.items(), COLOURS, ("solid", "dot", "dash")):
        line = {"color": colour, "width": 2.5, "dash": dash}
        figure.add_scatter(x=shares.tolist(), y=values.tolist(), name=name, mode="lines", line=line)
    figure.update_xaxes(title="share of what it reads on this prompt")
    return figure.update_yaxes(title="activation", zerolinecolor=SOFT)


def plot_ranks(sizes: Mapping[str, Float[Tensor, " n"]]) -> go.Figure:
    """Absolute attributions, the largest first, both axes in powers of ten.

    Args:
        sizes: for each behaviour the absolute attributions in falling order. Powers of ten in between are left out.
    """
    figure = empty("Few neurons matter much, many matter a little", 400, width=WIDTH, legend=legend_below())
    colours = (*COLOURS, NEUTRAL)
    for (name, values), colour in zip(sizes.items(), colours):
        ranks = sorted({round(10 ** (i / 12)) for i in range(12 * 6) if 10 ** (i / 12) <= len(values)})
        heights = [float(values[rank - 1]) for rank in ranks]
        figure.add_scatter(x=ranks, y=heights, name=plain(name), mode="lines", line={"color": colour, "width": 2.5})
    figure.update_xaxes(title="rank of the neuron", type="log", dtick=1)
    return figure.update_yaxes(title="attribution (logits)", type="log", exponentformat="power", dtick=1)


def plot_removal(
    sizes: Sequence[int], curves: Mapping[str, Mapping[str, Float[Tensor, "n_prompts n_sizes"]]], title: str
) -> go.Figure:
    """What is left of the contrast without the first k of a ranking: a panel for each behaviour, a line for each ranking.

    Args:
        sizes: the numbers removed, rising, the first 0.
        curves: behaviour -> ranking -> contrasts. A ranking whose name contains "random" is grey.
        title: of the figure.
    """
    n_columns = min(3, len(curves))
    n_rows = -(-len(curves) // n_columns)
    figure = make_subplots(rows=n_rows, cols=n_columns, subplot_titles=[plain(name) for name in curves])
    style(figure, title, 110 + 250 * n_rows, width=WIDTH, legend=legend_below(-0.12))
    for panel, rankings in enumerate(curves.values()):
        row, column = panel // n_columns + 1, panel % n_columns + 1
        colours = iter(COLOURS)
        for name, values in rankings.items():
            colour = NEUTRAL if "random" in name else next(colours)
            figure.add_scatter(
                x=list(range(len(sizes))),
                y=values.mean(0).tolist(),
                name=name,
                legendgroup=name,
                showlegend=panel == 0,
                line={"color": colour, "width": 2.2},
                row=row,
                col=column,
            )
        figure.add_hline(y=0, line={"color": SOFT, "width": 1}, row=row, col=column)
    ticks = {"tickvals": list(range(len(sizes))), "ticktext": [str(size) for size in sizes], "tickangle": 0}
    figure.update_xaxes(zeroline=False, tickfont={"size": 10}, **ticks)
    figure.update_xaxes(title="number silenced", row=n_rows)
    return figure.update_yaxes(title="contrast", col=1)


def plot_growth(numbers: Sequence[int], shares: Mapping[str, Sequence[float]]) -> go.Figure:
    """How a graph's story changes with the number of its nodes: lines of shares over that number."""
    figure = empty("The more neurons are nodes, the less skips them", 360, width=WIDTH, legend=legend_below())
    for (name, values), colour in zip(shares.items(), (EMBEDDING, LATENT, CONTRAST)):
        line = {"color": colour, "width": 2.5}
        figure.add_scatter(x=list(numbers), y=list(values), name=name, mode="lines+markers", line=line)
    figure.update_xaxes(
        title="neurons that are nodes", type="log", tickvals=list(numbers), ticktext=list(map(str, numbers))
    )
    return figure.update_yaxes(title="share", tickformat=".0%", rangemode="tozero")
