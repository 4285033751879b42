"""Other right answers to the exercises of chapter 6: all must pass."""

from utils.grading import Alternate

ALTERNATES: dict[str, list[Alternate]] = {
    # 1. The gate made linear
    "half_rule": [
        Alternate(
            "halves_of_the_activation",
            [
                (
                    "s = secant(phi, gate)\n    return s * gate / 2, s * inner / 2",
                    "of_u = 0.5 * phi(gate)\n    return of_u, 0.5 * torch.where(gate == 0, tangent(phi, gate), phi(gate) / gate) * inner",
                )
            ],
        )
    ],
    "reading_vectors": [
        Alternate(
            "all_neurons_first",
            source="""
def reading_vectors(weights, slopes, positions, neurons):
    matrices, biases = [weights.W_in], [weights.b_in]
    if weights.W_gate is not None:
        matrices.append(weights.W_gate)
        biases.append(weights.b_gate)
    vectors = sum(torch.einsum("pn,dn->pnd", s, W.to(s)) for s, W in zip(slopes, matrices))
    constants = sum(s * b.to(s) for s, b in zip(slopes, biases))
    return vectors[positions, neurons], constants[positions, neurons]
""",
        )
    ],
    # 2. All neurons in one backward pass
    "all_attributions": [
        Alternate(
            "a_number_for_each_target",
            [
                (
                    "start = torch.zeros_like(end)\n        start[0, -1] = vector.to(end)\n"
                    "        at_embedding, *at_acts = torch.autograd.grad(end, sources, start, retain_graph=True)",
                    "with torch.enable_grad():\n            value = end[0, -1] @ vector.to(end)\n"
                    "        at_embedding, *at_acts = torch.autograd.grad(value, sources, retain_graph=True)",
                ),
                (
                    "torch.stack([at_least_float32(g[0]) * x.hooks.acts[layer] for layer, g in enumerate(at_acts)])",
                    "torch.stack([at_least_float32(act.detach() * g)[0] for act, g in zip(sources[1:], at_acts)])",
                ),
            ],
        )
    ],
    # 3. How sparse is it?
    "set_neurons": [
        Alternate(
            "one_row_at_a_time",
            source='''
@torch.no_grad()
def set_neurons(model, tokens, where, values=0.0):
    """Each row in a run of its own."""
    logits = []
    for row in where:
        hooks = []
        for layer, mask in enumerate(row):
            new = values if isinstance(values, float) else values[layer][mask]

            def put(acts, hook, mask=mask, new=new):
                acts = acts.clone()
                acts[0, mask] = new if isinstance(new, float) else new.to(acts)
                return acts

            hooks.append((acts_hook(layer), put))
        with hooked(model, hooks):
            logits.append(model(tokens)[0])
    return torch.stack(logits)
''',
        )
    ],
    "removal_curve": [
        Alternate(
            "places_from_flat_indices",
            [
                (
                    "where[row].view(-1)[ranked[:size]] = True",
                    "where[(row, *torch.unravel_index(ranked[:size], shape))] = True",
                )
            ],
        )
    ],
    "gradient_attributions": [
        Alternate(
            "retained_gradients",
            [
                ("acts[hook.name] = activations", "activations.retain_grad()\n        acts[hook.name] = activations"),
                (
                    "slopes = torch.autograd.grad(contrast, live)",
                    "contrast.backward()\n    slopes = [act.grad for act in live]",
                ),
            ],
        )
    ],
    # 4. From a ranking to a graph
    "strongest_neurons": [
        Alternate(
            "sorted_and_summed",
            [
                (
                    'torch.einsum("t,tlpn->lpn", weights, attributions.neurons.abs())',
                    "(weights[:, None, None, None] * attributions.neurons.abs()).sum(0)",
                ),
                ("scores.flatten().topk(min(n_nodes, scores.numel()))", "scores.flatten().sort(descending=True)"),
                ("best.indices[best.values > 0]", "best.indices[best.values > 0][:n_nodes]"),
            ],
        )
    ],
    "attribute_neurons": [
        Alternate(
            "one_limit_a_layer",
            [
                (
                    "x.hooks.nodes = {layer: mask for layer, mask in enumerate(chosen) if bool(mask.any())}",
                    "for layer in chosen.flatten(1).any(1).nonzero().flatten().tolist():\n"
                    "            x.hooks.nodes[layer] = chosen[layer]",
                )
            ],
        )
    ],
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
            "one_limit_a_layer",
            source="""
def massive_positions(states, smallest=100.0, ratio=1000.0):
    sizes = states.abs()
    limits = (ratio * sizes.flatten(1).median(dim=1).values).clamp_min(smallest)
    return (sizes >= limits[:, None, None]).any(dim=-1)
""",
        )
    ],
}
