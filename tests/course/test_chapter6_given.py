"""What chapter 6 gives: the nodes of neurons, controls of equal change, the strongest firings, and what sentences share."""

import pytest
import torch

from solutions.chapter6_real_models import agreement, alike_in_change, build_neuron_nodes, top_firings
from tests.chapter6.shared import D_MLP, N_LAYERS, prompts_of
from utils.engine.graph import NodeType
from utils.grading import expect, expect_close, expect_equal


@pytest.fixture(scope="module")
def linear_prompt(tiny):
    return prompts_of(tiny)


def some_neurons() -> torch.Tensor:
    """A few neurons of layers 0 and 2, none of layer 1."""
    chosen = torch.zeros(N_LAYERS, 9, D_MLP, dtype=torch.bool)
    for place in ((0, 2, 5), (0, 1, 20), (0, 2, 3), (2, 8, 26), (2, 4, 0)):
        chosen[place] = True
    return chosen


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_nodes_in_their_order(linear_prompt, architecture):
    """The nodes stand by layer, position and number, with their activations; each layer knows its range."""
    x = linear_prompt(architecture)
    with torch.no_grad():
        graph = build_neuron_nodes(x, some_neurons(), 1)
    latents = [graph.nodes[i] for i in graph.indices(NodeType.LATENT)]
    expected = [(0, 1, 20), (0, 2, 3), (0, 2, 5), (2, 4, 0), (2, 8, 26)]
    expect_equal([(n.layer, n.ctx_idx, n.feature) for n in latents], expected, "Layer, position and number")
    acts = [float(x.hooks.acts[layer][position, neuron]) for layer, position, neuron in expected]
    expect_close(torch.tensor([n.activation for n in latents]), torch.tensor(acts), "The activations", rtol=1e-5)
    first = x.tokens.shape[1]
    ranges = [tuple(graph.node_range_dict[layer]) for layer in range(N_LAYERS)]
    expect_equal(ranges, [(first, first + 3), (first + 3, first + 3), (first + 3, first + 5)], "The layers' ranges")


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_what_nodes_write_and_read(linear_prompt, architecture):
    """A node writes its activation times its row of W_out, and what it reads on the prompt is its activation."""
    x = linear_prompt(architecture)
    with torch.no_grad():
        graph = build_neuron_nodes(x, some_neurons(), 1)
        names = {
            f"blocks.{layer}.{place}" for layer in range(N_LAYERS) for place in ("mlp.hook_in", "ln2_post.hook_scale")
        }
        with x.freeze:
            _, cache = x.model.run_with_cache(x.tokens, names_filter=names.__contains__)
        writes, reads = [], []
        for i in graph.indices(NodeType.LATENT):
            node = graph.nodes[i]
            write = (
                x.hooks.acts[node.layer][node.ctx_idx, node.feature]
                * x.model.blocks[node.layer].mlp.W_out[node.feature]
            )
            if architecture == "gemma3":  # a norm behind the MLP
                weight = 1 + x.model.original_model.model.layers[node.layer].post_feedforward_layernorm.weight
                write = write * weight / cache[f"blocks.{node.layer}.ln2_post.hook_scale"][0, node.ctx_idx]
            writes.append(write)
            inputs = cache[f"blocks.{node.layer}.mlp.hook_in"][0, node.ctx_idx]
            reads.append(inputs @ graph.reading_vecs[i].to(inputs) + graph.reading_bias[i])
    indices = graph.indices(NodeType.LATENT)
    expect_close(
        graph.writing_vecs[indices], torch.stack(writes).to(graph.writing_vecs), "What they write", rtol=1e-4, atol=1e-5
    )
    expected = torch.tensor([graph.nodes[i].activation for i in indices])
    expect_close(torch.stack(reads).float(), expected, "What they read", rtol=1e-4, atol=1e-5)


def chosen_by_pair(mask: torch.Tensor) -> list[list[int]]:
    return [row.flatten().nonzero().flatten().tolist() for row in mask]


def mask_of(*rows: list[int], n: int = 10) -> torch.Tensor:
    mask = torch.zeros(len(rows), 1, 1, n, dtype=torch.bool)
    for row, chosen in enumerate(rows):
        mask[row, 0, 0, chosen] = True
    return mask


