"""Dictionaries as others publish them: tiny random ones saved in exactly those layouts, loaded, traced, intervened on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from solutions.chapter3_attribution_graphs import attribute
from solutions.chapter4_interventions import Edit, intervene, run_base
from solutions.chapter5_cross_layer_transcoders import (
    CrossLayerTranscoder,
    attribute_cross_layer,
    intervene_cross_layer,
    run_base_cross_layer,
)
from solutions.trace import __main__ as command
from tests.course import test_models as models
from tests.tiny import D_LATENTS, D_MODEL, PROMPT, tiny_model
from utils.engine.graph import AttributionResult, NodeType
from utils.engine.hooks import reading_hook
from utils.engine.mlp import norm_weight
from utils.models import MODELS, load, load_clt, register_model
from utils.models.hub import repository
from utils.models.registry import _params_in

hub_files, hub = models.hub_files, models.hub  # the small hub of test_models.py
LAYERS = 3


def randn(seed: int, *shape: int) -> torch.Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights_of(layer: int, width: int = D_LATENTS, d_model: int = D_MODEL) -> dict[str, torch.Tensor]:
    """One transcoder in the course's own form."""
    shapes = {
        "W_enc": (d_model, width),
        "W_dec": (width, d_model),
        "b_enc": (width,),
        "b_dec": (d_model,),
        "threshold": (width,),
        "W_skip": (d_model, d_model),
    }
    found = {name: randn(10 * layer + k, *shape) for k, (name, shape) in enumerate(shapes.items())}
    return found | {"threshold": found["threshold"].abs()}


# Each of these saves the weights in a layout that somebody uses, and returns what of them there is.


def save_relu_set(folder: Path, layer: int, w: dict) -> list[str]:
    """circuit-tracer's, as mwhanna's for Qwen3: no skip, no threshold."""
    folder.mkdir(exist_ok=True)
    stored = {name: w[name].contiguous() for name in ("W_dec", "b_enc", "b_dec")} | {"W_enc": w["W_enc"].T.contiguous()}
    save_file(stored, folder / f"layer_{layer}.safetensors")
    (folder / "config.yaml").write_text(
        "model_name: a/b\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n"
    )
    return []


