"""How long a graph takes and how much memory, against prompt length, latents kept, and the obvious way of doing it.

    python -m solutions.benchmark [--model atlas] [--repeats 5] [--threads N]

The obvious way runs the model forward for every batch of targets and loops over the sources in Python. It is checked to give
the same matrix. Close other programs first: timings taken on a busy machine mean nothing.
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import (
    FreezeHooks,
    TranscoderReplacementHooks,
    attribute,
    build_graph_nodes,
    compute_adjacency_matrix,
    compute_salient_logits,
    prepare_backward_batches,
)
from utils.engine.graph import GraphNodes, NodeType
from utils.engine.hooks import EMBEDDING_HOOK, FINAL_HOOK, Transcoder, hooked, reading_hook, writing_hook

PROMPT = "The capital of the state containing Dallas is"
STAND_IN = "stand-in"


def adjacency_by_loop(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    graph: GraphNodes,
    freeze: FreezeHooks,
    tc_hooks: TranscoderReplacementHooks,
    batch_size: int = 8,
) -> Float[Tensor, "n_nodes n_nodes"]:
    """The same matrix in the obvious way: a forward pass a batch, a Python loop over sources."""
    adjacency = graph.writing_vecs.new_zeros(len(graph), len(graph))
    source_hooks = {"E": EMBEDDING_HOOK} | {layer: writing_hook(layer) for layer in range(model.cfg.n_layers)}
    read_hooks = {"L": FINAL_HOOK} | {layer: reading_hook(layer) for layer in range(model.cfg.n_layers)}
    for start, nodes, reading_vecs, positions, layers in prepare_backward_batches(graph, batch_size):
        captured: dict[str, Tensor] = {}

        def capture(value: Tensor, hook: HookPoint, captured: dict[str, Tensor] = captured) -> Tensor:
            # the model's weights may not ask for gradients, so the embedding has to
            captured[hook.name] = value.detach().requires_grad_() if hook.name == EMBEDDING_HOOK else value
            return captured[hook.name]

        hooks = [(name, capture) for name in (*source_hooks.values(), *read_hooks.values())]
        with torch.enable_grad(), hooked(model, freeze.fwd_hooks + tc_hooks.fwd_hooks + hooks):
            model(tokens.expand(len(nodes), -1))
            reads = captured[read_hooks[layers[0]]][torch.arange(len(nodes)), positions]
            objective = (reads * reading_vecs.to(reads)).sum()
            names = list(source_hooks.values())
            grads = torch.autograd.grad(objective, [captured[name] for name in names], allow_unused=True)
        by_name = dict(zip(names, grads))
        for source, node in enumerate(graph.nodes):
            if node.node_type is NodeType.LOGIT or by_name[source_hooks[node.layer]] is None:
                continue
            grad = by_name[source_hooks[node.layer]][:, node.ctx_idx]
            effects = (grad.to(graph.writing_vecs) * graph.writing_vecs[source]).sum(-1)
            for target in range(len(nodes)):
                adjacency[start + target, source] = effects[target]
    return adjacency


def stand_in() -> tuple[TransformerBridge, dict[int, Transcoder]]:
    """A random model of atlas' size (6 layers, d_model 128, 8 of 1,024 latents active), for timing only."""
    from sae_lens import JumpReLUSkipTranscoder
    from sae_lens.saes.transcoder import JumpReLUSkipTranscoderConfig
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    torch.manual_seed(0)
    n_layers, d_model, d_latents, n_active, vocab_size = 6, 128, 1024, 8, 830
    vocab = {word: i for i, word in enumerate(["<pad>", "<bos>", "<unk>", *PROMPT.split()])}
    vocab |= {f"word{i}": i for i in range(len(vocab), vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=d_model,
        intermediate_size=4 * d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        sliding_window=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        special = {"bos_token": "<bos>", "pad_token": "<pad>", "unk_token": "<unk>"}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
        Gemma3ForCausalLM(config).save_pretrained(folder)
        model = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32)
    transcoders = {}
    for layer in range(n_layers):
        transcoder = JumpReLUSkipTranscoder(
            JumpReLUSkipTranscoderConfig(
                d_in=d_model, d_out=d_model, d_sae=d_latents, apply_b_dec_to_input=False, device="cpu"
            )
        )
        with torch.no_grad():
            for weight in transcoder.parameters():
                weight.copy_(torch.randn_like(weight) * d_model**-0.5)
            # the input of an MLP has unit scale, so that a pre-activation is about standard normal
            quantile = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - n_active / d_latents))
            transcoder.threshold.fill_(float(quantile))
        transcoders[layer] = transcoder
    return model, transcoders


