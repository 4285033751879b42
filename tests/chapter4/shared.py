"""What the tests of chapter 4 share: traced prompts, and a plain implementation of interventions to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter3_attribution_graphs import attribute, compute_influence
from solutions.chapter4_interventions import BaseRun, Question, run_base
from tests.tiny import PROMPT
from utils.engine.graph import AttributionResult, GraphNodes, NodeInfo, NodeType
from utils.grading import expect


@dataclass
class Traced:
    """A prompt on a tiny model: its graph, and the unchanged run."""

    model: TransformerBridge
    transcoders: dict
    tokens: Tensor
    result: AttributionResult
    base: BaseRun

    def latent(self, layer: int, number: int = 0) -> int:
        """Index of one of a layer's latents in the graph."""
        nodes = self.result.graph.nodes
        return [i for i, n in enumerate(nodes) if n.node_type is NodeType.LATENT and n.layer == layer][number]


def traces_of(tiny: Callable) -> Callable[..., Traced]:
    """`traces_of(tiny)(architecture, skip=True)`: each is traced once."""
    done: dict = {}

    def make(architecture: str = "gemma3", **kinds) -> Traced:
        key = (architecture, *sorted(kinds.items()))
        if key not in done:
            model, transcoders = tiny(architecture, **kinds)
            tokens = model.to_tokens(PROMPT)
            result = attribute(model, transcoders, PROMPT, start_posn=0)
            done[key] = Traced(model, transcoders, tokens, result, run_base(model, transcoders, tokens))
        return done[key]

    return make


_known: dict = {}


def once(*key, work: Callable):
    """What `work()` gives, worked out once for each key: the truth is the same for every answer that is tested."""
    if key not in _known:
        _known[key] = work()
    return _known[key]


def encode(transcoder, x: Tensor) -> Tensor:
    """JumpReLU, written out."""
    before = x @ transcoder.W_enc.detach() + transcoder.b_enc.detach()
    return before * (before > transcoder.threshold.detach())


def expect_tensor_of_integers(value: object, what: str) -> None:
    """Not a list, and not a tensor of decimal numbers: both look right when they are printed."""
    expect(isinstance(value, Tensor), f"{what} must be a tensor.", got=f"a {type(value).__name__}")
    integers = value.is_floating_point() is False and value.dtype != torch.bool
    expect(integers, f"{what} must be integers: they are used as indices.", got=str(value.dtype))


def expect_list_of_integers(value: object, what: str) -> None:
    """Not a tensor, and no tensors in a list: both look right when they are printed."""
    expect(isinstance(value, list), f"{what} must be a list.", got=f"a {type(value).__name__}")
    kinds = sorted({type(item).__name__ for item in value})
    expect(set(kinds) <= {"int"}, f"{what} must be a list of integers.", got=f"a list of {' and '.join(kinds)}")


def skip(transcoder, x: Tensor) -> Tensor:
    W_skip = getattr(transcoder, "W_skip", None)
    return torch.zeros_like(x) if W_skip is None else torch.einsum("oi,bpi->bpo", W_skip.detach(), x)


@torch.no_grad()
def plain_run(
    model: TransformerBridge,
    transcoders: dict,
    tokens: Tensor,
    changes: Sequence[tuple[int, int, int, int, float]] = (),
    hooks: Sequence = (),
    rewrite: dict[int, Callable] | None = None,
) -> tuple[Tensor, dict]:
    """An intervention in the plainest words: every MLP writes what it writes, plus (new - old activation) * decoder row.

    Args:
        changes: (row, layer, position, latent, new activation).
        hooks: others, such as those that freeze something.
        rewrite: layer -> a function of (x, y) that replaces what its MLP writes before the changes.

    Returns:
        Logits, and what every layer and "L" read.
    """
    reads: dict = {}

    def hooks_of(layer, transcoder):
        def read(x, hook):
            reads[layer] = x

        def write(y, hook):
            x, y = reads[layer], y.clone()
            if rewrite and layer in rewrite:
                y = rewrite[layer](x, y).clone()
            old = encode(transcoder, x)
            for row, where, position, latent, new in changes:
                if where == layer:
                    y[row, position] += (new - old[row, position, latent]) * transcoder.W_dec[latent].detach()
            return y

        return [(f"blocks.{layer}.mlp.hook_in", read), (f"blocks.{layer}.hook_mlp_out", write)]

    def read_last(x, hook):
        reads["L"] = x

    own = [hook for layer, transcoder in transcoders.items() for hook in hooks_of(layer, transcoder)]
    logits = model.run_with_hooks(tokens, fwd_hooks=[*hooks, *own, ("ln_final.hook_out", read_last)])
    return logits, reads