SIZES = torch.tensor(
    [[5.0, 4.9, 4.8, 0.1, 3.0, 2.9, 9.0, 0.2, 7.0, 0.3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]
).view(2, 1, 1, 10)


def test_controls_have_the_same_sizes():
    """Each chosen neuron gets the largest free one that is not larger, and every pair has its own controls."""
    controls = alike_in_change(SIZES, mask_of([0, 4], [3, 9]))
    expect_equal(controls.shape, SIZES.shape, "The shape of the controls")
    expect_equal(str(controls.dtype), "torch.bool", "The type of the controls, which are a mask")
    expect_equal(chosen_by_pair(controls), [[1, 5], [2, 8]], "The controls of two pairs")


def test_no_control_is_chosen_or_taken_twice():
    """Controls are neither chosen nor taken twice: neighbours in size get different ones."""
    controls = alike_in_change(SIZES, mask_of([0, 1, 6], [7, 8, 9]))
    expect_equal(chosen_by_pair(controls), [[2, 4, 8], [4, 5, 6]], "The controls of chosen neurons that are neighbours")


def test_small_ones_take_what_is_left():
    """Where nothing smaller is left, the smallest free ones are taken, so that the number is right."""
    controls = alike_in_change(SIZES, mask_of([3, 7], [0, 1, 2]))
    expect_equal(chosen_by_pair(controls), [[5, 9], [3, 4, 5]], "The controls of the smallest neurons")


def test_too_few_controls():
    """More than half cannot have controls: ValueError."""
    try:
        found = alike_in_change(SIZES, mask_of([0, 1, 2, 3, 4, 5], [0]))
    except ValueError:
        return
    expect(False, "Six of ten neurons are chosen, and four are left: raise a ValueError.", got=chosen_by_pair(found))


# five sentences; the first position of each, and the padding behind it, hold the largest numbers
ACTS = torch.tensor(
    [
        [90.0, 1.0, 3.0, 2.0, 0.0],
        [91.0, 5.0, 4.0, -70.0, 60.0],
        [92.0, -2.0, -1.0, -4.0, -3.0],
        [93.0, 0.0, 0.0, 8.0, 7.5],
        [-94.0, 0.5, -6.0, 50.0, -80.0],
    ]
)

USED = torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 0, 0]]).bool()


def as_tuples(firings) -> list[tuple]:
    return [(int(f.row), int(f.position), round(float(f.activation), 4)) for f in firings]


def test_one_firing_a_sentence_strongest_first():
    """Each sentence has one firing, its strongest, and the strongest sentence comes first."""
    expected = [(3, 3, 8.0), (1, 1, 5.0), (0, 2, 3.0)]
    expect_equal(as_tuples(top_firings(ACTS, USED, 3)), expected, "The three strongest sentences")


def test_silent_sentences_are_left_out():
    """A sentence without a positive activation is not in the list, though there is room."""
    found = as_tuples(top_firings(ACTS, USED, 5))
    expect_equal(found, [(3, 3, 8.0), (1, 1, 5.0), (0, 2, 3.0), (4, 1, 0.5)], "The firings when five may be shown")


def test_the_negative_side():
    """With sign -1 the most negative activations come first, and the list gives them times the sign."""
    found = as_tuples(top_firings(ACTS, USED, 5, sign=-1))
    expect_equal(found, [(4, 2, 6.0), (2, 3, 4.0)], "The firings of the negative side")


TEXAS = {"place": "Texas", "relation": "capital"}

TEXAS_FLOWER = {"place": "Texas", "relation": "flower"}

UTAH = {"place": "Utah", "relation": "capital"}

IOWA = {"place": "Iowa", "relation": "capital"}

EVERYWHERE = [TEXAS, TEXAS_FLOWER, UTAH, IOWA, IOWA, IOWA, IOWA, IOWA]


def test_agreement_by_hand():
    """Two of three are about Texas, one in four is everywhere; all ask for a capital, but so do most."""
    found = agreement([TEXAS, TEXAS, UTAH], EVERYWHERE)
    expect_equal(found.concept, ("place", "Texas"), "The concept")
    expect_close(found.share, 2 / 3, "Its share of the sentences that fired")
    expect_close(found.base, 2 / 8, "Its share of all sentences")
    expect_close(found.excess, 2 / 3 - 1 / 4, "The excess")


def test_the_difference_counts_not_the_ratio():
    """A rare concept in one sentence of five is no name for the other four."""
    found = agreement([IOWA, IOWA, IOWA, IOWA, UTAH], [*[IOWA, TEXAS] * 9, UTAH, TEXAS_FLOWER])
    expect_equal(found.concept, ("place", "Iowa"), "The concept")


def test_a_value_of_another_kind_is_another_concept():
    """New York the state and New York the city are two concepts."""
    state, city = {"state": "New York"}, {"city": "New York"}
    found = agreement([state, city, {"state": "Ohio"}, state], [state, city, {"state": "Ohio"}, {"state": "Utah"}] * 2)
    expect_equal(found.concept, ("state", "New York"), "The concept")
    expect_close(found.share, 0.5, "Its share of the sentences that fired")
    expect_close(found.base, 0.25, "Its share of all sentences")


def test_shares_are_of_the_sentences_that_fired():
    """All that fired are about Texas, however few sentences there are to compare with."""
    found = agreement([TEXAS] * 5, [UTAH, TEXAS, IOWA, IOWA])
    expect_equal(found.concept, ("place", "Texas"), "The concept")
    expect_close(found.share, 1.0, "Its share of the sentences that fired")


def test_nothing_in_common():
    """Where nothing fired, or nothing is more common than everywhere, there is no concept."""
    expect_equal(tuple(agreement([], EVERYWHERE)), (None, 0.0, 0.0), "Nothing fired")
    expect_equal(tuple(agreement([UTAH, IOWA], [UTAH, IOWA])), (None, 0.0, 0.0), "Nothing more common")


def test_nothing_to_compare_with():
    """Without any sentences there is one sentence of complaint."""
    with pytest.raises(ValueError) as error:
        agreement([TEXAS], [])
    expect("\n" not in str(error.value), "The message is one line", got=str(error.value))
