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
