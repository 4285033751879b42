"""The pictures of chapter 2: what transcoders replace and read, and one latent at a glance. `feature_card` gives HTML."""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.latents.scan import Scan
from utils.plots.style import (
    CONTRAST,
    EMBEDDING,
    INK,
    LATENT,
    LOGIT,
    LOWERS,
    NEUTRAL,
    PAPER,
    RULE,
    SOFT,
    arrow,
    box,
    empty,
    style,
    without_axes,
)

if TYPE_CHECKING:
    from IPython.display import HTML


def plot_two_dictionaries() -> go.Figure:
    """Where an SAE and a transcoder read and what they have to write."""
    figure = empty("An SAE explains the result; a transcoder explains the step", 330)
    size, wide = (0.9, 0.34), (1.9, 0.34)
    for y, name, colour, start, middle in (
        (1.5, "SAE", CONTRAST, 4.4, 5.7),
        (0.0, "transcoder", LATENT, 0.0, 2.2),
    ):
        for x, words, line in ((0.0, "x", SOFT), (2.2, "MLP", INK), (4.4, "y", SOFT), (7.0, "ŷ", SOFT)):
            box(figure, x, y, words, line, size)
        arrow(figure, (0.45, y), (1.75, y), SOFT)
        arrow(figure, (2.65, y), (3.95, y), SOFT)
        box(figure, middle, y - 0.55, f"latents of the {name}", colour, wide)
        arrow(figure, (start, y - 0.18), (middle - 0.95, y - 0.5), colour)
        arrow(figure, (middle + 0.95, y - 0.5), (6.6, y - 0.12), colour)
    figure.update_annotations(font={"size": 13})
    return without_axes(figure, (-0.7, 7.7), (-1.0, 2.1))


def plot_gradient_agreement(
    sae: Float[Tensor, "token d_model"], transcoder: Float[Tensor, "token d_model"]
) -> go.Figure:
    """Cosines between the input gradients of one latent at different tokens, for an SAE latent and a transcoder latent."""
    figure = make_subplots(1, 2, subplot_titles=("a latent of the SAE, through the MLP", "a latent of the transcoder"))
    for column, gradients in enumerate((sae, transcoder), start=1):
        unit = torch.nn.functional.normalize(gradients.detach().float(), dim=1)
        figure.add_heatmap(
            z=(unit @ unit.T).cpu().tolist(),
            zmin=-1,
            zmax=1,
            colorscale="RdBu",
            row=1,
            col=column,
            showscale=column == 2,
        )
    figure.update_xaxes(title="token")
    figure.update_yaxes(title="token", autorange="reversed")
    return style(figure, "Does the latent depend on the input in the same way at every token? (cosine)", 380)


def plot_parts(
    parts: Mapping[str, Float[Tensor, "token d_model"]], y: Float[Tensor, "token d_model"], tokens: Sequence[str]
) -> go.Figure:
    """How far each part goes in the direction of an MLP's output, token by token: together, the output's length."""
    colours = {"latents": LATENT, "skip": CONTRAST, "bias": EMBEDDING, "error": NEUTRAL}
    figure = empty("What the MLP writes, token by token", 360, barmode="relative")
    labels = [f"{i} {token!r}" for i, token in enumerate(tokens)]
    for name, part in parts.items():
        along = (part * y).sum(-1) / y.norm(dim=-1).clamp_min(1e-12)
        figure.add_bar(x=labels, y=along.tolist(), name=name, marker_color=colours.get(name, INK))
    dash = {"color": INK, "symbol": "line-ew-open", "size": 22}
    lengths = y.norm(dim=-1).tolist()
    figure.add_scatter(x=labels, y=lengths, name="length of the output", mode="markers", marker=dash)
    return figure.update_xaxes(tickangle=-45).update_yaxes(title="length along the output")


