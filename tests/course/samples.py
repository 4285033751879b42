"""Attribution results made by hand, for tests of what is done with a result: no model is run."""

import torch

from utils.engine.graph import AttributionResult, GraphNodes, NodeInfo, NodeType

HOSTILE = [
    "<script>document.title='hacked'</script>",
    "</script><img src=x onerror=document.title='hacked'>",
    "\"quoted\" 'text' (p=9) &lt;b&gt; {{data}}",
    "line\none\r\ttab \u0000\u0007",
    "emoji 👩‍👩‍👧 and 𝕌",
    "\u202eright-to-left override",
    "العربية עברית",
    "",
    "x" * 5000,
    "lone surrogate \ud800",
    "-->]]>\u2028\u2029",
]


def sample_result(
    tokens: list[str] | None = None,
    n_layers: int = 6,
    per_cell: int = 3,
    answers: dict[str, float] | None = None,
    prompt: str | None = None,
    seed: int = 0,
) -> AttributionResult:
    """A result with random edges between all earlier and later nodes, everything kept, rows of about 40 edges.

    Latent numbers run from 0 in every layer, so that latent p of layer l stands at position p, where a careless id of an
    error node would collide with it.
    """
    tokens = tokens or ["<bos>", "The", " capital", " of", " the", " state", " containing", " Dal", "las", " is"]
    answers = answers or {" Austin": 0.93, " Houston": 0.02, " Albany": 0.01}
    nodes = _nodes(tokens, n_layers, per_cell, answers)
    matrix = _edges(nodes, torch.Generator().manual_seed(seed))
    n = len(nodes)
    return AttributionResult(
        graph=GraphNodes(
            nodes=nodes,
            writing_vecs=torch.zeros(n, 4),
            reading_vecs=torch.zeros(n, 4),
            node_range_dict={},
            seq_len=len(tokens),
            n_layers=n_layers,
        ),
        adjacency_matrix=matrix,
        bias=torch.zeros(n),
        values=matrix.sum(1),
        influence=_influence(matrix, nodes),
        kept_indices=torch.arange(n),
        pruned_matrix=matrix.clone(),
        prompt="".join(tokens) if prompt is None else prompt,
        str_tokens=tokens,
        node_threshold=0.8,
        edge_threshold=0.98,
        model_name="sample",
        dictionary_name="sample/layer_{layer}",
        scores={"replacement": 0.71, "completeness": 0.88, "completeness_gap": 3.2e-7},
    )


def _nodes(tokens: list[str], n_layers: int, per_cell: int, answers: dict[str, float]) -> list[NodeInfo]:
    last = len(tokens) - 1
    nodes = [NodeInfo(NodeType.EMBEDDING, "E", pos, feature=3 + pos, str_token=text) for pos, text in enumerate(tokens)]
    for layer in range(n_layers):
        for pos in range(len(tokens)):
            for k in range(per_cell):
                latent = pos + k * len(tokens)
                nodes.append(NodeInfo(NodeType.LATENT, layer, pos, feature=latent, activation=1.5 + k))
            nodes.append(NodeInfo(NodeType.MLP_ERROR, layer, pos, feature=0))
    for rank, (text, prob) in enumerate(answers.items()):
        nodes.append(NodeInfo(NodeType.LOGIT, "L", last, feature=50 + rank, token_prob=prob, str_token=text))
    return nodes


def _edges(nodes: list[NodeInfo], generator: torch.Generator) -> torch.Tensor:
    """Sparse random effects, only from earlier to later layers and never from later to earlier positions."""
    depth = torch.tensor([{"E": -1, "L": 1000}.get(node.layer, node.layer) for node in nodes])
    pos = torch.tensor([node.ctx_idx for node in nodes])
    reads = torch.tensor([node.node_type in (NodeType.LATENT, NodeType.LOGIT) for node in nodes])
    writes = torch.tensor([node.node_type is not NodeType.LOGIT for node in nodes])
    may = (depth[:, None] > depth[None, :]) & (pos[:, None] >= pos[None, :]) & reads[:, None] & writes[None, :]
    weights = torch.randn(len(nodes), len(nodes), generator=generator) ** 3
    rare = torch.rand(len(nodes), len(nodes), generator=generator) < 40 / may.sum(1, keepdim=True).clamp(min=1)
    return weights * (may & rare)


