"""The pictures of chapter 5: cross-layer transcoders and their training. `LivePlot` shows a training as it goes."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.engine.cross_layer import CrossLayerWeights
from utils.plots.style import (
    CONTRAST,
    EMBEDDING,
    INK,
    LATENT,
    NEUTRAL,
    PAPER,
    SOFT,
    arrow,
    box,
    empty,
    legend_below,
    line,
    style,
    text,
    without_axes,
)

COLOURS = (LATENT, CONTRAST, EMBEDDING, NEUTRAL)


def plot_architecture(n_layers: int = 3) -> go.Figure:
    """Where latents read and write: per-layer transcoders beside a cross-layer transcoder."""
    figure, size = empty("Who writes where?", 360), (1.2, 0.32)
    for left, cross_layer in ((0.0, False), (6.0, True)):
        name = "a cross-layer transcoder" if cross_layer else "per-layer transcoders"
        text(figure, left + 2, n_layers - 0.35, f"<b>{name}</b>", INK)
        for layer in range(n_layers):
            colour = COLOURS[layer]
            box(figure, left, layer, f"x of layer {layer}", SOFT, size)
            box(figure, left + 2, layer, "latents", colour, size)
            box(figure, left + 4, layer, f"ŷ of layer {layer}", SOFT, size)
            arrow(figure, (left + 0.62, layer), (left + 1.4, layer), colour)
            for target in range(layer, n_layers if cross_layer else layer + 1):
                # arrows that end at one box are spread a little
                end = target + 0.12 * (layer - target) if cross_layer else target
                arrow(figure, (left + 2.6, layer), (left + 3.38, end), colour)
    return without_axes(figure, (-0.8, 10.8), (-0.5, n_layers - 0.1))


def plot_jump(threshold: float, bandwidth: float) -> go.Figure:
    """A JumpReLU, and what the gradient of its threshold takes in the place of a derivative."""
    figure = make_subplots(1, 2, subplot_titles=("the activation", "the gradient for the threshold"))
    top, depth = 2.2 * threshold, -threshold / bandwidth
    low, high = threshold - bandwidth / 2, threshold + bandwidth / 2
    for column, x, y, colour in (
        (1, [0, threshold, None, threshold, top], [0, 0, None, threshold, top], LATENT),
        (2, [0, low, low, high, high, top], [0, 0, depth, depth, 0, 0], CONTRAST),
    ):
        curve = {"color": colour, "width": 3}
        figure.add_scatter(x=x, y=y, mode="lines", line=curve, showlegend=False, row=1, col=column)
        figure.add_vline(x=threshold, line={"color": NEUTRAL, "dash": "dot"}, row=1, col=column)
    figure.update_xaxes(title="pre-activation")
    return style(figure, f"Threshold {threshold:g}, bandwidth {bandwidth:g}", 300)


def plot_training(history: Sequence[Mapping[str, float]]) -> go.Figure:
    """Reconstruction, active latents and dead latents, step by step."""
    figure = make_subplots(1, 3, subplot_titles=("reconstruction", "active latents a token", "share of dead latents"))
    # a few hundred points are as good as all
    rows = history[:: max(1, len(history) // 400)]
    steps = [row["step"] for row in rows]
    for key, colour, column in (("reconstruction", LATENT, 1), ("active", CONTRAST, 2), ("dead", NEUTRAL, 3)):
        values = [float(f"{row[key]:.4g}") for row in rows]
        figure.add_scatter(x=steps, y=values, name=key, line={"color": colour}, showlegend=False, row=1, col=column)
    figure.update_yaxes(type="log", col=1)
    figure.update_yaxes(type="log", col=2)
    # a line at 0 stays visible, and a few dead latents look few
    most = max(0.1, 1.1 * max(row["dead"] for row in rows))
    figure.update_yaxes(range=[-0.05 * most, most], tickformat=".0%", zeroline=False, col=3)
    figure.update_xaxes(title="step")
    return style(figure, f"After {len(history)} steps", 320)


class LivePlot:
    """Shows `plot_training` in a notebook, in the place of the last one. Elsewhere it does nothing.

    Give it to the training: `train_cross_layer_transcoder(store, config, watch=LivePlot())`.
    """

    def __call__(self, history: Sequence[Mapping[str, float]]) -> None:
        try:
            from IPython import get_ipython
            from IPython.display import clear_output
        except ImportError:
            return
        shell = get_ipython()
        if shell is None or not hasattr(shell, "kernel"):
            return
        clear_output(wait=True)
        plot_training(history).show()


def plot_decoder_use(weights: CrossLayerWeights) -> go.Figure:
    """Of what a latent writes (squares of its decoders' lengths) the share that goes into each layer, on average over a layer's latents."""
    n_layers = weights.n_layers
    shares = torch.full((n_layers, n_layers), float("nan"))
    for source, decoders in enumerate(weights.W_dec):
        squares = decoders.double().pow(2).sum(-1).cpu()
        shares[source, source:] = (squares / squares.sum(0).clamp_min(1e-30)).mean(1)
    shown = [[None if value != value else round(value, 3) for value in row] for row in shares.tolist()]
    figure = empty("Into which layers do latents write? (mean share)", 380)
    figure.add_heatmap(z=shown, colorscale="Blues", texttemplate="%{z:.0%}", hoverongaps=False, zmin=0, zmax=1)
    figure.update_xaxes(title="writes into layer", dtick=1, showgrid=False, zeroline=False)
    return figure.update_yaxes(title="reads at layer", dtick=1, autorange="reversed", showgrid=False, zeroline=False)


def plot_tradeoff(rows: Mapping[str, Sequence[tuple[float, float, float]]]) -> go.Figure:
    """Top-1 agreement and KL over the number of active latents; rows of (active, agreement, KL) for each dictionary."""
    figure = make_subplots(1, 2, subplot_titles=("top-1 agreement", "KL, in nats"))
    for (name, points), colour in zip(rows.items(), COLOURS):
        active, kept, kl = zip(*points)
        for column, values in ((1, kept), (2, kl)):
            figure.add_scatter(
                x=[round(value, 2) for value in active],
                y=[round(value, 4) for value in values],
                name=name,
                line={"color": colour},
                mode="lines+markers",
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_xaxes(title="active latents a token, all layers together")
    figure.update_yaxes(type="log", row=1, col=2)
    title = "The model with every MLP replaced, at the same number of active latents"
    return style(figure, title, 400, legend=legend_below(-0.25))


def plot_writes(n_blocks: int = 5, source: int = 0, target: int = 3) -> go.Figure:
    """The places at which one latent writes, and which of them a later latent reads."""
    figure = empty(f"One latent of layer {source}, one of layer {target}: the edge is a sum", 340)
    line(figure, [(-0.6, 0), (n_blocks - 0.2, 0)], SOFT, 3)
    text(figure, n_blocks - 0.25, 0.14, "residual stream", SOFT, xanchor="right")
    for block in range(n_blocks):
        text(figure, block, -0.22, f"after block {block}", INK)
        seen = source <= block < target
        arrow(figure, (source - 0.2, 1.2), (block, 0.06), LATENT if seen else NEUTRAL)
    box(figure, source - 0.2, 1.4, "writes", LATENT, (0.9, 0.32))
    # it reads just before its own block is done
    box(figure, target - 0.45, 1.4, "reads", CONTRAST, (0.9, 0.32))
    arrow(figure, (target - 0.45, 0.06), (target - 0.45, 1.2), CONTRAST)
    text(figure, target + 0.75, 0.8, "written too late for it", NEUTRAL)
    return without_axes(figure, (-0.9, n_blocks - 0.1), (-0.4, 1.8))


def plot_path_lengths(shares: Mapping[str, Float[Tensor, " length"]]) -> go.Figure:
    """The shares of paths of every length, for each dictionary."""
    figure = empty("From a token or an error to the answer: how many steps?", 320)
    for (name, found), colour in zip(shares.items(), COLOURS):
        values = [round(value, 4) for value in found.tolist()]
        figure.add_bar(x=list(range(1, len(values) + 1)), y=values, name=name, marker_color=colour)
    figure.update_xaxes(title="edges on the path", dtick=1)
    return figure.update_yaxes(title="share of all paths' strength", tickformat=".0%")


def draw_mlp(
    adjacency: Float[Tensor, "n_nodes n_nodes"], values: Float[Tensor, " n_nodes"], sizes: Sequence[int]
) -> go.Figure:
    """The attribution graph of a small MLP: what each unit reads in its node, edges as wide as they are strong."""
    figure = empty("An MLP's attribution graph", 340)
    places = [(layer, (size - 1) / 2 - unit) for layer, size in enumerate(sizes) for unit in range(size)]
    strongest = float(adjacency.abs().max()) or 1.0
    for target, source in adjacency.nonzero().tolist():
        weight = float(adjacency[target, source])
        (x0, y0), (x1, y1) = places[source], places[target]
        line(figure, [(x0, y0), (x1, y1)], LATENT if weight > 0 else CONTRAST, 1 + 7 * abs(weight) / strongest)
        text(figure, x0 + 0.68 * (x1 - x0), y0 + 0.68 * (y1 - y0), f"{weight:g}", INK, bgcolor=PAPER)
    names = [f"input {i}" if i < sizes[0] else f"{value:g}" for i, value in enumerate(values.tolist())]
    for (x, y), name in zip(places, names):
        box(figure, x, y, name, INK, (0.34, 0.32))
    tallest = (max(sizes) - 1) / 2
    return without_axes(figure, (-0.4, len(sizes) - 0.6), (-tallest - 0.5, tallest + 0.5))