def save_jump_relu_set(folder: Path, layer: int, w: dict) -> list[str]:
    """circuit-tracer's with thresholds and skips, and names of files of its own."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    stored = {name: w[name] for name in ("W_dec", "b_enc", "b_dec", "W_skip")} | {"W_enc": w["W_enc"].T.contiguous()}
    save_file(
        stored | {"activation_function.threshold": w["threshold"][None]}, folder / "parts" / f"{layer}.safetensors"
    )
    listed = "".join(f"- parts/{k}.safetensors\n" for k in range(LAYERS))
    (folder / "config.yaml").write_text(
        f"model_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\ntranscoders:\n{listed}"
    )
    return ["threshold", "W_skip"]


def save_gemma_scope(folder: Path, layer: int, w: dict) -> list[str]:
    """Gemma Scope's params.npz."""
    place = folder / f"layer_{layer}" / "width_16k" / f"average_l0_{70 + layer}"
    place.mkdir(parents=True)
    np.savez(place / "params.npz", **{k: w[k].numpy() for k in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")})
    return ["threshold", "before weight"]


def save_gemma_scope_2(folder: Path, layer: int, w: dict) -> list[str]:
    """GemmaScope 2's params.safetensors."""
    place = folder / f"layer_{layer}_width_16k_l0_small_affine"
    place.mkdir(parents=True)
    stored = {name.lower(): w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    save_file(stored | {"affine_skip_connection": w["W_skip"].T.contiguous()}, place / "params.safetensors")
    return ["threshold", "W_skip"]


FORMS = [save_relu_set, save_jump_relu_set, save_gemma_scope, save_gemma_scope_2]


@pytest.mark.parametrize(
    ("save", "architecture"),
    list(zip(FORMS, ("qwen3", "llama", "gemma2", "gemma3"))),
    ids=lambda x: getattr(x, "__name__", x),
)
def test_a_published_set_is_loaded_traced_and_intervened_on(tmp_path, save, architecture):
    """Activations are those of the formula on the file's own numbers; edges add up; a silenced latent is silent."""
    folder = tmp_path / "mine"
    tiny_model(folder / "model", architecture, n_layers=LAYERS)
    has = [save(folder / "transcoders", layer, weights_of(layer)) for layer in range(LAYERS)][0]
    model, transcoders = load(folder, dtype="float64")
    tokens = model.to_tokens(PROMPT)
    _, cache = model.run_with_cache(tokens)
    for layer, transcoder in transcoders.items():
        w = {name: tensor.double() for name, tensor in weights_of(layer).items()}
        x = cache[reading_hook(layer)][0]
        read = x / norm_weight(model.blocks[layer].ln2, D_MODEL) if "before weight" in has else x
        pre = read @ w["W_enc"] + w["b_enc"]
        acts = pre * (pre > w["threshold"]) if "threshold" in has else pre.relu()
        out = acts @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].T if "W_skip" in has else 0)
        torch.testing.assert_close(transcoder.encode(x), acts, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(transcoder(x), out, rtol=1e-5, atol=1e-7)
    result = attribute(model, transcoders, PROMPT)
    assert result.scores["completeness_gap"] < 1e-6
    latents = [result.graph.nodes[i] for i in result.graph.indices(NodeType.LATENT)]
    base = run_base(model, transcoders, tokens)
    node = max(latents, key=lambda node: node.activation * (node.ctx_idx == tokens.shape[1] - 1))
    edit = Edit(node.layer, node.ctx_idx, node.feature, 0.0)
    outcome = intervene(model, transcoders, base, [edit], freeze_attention=False)
    assert outcome.acts[node.layer][0, node.ctx_idx, node.feature] == 0
    assert not torch.allclose(outcome.logits, base.logits)


# ---------------------------------------------------------------- cross-layer transcoders


def clt_of(n_layers: int, d_model: int, width: int = 19) -> dict[str, list[torch.Tensor]]:
    return {
        "W_enc": [randn(100 + layer, d_model, width) for layer in range(n_layers)],
        "b_enc": [randn(200 + layer, width) for layer in range(n_layers)],
        "b_dec": [randn(300 + layer, d_model) for layer in range(n_layers)],
        "threshold": [randn(400 + layer, width).abs() for layer in range(n_layers)],
        "W_dec": [randn(500 + layer, width, n_layers - layer, d_model) for layer in range(n_layers)],
    }


def skips_of(n_layers: int, d_model: int) -> list[torch.Tensor]:
    """(d_in, d_out), as both forms have them."""
    return [randn(700 + layer, d_model, d_model) for layer in range(n_layers)]


def save_circuit_tracer_clt(
    folder: Path, w: dict, with_threshold: bool = True, skips: list[torch.Tensor] | None = None
) -> None:
    folder.mkdir(parents=True)
    for layer in range(len(w["W_enc"])):
        stored = {f"{name}_{layer}": w[name][layer] for name in ("b_enc", "b_dec")}
        stored[f"W_enc_{layer}"] = w["W_enc"][layer].T.contiguous()
        if with_threshold:
            stored[f"threshold_{layer}"] = w["threshold"][layer]
        if skips:
            stored[f"W_skip_{layer}"] = skips[layer]
        save_file(stored, folder / f"W_enc_{layer}.safetensors")
        save_file({f"W_dec_{layer}": w["W_dec"][layer]}, folder / f"W_dec_{layer}.safetensors")


def save_gemma_scope_2_clt(folder: Path, w: dict, skips: list[torch.Tensor] | None = None) -> None:
    """All layers are in each decoder; those before the latent's own hold what must not be read."""
    folder.mkdir(parents=True)
    for layer in range(len(w["W_enc"])):
        later = w["W_dec"][layer]
        before = torch.full((later.shape[0], layer, later.shape[2]), 7.0)
        stored = {name.lower(): w[name][layer] for name in ("W_enc", "b_enc", "b_dec", "threshold")}
        stored |= {"w_dec": torch.cat([before, later], 1)} | ({"affine_skip_connection": skips[layer]} if skips else {})
        save_file(stored, folder / f"params_layer_{layer}.safetensors")


@pytest.mark.parametrize(
    "form",
    [
        "circuit-tracer",
        "circuit-tracer with ReLU",
        "circuit-tracer with skip",
        "GemmaScope 2",
        "GemmaScope 2 with skip",
    ],
)
def test_a_published_clt_is_loaded_traced_and_intervened_on(tmp_path, form):
    folder, w = tmp_path / "mine", clt_of(LAYERS, D_MODEL)
    model = tiny_model(folder / "model", n_layers=LAYERS)
    skips = skips_of(LAYERS, D_MODEL) if "skip" in form else None
    if "GemmaScope 2" in form:
        save_gemma_scope_2_clt(folder / "clt", w, skips)
    else:
        save_circuit_tracer_clt(folder / "clt", w, "ReLU" not in form, skips)
    weights = load_clt(folder, dtype="float64")
    xs = [randn(600 + layer, 5, D_MODEL).double() * 5 for layer in range(LAYERS)]
    pres = [x @ w["W_enc"][layer].double() + w["b_enc"][layer].double() for layer, x in enumerate(xs)]
    acts = [p.relu() if "ReLU" in form else p * (p > w["threshold"][layer]) for layer, p in enumerate(pres)]
    for layer in range(LAYERS):
        torch.testing.assert_close(weights.encode(layer, xs[layer]), acts[layer])
        expected = w["b_dec"][layer].double() + sum(
            acts[source] @ w["W_dec"][source][:, layer - source].double() for source in range(layer + 1)
        )
        torch.testing.assert_close(weights.decode(layer, acts), expected)
    clt = CrossLayerTranscoder.from_weights(weights)
    for layer, x in enumerate(xs):
        torch.testing.assert_close(clt.skip(layer, x), x @ skips[layer].double() if skips else torch.zeros_like(x))
    result = attribute_cross_layer(model, clt, PROMPT)
    assert result.scores["completeness_gap"] < 1e-6
    tokens = model.to_tokens(PROMPT)
    base = run_base_cross_layer(model, clt, tokens)
    node = max((result.graph.nodes[i] for i in result.graph.indices(NodeType.LATENT)), key=lambda node: node.activation)
    edit = Edit(node.layer, node.ctx_idx, node.feature, 0.0)
    outcome = intervene_cross_layer(model, clt, base, [edit], freeze_attention=False)
    assert outcome.acts[node.layer][0, node.ctx_idx, node.feature] == 0


def test_what_is_not_covered_is_said(tmp_path):
    folder, w = tmp_path / "mine", clt_of(LAYERS, D_MODEL)
    tiny_model(folder / "model", n_layers=LAYERS)
    save_gemma_scope_2_clt(folder / "clt", w, skips_of(LAYERS, D_MODEL))
    stored = load_file(folder / "clt" / "params_layer_1.safetensors")
    del stored["affine_skip_connection"]
    save_file(stored, folder / "clt" / "params_layer_1.safetensors")
    with pytest.raises(ValueError, match="2 of 3 layers of the cross-layer transcoder have a skip"):
        load_clt(folder)
    for path in (folder / "clt").iterdir():
        path.unlink()
    (folder / "clt").rmdir()
    save_circuit_tracer_clt(folder / "clt", w)
    (folder / "clt" / "config.yaml").write_text("feature_input_hook: hook_resid_mid\n")
    with pytest.raises(ValueError, match="read at hook_resid_mid"):
        load_clt(folder)
    (folder / "clt" / "config.yaml").unlink()
    (folder / "clt" / "W_dec_1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="W_dec_1.safetensors is missing"):
        load_clt(folder)
    for layer in range(LAYERS - 1):
        save_relu_set(folder / "transcoders", layer, weights_of(layer))
    with pytest.raises(FileNotFoundError, match="no transcoder for layer 2 of 3"):
        load(folder)
    with pytest.raises(ValueError, match="leave offload out"):
        load(folder, offload=True)


# ---------------------------------------------------------------- on the hub


@pytest.fixture
def registry():
    """What a test registers is forgotten afterwards."""
    before = dict(MODELS)
    yield MODELS
    MODELS.clear()
    MODELS.update(before)


@pytest.fixture
def other_hub(hub, tmp_path):
    """The small hub with another root, for more repositories."""
    hub.root = tmp_path / "repositories"
    return hub


def test_any_release_of_sae_lens_takes_its_own_loader(other_hub, registry, tmp_path, capsys):
    models.save_tiny_model(other_hub.root / "Qwen/Qwen3-4B", "qwen3")
    files = models.save_qwen_transcoders(other_hub.root / "mwhanna/qwen3-4b-transcoders")
    release = ["--release", "mwhanna-qwen3-4b-transcoders", "--sae-id", "layer_{layer}"]
    code = command.main(["Dallas", "--model", "Qwen/Qwen3-4B", *release, "--top-k", "3", "--out", str(tmp_path / "o")])
    assert code == 0, capsys.readouterr().err
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert (
        result.dictionary_name == "mwhanna-qwen3-4b-transcoders/layer_{layer}" and result.model_name == "Qwen/Qwen3-4B"
    )
    spec = MODELS["qwen3-4b"]
    assert (spec.hub_id, spec.model_params, spec.default_dtype) == ("Qwen/Qwen3-4B", 4.0, torch.bfloat16)
    transcoders = load("qwen3-4b", dtype="float32").transcoders
    for layer, stored in files.items():
        torch.testing.assert_close(transcoders[layer].W_enc, stored["W_enc"].bfloat16().float().T)


def test_a_set_of_circuit_tracer_may_list_files_elsewhere(other_hub, registry):
    """As mwhanna/gemma-scope-transcoders does: a config.yaml that leads to Gemma Scope's .npz."""
    d_model = models.D_MODEL
    models.save_tiny_model(other_hub.root / "google/gemma-2-2b", "gemma3")
    scope = other_hub.root / "google/gemma-scope-2b-pt-transcoders"
    for layer in range(LAYERS):
        save_gemma_scope(scope, layer, weights_of(layer, d_model=d_model))
    listed = [
        f"- hf://google/gemma-scope-2b-pt-transcoders/layer_{k}/width_16k/average_l0_{70 + k}/params.npz"
        for k in range(3)
    ]
    place = other_hub.root / "mwhanna/gemma-scope-transcoders" / "small"
    place.mkdir(parents=True)
    settings = "model_kind: transcoder_set\nfeature_input_hook: ln2.hook_normalized\ntranscoders:\n"
    (place / "config.yaml").write_text(settings + "\n".join(listed))
    spec = register_model("google/gemma-2-2b", "mwhanna/gemma-scope-transcoders/small")
    model, transcoders = load(spec.name, dtype="float64")
    weight = norm_weight(model.blocks[1].ln2, d_model)
    expected = weights_of(1, d_model=d_model)["W_enc"].double() / weight[:, None]
    torch.testing.assert_close(transcoders[1].W_enc, expected, rtol=1e-5, atol=1e-8)
    assert attribute(model, transcoders, "Dallas", top_k=3).scores["completeness_gap"] < 1e-6


@pytest.mark.parametrize("which", ["GemmaScope 2", "circuit-tracer"])
def test_a_clt_of_the_hub(other_hub, registry, which):
    w = clt_of(LAYERS, models.D_MODEL)
    if which == "GemmaScope 2":
        name = "gemma-3-270m-it"
        models.save_tiny_model(other_hub.root / "google/gemma-3-270m-it", "gemma3")
        repo, folder, _ = repository(MODELS[name].clt)
        save_gemma_scope_2_clt(other_hub.root / repo / folder, w)
    else:
        models.save_tiny_model(other_hub.root / "meta-llama/Llama-3.2-1B", "llama")
        save_circuit_tracer_clt(other_hub.root / "someone/clt-llama", w)
        (other_hub.root / "someone/clt-llama/config.yaml").write_text(
            "model_kind: cross_layer_transcoder\nfeature_input_hook: mlp.hook_in\n"
        )
        name = register_model("meta-llama/Llama-3.2-1B", "someone/clt-llama").name
        with pytest.raises(ValueError, match="use load_clt"):
            load(name)
    clt = load_clt(name, dtype="float32")
    for layer in range(LAYERS):
        torch.testing.assert_close(clt.W_enc[layer], w["W_enc"][layer])
        torch.testing.assert_close(clt.W_dec[layer], w["W_dec"][layer].transpose(0, 1))


def test_a_large_clt_and_its_model_have_one_precision(other_hub, registry, tmp_path, capsys, monkeypatch):
    """A CLT that is loaded in bfloat16 because of its size, as Gemma 3 1B's, is traced with its model in bfloat16."""
    models.save_tiny_model(other_hub.root / "google/gemma-3-1b-it", "gemma3")
    repo, folder, _ = repository(MODELS["gemma-3-1b-it"].clt)
    save_gemma_scope_2_clt(other_hub.root / repo / folder, clt_of(LAYERS, models.D_MODEL))
    assert MODELS["gemma-3-1b-it"].default_dtype is torch.float32
    line = ["Dallas", "--model", "gemma-3-1b-it", "--dictionary", "clt", "--top-k", "3", "--out", str(tmp_path / "o")]
    assert command.main(line) == 0, capsys.readouterr().err
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert result.graph.indices(NodeType.LATENT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gemma-2-2b", "gemma-scope-2b-pt-transcoders", "layer_{layer}"), "owner/name"),
        (("google/gemma-2-2b", "gemma-scope-2b-pt-transcoders"), "with {layer} in it"),
        (("google/gemma-2-2b", "gemma-scope-2b-pt-transcoders", "layer_1"), "must contain {layer}"),
        (("Qwen/Qwen3-0.6B", "a/b"), "is a model of the course"),
    ],
)
def test_names_that_cannot_be_registered(registry, arguments, words):
    with pytest.raises(ValueError, match=words):
        register_model(*arguments)


def test_releases_that_sae_lens_lacks_or_has_several_of(other_hub, registry):
    models.save_tiny_model(other_hub.root / "google/gemma-2-2b", "gemma3")
    for release, sae_id, words in (
        ("gemma-scope-2b-pt-transcoder", "layer_{layer}", "did you mean gemma-scope-2b-pt-transcoders"),
        ("gemma-scope-2b-pt-transcoders", "layer_{layer}/width_1m", r"has no layer_\d/width_1m"),
        ("gemma-scope-2-4b-pt-transcoders-all", "layer_{layer}_*", r"that fit layer_\d_"),
    ):
        register_model("google/gemma-2-2b", release, sae_id)
        with pytest.raises(ValueError, match=words):
            load("gemma-2-2b")


@pytest.mark.parametrize(
    ("name", "billions"),
    [("qwen3-14b", 14), ("gemma-3-270m", 0.27), ("gemma-3-27b-it", 27), ("llama-3.2-1b", 1), ("gpt2", 0)],
)
def test_the_size_stands_in_the_name(name, billions):
    assert _params_in(name) == pytest.approx(billions)
