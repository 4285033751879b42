"""The pictures of chapter 2. Every function takes numbers and returns a plotly figure, or HTML for `feature_card`."""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from utils.transcoder_data import Scan

if TYPE_CHECKING:
    from IPython.display import HTML

PAPER, INK, SOFT, RULE = "#ffffff", "#1c2330", "#5d6675", "#d9dde4"
BLUE, ORANGE, GREY, GREEN = "#3f6fb5", "#e08a1e", "#9aa1ad", "#4d7c4f"


def _style(figure: go.Figure, title: str, height: int = 360, **layout) -> go.Figure:
    """White paper, dark ink, the title at the left."""
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}},
        height=height,
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"color": INK, "size": 12},
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        **layout,
    )
    figure.update_xaxes(linecolor=RULE, gridcolor=RULE, zerolinecolor=RULE)
    figure.update_yaxes(linecolor=RULE, gridcolor=RULE, zerolinecolor=RULE)
    return figure


def plot_two_dictionaries() -> go.Figure:
    """Where an SAE and a transcoder read and what they have to write."""
    figure = go.Figure()
    rows = ((1.5, "SAE", ORANGE), (0.0, "transcoder", BLUE))
    for y, name, colour in rows:
        boxes = [(0, "x", SOFT), (2.2, "MLP", INK), (4.4, "y", SOFT)]
        for x, text, line in boxes:
            _box(figure, x, y, text, line)
        _arrow(figure, (0.45, y), (1.75, y), SOFT)
        _arrow(figure, (2.65, y), (3.95, y), SOFT)
        _box(figure, 7.0, y, "ŷ", SOFT)
        start = 4.4 if name == "SAE" else 0.0
        _box(figure, 5.7 if name == "SAE" else 2.2, y - 0.55, f"latents of the {name}", colour, width=1.9)
        middle = 5.7 if name == "SAE" else 2.2
        _arrow(figure, (start, y - 0.18), (middle - 0.95, y - 0.5), colour)
        _arrow(figure, (middle + 0.95, y - 0.5), (6.6, y - 0.12), colour)
    figure.update_xaxes(visible=False, range=[-0.7, 7.7])
    figure.update_yaxes(visible=False, range=[-1.0, 2.1])
    return _style(figure, "An SAE explains the result; a transcoder explains the step", height=330)


def _box(figure: go.Figure, x: float, y: float, text: str, colour: str, width: float = 0.9) -> None:
    figure.add_shape(
        type="rect",
        x0=x - width / 2,
        x1=x + width / 2,
        y0=y - 0.17,
        y1=y + 0.17,
        line={"color": colour},
        fillcolor=PAPER,
    )
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, font={"color": colour, "size": 13})


