"""The whole adjacency of `atlas`, computed a second time from its weights: forward, source by source, without any gradient."""

import pytest
import torch
from torch import Tensor

from solutions.chapter1_latent_gradients import frozen_attention
from solutions.chapter3_attribution_graphs import attribute
from utils.engine.graph import AttributionResult, NodeType
from utils.models import load

PROMPTS = ("The capital of the state containing Dallas is", "The opposite of small is")


def norm_factor(model, name: str, cache: dict) -> Tensor:
    """What a frozen norm multiplies with, (seq, d_model)."""
    norm = model
    for part in name.split("."):
        norm = norm[int(part)] if part.isdigit() else getattr(norm, part)
    return (norm.weight + 1).detach() / cache[f"{name}.hook_scale"][0]  # Gemma stores the weight minus 1


def adjacency_forward(model, transcoders, result: AttributionResult) -> Tensor:
    """Each source's vector is sent through the frozen blocks on its own, and read wherever something reads."""
    tokens, graph = model.to_tokens(result.prompt), result.graph
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_scale"))
    n, seq_len, d_model = len(graph), tokens.shape[1], model.cfg.d_model
    carried = torch.zeros(n, seq_len, d_model, dtype=torch.float64)
    matrix = torch.zeros(n, n, dtype=torch.float64)

    def write(place: int | str) -> None:
        for i in range(*graph.node_range_dict[place]):
            carried[i, graph.nodes[i].ctx_idx] = graph.writing_vecs[i]

    def read(place: int | str, x: Tensor) -> None:
        for i in range(*graph.node_range_dict[place]):
            node = graph.nodes[i]
            if node.node_type is NodeType.LATENT:
                matrix[i] = x[:, node.ctx_idx] @ transcoders[node.layer].W_enc[:, node.feature].double()
            elif node.node_type is NodeType.LOGIT:
                W_U = model.W_U.double()
                matrix[i] = x[:, node.ctx_idx] @ (W_U[:, node.feature] - W_U.mean(1))

    write("E")
    for layer in range(model.cfg.n_layers):
        attention = frozen_attention(model, tokens, layer)
        x = carried * attention.read
        for pattern, OV in zip(attention.pattern, attention.OV):
            carried = carried + (pattern @ (x @ OV)) * attention.write
        x = carried * norm_factor(model, f"blocks.{layer}.ln2", cache)
        read(layer, x)
        carried = carried + x @ transcoders[layer].W_skip.double().T
        write(layer)
    read("L", carried * norm_factor(model, "ln_final", cache))
    return matrix


@pytest.fixture(scope="module")
def atlas64():
    return load("atlas", dtype="float64")


@torch.no_grad()
@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_edge_is_that_of_an_independent_computation(atlas64, atlas, prompt):
    """In float64 up to the rounding inside the norms, in float32 to 1e-5 of the largest edge of the row."""
    result = attribute(*atlas64, prompt)
    expected = adjacency_forward(*atlas64, result)
    largest = expected.abs().amax(1, keepdim=True).clamp(min=1e-30)
    assert ((result.adjacency_matrix - expected).abs() / largest).max() <= 2e-6
    assert (largest > 1e-3).sum() >= 60, "there must be something to compare"

    single = attribute(*atlas, prompt)
    assert [node.node_id for node in single.graph.nodes] == [node.node_id for node in result.graph.nodes]
    assert ((single.adjacency_matrix - expected).abs() / largest).max() <= 1e-5
    torch.testing.assert_close(single.influence.double(), result.influence, rtol=0, atol=1e-6)
    assert torch.equal(single.kept_indices, result.kept_indices)
