"""`python -m solutions.trace … --ablate`: what is measured, against hooks written here, and where it is stored and said."""

import json

import pytest
import torch

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter5_cross_layer_transcoders import CrossLayerTranscoder, attribute_cross_layer
from solutions.chapter6_real_models import attribute_neurons
from solutions.trace import __main__ as command
from solutions.trace.ablating import N_CONTROLS, ablate_boxes
from solutions.trace.paths import likeliest_answer
from tests.tiny import D_MODEL, PROMPT, tiny_model, tiny_transcoders
from utils.dashboard import check_graph
from utils.engine.graph import NodeType
from utils.engine.hooks import hooked, mlp_out_hook, reading_hook
from utils.engine.neurons import acts_hook


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny"), dtype=torch.float32)


@pytest.fixture(scope="module")
def transcoders(model):
    return tiny_transcoders(model)


@pytest.fixture(scope="module")
def result(model, transcoders):
    return attribute(model, transcoders, PROMPT)


def two_boxes(result):
    """A box of latents in several layers, and one of a single latent."""
    latents = result.graph.indices(NodeType.LATENT)
    return [latents[1::7][:5], [latents[-1]]]


def demeaned(model, logits, result):
    """The answer's logit less the mean of all, from the logits themselves."""
    here = logits[0, -1]
    return float(here[result.graph.nodes[likeliest_answer(result)].feature] - here.mean())


@torch.no_grad()
def without_latents(model, transcoders, result, box):
    """The answer's demeaned logit when these latents' live writes are taken out of what the MLPs write."""
    tokens, seen, hooks = model.to_tokens(PROMPT), {}, []
    for layer, transcoder in transcoders.items():
        here = [(n.ctx_idx, n.feature) for n in (result.graph.nodes[i] for i in box) if n.layer == layer]

        def read(x, hook, layer=layer):
            seen[layer] = x

        def write(y, hook, layer=layer, transcoder=transcoder, here=here):
            y, acts = y.clone(), transcoder.encode(seen[layer])
            for position, latent in here:
                y[0, position] -= acts[0, position, latent] * transcoder.W_dec[latent]
            return y

        hooks += [(reading_hook(layer), read), (mlp_out_hook(layer), write)]
    with hooked(model, hooks):
        return demeaned(model, model(tokens), result)


def test_latents_are_silenced_live(model, transcoders, result):
    boxes = two_boxes(result)
    found = ablate_boxes(model, transcoders, result, boxes)
    assert found.baseline == pytest.approx(demeaned(model, model(model.to_tokens(PROMPT)), result), abs=1e-4)
    assert [box.nodes for box in found.boxes] == boxes
    for box in found.boxes:
        expected = without_latents(model, transcoders, result, box.nodes)
        assert box.removed == pytest.approx(expected, abs=1e-4)
        assert abs(box.removed - found.baseline) > 1e-3  # else nothing was tested


def test_controls_write_as_much_and_are_the_same_each_time(model, transcoders, result):
    boxes = two_boxes(result)
    first, second = (ablate_boxes(model, transcoders, result, boxes) for _ in range(2))
    assert first == second
    for box in first.boxes:
        assert box.control is not None and box.control != box.removed


def test_neurons_are_silenced_live(model):
    result = attribute_neurons(model, PROMPT, max_latent_nodes=40)
    boxes = two_boxes(result)
    found = ablate_boxes(model, None, result, boxes)
    for box in found.boxes:
        hooks = []
        for node in (result.graph.nodes[i] for i in box.nodes):

            def silence(acts, hook, node=node):
                acts = acts.clone()
                acts[0, node.ctx_idx, node.feature] = 0
                return acts

            hooks.append((acts_hook(node.layer), silence))
        with torch.no_grad(), hooked(model, hooks):
            assert box.removed == pytest.approx(demeaned(model, model(model.to_tokens(PROMPT)), result), abs=1e-4)


def test_a_cross_layer_latent_is_silenced_in_all_layers_it_writes_to(model):
    torch.manual_seed(3)
    weights = CrossLayerTranscoder(3, D_MODEL, 31, threshold=0.5).weights()
    weights.W_dec = [torch.randn_like(rows) for rows in weights.W_dec]
    clt = CrossLayerTranscoder.from_weights(weights)
    result = attribute_cross_layer(model, clt, PROMPT)
    first = [i for i in result.graph.indices(NodeType.LATENT) if result.graph.nodes[i].layer == 0][:2]
    (box,) = ablate_boxes(model, weights, result, [first]).boxes
    seen = {}

    def read(x, hook):
        seen[0] = clt.encode(0, x)

    def write(y, hook, layer):
        silent = seen[0].clone()
        for node in (result.graph.nodes[i] for i in first):
            silent[0, node.ctx_idx, node.feature] = 0
        others = {m: torch.zeros_like(seen[0]) for m in range(1, layer + 1)}
        return y + clt.decode(layer, {0: silent, **others}) - clt.decode(layer, {0: seen[0], **others})

    hooks = [(reading_hook(0), read)]
    hooks += [(mlp_out_hook(layer), lambda y, hook, layer=layer: write(y, hook, layer)) for layer in range(3)]
    with torch.no_grad(), hooked(model, hooks):
        assert box.removed == pytest.approx(demeaned(model, model(model.to_tokens(PROMPT)), result), abs=1e-4)


def test_what_is_no_latent_is_not_silenced_and_too_few_others_give_no_control(model, transcoders, result):
    tokens = result.graph.indices(NodeType.EMBEDDING)[1:3]
    latents = result.graph.indices(NodeType.LATENT)
    most = latents[: len(latents) // 2 + 1]
    found = ablate_boxes(model, transcoders, result, [tokens, [*tokens, *most]])
    (box,) = found.boxes
    assert box.nodes == most and box.control is None
    assert ablate_boxes(model, transcoders, result, []).boxes == []


def test_the_command_stores_and_says_what_it_measured(model, transcoders, tmp_path, capsys):
    tiny_model(tmp_path / "tiny" / "model", dtype=torch.float32)
    for layer, transcoder in transcoders.items():
        transcoder.save_model(tmp_path / "tiny" / "transcoders" / f"layer_{layer}")
    assert command.main([PROMPT, "--ablate", "--model", str(tmp_path / "tiny"), "--out", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out
    graph = json.loads((tmp_path / "o" / "graph.json").read_text())
    check_graph(graph)
    stored = graph["metadata"]["ablations"]
    assert stored["draws"] == N_CONTROLS and stored["boxes"]
    groups = [set(members) for _, *members in graph["qParams"]["supernodes"]]
    for box in stored["boxes"]:
        assert set(box["nodes"]) in groups or len(box["nodes"]) == 1
        assert f"{box['removed']:.2f}  without" in out
    assert f"{stored['baseline']:.2f} before" in out
    assert '"ablations":{"target"' in (tmp_path / "o" / "index.html").read_text()