def _arrow(figure: go.Figure, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    figure.add_annotation(
        x=end[0], y=end[1], ax=start[0], ay=start[1], xref="x", yref="y", axref="x", ayref="y", text="",
        showarrow=True, arrowhead=2, arrowwidth=1.6, arrowcolor=colour,
    )  # fmt: skip


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
    return _style(figure, "Does the latent depend on the input in the same way at every token? (cosine)", height=380)


def plot_parts(
    parts: Mapping[str, Float[Tensor, "token d_model"]], y: Float[Tensor, "token d_model"], tokens: Sequence[str]
):
    """How far each part goes in the direction of an MLP's output, token by token: together, the output's length."""
    colours = {"latents": BLUE, "skip": ORANGE, "bias": GREEN, "error": GREY}
    figure = go.Figure()
    labels = [f"{i} {token!r}" for i, token in enumerate(tokens)]
    for name, part in parts.items():
        along = (part * y).sum(-1) / y.norm(dim=-1).clamp_min(1e-12)
        figure.add_bar(x=labels, y=along.tolist(), name=name, marker_color=colours.get(name, INK))
    lengths = y.norm(dim=-1).tolist()
    figure.add_scatter(
        x=labels,
        y=lengths,
        name="length of the output",
        mode="markers",
        marker={"color": INK, "symbol": "line-ew-open", "size": 22},
    )
    figure.update_xaxes(tickangle=-45)
    figure.update_yaxes(title="length along the output")
    return _style(figure, "What the MLP writes, token by token", barmode="relative")


def plot_replacements(scores: Mapping[str, tuple[float, float, float]]) -> go.Figure:
    """Loss, KL and answers kept for several ways of replacing all MLPs."""
    names = list(scores)
    figure = make_subplots(1, 3, subplot_titles=("loss (nats)", "KL from the original (nats)", "answers kept"))
    for column, index in enumerate((0, 1, 2), start=1):
        values = [scores[name][index] for name in names]
        colours = [INK if "original" in name else BLUE if "transcoder" in name else GREY for name in names]
        text = [f"{value:.0%}" if index == 2 else f"{value:.3g}" for value in values]
        figure.add_bar(
            x=values, y=names, orientation="h", marker_color=colours, text=text, textposition="auto", row=1, col=column
        )
    figure.update_yaxes(autorange="reversed", showticklabels=False)
    figure.update_yaxes(showticklabels=True, col=1)
    figure = _style(figure, "Every MLP replaced", height=360, showlegend=False)
    return figure.update_layout(margin={"l": 190})


def plot_unexplained(bars: Mapping[str, Sequence[float]]) -> go.Figure:
    """Unexplained variance by layer, one group of bars for each way of explaining."""
    figure = go.Figure()
    for (name, values), colour in zip(bars.items(), (ORANGE, BLUE, GREY)):
        layers = [f"layer {i}" for i in range(len(values))]
        text = [f"{value:.1%}" for value in values]
        figure.add_bar(x=layers, y=list(values), name=name, marker_color=colour, text=text)
    figure.update_yaxes(title="unexplained variance", tickformat=".0%", rangemode="tozero")
    return _style(figure, "What a linear map leaves, and what the latents leave of that", barmode="group")


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
    figure = go.Figure(
        go.Scatter(
            x=direct.tolist(), y=extended.tolist(), text=texts, mode="markers+text", textposition=sides, cliponaxis=False,
            hovertext=[repr(token) for token in tokens], marker={"color": BLUE, "size": 5, "opacity": 0.5},
        )
    )  # fmt: skip
    figure.add_hline(
        y=threshold, line={"color": ORANGE, "dash": "dot"}, annotation_text="threshold", annotation_position="top left"
    )
    figure.add_vline(x=threshold, line={"color": ORANGE, "dash": "dot"})
    figure.update_xaxes(title="embedding alone")
    figure.update_yaxes(title="after the first MLP")
    return _style(figure, "Which tokens excite this latent? (pre-activation)", height=460)


def plot_pullback(
    sources: Mapping[int, Float[Tensor, " d_latents"]], names: Mapping[tuple[int, int], str], k: int = 5
) -> go.Figure:
    """The strongest earlier latents of every layer, on one scale."""
    labels, values, colours = [], [], []
    palette = ("#3f6fb5", "#4d7c4f", "#e08a1e", "#8a4fb0", "#c2410c", "#5d6675")
    for layer, effects in sources.items():
        order = effects.abs().topk(min(k, len(effects))).indices.tolist()
        for latent in sorted(order, key=lambda f: -effects[f].item()):
            name = names.get((layer, latent), "")
            labels.append(f"{layer}/{latent} {name[:34]}")
            values.append(effects[latent].item())
            colours.append(palette[layer % len(palette)])
    figure = go.Figure(go.Bar(x=values, y=labels, orientation="h", marker_color=colours))
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11})
    figure.update_xaxes(title="change of the pre-activation for one unit of the source")
    figure = _style(
        figure, "Which earlier latents feed it, straight through the stream?", height=130 + 19 * len(values)
    )
    return figure.update_layout(margin={"l": 270})


def plot_frequencies(frequencies: Mapping[str, Float[Tensor, " latent"]], tokens: int) -> go.Figure:
    """On what share of the tokens each latent fires; the dead ones stand in the bar at the left."""
    figure = go.Figure()
    floor = -4.5
    for (name, frequency), colour in zip(frequencies.items(), (BLUE, ORANGE)):
        logs = torch.where(frequency > 0, frequency.clamp_min(1 / tokens).log10(), torch.tensor(floor))
        figure.add_histogram(
            x=logs.clamp_min(floor).tolist(),
            name=name,
            marker_color=colour,
            opacity=0.65,
            xbins={"start": floor - 0.125, "size": 0.25},
        )
    ticks = [floor, -4, -3, -2, -1, 0]
    figure.update_xaxes(
        title="share of tokens on which a latent fires",
        tickvals=ticks, ticktext=["never", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"], range=[floor - 0.3, 0.2],
    )  # fmt: skip
    figure.update_yaxes(title="latents")
    return _style(figure, "How often do the latents fire?", barmode="overlay")


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
        f"<rect x='{12 * i}' y='{50 - 46 * float(c) / tallest:.1f}' width='10' height='{46 * float(c) / tallest:.1f}' fill='{BLUE}'/>"
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
        style = f"background:rgba(63,111,181,{0.15 + 0.65 * strength:.2f})" if strength > 0 else ""
        spans.append(f"<span style='white-space:pre;{style}'>{text}</span>")
    return f"<div style='font-family:monospace;line-height:1.7'>{''.join(spans)}</div>"