def _influence(matrix: torch.Tensor, nodes: list[NodeInfo]) -> torch.Tensor:
    """The share of the answers that flows through every node."""
    normal = matrix.abs() / matrix.abs().sum(1, keepdim=True).clamp(min=1e-12)
    flow = torch.tensor([node.token_prob for node in nodes])
    total = torch.zeros(len(nodes))
    while flow.any():
        flow = flow @ normal
        total += flow
    return total


def prune_sample(result: AttributionResult, n_nodes: int, edges_per_row: int) -> AttributionResult:
    """``result`` with the most influential nodes only (and all logits), and the strongest edges of every row."""
    score = result.influence.clone()
    score[result.graph.indices(NodeType.LOGIT)] = float("inf")
    kept = score.argsort(descending=True)[:n_nodes].sort().values
    matrix = result.adjacency_matrix[kept][:, kept]
    least = matrix.abs().topk(min(edges_per_row, len(kept)), dim=1).values[:, -1:]
    result.kept_indices, result.pruned_matrix = kept, matrix * (matrix.abs() >= least)
    return result


# ---------------------------------------------------------------- a large graph, as other tools write it

OPENING = [
    "<bos>",
    "Fact",
    ":",
    " the",
    " official",
    " language",
    " spoken",
    " in",
    " the",
    " country",
    " whose",
    " capital",
]
SENTENCE = [" city", " lies", " on", " the", " river", " Seine", " and", " is", " called", " Paris", ",", " in", " one"]
FOREIGN = [*OPENING, *SENTENCE, " word", ",", " is"]
THEMES = [
    "say a language",
    "France",
    "capital cities",
    "Paris",
    "rivers",
    "after “is”",
    "languages",
    "Europe",
    "names",
    "places",
]


