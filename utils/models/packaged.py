"""Models whose weights come inside a Python package, as a GGUF file: written once into a cache, in Hugging Face form.

`pip` brings such a package where the hub cannot be reached. Its weights are quantised. They are dequantised layer by layer into
float32; whoever stops in between goes on at the layer that is missing. The finished folder appears under its name at once.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from utils import cache_folder
from utils.models.errors import INSTALL, first_line
from utils.models.registry import ModelSpec, Package

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor
    from tokenizers import Tokenizer

TEMPLATE_FILE = "chat_template.jinja"
INDEX_FILE = "model.safetensors.index.json"

# llama.cpp's names of what a block of Llama's form holds
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # llama.cpp's type of tokens such as <|endoftext|>


def packaged_folder(spec: ModelSpec) -> Path | None:
    """The folder, in Hugging Face form, of a model whose package is installed; None if there is no such package here.

    Raises:
        ModuleNotFoundError: the package is installed, but not `gguf`, which reads its file.
        PermissionError, OSError: the file cannot be read, or the cache cannot be written.
        ValueError: the file is not what it should be.
    """
    source = gguf_file(spec.package) if spec.package else None
    if source is None:
        return None
    folder = cache_folder() / f"{spec.name}-{metadata.version(spec.package.name)}"
    if not folder.is_dir():
        if util.find_spec("gguf") is None:
            raise ModuleNotFoundError(f"gguf, which reads the weights of {spec.name}, is not installed: `{INSTALL}`.")
        with unpacking_errors(source, folder):
            convert_once(source, folder, spec)
    elif not (folder / TEMPLATE_FILE).is_file() and os.access(
        folder, os.W_OK
    ):  # made by an earlier version of the course
        with unpacking_errors(source, folder):
            from gguf import GGUFReader

            write_template(GGUFReader(source), folder)
    return folder


def gguf_file(package: Package) -> Path | None:
    """The file inside the installed package; None if it is not installed. The package itself is not imported."""
    found = util.find_spec(package.name.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / package.file


def convert_once(source: Path, folder: Path, spec: ModelSpec) -> None:
    """Make `folder` from a GGUF file. Of several processes that want it, one makes it and the others wait."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return
        begun = folder.with_name(f"{folder.name}.part")
        begun.mkdir(exist_ok=True)
        convert(source, begun, spec)
        os.replace(begun, folder)


def convert(source: Path, folder: Path, spec: ModelSpec) -> None:
    """Write weights, config and tokenizer of a GGUF file of Llama's form into `folder`; weights that are there are kept.

    Raises:
        ValueError: the model in the file has another form.
    """
    from gguf import GGUFReader

    reader = GGUFReader(source)
    form = field(reader, "general.architecture")
    if form != "llama":
        raise ValueError(f"its form is {form!r}, and only 'llama' can be read")
    parts: dict[str, list[ReaderTensor]] = {}
    for tensor in reader.tensors:
        outer, number, *_ = tensor.name.split(".")
        parts.setdefault(f"layer-{number}" if outer == "blk" else "outer", []).append(tensor)

    heads = {
        "attn_q": field(reader, "llama.attention.head_count"),
        "attn_k": field(reader, "llama.attention.head_count_kv"),
    }
    index: dict[str, str] = {}
    # delay: a tiny model of the tests needs no bar
    for part, tensors in tqdm(parts.items(), desc=f"unpacking {spec.name}, once", unit="part", delay=0.5, disable=None):
        file = f"{part}.safetensors"
        index |= {weight_name(tensor.name): file for tensor in tensors}
        if not (folder / file).is_file():
            weights = {weight_name(tensor.name): dequantised(tensor, heads) for tensor in tensors}
            write_weights(folder / file, weights)
    write(folder / INDEX_FILE, json.dumps({"metadata": {}, "weight_map": index}))
    write_tokenizer(reader, folder, spec.bos_token)
    config = llama_config(reader, spec.bos_token) | {"tie_word_embeddings": "lm_head.weight" not in index}
    write(folder / "config.json", json.dumps(config, indent=1))