def plot_replacements(scores: Mapping[str, tuple[float, float, float]]) -> go.Figure:
    """Loss, KL and answers kept for several ways of replacing all MLPs."""
    names = list(scores)
    figure = make_subplots(1, 3, subplot_titles=("loss (nats)", "KL from the original (nats)", "answers kept"))
    for index in range(3):
        values = [scores[name][index] for name in names]
        colours = [INK if "original" in name else LATENT if "transcoder" in name else NEUTRAL for name in names]
        text = [f"{value:.0%}" if index == 2 else f"{value:.3g}" for value in values]
        figure.add_bar(
            x=values,
            y=names,
            orientation="h",
            marker_color=colours,
            text=text,
            textposition="auto",
            row=1,
            col=index + 1,
        )
    figure.update_yaxes(autorange="reversed", showticklabels=False)
    figure.update_yaxes(showticklabels=True, col=1)
    return style(figure, "Every MLP replaced", 360, showlegend=False, margin={"l": 190})


def plot_unexplained(bars: Mapping[str, Sequence[float]]) -> go.Figure:
    """Unexplained variance by layer, one group of bars for each way of explaining."""
    figure = empty("What a linear map leaves, and what the latents leave of that", 360, barmode="group")
    for (name, values), colour in zip(bars.items(), (CONTRAST, LATENT, NEUTRAL)):
        layers = [f"layer {i}" for i in range(len(values))]
        text = [f"{value:.1%}" for value in values]
        figure.add_bar(x=layers, y=list(values), name=name, marker_color=colour, text=text)
    return figure.update_yaxes(title="unexplained variance", tickformat=".0%", rangemode="tozero")


def plot_deembedding(
    direct: Float[Tensor, " d_vocab"],
    extended: Float[Tensor, " d_vocab"],
    tokens: Sequence[str],
    threshold: float,
    named: int = 8,
) -> go.Figure:
    """Every token by how much its embedding excites a latent, directly and after the first MLP."""
    top = torch.maximum(direct, extended).topk(named).indices.tolist()
    texts = [repr(token) if i in top else "" for i, token in enumerate(tokens)]
    # names to the left of the left half of them, to the right of the others: fewer lie upon each other
    leftmost = sorted(top, key=lambda i: direct[i].item())[: named // 2]
    sides = ["middle left" if i in leftmost else "middle right" for i in range(len(tokens))]
    figure = empty("Which tokens excite this latent? (pre-activation)", 460)
    figure.add_scatter(
        x=direct.tolist(), y=extended.tolist(), text=texts, mode="markers+text", textposition=sides, cliponaxis=False,
        hovertext=[repr(token) for token in tokens], marker={"color": LATENT, "size": 5, "opacity": 0.5},
    )  # fmt: skip
    dotted = {"color": CONTRAST, "dash": "dot"}
    figure.add_hline(y=threshold, line=dotted, annotation_text="threshold", annotation_position="top left")
    figure.add_vline(x=threshold, line=dotted)
    return figure.update_xaxes(title="embedding alone").update_yaxes(title="after the first MLP")


def plot_pullback(
    sources: Mapping[int, Float[Tensor, " d_latents"]], names: Mapping[tuple[int, int], str], k: int = 5
) -> go.Figure:
    """The strongest earlier latents of every layer, on one scale."""
    labels, values, colours = [], [], []
    palette = (LATENT, EMBEDDING, CONTRAST, LOGIT, LOWERS, SOFT)
    for layer, effects in sources.items():
        order = effects.abs().topk(min(k, len(effects))).indices.tolist()
        for latent in sorted(order, key=lambda f: -effects[f].item()):
            name = names.get((layer, latent), "")
            labels.append(f"{layer}/{latent} {name[:34]}")
            values.append(effects[latent].item())
            colours.append(palette[layer % len(palette)])
    title, height = "Which earlier latents feed it, straight through the stream?", 130 + 19 * len(values)
    figure = empty(title, height, margin={"l": 270})
    figure.add_bar(x=values, y=labels, orientation="h", marker_color=colours)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11})
    return figure.update_xaxes(title="change of the pre-activation for one unit of the source")


