"""The page as the output of a notebook's cell."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.dashboard.graph_json import Labels, build_graph, need
from utils.dashboard.grouping import open_with_boxes
from utils.dashboard.render import render_page
from utils.latents.files import Latents

if TYPE_CHECKING:
    from utils.engine.graph import AttributionResult

HIDDEN = "The page of this graph is shown when the cell is run."
HEIGHT = 720  # pixels: the whole page without scrolling, and less than most screens


class Dashboard:
    """One graph, or two side by side, shown inline by Jupyter, VS Code and Colab when it is a cell's last value.

    The page of a result bears no date, so that a cell gives the same output each time.

    Args:
        graphs: one or two results of `attribute`, graphs of `build_graph`, or graphs read from files.
        labels: names of latents, `{(layer, latent): name}`, for results.
        latents: what is known of latents (see `utils.latents.examples.describe_latents`).
        paths: paths to bring out in one result, each beginning with its nodes and its strength (see `build_graph`).
        height: of the output, in pixels.

    Raises:
        GraphFormatError: none or more than two graphs, a damaged one, or paths that are not of one result.
    """

    def __init__(
        self,
        *graphs: AttributionResult | Mapping[str, Any],
        labels: Labels | None = None,
        latents: Latents | None = None,
        paths: Sequence[tuple] = (),
        height: int = HEIGHT,
    ):
        need(1 <= len(graphs) <= 2, f"A dashboard shows one graph or compares two, not {len(graphs)}.")
        is_result = len(graphs) == 1 and not isinstance(graphs[0], Mapping)
        need(is_result or not paths, "Paths need one result: a graph or a comparison cannot take any.")
        self.graphs = [graph if isinstance(graph, Mapping) else _undated(graph, labels, paths) for graph in graphs]
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
        # the words inside are shown where frames are not: in a notebook that is not trusted yet, and on GitHub
        return (
            f'<iframe srcdoc="{page}" title="Attribution graph" width="100%" height="{self.height}" '
            f'sandbox="allow-scripts allow-downloads allow-forms allow-modals" style="border: 0">{HIDDEN}</iframe>'
        )


def _undated(result: AttributionResult, labels: Labels | None, paths: Sequence[tuple]) -> dict[str, Any]:
    graph = open_with_boxes(build_graph(result, labels, paths=paths))
    del graph["metadata"]["info"]["create_time_ms"]
    return graph
