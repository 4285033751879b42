"""This course's side of the benchmark, in a process of its own; `peer.py` is circuit-tracer's.

python -m solutions.benchmark.ours FOLDER PROMPT OUT REPEATS BATCH_SIZE [offload]
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from solutions.benchmark.peak import peak_mib, reset_peak, resident_mib
from solutions.chapter3_attribution_graphs import attribute
from utils.engine.graph import AttributionResult, NodeType
from utils.models import load

KINDS = {NodeType.EMBEDDING: 0, NodeType.LATENT: 1, NodeType.MLP_ERROR: 2, NodeType.LOGIT: 3}
# what circuit-tracer takes by itself: tokens up to this mass of probability, but no more than this many
OUTPUTS = {"probability_mass": 0.95, "max_output_nodes": 10}


def edges(result: AttributionResult) -> dict[str, torch.Tensor]:
    """The matrix, and each node as (kind, layer, position, number)."""
    layers = [node.layer if isinstance(node.layer, int) else 0 for node in result.graph.nodes]
    rows = [(KINDS[n.node_type], layer, n.ctx_idx, n.feature) for n, layer in zip(result.graph.nodes, layers)]
    return {"matrix": result.adjacency_matrix, "nodes": torch.tensor(rows)}


def main() -> None:
    folder, prompt, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    repeats, batch_size = int(sys.argv[4]), int(sys.argv[5])
    model, transcoders = load(folder, offload=sys.argv[6:] == ["offload"])
    attribute(model, transcoders, " ".join(prompt.split()[:2]), **OUTPUTS)  # whatever is loaded late is loaded now
    before = resident_mib()
    reset_peak()
    wall, cpu = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        result = attribute(model, transcoders, prompt, batch_size=batch_size, **OUTPUTS)
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    measured = {"wall": wall, "cpu": cpu, "peak_mib": peak_mib(), "before_mib": before, "nodes": len(result.graph)}
    save_file({name: tensor.contiguous() for name, tensor in edges(result).items()}, out.with_suffix(".safetensors"))
    out.write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
