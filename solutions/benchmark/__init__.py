"""How much a graph costs: by its size, against the obvious way, and beside circuit-tracer. `python -m solutions.benchmark --help`."""

from solutions.benchmark.loop import adjacency_by_loop

__all__ = ["adjacency_by_loop"]
