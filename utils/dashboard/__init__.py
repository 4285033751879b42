"""Drawing attribution graphs: a JSON file that other tools read, and one HTML page that opens anywhere.

    build_graph(result, labels)          an AttributionResult as a graph in JSON's form
    open_with_boxes(graph)               the graph with the supernodes that its page opens with
    page_boxes(result)                   the same supernodes, as nodes of an AttributionResult
    read_graph(path)                     a graph of this course, circuit-tracer or Neuronpedia from a file
    write_page(graph, path)              the page; with a second graph, both in one picture or side by side
    Dashboard(result)                    the same in a notebook

`python -m utils.dashboard` does it from a terminal.
"""

from utils.dashboard.graph_json import build_graph, check_graph, slugify, write_graph
from utils.dashboard.grouping import open_with_boxes, page_boxes
from utils.dashboard.notebook import Dashboard
from utils.dashboard.read_graph import read_graph
from utils.dashboard.render import render_page, write_page
from utils.engine.json_input import GraphFormatError
from utils.latents.files import latents_of, read_latents, write_for_circuit_tracer, write_latents

__all__ = [
    "Dashboard",
    "GraphFormatError",
    "build_graph",
    "check_graph",
    "latents_of",
    "open_with_boxes",
    "page_boxes",
    "read_graph",
    "read_latents",
    "render_page",
    "slugify",
    "write_for_circuit_tracer",
    "write_graph",
    "write_latents",
    "write_page",
]