def field(reader: GGUFReader, key: str) -> Any:
    return reader.fields[key].contents()


def weight_name(name: str) -> str:
    """Hugging Face's name of a weight: `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    outer, *rest = name.split(".")
    if outer == "blk":
        return f"model.layers.{rest[0]}.{INNER[rest[1]]}.{rest[2]}"
    return f"{OUTER[outer]}.{rest[0]}"


def dequantised(tensor: ReaderTensor, heads: dict[str, int]) -> torch.Tensor:
    """A weight in float32. Of queries and keys, llama.cpp stores the rows of each head's two halves in turn."""
    from gguf import dequantize

    weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
    n_heads = heads.get(tensor.name.split(".")[-2])
    if n_heads is None:
        return weight
    return weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2).contiguous()


def llama_config(reader: GGUFReader, bos_token: str) -> dict[str, Any]:
    """Hugging Face's `config.json` for the model in the file."""

    def get(key: str) -> Any:
        return field(reader, f"llama.{key}")

    tokens = field(reader, "tokenizer.ggml.tokens")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": len(tokens),
        "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": get("attention.head_count"),
        "num_key_value_heads": get("attention.head_count_kv"),
        "head_dim": get("rope.dimension_count"),
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": round(get("attention.layer_norm_rms_epsilon"), 9),  # stored in float32
        "rope_parameters": {"rope_type": "default", "rope_theta": get("rope.freq_base")},
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokens.index(bos_token)),
    }


def write_tokenizer(reader: GGUFReader, folder: Path, bos_token: str) -> None:
    """The byte-level BPE of the file; each digit is a token of its own. `bos_token` begins a text, ends it and fills it up."""
    from transformers import PreTrainedTokenizerFast

    names = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), bos_token)
    fast = PreTrainedTokenizerFast(tokenizer_object=byte_level_bpe(reader), **names)
    fast.save_pretrained(folder)
    write_template(reader, folder)


def write_template(reader: GGUFReader, folder: Path) -> None:
    """The chat template of the file, where it has one, as a file of its own, where transformers looks for it."""
    if "tokenizer.chat_template" in reader.fields:
        write(folder / TEMPLATE_FILE, field(reader, "tokenizer.chat_template"))


def byte_level_bpe(reader: GGUFReader) -> Tokenizer:
    """The tokenizer in the file, which must be SmolLM's: GPT-2's, with single digits."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    kind = field(reader, "tokenizer.ggml.pre")
    if kind != "smollm":
        raise ValueError(f"its tokenizer is {kind!r}, and only 'smollm' can be read")
    tokens = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = field(reader, "tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_weights(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """A safetensors file that appears whole or not at all, and that whoever may read the folder may read."""
    from safetensors.torch import save_file

    begun = path.with_suffix(".begun")
    save_file(weights, begun, metadata={"format": "pt"})
    begun.chmod(0o666 & ~current_umask())  # safetensors' own files are their owner's alone
    os.replace(begun, path)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def unpacking_errors(source: Path, folder: Path) -> Iterator[None]:
    """What goes wrong while a package is unpacked, in one sentence."""
    cache = folder.parent
    try:
        yield
    except PermissionError as error:
        if error.filename is not None and Path(error.filename) == source:
            raise PermissionError(f"You may not read {source}: install the package yourself (`{INSTALL}`).") from None
        raise PermissionError(
            f"You may not write to {cache}: set XDG_CACHE_HOME to a folder of your own, or ask who owns it to remove it."
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"The disk is full: the unpacked weights need 0.6 GB in {cache}; free some space or set XDG_CACHE_HOME to a larger disk",
            ) from None
        raise OSError(f"{source} could not be unpacked into {cache}: {first_line(error)}.") from None
    except (ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{source} cannot be used ({first_line(error)}): install the package again (`{INSTALL} --force-reinstall`)."
        ) from None