def load(name: str, device: str | None) -> tuple[TransformerBridge, dict[int, Transcoder]]:
    """A model by the door of `utils.models`, or the stand-in."""
    if name == STAND_IN:
        return stand_in()
    from utils import models

    loaded = models.load(name, device=device)
    return loaded.model, loaded.transcoders


class Peak:
    """Peak memory of a block in MiB above what was in use before: of the GPU if there is one, else of the process (Linux)."""

    def __init__(self, device: torch.device):
        self.device = device
        self.mib: float | None = None

    def __enter__(self) -> "Peak":
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device) / 2**20
        else:
            # 5 resets the peak to what is in use now
            _try(lambda: Path("/proc/self/clear_refs").write_text("5"))
            self._before = _try(lambda: _resident_mib("VmRSS"))
        return self

    def __exit__(self, *exc) -> None:
        if self.device.type == "cuda":
            after = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            after = _try(lambda: _resident_mib("VmHWM"))
        self.mib = None if after is None or self._before is None else max(0.0, after - self._before)


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _try(function: Callable[[], float]) -> float | None:
    try:
        return function()
    except (OSError, StopIteration):
        return None


def measure(function: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float | None]:
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


def _mib(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} MiB"


def compare_sizes(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    n_tokens: list[int],
    top_ks: list[int | None],
    repeats: int,
) -> None:
    """Time and memory of `attribute` against prompt length and against latents kept."""
    device = model.W_U.device
    words = PROMPT.split()
    _row("attribute()", "tokens", "nodes", "median", "peak memory")
    for top_k in top_ks:
        for n in n_tokens if top_k is None else n_tokens[:1]:
            prompt = " ".join((words * (n // len(words) + 1))[:n])
            result = attribute(model, transcoders, prompt, top_k=top_k)
            seconds, mib = measure(
                lambda prompt=prompt, top_k=top_k: attribute(model, transcoders, prompt, top_k=top_k), device, repeats
            )
            kept = "all latents" if top_k is None else f"top {top_k} latents"
            _row(kept, result.graph.seq_len, len(result.graph), f"{seconds:.3f} s", _mib(mib))


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m solutions.benchmark", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--model", default="atlas", help=f"a name of utils.models, or {STAND_IN!r}: random, of atlas' size"
    )
    parser.add_argument("--device", default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument("--tokens", type=int, nargs="+", default=[8, 16, 32, 64], help="prompt lengths, in words")
    parser.add_argument("--top-k", type=int, nargs="*", default=[1, 4], help="latents kept a position, besides all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, transcoders = load(arguments.model, arguments.device)
    device = model.W_U.device
    load_now = _try(lambda: os.getloadavg()[0])
    print(
        f"{arguments.model} on {device}, {torch.get_num_threads()} threads, torch {torch.__version__}, load {load_now}"
    )
    n_ctx = getattr(model.cfg, "n_ctx", None) or 10**9
    fitting = [n for n in arguments.tokens if n < n_ctx] or [4]
    compare_sizes(model, transcoders, fitting, [None, *arguments.top_k], arguments.repeats)
    print()
    compare_with_loop(model, transcoders, arguments.repeats)


if __name__ == "__main__":
    main()
