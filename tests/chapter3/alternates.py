"""Other right answers to the exercises of chapter 3."""

from utils.grading import Alternate

ALTERNATES = {
    "FreezeHooks": [
        Alternate(
            "collected_by_own_hooks",
            [
                (
                    """        self.logits, cache = self.model.run_with_cache(
            tokens, names_filter=lambda name: name.endswith(("hook_pattern", "hook_scale"))
        )
        self.frozen_values = dict(cache.items())
""",
                    """        def remember(value, hook):
            self.frozen_values[hook.name] = value.detach().clone()

        wanted = [name for name in self.model.hook_dict if "hook_pattern" in name or "hook_scale" in name]
        with self.model.hooks(fwd_hooks=[(name, remember) for name in wanted]):
            self.logits = self.model(tokens).detach()
""",
                ),
                (
                    "return frozen.repeat(copies, *[1] * (frozen.ndim - 1))",
                    "return torch.cat([frozen] * copies) if copies > 1 else frozen.to(value)",
                ),
            ],
        ),
        Alternate(
            "everything_cached",
            [
                (
                    """        self.logits, cache = self.model.run_with_cache(
            tokens, names_filter=lambda name: name.endswith(("hook_pattern", "hook_scale"))
        )
        self.frozen_values = dict(cache.items())
""",
                    """        self.logits, cache = self.model.run_with_cache(tokens)
        for name, value in cache.items():
            if name.split(".")[-1] in ("hook_pattern", "hook_scale"):
                self.frozen_values[name] = value
""",
                ),
                (
                    "return frozen.repeat(copies, *[1] * (frozen.ndim - 1))",
                    "return frozen.expand(copies, *frozen.shape).flatten(0, 1)",
                ),
            ],
        ),
    ],
    "TranscoderReplacementHooks": [
        Alternate(
            "hook_context",
            [
                (
                    "return torch.zeros_like(x) if W_skip is None else x @ W_skip.T",
                    'return 0 * x if W_skip is None else torch.einsum("oi,...i->...o", W_skip, x)',
                ),
                (
                    "return skip + (mlp_out - skip).detach()",
                    "return mlp_out.detach() + skip - skip.detach()",
                ),
                (
                    '            live["x"] = x\n',
                    '            live["x"] = x\n            return x\n',
                ),
            ],
        ),
        Alternate(
            "own_backward",
            [
                (
                    "        skip = self.skip(layer, x)\n        return skip + (mlp_out - skip).detach()",
                    """        class Swap(torch.autograd.Function):
            @staticmethod
            def forward(ctx, skip, value):
                return value.clone()

            @staticmethod
            def backward(ctx, grad):
                return grad, None

            @staticmethod
            def vmap(info, in_dims, skip, value):
                raise NotImplementedError

        return Swap.apply(self.skip(layer, x), mlp_out.detach())""",
                ),
            ],
        ),
    ],
    "compute_salient_logits": [
        Alternate(
            "sorting_and_counting",
            source="""
def compute_salient_logits(
    model, logits, n_output_nodes=3, *, probability_mass=None, max_output_nodes=10, token_ids=None
):
    check_output_choice(logits.shape[-1], n_output_nodes, probability_mass, max_output_nodes, token_ids)
    last = logits.detach()[0, logits.shape[1] - 1].to(torch.float32)
    probs = torch.exp(last - torch.logsumexp(last, dim=0))
    order = probs.argsort(descending=True).tolist()
    if token_ids is not None:
        chosen = []
        for token_id in token_ids:
            if token_id not in chosen:
                chosen.append(token_id)
    elif probability_mass is not None:
        chosen, mass = [], 0.0
        while order and mass < probability_mass and len(chosen) < max_output_nodes:
            chosen.append(order.pop(0))
            mass += float(probs[chosen[-1]])
    else:
        chosen = order[:n_output_nodes]
    columns = model.W_U.detach().to(torch.promote_types(model.W_U.dtype, torch.float32)).T
    reading_vecs = columns[chosen] - columns.mean(0, keepdim=True)
    return reading_vecs, [OutputToken(model.tokenizer.decode([i]), probs[i].item(), i) for i in chosen]
""",
        ),
    ],
    "build_embedding_nodes": [
        Alternate(
            "loop",
            source="""
def build_embedding_nodes(model, cache, tokens):
    nodes, writing_vecs = [], []
    for position in range(tokens.shape[1]):
        token = tokens[0, position].item()
        node = NodeInfo(NodeType.EMBEDDING, "E", position, token)
        node.str_token = model.tokenizer.decode(token)
        nodes.append(node)
        writing_vecs.append(at_least_float32(cache[EMBEDDING_HOOK][0, position]))
    writing_vecs = torch.stack(writing_vecs)
    return nodes, writing_vecs, writing_vecs * 0
""",
        ),
    ],
    "build_intermediate_nodes": [
        Alternate(
            "masked_matrix_product",
            [
                (
                    "errors = (y - tc_hooks.linear_part(layer, x)).index_add(0, positions, -writes)",
                    """only_kept = torch.zeros_like(acts)
        only_kept[positions, latents] = kept_acts
        errors = y - only_kept @ W_dec - tc_hooks.linear_part(layer, x)""",
                ),
                (
                    "writes = kept_acts[:, None] * W_dec[latents]",
                    'writes = torch.einsum("k,kd->kd", kept_acts, W_dec[latents])',
                ),
                ("reads = W_enc.T[latents]", "reads = W_enc[:, latents].T"),
            ],
        ),
        Alternate(
            "loop_over_latents",
            [
                (
                    "errors = (y - tc_hooks.linear_part(layer, x)).index_add(0, positions, -writes)",
                    """errors = y - tc_hooks.skip(layer, x) - transcoder.b_dec.detach().to(y)
        for position, write in zip(positions.tolist(), writes):
            errors[position] = errors[position] - write""",
                ),
            ],
        ),
    ],
    "build_logit_nodes": [
        Alternate(
            "loop",
            source="""
def build_logit_nodes(reading_vecs_logit, top_token_info, seq_len, d_model):
    nodes = []
    for text, prob, token_id in top_token_info:
        node = NodeInfo(node_type=NodeType.LOGIT, layer="L", ctx_idx=seq_len - 1, feature=token_id)
        node.token_prob, node.str_token = prob, text
        nodes.append(node)
    return nodes, torch.zeros_like(reading_vecs_logit), reading_vecs_logit
""",
        ),
    ],
    "setup_attribution": [
        Alternate(
            "a_hook_a_place",
            source="""
def setup_attribution(model, tokens, freeze, tc_hooks):
    run = FrozenRun({}, {})

    def keeper(kept, key):
        def hook(value, hook):
            kept[key] = value

        return hook

    def embed(value, hook):
        leaf = value.detach().clone()
        leaf.requires_grad = True
        run.writes["E"] = leaf
        return leaf

    mine = [(EMBEDDING_HOOK, embed), (FINAL_HOOK, keeper(run.reads, "L"))]
    for layer in range(model.cfg.n_layers):
        mine.append((reading_hook(layer), keeper(run.reads, layer)))
        mine.append((writing_hook(layer), keeper(run.writes, layer)))
    before = torch.is_grad_enabled()
    try:
        torch.set_grad_enabled(True)
        with freeze, tc_hooks, model.hooks(fwd_hooks=mine):
            model(tokens)
    finally:
        torch.set_grad_enabled(before)
    return run
""",
        ),
    ],
    "prepare_backward_batches": [
        Alternate(
            "node_by_node",
            source="""
def prepare_backward_batches(graph, batch_size=128):
    groups = []
    for i, node in enumerate(graph.nodes):
        if node.node_type in (NodeType.EMBEDDING, NodeType.MLP_ERROR):
            continue
        if not groups or len(groups[-1]) == batch_size or graph.nodes[groups[-1][0]].layer != node.layer:
            groups.append([])
        groups[-1].append(i)
    return [
        BackwardBatch(
            global_start_idx=group[0],
            nodes=[graph.nodes[i] for i in group],
            reading_vecs=torch.stack([graph.reading_vecs[i] for i in group]),
            positions=torch.tensor([graph.nodes[i].ctx_idx for i in group]).to(graph.reading_vecs.device),
            layers=[graph.nodes[i].layer for i in group],
        )
        for group in groups
    ]
""",
        ),
    ],
    "compute_adjacency_matrix": [
        Alternate(
            "gathered_positions",
            [
                (
                    "vectors, columns = tables[place]",
                    """start, end = graph.node_range_dict[place]
            positions = torch.tensor([node.ctx_idx for node in graph.nodes[start:end]], device=grad.device)
            writing_vecs = graph.writing_vecs[start:end]""",
                ),
                (
                    "effects = grad.to(vectors).transpose(0, 1) @ vectors.mT  # (seq, batch, width)",
                    'effects = torch.einsum("bsd,sd->bs", grad[:, positions].to(writing_vecs), writing_vecs)',
                ),
                ("rows[:, columns.flatten()] = effects.transpose(0, 1).flatten(1)", "rows[:, start:end] = effects"),
            ],
        ),
        Alternate(
            "einsum_over_tables",
            [
                (
                    "effects = grad.to(vectors).transpose(0, 1) @ vectors.mT  # (seq, batch, width)",
                    'effects = torch.einsum("bpd,pwd->bpw", grad.to(vectors), vectors)',
                ),
                (
                    "rows[:, columns.flatten()] = effects.transpose(0, 1).flatten(1)",
                    "rows.index_copy_(1, columns.flatten(), effects.reshape(len(batch.nodes), -1))",
                ),
            ],
        ),
        Alternate(
            "whole_gradients_at_once",
            [
                (
                    "        for place, grad in walk_back(run, batch.reading_vecs, batch.positions, batch.layers[0]):\n",
                    """        layer = batch.layers[0]
        output = run.reads[layer]
        below = [key for key in run.writes if key == "E" or layer == "L" or key < layer]
        seeds = output.new_zeros(len(batch.nodes), *output.shape)
        seeds[torch.arange(len(seeds)), 0, batch.positions] = batch.reading_vecs.to(seeds)
        grads = torch.autograd.grad(
            output, [run.writes[key] for key in below], seeds, retain_graph=True, is_grads_batched=True
        )
        for place, grad in zip(below, (grad[:, 0] for grad in grads)):
""",
                ),
            ],
        ),
    ],
    "completeness_gap": [
        Alternate(
            "clamped",
            source="""
def completeness_gap(adjacency_matrix, bias, values):
    error = torch.abs(values - bias - adjacency_matrix @ torch.ones_like(values))
    size = adjacency_matrix.abs() @ torch.ones_like(values) + bias.abs()
    scale = torch.stack([values.abs(), 0.001 * size]).amax(0)
    result = torch.zeros_like(error)
    wrong = error != 0
    result[wrong] = error[wrong] / scale[wrong]
    return result
""",
        ),
    ],
    "normalize_matrix": [
        Alternate(
            "nan_to_num",
            source="""
def normalize_matrix(adjacency_matrix):
    strengths = torch.abs(adjacency_matrix)
    return torch.nan_to_num(strengths / strengths.sum(-1)[:, None], nan=0.0)
""",
        ),
        Alternate(
            "row_by_row",
            source="""
def normalize_matrix(adjacency_matrix):
    result = torch.zeros_like(adjacency_matrix)
    for i, row in enumerate(adjacency_matrix):
        if (row != 0).any():
            result[i] = row.abs() / row.abs().sum()
    return result
""",
        ),
    ],
    "compute_influence": [
        Alternate(
            "solved",
            source="""
def compute_influence(adjacency_matrix, logit_weights, n_layers):
    shares = normalize_matrix(adjacency_matrix)
    w = weights_of_all_nodes(adjacency_matrix, logit_weights)
    system = torch.eye(len(shares), dtype=shares.dtype, device=shares.device) - shares
    # all sources come before their targets, so the system is triangular
    total = torch.linalg.solve_triangular(system.T, w[:, None], upper=True)[:, 0]
    return (total - w).clamp(min=0)
""",
        ),
        Alternate(
            "nodes_backwards",
            source="""
def compute_influence(adjacency_matrix, logit_weights, n_layers):
    shares = normalize_matrix(adjacency_matrix)
    through = weights_of_all_nodes(adjacency_matrix, logit_weights)
    own = through.clone()
    for node in reversed(range(len(shares))):
        through = through + through[node] * shares[node]
    return through - own
""",
        ),
    ],
    "prune_nodes": [
        Alternate(
            "sorted_and_summed",
            source="""
def prune_nodes(adjacency_matrix, logit_weights, n_layers, threshold=0.8, keep=None, hidden=None):
    if not 0 <= threshold <= 1:
        raise ValueError("no share")
    influence = compute_influence(adjacency_matrix, logit_weights, n_layers).clone()
    if hidden is not None:
        influence[hidden] = 0
    values, order = influence.sort(descending=True)
    before = values.cumsum(0) - values
    kept = torch.zeros_like(influence, dtype=torch.bool)
    kept[order] = (before < threshold * values.sum()) & (values > 0)
    kept[len(kept) - len(logit_weights) :] = True
    if keep is not None:
        kept = kept | keep
    if hidden is not None:
        kept[hidden] = False
    indices = kept.nonzero().flatten()
    return indices, adjacency_matrix[indices][:, indices]
""",
        ),
    ],
    "prune_edges": [
        Alternate("all_shares", [("largest_reaching(scores, threshold)", "share_of_larger(scores) < threshold")]),
        Alternate(
            "edge_by_edge",
            source="""
def prune_edges(adjacency_matrix, logit_weights, n_layers, threshold=0.85, keep=None):
    check_threshold(threshold)
    w = weights_of_all_nodes(adjacency_matrix, logit_weights)
    scores = normalize_matrix(adjacency_matrix).T * (compute_influence(adjacency_matrix, logit_weights, n_layers) + w)
    scores = scores.T.double()
    order = scores.flatten().argsort(descending=True)
    sums = scores.flatten()[order].cumsum(0)
    n_kept = int((sums < threshold * sums[-1] * (1 - 1e-9)).sum()) + 1 if threshold > 0 else 0
    pruned = torch.zeros_like(adjacency_matrix).flatten()
    pruned[order[:n_kept]] = adjacency_matrix.flatten()[order[:n_kept]]
    pruned = pruned.reshape(adjacency_matrix.shape)
    kept = always_kept(len(pruned), logit_weights, keep)
    kept = kept | (pruned.abs().sum(0) + pruned.abs().sum(1) > 0)
    return restrict(pruned, kept)
""",
        ),
    ],
    "prune_graph": [
        Alternate(
            "sets",
            source="""
def prune_graph(
    adjacency_matrix, logit_weights, n_layers, node_threshold=0.8, edge_threshold=0.85, keep=None, hidden=None
):
    n = len(adjacency_matrix)
    protected = always_kept(n, logit_weights, keep).tolist()
    reads = (adjacency_matrix != 0).any(1).tolist()
    first, matrix = prune_nodes(adjacency_matrix, logit_weights, n_layers, node_threshold, keep, hidden)
    keep_there = None if keep is None else keep[first]
    second, matrix = prune_edges(matrix, logit_weights, n_layers, edge_threshold, keep_there)
    original = first[second].tolist()
    alive = set(range(len(original)))
    edges = [(t, s) for t, s in matrix.nonzero().tolist()]
    changed = True
    while changed:
        targets = {t for t, s in edges if t in alive and s in alive}
        sources = {s for t, s in edges if t in alive and s in alive}
        dead = {
            i
            for i in alive
            if not protected[original[i]] and (i not in sources or (reads[original[i]] and i not in targets))
        }
        alive, changed = alive - dead, bool(dead)
    chosen = torch.tensor(sorted(alive), device=matrix.device)
    return first[second][chosen], matrix[chosen][:, chosen]
""",
        ),
    ],
    "attribute": [
        Alternate(
            "other_order",
            [
                (
                    "        bias = compute_bias(**linear_model, graph=graph)\n        values = compute_values(graph, recorded)\n",
                    "",
                ),
                (
                    "        targets = prepare_backward_batches(graph=graph, batch_size=batch_size)\n",
                    "        bias = compute_bias(model, tokens, graph, frozen, replaced)\n"
                    "        values, targets = compute_values(graph, recorded), prepare_backward_batches(graph, batch_size)\n",
                ),
                (
                    "logit_weights = graph.logit_weights.to(adjacency)",
                    "weights = [out.weight for out in outputs]\n        logit_weights = adjacency.new_tensor(weights)",
                ),
                (
                    "keep = graph.mask(NodeType.EMBEDDING) if keep_embeddings else None",
                    "keep = graph.mask(NodeType.EMBEDDING) & ~graph.hidden & keep_embeddings",
                ),
            ],
        ),
        Alternate(
            "matrix_makes_its_own_run",
            [
                ("batches=targets, run=recorded,", "batches=targets,"),
            ],
        ),
    ],
}