@torch.no_grad()
def freezing_hooks(model: TransformerBridge, tokens: Tensor, *endings: str) -> list:
    """Hooks that hold everything whose hook's name ends so at its value on the unchanged prompts."""
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith(endings))

    def hold(value: Tensor):
        return lambda live, hook: value

    return [(name, hold(value)) for name, value in cache.items()]


@torch.no_grad()
def tokens_of_two_lengths(model: TransformerBridge) -> tuple[Tensor, list[int]]:
    """Three prompts filled up on the right, and the position of each one's last token."""
    prompts = [model.to_tokens(text)[0] for text in (PROMPT, "the capital of France is", "Dallas is a small city in")]
    tokens = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    return tokens, [len(prompt) - 1 for prompt in prompts]


ANSWER, OTHERS = 9, (4, 12, 17)  # tokens of the tiny models


def ask(x: Traced) -> Question:
    """The prompt, and a contrast that is measured on it."""
    return Question(x.tokens, ANSWER, list(OTHERS))


def plain_contrast(logits: Tensor) -> Tensor:
    """The answer's logit less the mean of the others', written out."""
    here = logits[:, -1]
    return here[:, ANSWER] - sum(here[:, other] for other in OTHERS) / len(OTHERS)


def chain() -> AttributionResult:
    """A graph of two layers, small enough to follow by hand.

    The embedding 0 goes to latent 1 (activation 2, in layer 0) and latent 2 (activation 4, in layer 1); latent 1 goes to latent 2;
    all go to the logit 4. Node 3 is an error, which reads nothing.
    """
    nodes = [
        NodeInfo(NodeType.EMBEDDING, "E", 0, 7, str_token="a"),
        NodeInfo(NodeType.LATENT, 0, 0, 5, activation=2.0),
        NodeInfo(NodeType.LATENT, 1, 0, 6, activation=4.0),
        NodeInfo(NodeType.MLP_ERROR, 1, 0, 0),
        NodeInfo(NodeType.LOGIT, "L", 0, 3, token_prob=1.0, str_token="b"),
    ]
    matrix = torch.zeros(5, 5, dtype=torch.float64)
    matrix[1, 0] = 1.0
    matrix[2, 0], matrix[2, 1] = 0.5, -3.0
    matrix[4, :4] = torch.tensor([0.25, 1.5, 8.0, 0.125])
    ranges = {"E": (0, 1), 0: (1, 2), 1: (2, 4), "L": (4, 5)}
    return AttributionResult(
        **whole_graph(nodes, ranges, matrix),
        # pruned: latent 1 is gone, so that its matrix is not the whole one
        kept_indices=torch.tensor([0, 2, 4]),
        pruned_matrix=matrix[[0, 2, 4]][:, [0, 2, 4]],
        prompt="a",
        str_tokens=["a"],
        node_threshold=0.8,
        edge_threshold=0.85,
    )


def whole_graph(nodes: list[NodeInfo], ranges: dict, matrix: Tensor) -> dict:
    """The parts of a traced prompt that belong together: a latent reads its activation, and edges and bias add up to what is read."""
    n_layers, zeros = len(ranges) - 2, torch.zeros(len(nodes), 3, dtype=torch.float64)
    values = matrix.new_tensor([node.activation for node in nodes])
    values[-1] = matrix[-1].sum() - 1.25
    return {
        "graph": GraphNodes(nodes, zeros, zeros.clone(), ranges, 1, n_layers, reading_bias=zeros[:, 0].clone()),
        "adjacency_matrix": matrix,
        "bias": values - matrix.sum(1),
        "values": values,
        "influence": compute_influence(matrix, matrix.new_ones(1), n_layers),
    }


def tower(n_layers: int) -> AttributionResult:
    """A graph of one path: the embedding, a latent in every layer, the logit; every edge is 2 and every activation 4.

    A node's share is half of the share before it, so that the change of the logit is 2 / 2**n_layers times the embedding's share.
    """
    nodes = [NodeInfo(NodeType.EMBEDDING, "E", 0, 7, str_token="a")]
    nodes += [NodeInfo(NodeType.LATENT, layer, 0, layer, activation=4.0) for layer in range(n_layers)]
    nodes += [NodeInfo(NodeType.LOGIT, "L", 0, 3, token_prob=1.0, str_token="b")]
    n = len(nodes)
    ranges = {"E": (0, 1)} | {layer: (layer + 1, layer + 2) for layer in range(n_layers)} | {"L": (n - 1, n)}
    return replace(
        chain(), **whole_graph(nodes, ranges, torch.diag(torch.full((n - 1,), 2.0, dtype=torch.float64), -1))
    )
