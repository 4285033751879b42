"""Other right answers to the exercises of chapter 6: all must pass."""

from utils.grading import Alternate

ALTERNATES: dict[str, list[Alternate]] = {
    # 1. The gate made linear
    # 2. All neurons in one backward pass
    # 3. How sparse is it?
    # 4. From a ranking to a graph
    # 5. What does a neuron stand for?
    "centred_logit_lens": [
        Alternate(
            "unembedding_centred_first",
            source="""
def centred_logit_lens(model, vectors):
    W_U = model.W_U.detach().to(vectors)
    weight = norm_weight(model.ln_final, model.cfg.d_model).to(vectors)
    return torch.einsum("nd,d,dv->nv", vectors, weight, W_U - W_U.mean(dim=1, keepdim=True))
""",
        )
    ],
    "top_firings": [
        Alternate(
            "loop",
            source="""
def top_firings(acts, used, n, sign=1):
    found = []
    for row in range(len(acts)):
        here = [(sign * float(acts[row, p]), p) for p in range(acts.shape[1]) if used[row, p]]
        value, position = max(here)
        if value > 0:
            found.append(Firing(row, position, value))
    return sorted(found, key=lambda firing: -firing.activation)[:n]
""",
        )
    ],
    "detection_score": [
        Alternate(
            "counts",
            source="""
def detection_score(predicted, fires):
    n_firing, n_silent = int(fires.sum()), int((~fires).sum())
    if n_firing == 0 or n_silent == 0:
        raise ValueError("one kind only")
    return 0.5 * (int((predicted & fires).sum()) / n_firing + int((~predicted & ~fires).sum()) / n_silent)
""",
        )
    ],
    # 6. Two hops in a real model
    "choose_by_change": [
        Alternate(
            "sorted",
            source="""
def choose_by_change(own, other, k):
    scores = (other.acts - own.acts) * other.gradients + (own.acts - other.acts) * own.gradients
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    for row, score in enumerate(scores):
        order = score.flatten().argsort(descending=True)[:k]
        chosen[row].view(-1)[order[score.flatten()[order] > 0]] = True
    return chosen
""",
        )
    ],
    "alike_in_change": [
        Alternate(
            "one_by_one",
            source="""
def alike_in_change(sizes, chosen):
    controls = torch.zeros_like(chosen)
    for row in range(len(sizes)):
        size, mine = sizes[row].flatten().tolist(), chosen[row].flatten().tolist()
        free = sorted((i for i in range(len(size)) if not mine[i]), key=lambda i: -size[i])
        wanted = sorted((i for i in range(len(size)) if mine[i]), key=lambda i: -size[i])
        if len(free) < len(wanted):
            raise ValueError("too few")
        start = 0
        for number, i in enumerate(wanted):
            while start < len(free) and size[free[start]] > size[i]:
                start += 1
            place = min(start, len(free) - (len(wanted) - number))
            controls[row].view(-1)[free[place]] = True
            start = place + 1
    return controls
""",
        )
    ],
    "exchange_neurons": [
        Alternate(
            "place_by_place",
            source="""
def exchange_neurons(model, tokens, positions, chosen, values):
    def put(acts, hook, layer):
        acts = acts.clone()
        for place, position in enumerate(positions):
            mask = chosen[:, layer, place]
            acts[:, position][mask] = values[:, layer, place][mask].to(acts)
        return acts

    hooks = [(acts_hook(layer), partial(put, layer=layer)) for layer in range(model.cfg.n_layers)]
    with hooked(model, hooks):
        return model(tokens)[:, -1]
""",
        )
    ],
    # 7. A failure explained
    "patch_states": [
        Alternate(
            "mask",
            source="""
def patch_states(model, tokens, positions, layer, states):
    here = torch.arange(tokens.shape[1]) == positions[:, None]

    def put(value, hook):
        return torch.where(here[:, :, None], states[:, None].to(value), value)

    with hooked(model, [(state_hook(layer), put)]):
        return model(tokens)[:, -1]
""",
        )
    ],
    # 8. What real models do to the method
    "massive_positions": [
        Alternate(
            "layer_by_layer",
            source="""
def massive_positions(states, smallest=100.0, ratio=1000.0):
    rows = []
    for layer in states:
        limit = max(smallest, ratio * float(layer.abs().flatten().median()))
        rows.append((layer.abs() >= limit).any(dim=-1))
    return torch.stack(rows)
""",
        )
    ],
    # 9. Neurons against latents
}
