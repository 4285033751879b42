"""The pictures of chapter 4: interventions and their controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from utils.plots.style import (
    BAND,
    CONTRAST,
    CONTRAST_PALE,
    INK,
    LATENT,
    LOWERS,
    NEUTRAL,
    PAPER,
    RAISES,
    SOFT,
    arrow,
    box,
    empty,
    legend_below,
    text,
    without_axes,
)

BLUE_PALE = "#cfe1f2"
Z = 1.96  # a 95 % interval
HEIGHT = 0.66  # of a box in a diagram


def plot_switches(levels: Mapping[str, Sequence[bool]], columns: Sequence[str]) -> go.Figure:
    """What answers to an edit at every level, and what is held.

    Args:
        levels: a name for every level, and for every column whether that part of the model answers.
        columns: the parts of the model.
    """
    answers = [list(map(int, row)) for row in levels.values()]
    figure = _figure("What answers to an edit, and what is held", 110 + 42 * len(levels))
    figure.add_heatmap(
        z=answers,
        x=list(columns),
        y=list(levels),
        text=[["answers" if cell else "held" for cell in row] for row in answers],
        texttemplate="%{text}",
        colorscale=[[0, CONTRAST_PALE], [1, BLUE_PALE]],
        zmin=0,
        zmax=1,
        showscale=False,
        hoverinfo="skip",
        xgap=3,
        ygap=3,
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    return figure.update_xaxes(side="top", showgrid=False).update_layout(margin={"t": 80})


def plot_freeze_levels(effects: Mapping[str, float], target: str) -> go.Figure:
    """The effect of one edit, with ever more of the model free to answer.

    Args:
        effects: a name for every level, and the change of the target.
        target: the target, in words.
    """
    figure = _figure(f"One edit, more and more of the model free to answer: {target}", 340)
    figure.add_bar(
        x=list(effects),
        y=list(effects.values()),
        marker_color=[LATENT] + [RAISES] * (len(effects) - 2) + [INK],
        text=[f"{value:+.3f}" for value in effects.values()],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="free to answer", showgrid=False)
    figure.update_yaxes(title="change of the contrast", zeroline=False)
    return figure


def plot_predictions(
    predicted: Mapping[str, Float[Tensor, " n"]], measured: Float[Tensor, " n"], names: Sequence[str] | None = None
) -> go.Figure:
    """Predicted against measured effects, one point a latent; on the line a prediction is right.

    Args:
        predicted: a name for every way to predict, and the predicted effects.
        measured: the measured effects.
        names: what is shown where the pointer rests on a point.
    """
    figure = _figure("Predicted and measured effects", 460)
    ends = [float(min(measured.min(), *(x.min() for x in predicted.values())))]
    ends.append(float(max(measured.max(), *(x.max() for x in predicted.values()))))
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": SOFT, "width": 1, "dash": "dot"}, name="right", hoverinfo="skip"
    )
    styles = zip((LATENT, LOWERS, CONTRAST), ("circle", "diamond-open", "x"))
    for (name, effects), (colour, symbol) in zip(predicted.items(), styles):
        figure.add_scatter(
            x=effects.tolist(),
            y=measured.tolist(),
            mode="markers",
            name=name,
            marker={"color": colour, "size": 7, "symbol": symbol, "opacity": 0.7},
            text=names,
            hovertemplate="%{text}<br>predicted %{x:.3f}, measured %{y:.3f}<extra></extra>" if names else None,
        )
    figure.update_xaxes(title="predicted change of the contrast", zerolinecolor=SOFT)
    figure.update_yaxes(title="measured change", zerolinecolor=SOFT)
    return figure


def plot_dose_response(
    doses: Sequence[float], responses: Mapping[str, Float[Tensor, "n_prompts n_doses"]]
) -> go.Figure:
    """Mean change of the contrast at every dose, with 95 % intervals over prompts.

    Args:
        doses: multiples of the activations.
        responses: a name for every group of latents, and its responses, one row a prompt.
    """
    n_prompts = len(next(iter(responses.values())))
    figure = _figure(f"Dose and response: mean and 95 % interval over {n_prompts} prompts", 400)
    for (name, values), colour in zip(responses.items(), (RAISES, NEUTRAL, CONTRAST)):
        half = Z * values.std(0) / len(values) ** 0.5 if len(values) > 1 else torch.zeros(len(doses))
        _curve(figure, list(doses), values.mean(0), name, colour, half)
    figure.add_vline(x=1, line={"color": SOFT, "width": 1, "dash": "dot"})
    text(figure, 1, 0, "unchanged", yref="paper", xanchor="left", yanchor="bottom")
    figure.update_xaxes(title="multiple of the latents' activations", zeroline=False)
    figure.update_yaxes(title="change of the contrast", zerolinecolor=SOFT)
    return figure


def plot_faithfulness(sizes: Sequence[int], curves: Mapping[str, Float[Tensor, "n_prompts n_sizes"]]) -> go.Figure:
    """What is left of the contrast when k latents are removed, or alone are kept: mean and 95 % interval over prompts.

    Args:
        sizes: the numbers of latents, rising.
        curves: a name for every curve, and its contrasts. Names that contain "control" are grey, those with "only" dotted.
    """
    n_prompts = len(next(iter(curves.values())))
    figure = _figure(f"Needed, and enough: mean and 95 % interval over {n_prompts} prompts", 400)
    for name, values in curves.items():
        half = Z * values.std(0) / n_prompts**0.5 if n_prompts > 1 else torch.zeros(len(sizes))
        _curve(figure, list(sizes), values.mean(0), name, NEUTRAL if "control" in name else RAISES, half)
        figure.data[-1].line.dash = "dot" if "only" in name else "solid"
    figure.update_xaxes(title="latents removed, or kept", zeroline=False)
    figure.update_yaxes(title="contrast with the other answers", zerolinecolor=SOFT)
    return figure


def plot_pairs(
    separate: Float[Tensor, " n_pairs"], together: Float[Tensor, " n_pairs"], names: Sequence[str]
) -> go.Figure:
    """What silencing two latents does together, against the sum of what each does alone. On the line they act apart.

    Args:
        separate: the sum of the two single changes of the contrast, for every pair.
        together: the change when both are silenced.
        names: what is shown where the pointer rests on a point.
    """
    figure = plot_predictions({"a pair of latents": separate}, together, names)
    figure.update_layout(title={"text": "Two latents silenced together, and one by one"})
    figure.data[0].name = "they act apart"
    figure.update_xaxes(title="sum of the two changes of the contrast, one by one")
    figure.update_yaxes(title="change together")
    return figure


@dataclass(frozen=True)
class Box:
    """A supernode in a diagram.

    Attributes:
        name: what is written into it.
        x, y: where it stands; words of the prompt are at the bottom.
        fraction: activation after an intervention as a fraction of before; None if it is not a supernode (words, answers).
        badge: what is done to it, such as "0×"; empty if nothing is.
        note: a second line.
    """

    name: str
    x: float
    y: float
    fraction: float | None = None
    badge: str = ""
    note: str = ""


def draw_supernodes(
    boxes: Sequence[Box],
    arrows: Sequence[tuple[str, str, float]],
    title: str,
    answers: Sequence[tuple[str, float]] = (),
) -> go.Figure:
    """A diagram of supernodes with an intervention marked. A box is the paler, the less is left of its activation.

    Args:
        boxes: the supernodes, and words and answers of the prompt.
        arrows: (from, to, share): wider for a larger share of the strongest.
        title: the prompt, for example.
        answers: the most probable next tokens after the intervention, with their probabilities.
    """
    ys = [node.y for node in boxes]
    figure = _figure(title, round(160 + 100 * (max(ys) - min(ys))))
    place = {node.name: node for node in boxes}
    strongest = max((abs(share) for *_, share in arrows), default=1.0) or 1.0
    for start, end, share in arrows:
        a, b = place[start], place[end]
        tail, head = (a.x, a.y + HEIGHT / 2 + 0.02), (b.x, b.y - HEIGHT / 2 - 0.02)
        colour, width = (RAISES if share >= 0 else LOWERS), max(1.0, 5 * abs(share) / strongest)
        arrow(figure, tail, head, colour, width, arrowsize=0.8, opacity=0.55)
    for node in boxes:
        left = 1.0 if node.fraction is None or node.fraction != node.fraction else min(1.0, max(0.0, node.fraction))
        fill = _mix(PAPER, BAND if node.fraction is None else BLUE_PALE, left)
        width = 0.12 + 0.019 * max(len(node.name), len(node.note))
        words = f"<b>{node.name}</b>" + (f"<br>{node.note}" if node.note else "")
        if node.fraction is not None:
            words += f"<br>{node.fraction:.0%}" if node.fraction == node.fraction else "<br>was silent"
        colour, outline = (LOWERS, 2) if node.badge else (INK, 1)
        box(figure, node.x, node.y, words, colour, (width, HEIGHT), fill, outline)
        if node.badge:
            text(figure, node.x - width / 2, node.y + HEIGHT / 2, f" {node.badge} ", PAPER, bgcolor=LOWERS)
    if answers:
        lines = "<br>".join(f"{token} {prob:.0%}" for token, prob in answers)
        text(figure, 1, 1, f"<b>the model now says</b><br>{lines}", xref="paper", yref="paper", align="left")
    xs = [node.x for node in boxes]
    return without_axes(figure, (min(xs) - 0.35, max(xs) + 0.45), (min(ys) - 0.5, max(ys) + 0.6))


def plot_rates(rates: Mapping[str, float], n: int, title: str) -> go.Figure:
    """Shares of `n` tries with 95 % intervals (Wilson's, which stay between 0 and 1).

    Args:
        rates: a name for every bar, and its share. Names that contain "control" or "unrelated" are grey.
        n: number of tries of each.
        title: what is counted.
    """
    low, high = zip(*(wilson_interval(rate, n) for rate in rates.values()))
    grey = [any(word in name for word in ("control", "unrelated", "different")) for name in rates]
    figure = _figure(title, 130 + 32 * len(rates))
    figure.add_bar(
        y=list(rates),
        x=list(rates.values()),
        orientation="h",
        marker_color=[NEUTRAL if is_control else LATENT for is_control in grey],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [b - rate for b, rate in zip(high, rates.values())],
            "arrayminus": [rate - a for a, rate in zip(low, rates.values())],
            "thickness": 1.2,
            "width": 5,
        },
        hovertemplate="%{x:.1%}<extra></extra>",
    )
    for (name, rate), end in zip(rates.items(), high):
        text(figure, end, name, f"{rate:.0%}", xanchor="left", xshift=6)
    figure.update_xaxes(range=[0, 1.08], tickformat=".0%", zeroline=False)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    return figure


def wilson_interval(rate: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share observed in `n` tries."""
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (rate * (1 - rate) / n + Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def plot_overlaps(overlaps: Mapping[str, Float[Tensor, " n_layers"]]) -> go.Figure:
    """Shared latents layer by layer.

    Args:
        overlaps: a name for every comparison, and its mean overlap (0 to 1) in every layer.
    """
    figure = _figure("Latents that two prompts share", 360)
    for (name, values), colour in zip(overlaps.items(), (RAISES, LOWERS, NEUTRAL, CONTRAST)):
        _curve(figure, list(range(len(values))), values, name, colour)
    figure.update_xaxes(title="layer", dtick=1, zeroline=False)
    figure.update_yaxes(title="overlap of active latents", range=[0, 1.02], tickformat=".0%")
    return figure


def plot_scores_by_size(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> go.Figure:
    """Replacement score, and share not from errors, of graphs with ever more latents.

    Args:
        rows: a name for every prompt, and its rows with "latents", "replacement" and "completeness".
    """
    figure = _figure("How good is a graph of n latents?", 380)
    for (name, scores), colour in zip(rows.items(), (RAISES, LOWERS, CONTRAST, LATENT)):
        for score, words, dash in (
            ("replacement", "replacement", "solid"),
            ("completeness", "share not from errors", "dot"),
        ):
            figure.add_scatter(
                x=[row["latents"] for row in scores],
                y=[row[score] for row in scores],
                mode="lines+markers",
                name=f"{words}: {name}",
                line={"color": colour, "width": 2, "dash": dash},
            )
    figure.update_xaxes(title="latents kept, the most influential first", zeroline=False)
    figure.update_yaxes(title="score", range=[0, 1.02])
    return figure


def _figure(title: str, height: int) -> go.Figure:
    return empty(title, height, width=820, legend=legend_below())


def _curve(
    figure: go.Figure, x: Sequence[float], y: Tensor, name: str, colour: str, half: Float[Tensor, " n"] | None = None
) -> None:
    """A line with its points, and `half` of an interval on each side of them."""
    bars = None if half is None else {"type": "data", "array": half.tolist(), "thickness": 1.2, "width": 4}
    line = {"color": colour, "width": 2.5}
    figure.add_scatter(x=x, y=y.tolist(), error_y=bars, mode="lines+markers", name=name, line=line)


def _mix(a: str, b: str, share: float) -> str:
    """A colour between two, both as #rrggbb."""
    parts = (round(int(a[i : i + 2], 16) * (1 - share) + int(b[i : i + 2], 16) * share) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)
