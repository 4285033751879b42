"""The edges of the graph: direct effects of every source on every target.

An edge is the derivative of what the target reads by what is written at the source's place, times the source's writing
vector. One forward pass of the frozen model is recorded. Then, for a batch of targets at a time, their reading vectors are
put in as gradients and walked back one block at a time; at every block, all sources that write there are read off at once.
(Circuit Tracing, section 3.1, "Constructing an attribution graph for a prompt".)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs.freezing import FreezeHooks, TranscoderReplacementHooks
from utils.engine.graph import GraphNodes, NodeInfo, NodeType
from utils.engine.hooks import NO_LOGITS, Hook, hooked, reading_hook, writing_hook
from utils.engine.memory import zero_edges

# Targets x positions left out x d_model², from which a shorter run saves more time than it takes to record (measured on a CPU).
SHORTEN_FROM = 1 << 24


@dataclass
class FrozenRun:
    """One recorded forward pass of the frozen model; its tensors still know how they were computed.

    Attributes:
        writes: "E" and every layer -> (1, seq, d_model), the residual stream where the sources of that place write.
        reads: every layer and "L" -> (1, seq, d_model), what the targets of that place read.
        made_from: the arguments of `setup_attribution`, by which the run can be made again on fewer tokens.
    """

    writes: dict[int | str, Float[Tensor, "1 seq d_model"]]
    reads: dict[int | str, Float[Tensor, "1 seq d_model"]]
    made_from: tuple | None = None
    _shorter: "tuple[int, FrozenRun] | None" = None

    def until(self, position: int, n_targets: int | None = None) -> "FrozenRun":
        """The same run, ended soon after a position: attention never looks ahead, so what stands before does not notice.

        There are at most 16 lengths, and the latest one is kept. A new length is a forward pass: where it takes longer than
        `n_targets` targets gain by it, this run itself is returned. None stands for very many targets.
        """
        if self.made_from is None:
            return self
        model, tokens, freeze, tc_hooks = self.made_from
        seq_len = tokens.shape[1]
        step = -(-seq_len // 16)
        n_tokens = (position // step + 1) * step
        if n_tokens >= seq_len:
            return self

        def cut(value, hook):
            frozen = freeze.frozen_values[hook.name]
            return frozen[tuple(slice(size) for size in value.shape)]

        if self._shorter is None or self._shorter[0] != n_tokens:
            saved = (seq_len - n_tokens) * model.cfg.d_model**2
            if n_targets is not None and n_targets * saved < SHORTEN_FROM:
                return self
            self._shorter = None  # its memory is free before the next one is made
            frozen = SimpleNamespace(fwd_hooks=[(name, cut) for name in freeze.frozen_values])
            with hooked(model, [NO_LOGITS]):
                self._shorter = n_tokens, setup_attribution(model, tokens[:, :n_tokens], frozen, tc_hooks)
        return self._shorter[1]


class BackwardBatch(NamedTuple):
    """Targets that are walked back together; they all read at the same place."""

    global_start_idx: int
    nodes: list[NodeInfo]
    reading_vecs: Float[Tensor, "batch d_model"]
    positions: Int[Tensor, " batch"]
    layers: list[int | str]


class SourceTable(NamedTuple):
    """The sources that write at one place, sorted into one row a position; short rows are filled up with zero vectors."""

    writing_vecs: Float[Tensor, "seq width d_model"]
    columns: Int[Tensor, "seq width"]


def setup_attribution(
    model: TransformerBridge, tokens: Int[Tensor, "1 seq"], freeze: FreezeHooks, tc_hooks: TranscoderReplacementHooks
) -> FrozenRun:
    """Run the frozen model once on `tokens` and keep what the backward walks need.

    Kept are, as live tensors that know how they were computed:
        writes["E"]: the embedding (`writing_hook("E")`). The gradient stops here: the model goes on with a detached copy that
            asks for a gradient, and this copy is what is kept.
        writes[layer]: the residual stream after each block (`writing_hook(layer)`).
        reads[layer]: what the latents of each layer read, after ln2 (`reading_hook(layer)`).
        reads["L"]: what the logits read, after ln_final (`reading_hook("L")`).

    The run has the hooks of `freeze` and `tc_hooks`; your own hooks come after them. Gradients are recorded even if they were
    switched off by the caller. Hooks and gradient mode are as before when this returns or raises.
    """
    writes: dict[int | str, Tensor] = {}
    reads: dict[int | str, Tensor] = {}
    layers = range(model.cfg.n_layers)
    # Run the model with all hooks (`with hooked(model, ...)`) and fill `writes` and `reads`.
    ### BEGIN SOLUTION
    places = {writing_hook(layer): (writes, layer) for layer in layers}
    places |= {reading_hook(layer): (reads, layer) for layer in [*layers, "L"]}

    def start_here(embedding, hook):
        writes["E"] = embedding.detach().requires_grad_()
        return writes["E"]

    def capture(value, hook):
        kept, key = places[hook.name]
        kept[key] = value

    hooks = [
        *freeze.fwd_hooks,
        *tc_hooks.fwd_hooks,
        *((name, capture) for name in places),
        (writing_hook("E"), start_here),
    ]
    with hooked(model, hooks), torch.enable_grad():
        model(tokens)
    ### END SOLUTION
    return FrozenRun(writes, reads, (model, tokens, freeze, tc_hooks))


def prepare_backward_batches(graph: GraphNodes, batch_size: int = 128) -> list[BackwardBatch]:
    """Group the nodes that read (latents and logits) into batches of at most `batch_size`, never across layers.

    Every target is in one batch, and batches follow the order of the nodes; all but the last one of a layer are full.
    `graph.node_range_dict` says where each layer's nodes are: in a layer the latents come first, then its errors, which do not
    read. Embeddings do not read either.

    Returns:
        The batches. For each, `global_start_idx` is the index of its first node in `graph.nodes`, `positions` has the nodes'
        `ctx_idx` (on the device of the reading vectors), and `layers` the nodes' `layer`.
    """
    batches, ranges = [], graph.node_range_dict
    for layer, (start, stop) in ranges.items():
        n_targets = sum(node.node_type in (NodeType.LATENT, NodeType.LOGIT) for node in graph.nodes[start:stop])
        for first in range(start, start + n_targets, batch_size):
            last = min(first + batch_size, start + n_targets)
            targets = graph.nodes[first:last]
            where = torch.tensor([target.ctx_idx for target in targets], device=graph.reading_vecs.device)
            vectors = graph.reading_vecs[first:last]
            batches.append(BackwardBatch(first, targets, vectors, where, [layer] * len(targets)))
    return batches


def walk_back_one(
    run: FrozenRun, reading_vec: Float[Tensor, " d_model"], position: int, layer: int | str
) -> dict[int | str, Float[Tensor, "seq d_model"]]:
    """One target's gradient at every place where sources write before it. Slow and simple: the truth for `walk_back`.

    Args:
        run: the recorded run: `run.reads[layer]` is where the target reads, `run.writes` is where sources write.
        reading_vec, position, layer: the target; `layer` is a layer's index or "L".

    Returns:
        Place ("E" or a layer below `layer`; all layers are below "L") -> gradient of the target's reading there.
    """
    ### BEGIN SOLUTION
    output = run.reads[layer]
    gradient = torch.zeros_like(output)
    gradient[0, position] = reading_vec.to(gradient)
    layers_before = [place for place in run.writes if place != "E" and (layer == "L" or place < layer)]
    found = {}
    for place in [*sorted(layers_before, reverse=True), "E"]:
        (gradient,) = torch.autograd.grad(output, run.writes[place], gradient, retain_graph=True)
        found[place] = gradient[0]
        output = run.writes[place]
    return found
    ### END SOLUTION


def edges_into(run: FrozenRun, graph: GraphNodes, target: int) -> Float[Tensor, " n_nodes"]:
    """One row of the matrix, source by source: slow and simple.

    Args:
        target: index of a latent or a logit in `graph.nodes`.

    Returns:
        The target's edge from every node, in the dtype of `graph.writing_vecs`; 0 where there is none.
    """
    node, edges = graph.nodes[target], torch.zeros_like(graph.writing_vecs[:, 0])
    # `walk_back_one` gives the gradients. The vectors are in `graph.reading_vecs` and `graph.writing_vecs`. A node's `layer` is
    # where it stands ("E" for an embedding), `ctx_idx` its position.
    ### BEGIN SOLUTION
    gradients = walk_back_one(run, graph.reading_vecs[target], node.ctx_idx, node.layer)
    for source, writer in enumerate(graph.nodes):
        if writer.layer in gradients:
            at_source = gradients[writer.layer][writer.ctx_idx]
            edges[source] = at_source.to(edges) @ graph.writing_vecs[source]
    return edges
    ### END SOLUTION


def walk_back(
    run: FrozenRun,
    reading_vecs: Float[Tensor, "batch d_model"],
    positions: Int[Tensor, " batch"],
    layer: int | str,
) -> Iterator[tuple[int | str, Float[Tensor, "batch seq d_model"]]]:
    """Put reading vectors in as gradients at `layer`, and walk all of them back together, place by place.

    Yields:
        The place ("E" or a layer) and the gradients there, from the last place before `layer` down to the embedding. Only one
        place's gradients are held at a time.
    """
    # what comes behind the last target has no part in its edges: a shorter run gives the same gradients sooner
    seq_len, run = run.reads[layer].shape[1], run.until(int(positions.max()), len(positions))

    def whole(grad: Float[Tensor, "batch 1 shorter d_model"]) -> Float[Tensor, "batch seq d_model"]:
        """Zeros behind the end of the shorter run."""
        grad, n_missing = grad[:, 0], seq_len - grad.shape[2]
        return pad(grad, (0, 0, 0, n_missing)) if n_missing else grad

    # Yield each place together with `whole(grad)`, where `grad` is (batch, 1, length of `run`, d_model).
    ### BEGIN SOLUTION
    output, batch = run.reads[layer], len(positions)
    grad = output.new_zeros(batch, *output.shape)
    grad[torch.arange(batch, device=grad.device), 0, positions] = reading_vecs.to(grad)
    layers_before = [place for place in run.writes if place != "E" and (layer == "L" or place < layer)]
    for place in [*sorted(layers_before, reverse=True), "E"]:
        (grad,) = torch.autograd.grad(output, run.writes[place], grad, retain_graph=True, is_grads_batched=True)
        yield place, whole(grad)
        output = run.writes[place]
    ### END SOLUTION


def tabulate_sources(graph: GraphNodes) -> dict[int | str, SourceTable]:
    """Sort the sources of every place by position, so that one batched matrix product contracts them all.

    Sources are embeddings, latents and errors. A table has a row for each position, in which the sources of this position stand
    in the order of the nodes. Its width is that of the longest row. Shorter rows are filled up: with zeros in `writing_vecs`, and in
    `columns` with `len(graph)`, one past the last node.

    Returns:
        Place ("E" or a layer) -> its table. `columns` holds indices into `graph.nodes` (int64).
    """
    tables = {}
    for place, (start, end) in graph.node_range_dict.items():
        if place == "L":
            continue
        # The sources of this place are `graph.nodes[start:end]`. Set `vectors` and `columns`.
        ### BEGIN SOLUTION
        rows: list[list[int]] = [[] for _ in range(graph.seq_len)]
        for source in range(start, end):
            rows[graph.nodes[source].ctx_idx].append(source)
        width = max(len(row) for row in rows)
        vectors = graph.writing_vecs.new_zeros(graph.seq_len, width, graph.writing_vecs.shape[1])
        columns = torch.full((graph.seq_len, width), len(graph), device=vectors.device)
        for position, row in enumerate(rows):
            vectors[position, : len(row)] = graph.writing_vecs[row]
            columns[position, : len(row)] = torch.tensor(row, device=vectors.device)
        ### END SOLUTION
        tables[place] = SourceTable(vectors, columns)
    return tables


def compute_adjacency_matrix(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    graph: GraphNodes,
    freeze: FreezeHooks,
    tc_hooks: TranscoderReplacementHooks,
    batches: list[BackwardBatch],
    run: FrozenRun | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n_nodes n_nodes"]:
    """Direct effects, [target, source]; strictly lower triangular.

    An edge is the gradient of what the target reads, at the place and position where the source writes, times the source's
    writing vector. There are thousands of sources, so they are contracted together, without a Python loop over nodes.

    Args:
        model, tokens, graph: what is traced, and its nodes.
        freeze, tc_hooks: make the model linear.
        batches: from `prepare_backward_batches`.
        run: from `setup_attribution`, if it has been done already.
        progress: called with (targets done, targets in all) after every batch.

    Returns:
        (n_nodes, n_nodes), in the dtype of the graph's vectors. Rows of nodes that do not read are zero.
    """
    run = run or setup_attribution(model, tokens, freeze, tc_hooks)
    tables = tabulate_sources(graph)
    n_nodes, n_targets, n_done = len(graph), sum(len(batch.nodes) for batch in batches), 0
    # one column more, for the fillers of the tables; it is cut off in the end
    adjacency = zero_edges(graph.writing_vecs, n_nodes + 1)
    # in this order `walk_back` needs each length of the run once
    for batch in sorted(batches, key=lambda batch: int(batch.positions.max())):
        rows = adjacency[batch.global_start_idx : batch.global_start_idx + len(batch.nodes)]  # a row for each target
        for place, grad in walk_back(run, batch.reading_vecs, batch.positions, batch.layers[0]):
            # Fill the columns of `rows` that belong to the sources at this place. `grad` is (batch, seq, d_model);
            # `tables[place]` is (vectors, columns), (seq, width, d_model) and (seq, width).
            ### BEGIN SOLUTION
            vectors, columns = tables[place]
            effects = grad.to(vectors).transpose(0, 1) @ vectors.mT  # (seq, batch, width)
            rows[:, columns.flatten()] = effects.transpose(0, 1).flatten(1)
            ### END SOLUTION
        n_done += len(batch.nodes)
        if progress is not None:
            progress(n_done, n_targets)
    return adjacency[:, :n_nodes]


def read_targets(
    graph: GraphNodes, reads: dict[int | str, Float[Tensor, "1 seq d_model"]]
) -> Float[Tensor, " n_nodes"]:
    """What every node reads from the given activations, `graph.reading_bias` (`b_enc`) included; 0 for nodes that do not read.

    With the activations of the prompt (`run.reads`) these are the targets' values: pre-activation of a latent, demeaned logit of
    an output token.

    Args:
        reads: every layer and "L" -> (1, seq, d_model), the activations there.

    Returns:
        (n_nodes,), in the dtype of `graph.reading_bias`, without gradients.
    """
    values = graph.reading_bias.clone()
    # The vectors are in `graph.reading_vecs`. A node's `layer` is its place in `reads`, its position is `ctx_idx`.
    ### BEGIN SOLUTION
    for place, activations in reads.items():
        here = [i for i, target in enumerate(graph.nodes) if target.layer == place]
        where = [graph.nodes[i].ctx_idx for i in here]
        x = activations[0, where].detach().to(values)
        values[here] += (x * graph.reading_vecs[here]).sum(-1)
    return values
    ### END SOLUTION


@torch.no_grad()
def readings_with(
    model: TransformerBridge, tokens: Int[Tensor, "1 seq"], graph: GraphNodes, hooks: list[Hook]
) -> Float[Tensor, " n_nodes"]:
    """What every node reads in a run of the model with these hooks; 0 for nodes that do not read.

    A hook may change what is read, too: what counts is the activation that the model goes on with.
    """
    hooks = [*hooks, NO_LOGITS]  # the run ends before the unembedding
    # Keep what is read at `reading_hook(layer)`, for every layer and "L". `read_targets` does the rest.
    ### BEGIN SOLUTION
    reads = {}
    places = {reading_hook(layer): layer for layer in [*range(model.cfg.n_layers), "L"]}

    def keep(value, hook):
        reads[places[hook.name]] = value

    with hooked(model, [*hooks, *((name, keep) for name in places)]):
        model(tokens)
    return read_targets(graph, reads)
    ### END SOLUTION


def compute_bias(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    graph: GraphNodes,
    freeze: FreezeHooks,
    tc_hooks: TranscoderReplacementHooks,
) -> Float[Tensor, " n_nodes"]:
    """What every target reads when no source writes: its `b_enc`, and all constants of the model on their way to it.

    The frozen model is run with zero embeddings and without latents and errors. No gradient and no edge is used, so that
    `adjacency.sum(1) + bias == values` is a test of the edges.
    """
    return readings_with(model, tokens, graph, freeze.fwd_hooks + tc_hooks.silent_hooks)


def effect_of_writing(
    model: TransformerBridge,
    tokens: Int[Tensor, "1 seq"],
    graph: GraphNodes,
    source: int,
    hooks: list[Hook],
    times: float = 1.0,
) -> Float[Tensor, " n_nodes"]:
    """How much every node's reading changes when a source writes `times` its vector in addition: an intervention.

    Args:
        source: index of the source in `graph.nodes`.
        hooks: what is held in both runs, with the source's write and without: `linear_hooks`, or none for the real model.
    """
    node = graph.nodes[source]

    # The source writes at `writing_hook(node.layer)`, at its position. `readings_with` gives what every node reads in a run.
    ### BEGIN SOLUTION
    def add(stream, hook):
        stream = stream.clone()
        stream[0, node.ctx_idx] += times * graph.writing_vecs[source].to(stream)
        return stream

    before = readings_with(model, tokens, graph, hooks)
    after = readings_with(model, tokens, graph, [*hooks, (writing_hook(node.layer), add)])
    return after - before
    ### END SOLUTION


def completeness_gap(
    adjacency_matrix: Float[Tensor, "n_nodes n_nodes"],
    bias: Float[Tensor, " n_nodes"],
    values: Float[Tensor, " n_nodes"],
) -> Float[Tensor, " n_nodes"]:
    """Relative error of the identity `sum of edges + bias = value`, for every node.

    The sum is over the sources: over a row of the matrix. The error is relative to the absolute value, or, where the terms
    nearly cancel, to a thousandth of their size if that is larger (the sum of the absolute edges and the absolute bias). Where
    the identity holds exactly, so also for nodes that do not read, it is 0.

    Returns:
        (n_nodes,), at least 0, never nan.
    """
    ### BEGIN SOLUTION
    # without a second matrix of absolute values
    terms = torch.linalg.vector_norm(adjacency_matrix, ord=1, dim=1) + bias.abs()
    gap = (adjacency_matrix.sum(1) + bias - values).abs()
    return torch.where(gap == 0, gap, gap / torch.maximum(values.abs(), terms / 1000))
    ### END SOLUTION