def plot_frequencies(frequencies: Mapping[str, Float[Tensor, " latent"]], tokens: int) -> go.Figure:
    """On what share of the tokens each latent fires; the dead ones stand in the bar at the left."""
    figure = empty("How often do the latents fire?", 360, barmode="overlay")
    floor = -4.5
    for (name, frequency), colour in zip(frequencies.items(), (LATENT, CONTRAST)):
        logs = torch.where(frequency > 0, frequency.clamp_min(1 / tokens).log10(), torch.tensor(floor))
        figure.add_histogram(
            x=logs.clamp_min(floor).tolist(), name=name, marker_color=colour, opacity=0.65,
            xbins={"start": floor - 0.125, "size": 0.25},
        )  # fmt: skip
    figure.update_xaxes(
        title="share of tokens on which a latent fires", tickvals=[floor, -4, -3, -2, -1, 0],
        ticktext=["never", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"], range=[floor - 0.3, 0.2],
    )  # fmt: skip
    return figure.update_yaxes(title="latents")


def feature_card(
    scan: Scan,
    layer: int,
    latent: int,
    examples: Sequence[tuple[int, int, float]],
    logits: Float[Tensor, " d_vocab"],
    by_quantile: int = 2,
) -> "HTML":
    """One latent at a glance: how often it fires and how strongly, examples from strong to weak, what it promotes.

    Args:
        examples: (row, position, activation), the strongest first, as `top_examples` gives them for a large `k`.
        logits: the latent's row of the logit lens.
        by_quantile: examples shown for each fifth of the activations below the strongest ones.
    """
    from IPython.display import HTML

    acts = scan.activations(layer, latent)
    highest = max((example[2] for example in examples), default=1.0)
    used = int(scan.corpus.used.sum())
    share = int((acts > 0).sum()) / used
    groups = [("strongest", list(examples[:4]))]
    for low in (0.6, 0.4, 0.2, 0.0):
        inside = [e for e in examples[4:] if low * highest < e[2] <= (low + 0.2) * highest]
        groups.append((f"{low:.0%} to {low + 0.2:.0%} of the highest", inside[:by_quantile]))
    lines = []
    for title, group in groups:
        if group:
            lines.append(f"<div style='color:{SOFT};margin-top:6px'>{title}</div>")
            lines += [_sentence(scan, acts, row, highest) for row, _, _ in group]
    order = logits.argsort(descending=True).tolist()
    up, down = order[:7], order[::-1][:7]
    texts = [
        ", ".join(f"{html.escape(repr(scan.model.tokenizer.decode([i])))} {logits[i]:+.2f}" for i in some)
        for some in (up, down)
    ]
    return HTML(
        f"<div style='background:{PAPER};color:{INK};border:1px solid {RULE};border-radius:6px;padding:12px;max-width:900px'>"
        f"<b>Layer {layer}, latent {latent}</b> · fires on {share:.2%} of the tokens and in {len(examples)} of "
        f"{len(scan.corpus)} sentences · highest activation {highest:.2f}{_histogram(acts, highest)}"
        f"<div><b>promotes</b> {texts[0]}</div><div><b>suppresses</b> {texts[1]}</div>{''.join(lines)}</div>"
    )


def _histogram(acts: Tensor, highest: float, bins: int = 24) -> str:
    """The activations above zero as a row of bars."""
    counts = torch.histc(acts[acts > 0].float().cpu(), bins=bins, min=0.0, max=highest)
    tallest = max(float(counts.max()), 1.0)
    bars = "".join(
        f"<rect x='{12 * i}' y='{50 - 46 * float(c) / tallest:.1f}' width='10' height='{46 * float(c) / tallest:.1f}' fill='{LATENT}'/>"
        for i, c in enumerate(counts)
    )
    return (
        f"<div><svg width='{12 * bins}' height='66' role='img'><title>Histogram of the activations</title>{bars}"
        f"<text x='0' y='63' font-size='11' fill='{SOFT}'>0</text>"
        f"<text x='{12 * bins}' y='63' font-size='11' fill='{SOFT}' text-anchor='end'>{highest:.1f}</text></svg></div>"
    )


def _sentence(scan: Scan, acts: Tensor, row: int, highest: float) -> str:
    """A sentence whose tokens are the darker the more the latent fires."""
    spans = []
    for position in scan.corpus.used[row].nonzero().flatten().tolist():
        strength = float(acts[row, position]) / highest
        text = html.escape(scan.text(row, position))
        # also the weakest is to be seen
        style = f"background:{LATENT}{round(255 * (0.15 + 0.65 * strength)):02x}" if strength > 0 else ""
        spans.append(f"<span style='white-space:pre;{style}'>{text}</span>")
    return f"<div style='font-family:monospace;line-height:1.7'>{''.join(spans)}</div>"
