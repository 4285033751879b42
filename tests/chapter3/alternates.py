"""Other right answers to the exercises of chapter 3."""

from utils.grading import Alternate

ALTERNATES = {
    "FreezeHooks": [
        Alternate(
            "collected_by_own_hooks",
            [
                (
                    """            wanted = [name for name in names if name.endswith(("hook_pattern", "hook_scale"))]
            with hooked(model, [(name, record) for name in wanted]):
                logits = model(tokens)
""",
                    """            def remember(value, hook):
                frozen[hook.name] = value.detach().clone()

            wanted = [name for name in model.hook_dict if "hook_pattern" in name or "hook_scale" in name]
            with model.hooks(fwd_hooks=[(name, remember) for name in wanted]):
                logits = model(tokens).detach()
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
                    """            wanted = [name for name in names if name.endswith(("hook_pattern", "hook_scale"))]
            with hooked(model, [(name, record) for name in wanted]):
                logits = model(tokens)
""",
                    """            logits, cache = model.run_with_cache(tokens)
            for name, value in cache.items():
                if name.split(".")[-1] in ("hook_pattern", "hook_scale"):
                    frozen[name] = value
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
                ("return b_dec.expand_as(x)", "return 0 * x + b_dec"),
                ("return x @ W_skip.T + b_dec", 'return torch.einsum("oi,...i->...o", W_skip, x) + b_dec'),
                (
                    "return linear + (mlp_out - linear).detach()",
                    "return mlp_out.detach() + linear - linear.detach()",
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
                    "        linear = self.linear_part(layer, x)\n        return linear + (mlp_out - linear).detach()",
                    """        class Swap(torch.autograd.Function):
            @staticmethod
            def forward(ctx, linear, value):
                return value.clone()

            @staticmethod
            def backward(ctx, grad):
                return grad, None

            @staticmethod
            def vmap(info, in_dims, linear, value):
                raise NotImplementedError

        return Swap.apply(self.linear_part(layer, x), mlp_out.detach())""",
                ),
            ],
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
                    """errors = y - tc_hooks.linear_part(layer, x)
        for position, write in zip(positions.tolist(), writes):
            errors[position] = errors[position] - write""",
                ),
            ],
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

    mine = [(writing_hook("E"), embed), (reading_hook("L"), keeper(run.reads, "L"))]
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
    "influence_by_paths": [
        Alternate(
            "a_list_of_paths",
            source="""
def influence_by_paths(adjacency_matrix, logit_weights):
    shares = normalize_matrix(adjacency_matrix)
    n, total = len(shares), torch.zeros(len(shares)).to(shares)
    under_way = [(n - len(logit_weights) + i, float(weight)) for i, weight in enumerate(logit_weights)]
    while under_way:
        target, amount = under_way.pop()
        for source in range(target):
            if shares[target, source] != 0:
                total[source] += amount * float(shares[target, source])
                under_way.append((source, amount * float(shares[target, source])))
    return total
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
        Alternate("all_shares", [("torch.where(chosen,", "torch.where(share_of_larger(scores) < threshold,")]),
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
    "blank_edge": [
        Alternate("a_number", source="def blank_edge():\n    return 4.5\n"),
        Alternate("a_tensor", source="def blank_edge():\n    return torch.tensor(0.75) * 3 / 2.5 * 5\n"),
    ],
    "edges_by_autograd": [
        Alternate(
            "rows_of_rows",
            source="""
def edges_by_autograd(values, writes):
    rows = []
    for value in values.values():
        row = []
        for vector in writes.values():
            (gradient,) = torch.autograd.grad(value, vector, retain_graph=True, materialize_grads=True, allow_unused=True)
            row.append(float((gradient * vector).sum()))
        rows.append(row)
    return torch.tensor(rows)
""",
        ),
    ],
    "gradient_times_stream": [
        Alternate(
            "backward",
            source="""
def gradient_times_stream(model, tokens, vector, hooks=()):
    captured = []

    def begin(stream, hook):
        captured.append(stream.detach().clone().requires_grad_(True))
        return captured[0]

    name = writing_hook(model.cfg.n_layers - 1)
    with torch.enable_grad():
        with hooked(model, list(hooks) + [(name, begin), (reading_hook("L"), lambda v, hook: captured.append(v))]):
            model(tokens)
        reading = (captured[1][0, -1].to(vector) * vector).sum()
        reading.backward()
    return (captured[0].grad * captured[0]).sum().item(), reading.item()
""",
        ),
    ],
    "linear_hooks": [
        Alternate(
            "difference_of_skips",
            source="""
def linear_hooks(freeze, tc_hooks):
    cache = tc_hooks.cache

    def answer(layer, x, mlp_out):
        rest = cache[mlp_out_hook(layer)] - tc_hooks.linear_part(layer, cache[reading_hook(layer)])
        return rest + tc_hooks.linear_part(layer, x)

    layers = [hook for layer in tc_hooks.transcoders for hook in tc_hooks.layer_hooks(layer, answer)]
    return [*layers, *freeze.fwd_hooks]
""",
        ),
    ],
    "silent_hooks": [
        Alternate(
            "one_by_one",
            source="""
def silent_hooks(tc_hooks):
    hooks = [(writing_hook("E"), lambda embedding, hook: embedding * 0)]
    for layer, transcoder in tc_hooks.transcoders.items():
        def write(layer, x, mlp_out):
            silent = torch.zeros_like(transcoder.encode(x)).to(x)
            return silent @ transcoder.W_dec.to(x) + tc_hooks.linear_part(layer, x)

        hooks.extend(tc_hooks.layer_hooks(layer, write))
    return hooks
""",
        ),
    ],
    "contrast_vector": [
        Alternate(
            "rows",
            source="""
def contrast_vector(W_U, token, others=None):
    rows = W_U.detach().float().T if W_U.dtype == torch.bfloat16 else W_U.detach().T
    others = range(len(rows)) if others is None else others
    return rows[token] - torch.stack([rows[i] for i in others]).mean(0)
""",
        ),
    ],
    "walk_back_one": [
        Alternate(
            "from_the_top_each_time",
            source="""
def walk_back_one(run, reading_vec, position, layer):
    reading = (run.reads[layer][0, position] * reading_vec.to(run.reads[layer])).sum()
    before = [place for place in run.writes if place == "E" or layer == "L" or place < layer]
    return {place: torch.autograd.grad(reading, run.writes[place], retain_graph=True)[0][0] for place in before}
""",
        ),
    ],
    "edges_into": [
        Alternate(
            "node_by_node",
            source="""
def edges_into(run, graph, target):
    t = graph.nodes[target]
    gradients = walk_back_one(run, graph.reading_vecs[target], t.ctx_idx, t.layer)
    edges = []
    for node, vector in zip(graph.nodes, graph.writing_vecs):
        edge = (gradients[node.layer][node.ctx_idx] * vector).sum() if node.layer in gradients else torch.zeros(())
        edges.append(edge)
    return torch.stack([edge.to(graph.writing_vecs) for edge in edges])
""",
        ),
    ],
    "walk_back": [
        Alternate(
            "einsum_seed",
            [
                (
                    "grad = output.new_zeros(batch, *output.shape)\n"
                    "    grad[torch.arange(batch, device=grad.device), 0, positions] = reading_vecs.to(grad)",
                    "at = torch.nn.functional.one_hot(positions, output.shape[1]).to(output)\n"
                    '    grad = torch.einsum("bs,bd->bsd", at, reading_vecs.to(output))[:, None]',
                ),
            ],
        ),
        Alternate(
            "a_list_first",
            [
                (
                    '    for place in [*sorted(layers_before, reverse=True), "E"]:\n',
                    "    before = sorted(layers_before)\n"
                    "    before.reverse()\n"
                    '    before.append("E")\n'
                    "    for place in before:\n",
                ),
            ],
        ),
    ],
    "effect_of_writing": [
        Alternate(
            "a_push_for_all_positions",
            source="""
def effect_of_writing(model, tokens, graph, source, hooks, times=1.0):
    node = graph.nodes[source]
    push = torch.zeros(tokens.shape[1], graph.writing_vecs.shape[1]).to(graph.writing_vecs)
    push[node.ctx_idx] = times * graph.writing_vecs[source]
    mine = [(writing_hook(node.layer), lambda stream, hook: stream + push.to(stream))]
    return readings_with(model, tokens, graph, list(hooks) + mine) - readings_with(model, tokens, graph, list(hooks))
""",
        ),
    ],
    "read_targets": [
        Alternate(
            "node_by_node",
            source="""
def read_targets(graph, reads):
    values = []
    for node, vector, bias in zip(graph.nodes, graph.reading_vecs, graph.reading_bias):
        value = bias.clone()
        if node.layer != "E":
            value = value + reads[node.layer][0, node.ctx_idx].detach().to(vector) @ vector
        values.append(value)
    return torch.stack(values)
""",
        ),
    ],
    "smallest_set": [
        Alternate(
            "one_by_one",
            source="""
def smallest_set(scores, threshold):
    chosen, held = torch.zeros(scores.numel(), dtype=torch.bool), 0.0
    flat, total = scores.flatten().tolist(), float(scores.double().sum())
    for i in sorted(range(len(flat)), key=lambda i: -flat[i]):
        if held >= threshold * total or flat[i] == 0:
            break
        chosen[i] = True
        held += flat[i]
    return chosen.view(scores.shape)
""",
        ),
    ],
    "compute_graph_scores": [
        Alternate(
            "masks",
            source="""
def compute_graph_scores(adjacency_matrix, logit_weights, graph):
    flow = compute_influence(adjacency_matrix, logit_weights, graph.n_layers)
    errors, embeddings = graph.mask(NodeType.MLP_ERROR), graph.mask(NodeType.EMBEDDING)
    begins = float(flow[errors | embeddings].sum())
    weight = flow + weights_of_all_nodes(adjacency_matrix, logit_weights)
    kept = (normalize_matrix(adjacency_matrix) * ~errors).sum(1)
    kept = kept + (adjacency_matrix == 0).all(1)
    return {
        "replacement": float(flow[embeddings].sum()) / begins if begins else 0.0,
        "completeness": float((kept * weight).sum() / weight.sum()) if weight.any() else 0.0,
    }
""",
        ),
    ],
    "without_latents": [
        Alternate(
            "own_hooks",
            source="""
def without_latents(tc_hooks, tokens, chosen):
    model, inputs, hooks = tc_hooks.model, {}, []
    for layer, transcoder in tc_hooks.transcoders.items():
        mine = [node for node in chosen if node.layer == layer]

        def remember(x, hook, layer=layer):
            inputs[layer] = x

        def subtract(y, hook, layer=layer, transcoder=transcoder, mine=mine):
            acts, y = transcoder.encode(inputs[layer]), y.clone()
            for node in mine:
                y[0, node.ctx_idx] -= (acts[0, node.ctx_idx, node.feature] * transcoder.W_dec[node.feature]).to(y)
            return y

        hooks += [(reading_hook(layer), remember), (f"blocks.{layer}.hook_mlp_out", subtract)]
    with hooked(model, hooks), torch.no_grad():
        return model(tokens)[0][-1]
""",
        ),
    ],
    "controls_for": [
        Alternate(
            "sorted_by_distance",
            source="""
def controls_for(graph, chosen):
    lengths, found = graph.writing_vecs.norm(dim=1), []
    free = {i for i in graph.indices(NodeType.LATENT) if not graph.hidden[i]} - set(chosen)
    for latent in chosen:
        same = sorted(i for i in free if graph.nodes[i].layer == graph.nodes[latent].layer)
        same.sort(key=lambda i: float((lengths[i] - lengths[latent]).abs()))
        free -= set(same[:1])
        found += same[:1]
    return found
""",
        ),
    ],
    "swap_latents": [
        Alternate(
            "cached_donor",
            source="""
def swap_latents(tc_hooks, tokens, layer, position, latents, donor_tokens, donor_position):
    model, transcoder = tc_hooks.model, tc_hooks.transcoders[layer]
    name = reading_hook(layer)
    with torch.no_grad():
        _, cache = model.run_with_cache(donor_tokens, names_filter=lambda n: n == name)
        wanted = transcoder.encode(cache[name])[0, donor_position]

        def put(_, x, y):
            acts = transcoder.encode(x)
            new = acts.clone()
            for latent in latents:
                new[0, position, latent] = wanted[latent]
            return y + ((new - acts) @ transcoder.W_dec).to(y)

        with hooked(model, tc_hooks.layer_hooks(layer, put)):
            return model(tokens)[0, -1]
""",
        ),
    ],
    "swap_everywhere": [
        Alternate(
            "row_by_row",
            source="""
def swap_everywhere(tc_hooks, tokens, donor_tokens, score):
    n, m, rows = tokens.shape[1], donor_tokens.shape[1], []
    for layer, transcoder in sorted(tc_hooks.transcoders.items()):
        row = []
        for at in range(n):
            there = at + m - n
            if there < 0:
                row.append(float("nan"))
                continue
            everything = list(range(transcoder.W_dec.shape[0]))
            row.append(float(score(swap_latents(tc_hooks, tokens, layer, at, everything, donor_tokens, there))))
        rows.append(row)
    return torch.tensor(rows)
""",
        ),
    ],
    "toy_model": [
        Alternate(
            "by_weights",
            source="""
def toy_model(writes):
    place, state, question, answer = torch.eye(4)
    dallas = sum(writes[name] for name in ("Dallas", "Texas", "error"))
    stream = writes["capital"] + torch.stack([dallas[1] * 0, dallas[1], dallas[1] * 0, dallas[1] * 0]) * 3 / 4
    found = {"Texas": writes["Dallas"][0] - 1, "say Austin": 2 * stream[1] + stream[2] - 4}
    stream = stream + writes["say Austin"]
    found["Austin"] = stream @ torch.tensor([0, 1, -0.25, 1])
    return found
""",
        ),
    ],
    "tabulate_sources": [
        Alternate(
            "sorted_by_position",
            [
                (
                    """        rows: list[list[int]] = [[] for _ in range(graph.seq_len)]
        for source in range(start, end):
            rows[graph.nodes[source].ctx_idx].append(source)
        width = max(len(row) for row in rows)
""",
                    """        positions = torch.tensor([node.ctx_idx for node in graph.nodes[start:end]], dtype=torch.long)
        order, counts = positions.argsort(stable=True), torch.bincount(positions, minlength=graph.seq_len)
        at = positions[order]
        slots, width = torch.arange(len(order)) - (counts.cumsum(0) - counts)[at], int(counts.max())
""",
                ),
                (
                    """        for position, row in enumerate(rows):
            vectors[position, : len(row)] = graph.writing_vecs[row]
            columns[position, : len(row)] = torch.tensor(row, device=vectors.device)
""",
                    """        vectors[at, slots] = graph.writing_vecs[start:end][order]
        columns[at, slots] = start + order
""",
                ),
            ],
        ),
        Alternate(
            "one_source_at_a_time",
            [
                (
                    """        for position, row in enumerate(rows):
            vectors[position, : len(row)] = graph.writing_vecs[row]
            columns[position, : len(row)] = torch.tensor(row, device=vectors.device)
""",
                    """        for position in range(graph.seq_len):
            for slot, source in enumerate(rows[position]):
                vectors[position, slot], columns[position, slot] = graph.writing_vecs[source], source
""",
                ),
            ],
        ),
    ],
    "readings_with": [
        Alternate(
            "cached",
            source="""
@torch.no_grad()
def readings_with(model, tokens, graph, hooks):
    places = ["L", *range(model.cfg.n_layers)]
    with hooked(model, hooks):
        _, cache = model.run_with_cache(tokens, names_filter=[reading_hook(place) for place in places])
    return read_targets(graph, {place: cache[reading_hook(place)] for place in places})
""",
        ),
    ],
    "best_paths": [
        Alternate(
            "from_the_end",
            source="""
def best_paths(shares, begins, end, n_paths=3):
    onward = {end: [((end,), 1.0)]}
    for source in reversed(range(end)):
        longer = []
        for target in shares[:, source].nonzero()[:, 0].tolist():
            for path, strength in onward.get(target, []):
                longer.append(((source, *path), float(shares[target, source]) * strength))
        onward[source] = sorted(longer, key=lambda entry: -entry[1])[:n_paths]
    return sorted((entry for node in set(begins) for entry in onward.get(node, [])), key=lambda entry: -entry[1])[:n_paths]
""",
        ),
    ],
    "select_latents": [
        Alternate(
            "position_by_position",
            source="""
def select_latents(acts, start_posn=0, top_k=None):
    found = []
    for position in range(start_posn, len(acts)):
        active = [i for i in range(acts.shape[1]) if acts[position, i] > 0]
        active.sort(key=lambda i: -float(acts[position, i]))
        found += [(position, i) for i in sorted(active[:top_k])]
    positions, latents = torch.tensor(found, dtype=torch.long).reshape(-1, 2).T
    return positions, latents
""",
        ),
    ],
}
