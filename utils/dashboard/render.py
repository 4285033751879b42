"""One self-contained HTML page from one or two graphs: no network, no third-party script, data never read as markup.

Python turns the graphs into a small *view* (what to draw, by index); the scripts in ``web/`` lay it out and draw it. They are
put into the page one after another. The page's Content-Security-Policy names the SHA-256 of its one script and one style sheet
and forbids every request, so nothing that stands in a label or a token can run, and nothing can be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.dashboard.grouping import find_boxes
from utils.dashboard.read_graph import graph_view
from utils.latents.files import Latents, compact_latents

WEB = Path(__file__).parent / "web"
# In this order: each uses only what stands before it, or is called later.
SCRIPTS = (
    "text.js",
    "flow.js",
    "graph.js",
    "compare.js",
    "state.js",
    "layout.js",
    "picture.js",
    "layered.js",
    "subgraph.js",
    "panel.js",
    "card.js",
    "heads.js",
    "latent.js",
    "table.js",
    "files.js",
    "page.js",
)
MAX_TITLE = 80


def render_page(
    graph: Mapping[str, Any], other: Mapping[str, Any] | None = None, latents: Latents | None = None
) -> str:
    """The HTML page of a graph, or of two side by side.

    Args:
        graph: a graph of :func:`utils.dashboard.build_graph`, or of a file that :func:`utils.dashboard.read_graph` can read.
        other: a second graph to compare it with.
        latents: what is known of latents, by (layer, latent); those that are in no graph are left out.

    Raises:
        GraphFormatError: a graph or a latent's data are damaged; the sentence says what and where.
    """
    script, style = "\n".join(_asset(name) for name in SCRIPTS), _asset("page.css")
    view = page_view(graph, other, latents)
    title = " | ".join(_shorten(side["prompt"], MAX_TITLE) for side in view["graphs"])
    return _fill(
        _asset("page.html"),
        {
            "csp": _policy(script, style),
            "title": html.escape(title),
            "style": style,
            "data": _script_safe(view),
            "script": script,
        },
    )


def write_page(
    graph: Mapping[str, Any],
    path: str | Path,
    other: Mapping[str, Any] | None = None,
    latents: Latents | None = None,
) -> Path:
    """Write the page of a graph, or of two side by side, to ``path``; see :func:`render_page`."""
    path = Path(path)
    text = render_page(graph, other, latents)
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


def page_view(
    graph: Mapping[str, Any], other: Mapping[str, Any] | None = None, latents: Latents | None = None
) -> dict[str, Any]:
    """All data of a page: ``graphs`` (one or two, see ``graph_view``), ``latents`` and the ``words`` of their examples."""
    graphs = [graph_view(side) for side in (graph, other) if side is not None]
    for view in graphs:
        view["boxes"] = [[box.name, *box.members] for box in find_boxes(view)]
    keys = {node["key"] for side in graphs for node in side["nodes"] if node["kind"] == "latent"}
    shown = {pair: data for pair, data in sorted((latents or {}).items()) if f"{pair[0]}/{pair[1]}" in keys}
    return {"graphs": graphs, **compact_latents(shown)}


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _asset(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _script_safe(view: Mapping[str, Any]) -> str:
    """JSON that cannot end or open an element: ASCII only, and no ``<``, ``>`` or ``&``."""
    text = json.dumps(view, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy that allows this script and this style sheet, pictures made by the page, and no request."""
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _fill(template: str, parts: Mapping[str, str]) -> str:
    """Put ``parts`` in place of ``{{name}}`` in one pass, so that what is put in is never searched again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
