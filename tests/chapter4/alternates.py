"""Other right answers to the exercises of chapter 4: all must pass."""

from utils.grading import Alternate

ALTERNATES = {
    "resolve_edits": [
        Alternate(
            "loop",
            source="""
def resolve_edits(edits, base_acts):
    seen, resolved = set(), {}
    for edit in edits:
        place = (edit.row, edit.layer, edit.position, edit.latent)
        if place in seen:
            raise ValueError("twice")
        seen.add(place)
        before = base_acts[edit.layer][edit.row, edit.position, edit.latent]
        if edit.kind == "set":
            value = torch.as_tensor(edit.value).to(before)
        elif edit.kind == "scale":
            value = edit.value * before
        elif edit.kind == "add":
            value = edit.value + before
        else:
            raise ValueError("kind")
        resolved.setdefault(edit.layer, []).append((edit.row, edit.position, edit.latent, value))
    result = {}
    for layer, rows in resolved.items():
        *places, values = zip(*rows)
        result[layer] = LayerEdits(*map(torch.tensor, places), torch.stack(values))
    return result
""",
        )
    ],
    "rewrite_mlp": [
        Alternate(
            "by_changes",
            source="""
def rewrite_mlp(transcoder, x, y, base, edits=None, held=False, freeze_errors=False):
    W_dec = transcoder.W_dec.detach().to(x)
    live = transcoder.encode(x).detach().to(x)
    if held:
        acts = base.acts.clone()
        written = linear_part(transcoder, x) + base.acts @ W_dec + base.error
    else:
        acts = live.clone()
        written = linear_part(transcoder, x) + live @ W_dec + base.error if freeze_errors else y.clone()
    if edits is not None:
        places = edits.rows, edits.positions, edits.latents
        change = torch.zeros_like(acts)
        change[places] = edits.values - acts[places]
        acts[places] = edits.values
        written = written + change @ W_dec
    return written, acts
""",
        )
    ],
    "intervene": [
        Alternate(
            "one_closure_a_layer",
            source="""
def intervene(model, transcoders, base, edits, *, freeze_attention=True, freeze_norms=False, freeze_errors=False,
              constrained_layers=()):
    resolved, acts, reads, hooks = resolve_edits(edits, base.acts), {}, {}, []
    for name, hold in base.freeze.fwd_hooks:
        if "hook_pattern" in name and freeze_attention or "hook_scale" in name and freeze_norms:
            hooks.append((name, hold))

    def at(layer):
        def read(x, hook):
            reads[layer] = x

        def write(y, hook):
            new, acts[layer] = rewrite_mlp(
                transcoders[layer], reads[layer], y, base.layer(layer), edits=resolved.get(layer),
                held=layer in constrained_layers, freeze_errors=freeze_errors,
            )
            return new

        return [(f"blocks.{layer}.mlp.hook_in", read), (f"blocks.{layer}.hook_mlp_out", write)]

    for layer in transcoders:
        hooks += at(layer)

    def last(x, hook):
        reads["L"] = x

    with torch.no_grad(), model.hooks(fwd_hooks=hooks + [("ln_final.hook_out", last)]):
        return Outcome(model(base.tokens), acts, reads)
""",
        )
    ],
    "direct_effects": [
        Alternate(
            "by_difference",
            source="""
def direct_effects(result, source, factor):
    edges = result.adjacency_matrix.T[source]
    return factor * edges - edges
""",
        )
    ],
    "total_effects": [
        Alternate(
            "solve",
            source="""
def total_effects(result, source, factor):
    A = result.adjacency_matrix
    acts = A.new_tensor([node.activation for node in result.graph.nodes])
    relative = torch.where(acts[:, None] > 0, A / acts[:, None].clamp_min(1e-30), 0)
    start = torch.zeros_like(acts)
    start[source] = factor - 1
    shares = torch.linalg.solve(torch.eye(len(A), dtype=A.dtype) - relative, start)
    return A @ shares
""",
        ),
        Alternate(
            "by_values_of_latents",
            source="""
def total_effects(result, source, factor):
    from utils.engine.graph import NodeType

    A, latents = result.adjacency_matrix, result.graph.mask(NodeType.LATENT)
    reach = torch.zeros_like(A)
    reach[latents] = A[latents] / result.values[latents][:, None]
    step = torch.zeros_like(A[0])
    step[source] = factor - 1
    change = A @ step
    while step.any():
        step = reach @ step
        change = change + A @ step
    return change
""",
        ),
        Alternate(
            "node_by_node",
            source="""
def total_effects(result, source, factor):
    A, nodes = result.adjacency_matrix, result.graph.nodes
    share = [0.0] * len(nodes)
    share[source] = factor - 1
    total = torch.zeros_like(A[0])
    for t, node in enumerate(nodes):
        total[t] = A[t] @ A.new_tensor(share)
        if node.activation:
            share[t] += float(total[t]) / node.activation
    return total
""",
        ),
    ],
    "measured_effects": [
        Alternate(
            "by_value",
            source="""
def measured_effects(model, transcoders, base, result, source, factor, **frozen):
    node = result.graph.nodes[source]
    before = base.acts[node.layer][0, node.ctx_idx, node.feature]
    edits = [Edit(node.layer, node.ctx_idx, node.feature, float(factor * before))]
    after = read_targets(result.graph, intervene(model, transcoders, base, edits, **frozen).reads)
    return after - result.values
""",
        )
    ],
    "matched_controls": [
        Alternate(
            "lists",
            source="""
def matched_controls(sizes, chosen, generator, n_nearest=3):
    values = [float(size) for size in sizes]
    others = [i for i in range(len(values)) if i not in chosen]
    if len(others) < len(chosen):
        raise ValueError("too few")
    controls = []
    for i in chosen:
        others.sort(key=lambda other: (abs(values[other] - values[i]), other))
        number = torch.randint(0, min(n_nearest, len(others)), (1,), generator=generator).item()
        controls.append(others.pop(number))
    return controls
""",
        )
    ],
    "dose_response": [
        Alternate(
            "dose_by_dose",
            source="""
def dose_response(model, transcoders, question, nodes, doses, **frozen):
    base = run_base(model, transcoders, question.tokens)
    changes = []
    for dose in doses:
        edits = [Edit(n.layer, n.ctx_idx, n.feature, dose * n.activation) for n in nodes]
        after = intervene(model, transcoders, base, edits, **frozen).logits
        changes.append(contrast_of(after, question) - contrast_of(base.logits, question))
    return torch.cat(changes)
""",
        )
    ],
    "ablate_each": [
        Alternate(
            "one_by_one",
            source="""
def ablate_each(model, transcoders, question, nodes, batch_size=64, **frozen):
    base = run_base(model, transcoders, question.tokens)
    before = contrast_of(base.logits, question)
    effects = []
    for n in nodes:
        after = intervene(model, transcoders, base, [Edit(n.layer, n.ctx_idx, n.feature, 0.0, "scale")], **frozen)
        effects.append(contrast_of(after.logits, question) - before)
    return torch.cat(effects)
""",
        )
    ],
    "necessity_curve": [
        Alternate(
            "size_by_size",
            source="""
def necessity_curve(model, transcoders, question, ranked, sizes):
    base = run_base(model, transcoders, question.tokens)
    left = []
    for k in sizes:
        edits = [Edit(n.layer, n.ctx_idx, n.feature, 0.0) for n in list(ranked)[:k]]
        left.append(contrast_of(intervene(model, transcoders, base, edits, freeze_attention=False).logits, question))
    return torch.cat(left)
""",
        )
    ],
    "sufficiency_curve": [
        Alternate(
            "size_by_size",
            source="""
def sufficiency_curve(model, transcoders, question, ranked, sizes, start_posn=1):
    left = []
    for k in sizes:
        kept = {(n.layer, n.ctx_idx, n.feature) for n in ranked[:k]}
        inputs, hooks = {}, []
        for layer in transcoders:
            def read(x, hook, layer=layer):
                inputs[layer] = x

            def write(y, hook, layer=layer):
                acts = transcoders[layer].encode(inputs[layer]).detach().clone()
                acts[:, :start_posn] = 0
                for where, position, latent in kept:
                    if where == layer:
                        acts[0, position, latent] = 0
                return y - acts.to(y) @ transcoders[layer].W_dec.detach().to(y)

            hooks += [(reading_hook(layer), read), (mlp_out_hook(layer), write)]
        with torch.no_grad(), hooked(model, hooks):
            left.append(contrast_of(model(question.tokens), question))
    return torch.cat(left)
""",
        )
    ],
    "area_under_curve": [
        Alternate(
            "step_by_step",
            source="""
def area_under_curve(sizes, curve, full, empty):
    if len(sizes) < 2 or any(b <= a for a, b in zip(sizes, sizes[1:])) or full == empty:
        raise ValueError("no area")
    heights = [(float(c) - empty) / (full - empty) for c in curve]
    under = apart = 0.0
    for i in range(len(sizes) - 1):
        width = (sizes[i + 1] - sizes[i]) / (sizes[-1] - sizes[0])
        under += width * (heights[i] + heights[i + 1]) / 2
        apart += width * (abs(1 - heights[i]) + abs(1 - heights[i + 1])) / 2
    return Areas(under, apart)
""",
        )
    ],
    "superadditivity": [
        Alternate(
            "by_single_ablations",
            source="""
def superadditivity(model, transcoders, question, pairs, **frozen):
    base = run_base(model, transcoders, question.tokens)

    def effect(*nodes):
        edits = [Edit(n.layer, n.ctx_idx, n.feature, 0.0) for n in nodes]
        after = intervene(model, transcoders, base, edits, **frozen).logits
        return contrast_of(after, question) - contrast_of(base.logits, question)

    return torch.cat([effect(a, b) - effect(a) - effect(b) for a, b in pairs])
""",
        )
    ],
    "rank_correlation": [
        Alternate(
            "corrcoef",
            source="""
def rank_correlation(predicted, measured):
    def ranks(x):
        values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
        ends = counts.cumsum(0).double()
        return (ends - (counts - 1) / 2)[inverse]

    a, b = ranks(predicted), ranks(measured)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])
""",
        )
    ],
    "firing_rates": [
        Alternate(
            "loops",
            source="""
def firing_rates(active, about):
    import torch

    recall = torch.zeros(about.shape[1], active.shape[1])
    precision = torch.zeros_like(recall)
    for c in range(about.shape[1]):
        for f in range(active.shape[1]):
            both = float((active[:, f] & about[:, c]).sum())
            recall[c, f] = both / max(1, int(about[:, c].sum()))
            precision[c, f] = both / max(1, int(active[:, f].sum()))
    return recall, precision
""",
        )
    ],
    "build_supernodes": [
        Alternate(
            "concept_by_concept",
            source="""
def build_supernodes(acts, about, names, min_recall=0.5, min_precision=0.5):
    found = {}
    for c, name in enumerate(names):
        found[name] = []
        for (layer, place), here in acts.items():
            recall, precision = firing_rates(here > 0, about)
            for f in range(here.shape[1]):
                if recall[c, f] >= min_recall and precision[c, f] >= min_precision:
                    values = here[about[:, c], f]
                    found[name].append(Member(layer, place, f, float(values[values > 0].mean())))
    return found
""",
        )
    ],
    "supernode_fraction": [
        Alternate(
            "loop",
            source="""
def supernode_fraction(members, positions, before, after, row=0):
    was = is_now = 0.0
    for member in members:
        position = positions[member.place]
        was += before[member.layer][row, position, member.latent].item()
        is_now += after[member.layer][row, position, member.latent].item()
    return float("nan") if was == 0 else is_now / was
""",
        )
    ],
    "align_positions": [
        Alternate(
            "loop",
            source="""
def align_positions(own, other):
    aligned = []
    for p in range(other.n_tokens):
        if p < other.start:
            q = own.start - (other.start - p)
        else:
            q = own.end - (other.end - p)
            if p <= other.end and q < own.start:
                q = -1
        aligned.append(q if 0 <= q < own.n_tokens else -1)
    return torch.tensor(aligned)
""",
        )
    ],
    "swap_edits": [
        Alternate(
            "two_passes",
            source="""
def swap_edits(off, on, positions, row=0, strength=1.0):
    new = {}
    for member in sorted(on, key=lambda member: member.value):
        new[member.layer, positions[member.place], member.latent] = strength * member.value
    for member in off:
        new.setdefault((member.layer, positions[member.place], member.latent), 0.0)
    return [Edit(layer, position, latent, value, "set", row) for (layer, position, latent), value in new.items()]
""",
        )
    ],
    "swap_rate": [
        Alternate(
            "loop",
            source="""
def swap_rate(logits, last, answers):
    right = [int(logits[i, last[i]].argmax()) == int(answers[i]) for i in range(len(last))]
    return sum(right) / len(right)
""",
        )
    ],
    "overlap": [
        Alternate(
            "broadcast",
            source="""
def overlap(active_a, active_b):
    both = (active_a[:, None] & active_b[None]).sum(-1).float()
    either = (active_a[:, None] | active_b[None]).sum(-1).float()
    return torch.where(either > 0, both / either.clamp(min=1), 0)
""",
        )
    ],
    "fold_into_errors": [
        Alternate(
            "as_a_matrix",
            source="""
def fold_into_errors(adjacency_matrix, nodes, kept):
    error = {(n.layer, n.ctx_idx): i for i, n in enumerate(nodes) if n.node_type is NodeType.MLP_ERROR}
    moved = torch.eye(len(nodes)).to(adjacency_matrix)
    out = [i for i, n in enumerate(nodes) if n.node_type is NodeType.LATENT and i not in set(kept)]
    for i in out:
        moved[i, i] = 0
        moved[i, error[nodes[i].layer, nodes[i].ctx_idx]] = 1
    left = sorted(set(range(len(nodes))) - set(out))
    return (adjacency_matrix @ moved)[left][:, left], [nodes[i] for i in left]
""",
        )
    ],
    "extend_edits": [
        Alternate(
            "loop",
            source="""
def extend_edits(edits, prompt_len, seq_len):
    extended = list(edits)
    for position in range(prompt_len, seq_len):
        for edit in edits:
            if edit.position == prompt_len - 1:
                extended.append(Edit(edit.layer, position, edit.latent, edit.value, edit.kind, edit.row))
    return extended
""",
        )
    ],
    "generate": [
        Alternate(
            "list_of_tokens",
            source="""
def generate(model, transcoders, tokens, edits, n_new, temperature=0.0, seed=0):
    prompt_len, draws = tokens.shape[1], torch.Generator().manual_seed(seed)
    fixed = as_edits(resolve_edits(edits, run_base(model, transcoders, tokens).acts))
    while tokens.shape[1] < prompt_len + n_new:
        now = extend_edits(fixed, prompt_len, tokens.shape[1])
        out = intervene(model, transcoders, run_base(model, transcoders, tokens), now, freeze_attention=False)
        probs = torch.softmax(out.logits[:, -1] / (temperature or 1.0), -1)
        new = torch.multinomial(probs, 1, generator=draws) if temperature else probs.argmax(-1)[:, None]
        tokens = torch.cat((tokens, new), -1)
    return tokens
""",
        )
    ],
}
