"""How long a graph takes and how much memory, against prompt length and latents kept, and against the obvious way."""

import gc
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.benchmark.loop import adjacency_by_loop
from solutions.benchmark.peak import peak_mib, reset_peak, resident_mib
from solutions.chapter3_attribution_graphs import (
    FreezeHooks,
    TranscoderReplacementHooks,
    attribute,
    build_graph_nodes,
    compute_adjacency_matrix,
    compute_salient_logits,
    prepare_backward_batches,
)
from utils.engine.hooks import Transcoder
from utils.plots.cost import Cost

PROMPT = "The capital of the state containing Dallas is"


class Peak:
    """Peak memory of a block in MiB above what was in use before: of the GPU if there is one, else of the process (Linux)."""

    def __init__(self, device: torch.device):
        self.device = device
        self.mib = 0.0

    def __enter__(self) -> "Peak":
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device) / 2**20
        else:
            reset_peak()
            self._before = resident_mib()
        return self

    def __exit__(self, *exc) -> None:
        after = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else peak_mib()
        self.mib = max(0.0, after - self._before)


def measure(function: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Median seconds and peak MiB of `function`, after one run to warm up."""

    def timed() -> float:
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    with Peak(device) as peak:
        timed()
    return statistics.median(timed() for _ in range(repeats)), peak.mib


def _row(*cells: object) -> None:
    print("".join(f"{cell:>14}" if i else f"{cell:<22}" for i, cell in enumerate(cells)), flush=True)


def _mib(value: float) -> str:
    return f"{value:.0f} MiB"


def compare_sizes(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    n_tokens: list[int],
    top_ks: list[int | None],
    repeats: int,
) -> list[Cost]:
    """Time and memory of `attribute` against prompt length and against latents kept."""
    found = []
    device = model.W_U.device
    words = PROMPT.split()
    _row("attribute()", "tokens", "nodes", "median", "peak memory")
    for top_k in top_ks:
        for n in n_tokens:
            prompt = " ".join((words * (n // len(words) + 1))[:n])
            result = attribute(model, transcoders, prompt, top_k=top_k)
            seconds, mib = measure(
                lambda prompt=prompt, top_k=top_k: attribute(model, transcoders, prompt, top_k=top_k), device, repeats
            )
            kept = "all latents" if top_k is None else f"top {top_k} latents"
            _row(kept, result.graph.seq_len, len(result.graph), f"{seconds:.3f} s", _mib(mib))
            found.append(Cost(kept, result.graph.seq_len, len(result.graph), seconds, mib))
    return found


def compare_with_loop(model: TransformerBridge, transcoders: dict[int, Transcoder], repeats: int) -> None:
    """Edges by walking back and by the obvious loop: same matrix, and the ratio of the times."""
    device = model.W_U.device
    tokens = model.to_tokens(PROMPT)
    freeze = FreezeHooks(model)
    cache = freeze.cache_frozen_values(tokens)
    tc_hooks = TranscoderReplacementHooks(model, transcoders, cache)
    graph = build_graph_nodes(
        model, transcoders, cache, tc_hooks, *compute_salient_logits(model, freeze.logits), tokens, start_posn=0
    )

    def walk() -> Tensor:
        return compute_adjacency_matrix(model, tokens, graph, freeze, tc_hooks, prepare_backward_batches(graph))

    def loop() -> Tensor:
        return adjacency_by_loop(model, tokens, graph, freeze, tc_hooks)

    difference = float((walk() - loop()).abs().max() / walk().abs().max())
    _row(f"edges, {len(graph)} nodes", "", "", "median", "peak memory")
    walk_seconds, walk_mib = measure(walk, device, repeats)
    loop_seconds, loop_mib = measure(loop, device, 1)
    _row("walk back", "", "", f"{walk_seconds:.3f} s", _mib(walk_mib))
    _row("loop over sources", "", "", f"{loop_seconds:.3f} s", _mib(loop_mib))
    print(
        f"The loop takes {loop_seconds / walk_seconds:.0f} times as long. Largest difference: {difference:.1e} of the"
    )
    print("largest edge.")
    if not difference < 1e-3:
        raise SystemExit("The two ways do not give the same matrix.")
