"""Which neurons become nodes, what the nodes are, and that the graph adds up."""

import pytest
import torch

from solutions.chapter6_real_models import NeuronAttributions
from tests.chapter6.shared import ANSWER, D_MLP, N_LAYERS, OTHERS
from tests.tiny import PROMPT
from utils.engine.graph import NodeType
from utils.engine.hooks import EMBEDDING_HOOK, FINAL_HOOK, hooked
from utils.engine.neurons import acts_hook
from utils.engine.targets import ChosenOutput, contrast
from utils.grading import expect, expect_close, expect_equal


def attributions_of(neurons: torch.Tensor, weights: tuple[float, ...]) -> NeuronAttributions:
    outputs = [ChosenOutput(f"t{i}", 0.1 + 0.6 * i, i, weight) for i, weight in enumerate(weights)]
    n = len(weights)
    return NeuronAttributions(neurons, torch.zeros(n, 2), torch.zeros(n), torch.zeros(n), outputs, ["a", "b"])


def chosen_places(mask: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(place) for place in mask.nonzero().tolist()}


# (target, layer, seq, d_mlp)
BY_HAND = torch.tensor(
    [
        [[[9.0, 0.0, 0.0], [1.0, -4.0, 0.0]], [[0.0, 8.0, 0.0], [0.5, 0.0, 2.0]]],
        [[[0.0, 0.0, 7.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [-5.0, 0.0, -2.0]]],
    ]
)


def test_the_strongest_by_hand(strongest_neurons):
    """The largest absolute attributions are kept, whatever their sign."""
    found = strongest_neurons(attributions_of(BY_HAND[:1], (1.0,)), 3, 1)
    expect_equal(str(found.dtype), "torch.bool", "The type of the answer, which is a mask")
    expect_equal(chosen_places(found), {(0, 1, 1), (1, 1, 2), (0, 1, 0)}, "The three strongest")


def test_targets_are_weighted(strongest_neurons):
    """With several targets the absolute attributions count with the targets' weights, and do not cancel."""
    found = strongest_neurons(attributions_of(BY_HAND, (0.9, 0.1)), 2, 1)
    expect_equal(chosen_places(found), {(0, 1, 1), (1, 1, 2)}, "The two strongest, weights 0.9 and 0.1")
    found = strongest_neurons(attributions_of(BY_HAND, (0.5, 0.5)), 3, 1)
    expect_equal(chosen_places(found), {(1, 1, 0), (0, 1, 1), (1, 1, 2)}, "The three strongest, equal weights")


def test_early_positions_and_zeros_are_left_out(strongest_neurons):
    """No neuron before start_posn is chosen, and none without any attribution."""
    found = attributions_of(BY_HAND[:1], (1.0,))
    expect_equal(
        chosen_places(strongest_neurons(found, 99, 1)), {(0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 2)}, "From 1 on"
    )
    expect_equal(
        chosen_places(strongest_neurons(found, 2, 0)), {(0, 0, 0), (1, 0, 1)}, "The strongest of all positions"
    )


@pytest.mark.parametrize("n_nodes", [1, 60])
def test_everything_adds_up(attribute_neurons, tiny, n_nodes):
    """Edges and constants add up to what every node reads, whatever number of neurons is kept."""
    model = tiny("llama")[0]
    result = attribute_neurons(model, PROMPT, target_tokens=contrast(model, ANSWER, OTHERS), max_latent_nodes=n_nodes)
    expect_equal(len(result.graph.indices(NodeType.LATENT)), n_nodes, "The number of neurons")
    expect_equal(len(result.graph.indices(NodeType.MLP_ERROR)), 0, "The number of error nodes")
    expect(
        result.scores["completeness_gap"] <= 1e-9,
        "The largest gap is below 1e-9",
        got=result.scores["completeness_gap"],
    )


def test_the_strongest_visible_neurons_are_nodes(attribute_neurons, linear_prompt):
    """The nodes are the neurons with the largest attribution to the target, from `start_posn` on."""
    from solutions.chapter6_real_models import all_attributions

    x = linear_prompt("llama")
    with torch.no_grad():
        neurons = all_attributions(x).neurons[0].abs()
    for start_posn in (1, 4):
        result = attribute_neurons(
            x.model,
            PROMPT,
            target_tokens=contrast(x.model, ANSWER, OTHERS),
            max_latent_nodes=150,
            start_posn=start_posn,
        )
        visible = neurons.clone()
        visible[:, :start_posn] = 0
        best = visible.flatten().topk(150).indices
        expected = {tuple(int(i) for i in torch.unravel_index(place, visible.shape)) for place in best}
        nodes = [result.graph.nodes[i] for i in result.graph.indices(NodeType.LATENT)]
        expect_equal(
            {(n.layer, n.ctx_idx, n.feature) for n in nodes}, expected, f"The nodes from position {start_posn} on"
        )


def test_an_edge_passes_no_other_node(attribute_neurons, linear_prompt):
    """With every neuron a node, an embedding's edge to the answer is what it does in a model whose MLPs are all silent."""
    x = linear_prompt("llama")
    n_tokens = x.tokens.shape[1]
    target = contrast(x.model, ANSWER, OTHERS)
    every = N_LAYERS * n_tokens * D_MLP
    result = attribute_neurons(x.model, PROMPT, target_tokens=target, max_latent_nodes=every, start_posn=0)

    def answer(position: int | None) -> torch.Tensor:
        """The target with all MLPs silent and only one embedding."""

        def one(embedding, hook):
            kept = torch.zeros_like(embedding)
            if position is not None:
                kept[0, position] = embedding[0, position]
            return kept

        seen = []
        silent = [(acts_hook(layer), lambda acts, hook: torch.zeros_like(acts)) for layer in range(N_LAYERS)]
        end = (FINAL_HOOK, lambda value, hook: seen.append(value))
        with torch.no_grad(), hooked(x.model, [*x.freeze.fwd_hooks, (EMBEDDING_HOOK, one), *silent, end]):
            x.model(x.tokens)
        return (x.vectors @ seen[0][0, -1].to(x.vectors))[0]

    expected = torch.stack([answer(position) - answer(None) for position in range(n_tokens)])
    found = result.adjacency_matrix[-1, :n_tokens]
    expect_close(found, expected.to(found), "The edges from the embeddings to the answer", rtol=1e-6, atol=1e-8)
