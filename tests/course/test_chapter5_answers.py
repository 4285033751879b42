"""Chapter 5's reference answers at work together: what no single exercise is graded by."""

import pytest
import torch

from solutions import chapter5_cross_layer_transcoders as chapter5
from solutions.chapter3_attribution_graphs import compute_influence
from tests.chapter4.shared import chain
from tests.chapter5.shared import N_LAYERS, clts_of, random_clt
from tests.tiny import D_MODEL, PROMPT

CONFIG = chapter5.TrainingConfig(width=11, steps=12, batch_size=3, learning_rate=1e-2, save_every=5)


@pytest.fixture(scope="module")
def tiny_clt(tiny):
    """`tiny_clt(architecture)`: a tiny model and a random cross-layer transcoder, made once."""
    return clts_of(tiny)


@pytest.fixture(scope="module")
def store():
    """Two layers' random inputs and outputs."""
    generator = torch.Generator().manual_seed(0)
    return chapter5.ActivationStore(*(torch.randn(2, 600, 6, generator=generator) for _ in range(2)))


def test_mean_length_and_nodes_needed():
    """The mean length and the number of nodes of a graph worked by hand."""
    result = chain()
    assert chapter5.mean_path_length(result) == pytest.approx(
        (
            chapter5.path_lengths(result.adjacency_matrix, torch.tensor([1.0]).double(), 2) * torch.tensor([1, 2, 3])
        ).sum()
    )
    result.influence = compute_influence(result.adjacency_matrix, torch.tensor([1.0]).double(), 2)
    # latent 2 has 8 / 9.875, latent 1 the rest of the latents' influence
    assert chapter5.nodes_at_influence(result, 0.3) == 1
    assert chapter5.nodes_at_influence(result, 1.0) >= 2


def test_a_whole_trace(tiny_clt):
    """The pipeline's result is complete, also where a position keeps few latents."""
    model, clt = tiny_clt("gemma3")
    for top_k in (None, 2):
        result = chapter5.attribute_cross_layer(model, clt, PROMPT, top_k=top_k)
        assert result.scores["completeness_gap"] < 1e-5
        assert torch.equal(result.adjacency_matrix, result.adjacency_matrix.tril(-1))


def test_a_foreign_transcoder_is_refused(tiny_clt):
    """A transcoder of another model is refused with a sentence."""
    with pytest.raises(ValueError, match="made for 2 layers"):
        chapter5.attribute_cross_layer(tiny_clt("gemma3")[0], random_clt(2), PROMPT)


def test_a_checkpoint_of_another_training_is_refused(store, tmp_path):
    """A checkpoint of another training is refused with a sentence."""
    path = tmp_path / "checkpoint.pt"
    chapter5.train_cross_layer_transcoder(store, CONFIG, path)
    with pytest.raises(ValueError, match="another training"):
        other = chapter5.TrainingConfig(width=11, steps=13)
        chapter5.train_cross_layer_transcoder(store, other, path)
    for other in (
        chapter5.ActivationStore(store.inputs, store.outputs, seed=1),
        chapter5.ActivationStore(store.inputs[:, 1:], store.outputs[:, 1:]),
    ):
        with pytest.raises(ValueError, match="another training"):
            chapter5.train_cross_layer_transcoder(other, CONFIG, path)


@pytest.mark.parametrize("cross_layer", [True, False])
def test_weights_and_back(cross_layer):
    """What is kept as data is the same function."""
    clt = random_clt(cross_layer=cross_layer)
    x = torch.randn(N_LAYERS, 6, D_MODEL, dtype=torch.float64)
    again = chapter5.CrossLayerTranscoder.from_weights(clt.weights())
    for found, expected in zip(again(x), clt(x)):
        assert torch.allclose(found, expected)
