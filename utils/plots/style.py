"""What the pictures share: a palette, in which a kind of node has the dashboard's colour; white paper with dark ink, so that
figures read alike in light and in dark notebooks; and the pieces of drawn diagrams."""

from collections.abc import Sequence

import plotly.graph_objects as go

from utils.engine.graph import NodeType

PAPER, INK, SOFT, RULE, BAND = "#ffffff", "#1c2330", "#5d6675", "#d9dde4", "#eceef1"
RAISES, RAISES_PALE, LOWERS = "#1a66a8", "#e8f1f9", "#b8400b"
EMBEDDING, LATENT, LOGIT = "#44784a", "#3d6db3", "#8347ab"
NEUTRAL = "#8b93a1"  # errors of MLPs, controls, whatever does not count
CONTRAST, CONTRAST_PALE = "#e08a1e", "#fdf1e0"  # what is set beside latents; what is frozen
NODE_COLOURS = {
    NodeType.EMBEDDING: EMBEDDING,
    NodeType.LATENT: "#4c5666",  # not the charts' blue: next to edges, blue says "raises"
    NodeType.MLP_ERROR: "#8d95a3",
    NodeType.LOGIT: LOGIT,
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


def empty(title: str, height: int, **layout) -> go.Figure:
    """A figure to draw on, in the course's style."""
    return style(go.Figure(), title, height, **layout)


def style(figure: go.Figure, title: str, height: int, **layout) -> go.Figure:
    """White paper, dark ink, a thin grid on all axes that the figure has. What `layout` sets comes last."""
    figure.update_layout(
        title={"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 15}},
        height=height,
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK, "size": 12, "family": "Arial, Helvetica, sans-serif"},
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": RULE, "activecolor": SOFT},
    )
    lines = {"gridcolor": RULE, "linecolor": RULE, "zerolinecolor": RULE}
    return figure.update_layout(layout).update_xaxes(lines).update_yaxes(lines)


def legend_below(y: float = -0.2) -> dict:
    """A legend in one row under the figure, its top at `y`."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "top"}


def plain(text: str) -> str:
    """Text that plotly does not read as markup: it knows no escapes, so that `<bos>` would vanish."""
    return text.replace("<", "‹").replace(">", "›").replace("\n", "⏎")


def without_axes(figure: go.Figure, x: Sequence[float], y: Sequence[float]) -> go.Figure:
    """A diagram that shows what lies between the two ends of `x` and of `y`."""
    return figure.update_xaxes(visible=False, range=x).update_yaxes(visible=False, range=y)


def text(figure: go.Figure, x: float, y: float, words: str, colour: str = INK, **more) -> None:
    """Words at a place. `more` goes to the annotation."""
    font = {"color": colour, "size": 12}
    figure.add_annotation(x=x, y=y, text=words, showarrow=False, font=font, **more)


def box(
    figure: go.Figure,
    x: float,
    y: float,
    words: str,
    colour: str,
    size: tuple[float, float],
    fill: str = "",
    outline: float = 2,
) -> None:
    """A box of a width and a height around a place. On a `fill` its words are dark, on white they have the outline's colour."""
    width, height = size
    figure.add_shape(
        type="rect",
        x0=x - width / 2,
        x1=x + width / 2,
        y0=y - height / 2,
        y1=y + height / 2,
        line={"color": colour, "width": outline},
        fillcolor=fill or PAPER,
    )
    text(figure, x, y, words, INK if fill else colour)


def arrow(
    figure: go.Figure, tail: Sequence[float], head: Sequence[float], colour: str, width: float = 1.6, **more
) -> None:
    """A straight line that ends in a head. `more` goes to the annotation."""
    figure.add_annotation(
        x=head[0], y=head[1], ax=tail[0], ay=tail[1], xref="x", yref="y", axref="x", ayref="y", showarrow=True,
        arrowhead=2, arrowwidth=width, arrowcolor=colour, **{"text": "", **more},
    )  # fmt: skip


def line(
    figure: go.Figure, points: Sequence[Sequence[float]], colour: str, width: float = 1.6, dash: str = "solid"
) -> None:
    """A line through points, below what is drawn."""
    path = "M " + " L ".join(f"{x},{y}" for x, y in points)
    figure.add_shape(type="path", path=path, line={"color": colour, "width": width, "dash": dash}, layer="below")
