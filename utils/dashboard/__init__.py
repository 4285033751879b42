"""Drawing attribution graphs: a JSON file that other tools read, and one HTML page that opens anywhere."""

from utils.dashboard.graph_json import GraphFormatError, build_graph, check_graph, slugify, write_graph
from utils.dashboard.page import render_page, write_page

__all__ = ["GraphFormatError", "build_graph", "check_graph", "render_page", "slugify", "write_graph", "write_page"]
