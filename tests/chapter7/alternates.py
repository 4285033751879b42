"""Other right answers to the exercises of chapter 7."""

from utils.grading import Alternate

ALTERNATES: dict[str, list[Alternate]] = {
    "split_score": [
        Alternate(
            "einsum",
            source="""
def split_score(at_query, at_key, scaling):
    return torch.einsum("id,jd->ij", scaling * at_query, at_key)
""",
        )
    ],
    "rotate": [
        Alternate(
            "pair_by_pair",
            source="""
def rotate(vectors, cos, sin):
    half = cos.shape[-1] // 2
    a, b, rest = vectors[..., :half], vectors[..., half : 2 * half], vectors[..., 2 * half :]
    cos, sin = cos[..., :half], sin[..., :half]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1)
""",
        )
    ],
    "sides_of_head": [
        Alternate(
            "repeated",
            source="""
def sides_of_head(parts, head):
    group = parts.W_Q.shape[0] // parts.W_K.shape[0]
    W_K, b_K, k_gain = (t.repeat_interleave(group, dim=0)[head] for t in (parts.W_K, parts.b_K, parts.k_gain))
    common = {"gain": parts.gain, "centred": parts.centred, "norm_bias": parts.norm_bias, "cos": parts.cos, "sin": parts.sin}
    return (
        HeadSide(W=parts.W_Q[head], b=parts.b_Q[head], norm_gain=parts.q_gain[head], **common),
        HeadSide(W=W_K, b=b_K, norm_gain=k_gain, **common),
    )
""",
        )
    ],
    "make_vectors": [
        Alternate(
            "one_expression",
            source="""
def make_vectors(side, stream):
    mean = stream.mean(-1, keepdim=True) if side.centred else 0.0
    weights = side.W.to(stream)
    out = torch.einsum("...d,de->...e", (stream - mean) * side.gain.to(stream), weights)
    out = out + (side.norm_bias.to(stream) @ weights + side.b.to(stream))
    return rotate(out * side.norm_gain.to(stream), side.cos.to(stream), side.sin.to(stream))
""",
        )
    ],
    "contributions": [
        Alternate(
            "source_by_source",
            source="""
def contributions(x, layer, values, reading_vecs, positions):
    out = torch.zeros(len(x.graph), len(positions), dtype=x.graph.writing_vecs.dtype)
    run = FrozenRun(dict(x.run.writes), {layer: values.unsqueeze(0)})
    for place, grad in walk_back(run, reading_vecs, torch.tensor(positions), layer):
        source = x.sources[place]
        for node, position, vector in zip(source.nodes.tolist(), source.positions.tolist(), source.vectors):
            out[node] = out[node] + grad[:, position].to(vector) @ vector
    return out
""",
        )
    ],
    "key_contrast": [
        Alternate(
            "matrix",
            source="""
def key_contrast(keys, key, others):
    rest = [position for position in others if position != key]
    if not rest:
        raise ValueError("There is nothing to compare with.")
    mix = torch.eye(len(keys), dtype=keys.dtype)
    mix[key, rest] = -1 / len(rest)
    return mix @ keys
""",
        )
    ],
    "pair_attributions": [
        Alternate(
            "difference_of_matrices",
            source="""
def pair_attributions(head, query, key, others=None):
    asks = parts_of(head, head.queries, head.silent_queries, query)

    def of(position):
        return split_score(asks, parts_of(head, head.keys, head.silent_keys, position), head.scaling)

    pairs, value = of(key), head.scores[query, key]
    rest = [position for position in others or () if position != key]
    if rest:
        pairs = pairs - sum(of(position) for position in rest) / len(rest)
        value = value - head.scores[query, rest].mean()
    return PairAttributions(pairs, float(value))
""",
        )
    ],
    "predicted_change": [
        Alternate(
            "node_by_node",
            source="""
def predicted_change(head, query, nodes, times=-1.0):
    of_query, of_key = sides_for_all_keys(head, query)
    total = torch.zeros_like(of_key[0])
    for node in nodes:
        total = total + of_query[node] + of_key[node]
    return total * times
""",
        )
    ],
    "measured": [
        Alternate(
            "run_by_run",
            source="""
def measured(head, query, node_sets, times=-1.0, frozen=False):
    found = []
    for nodes in node_sets:
        hooks = writes_added(head.x, [nodes], times)
        if frozen:
            hooks = head.x.linear + hooks
        scores = activations(head.x.model, head.x.tokens, hooks, [scores_hook(head.layer)])[0]
        row = scores[0, head.head, query][: query + 1]
        found.append(Looking(row, torch.softmax(row, 0)))
    return found
""",
        )
    ],
    "cut_heads": [
        Alternate(
            "one_hook_a_head",
            source="""
def cut_heads(heads):
    def hook_of(number):
        def cut(z, hook):
            parts = list(z.unbind(2))
            parts[number] = parts[number].detach()
            return torch.stack(parts, dim=2)

        return cut

    return [(z_hook(layer), hook_of(number)) for layer, number in heads]
""",
        )
    ],
    "head_loadings": [
        Alternate(
            "products",
            source="""
def head_loadings(carried, target, source):
    gains = carried.worth[target].transpose(1, 2) @ carried.values[source].permute(0, 2, 3, 1)
    return gains * carried.patterns
""",
        )
    ],
}