def foreign_graph(
    n_layers: int = 26, n_nodes: int = 800, n_links: int = 20_000, seed: int = 0, tokens: list[str] | None = None
) -> dict:
    """A graph as circuit-tracer writes it, of a size that real models give: a seeded random DAG with their structure.

    A few positions (names, the last token) hold most latents, early layers read their own token, late layers gather at the last
    position, attention moves from a few positions to later ones, and effects have a heavy tail. The most influential nodes and the
    largest effects are kept. No file of ours: it holds no paths, no node's own influence and no sum of inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = tokens or FOREIGN
    nodes = _foreign_nodes(len(tokens), n_layers, 2 * n_nodes, generator)
    effects = _foreign_effects(nodes, n_layers, generator)
    running = _running_share(effects, nodes)
    answers = [i for i, node in enumerate(nodes) if node["kind"] == "logit"]
    ranked = [i for i in running.argsort().tolist() if i not in set(answers)]
    kept = sorted(ranked[: n_nodes - len(answers)] + answers)
    effects = effects[kept][:, kept]
    least = effects.abs().flatten().topk(n_links).values[-1]
    targets, sources = (effects.abs() >= least).nonzero(as_tuple=True)
    rows = [_foreign_row(nodes[i], running[i].item(), tokens, n_layers) for i in kept]
    weights = effects[targets, sources].tolist()
    return {
        "metadata": {
            "slug": f"large-{seed}",
            "scan": "gemma-2-2b",
            "transcoder_list": [],
            "prompt_tokens": tokens,
            "prompt": "".join(tokens),
            "node_threshold": 0.8,
            "schema_version": 1,
            "feature_details": {"neuronpedia_source_set": "gemmascope-transcoder-16k"},
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": rows,
        "links": [
            {"source": rows[s]["node_id"], "target": rows[t]["node_id"], "weight": weight}
            for t, s, weight in zip(targets.tolist(), sources.tolist(), weights)
        ],
    }


def _foreign_nodes(n_tokens: int, n_layers: int, n_latents: int, generator: torch.Generator) -> list[dict]:
    """`{kind, layer, pos, feature, activation, prob}`; embeddings have layer -1 and answers layer `n_layers`."""
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    nodes = [{"kind": "embedding", "layer": -1, "pos": p, "feature": 100 + p} for p in range(n_tokens)]
    busy = draw(n_tokens) ** 1.5 + 0.08
    busy[-1] = busy.max()
    cells = torch.zeros(n_layers, n_tokens)
    for layer in range(n_layers):
        late = layer / (n_layers - 1)
        cells[layer] = busy * (1 - 0.8 * late)
        cells[layer, -1] = busy[-1] * (0.4 + 1.2 * late)
    chosen = torch.multinomial(cells.flatten(), n_latents, replacement=True, generator=generator).tolist()
    for rank, cell in enumerate(sorted(chosen)):
        layer, pos = divmod(cell, n_tokens)
        activation = float(torch.exp(2 * torch.randn(1, generator=generator)))
        nodes.append({"kind": "latent", "layer": layer, "pos": pos, "feature": 1000 + rank, "activation": activation})
    for cell in sorted(set(chosen))[::2]:
        layer, pos = divmod(cell, n_tokens)
        nodes.append({"kind": "mlp_error", "layer": layer, "pos": pos, "feature": -1})
    probs = 0.62 * 0.45 ** torch.arange(10)
    nodes += [
        {"kind": "logit", "layer": n_layers, "pos": n_tokens - 1, "feature": 5000 + k, "prob": float(p)}
        for k, p in enumerate(probs)
    ]
    return nodes


def _foreign_effects(nodes: list[dict], n_layers: int, generator: torch.Generator) -> torch.Tensor:
    """Effects of every node (columns) on every other (rows): larger within a position and from few layers below."""
    layer = torch.tensor([node["layer"] for node in nodes])
    pos = torch.tensor([node["pos"] for node in nodes])
    reads = torch.tensor([node["kind"] in ("latent", "logit") for node in nodes])
    writes = torch.tensor([node["kind"] != "logit" for node in nodes])
    may = (layer[:, None] > layer[None, :]) & (pos[:, None] >= pos[None, :]) & reads[:, None] & writes[None, :]
    looked_at = torch.rand(int(pos.max()) + 1, generator=generator) ** 4 + 0.02
    carried = torch.where(pos[:, None] == pos[None, :], 1.0, 0.5 * looked_at[pos][None, :])
    near = 1 / (layer[:, None] - layer[None, :]).clamp(min=1).float().sqrt()
    size = torch.exp(1.6 * torch.randn(len(nodes), len(nodes), generator=generator))
    sign = torch.where(torch.rand(len(nodes), len(nodes), generator=generator) < 0.7, 1.0, -1.0)
    from_error = torch.tensor([0.4 if node["kind"] == "mlp_error" else 1.0 for node in nodes])
    return may * carried * near * size * sign * from_error[None, :]


def _running_share(effects: torch.Tensor, nodes: list[dict]) -> torch.Tensor:
    """The running share of all influence down to each node, as files hold it; answers have none and get 0."""
    infos = [NodeInfo(NodeType.LOGIT, "L", 0, feature=0, token_prob=node.get("prob", 0.0)) for node in nodes]
    influence = _influence(effects, infos)
    influence[[i for i, node in enumerate(nodes) if node["kind"] == "logit"]] = 0
    order = influence.argsort(descending=True)
    running = torch.empty_like(influence)
    running[order] = (influence[order].cumsum(0) / influence.sum()).clamp(max=1)
    return running


def _foreign_row(node: dict, running: float, tokens: list[str], n_layers: int) -> dict:
    kind, layer, pos, feature = node["kind"], node["layer"], node["pos"], node["feature"]
    theme = THEMES[feature % len(THEMES)] if kind == "latent" and feature % 3 == 0 else ""
    identity = {
        "embedding": (f"E_{feature}_{pos}", "E", pos, f"Emb: {tokens[pos]}"),
        "latent": (
            f"{layer}_{feature}_{pos}",
            str(layer),
            (layer + feature) * (layer + feature + 1) // 2 + feature,
            theme,
        ),
        "mlp_error": (f"0_{layer}_{pos}", str(layer), -1, ""),
        "logit": (f"{layer + 1}_{feature}_{pos}", str(layer + 1), feature, ""),
    }[kind]
    name, written_layer, number, label = identity
    if kind == "logit":
        label = f'Output " answer{feature - 5000}" (p={node["prob"]:.3f})'
    types = {"latent": "cross layer transcoder", "mlp_error": "mlp reconstruction error"}
    return {
        "node_id": name,
        "feature": number,
        "layer": written_layer,
        "ctx_idx": pos,
        "feature_type": types.get(kind, kind),
        "jsNodeId": f"{name}-0",
        "clerp": label,
        "influence": None if kind == "logit" else running,
        "activation": node.get("activation"),
        "token_prob": node.get("prob", 0.0),
        "is_target_logit": kind == "logit" and feature == 5000,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
    }
