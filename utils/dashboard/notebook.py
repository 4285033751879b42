"""The page as the output of a notebook's cell."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.dashboard.graph_json import Labels, build_graph, need
from utils.dashboard.latents import Latents
from utils.dashboard.page import render_page

if TYPE_CHECKING:
    from utils.graph import AttributionResult

HEIGHT = 720  # pixels: the whole page without scrolling, and less than most screens


class Dashboard:
    """One graph, or two side by side, shown inline by Jupyter, VS Code and Colab when it is a cell's last value.

    Args:
        graphs: one or two results of `attribute`, graphs of `build_graph`, or graphs read from files.
        labels: names of latents, `{(layer, latent): name}`, for results.
        latents: what is known of latents (see `utils.latent_examples.describe_latents`).
        height: of the output, in pixels.

    Raises:
        GraphFormatError: none or more than two graphs, or a damaged one.
    """

    def __init__(
        self,
        *graphs: AttributionResult | Mapping[str, Any],
        labels: Labels | None = None,
        latents: Latents | None = None,
        height: int = HEIGHT,
    ):
        need(1 <= len(graphs) <= 2, f"A dashboard shows one graph or compares two, not {len(graphs)}.")
        self.graphs = [graph if isinstance(graph, Mapping) else build_graph(graph, labels) for graph in graphs]
        self.height = int(height)
        self.html = render_page(*self.graphs, latents=latents)

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, as one file that opens anywhere."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8", errors="replace")
        return path

    def __repr__(self) -> str:
        sizes = " and ".join(f"{len(graph['nodes'])} nodes" for graph in self.graphs)
        return f"<Dashboard of {sizes}; .save('graph.html') writes the page>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own: its style does not meet the notebook's, and it may run its script and no more."""
        page = html.escape(self.html.encode("utf-8", "replace").decode("utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" title="Attribution graph" width="100%" height="{self.height}" '
            'sandbox="allow-scripts allow-downloads allow-forms allow-modals" style="border: 0"></iframe>'
        )
