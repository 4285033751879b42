"""Random models of given shapes with random transcoders, written to a folder: for timing only, they have learnt nothing."""

import json
from pathlib import Path
from typing import NamedTuple

import torch


class Shape(NamedTuple):
    """The shape of a Gemma 3 model, and of a prompt."""

    name: str
    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int = 4
    n_kv_heads: int = 1
    head_dim: int = 256
    n_tokens: int = 16
    n_latents: int = 4096
    n_active: int = 20
    vocabulary: int = 4096

    @property
    def prompt(self) -> str:
        """Different words; with the beginning-of-sequence token they are `n_tokens`."""
        return " ".join(f"word{7 * i + 5}" for i in range(self.n_tokens - 1))


# The vocabulary and the number of latents are smaller than the real ones (262,144 and 16,384): tracing is what is compared, not
# the size of embeddings and dictionaries.
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("stand-in", n_layers=6, d_model=128, d_mlp=512, n_kv_heads=2, head_dim=32, n_latents=1024, n_active=8),
        Shape("gemma-3-270m", n_layers=18, d_model=640, d_mlp=2048),
        Shape("gemma-3-1b", n_layers=26, d_model=1152, d_mlp=6912),
        Shape("20,000 nodes", n_layers=18, d_model=640, d_mlp=2048, n_tokens=53),
    )
}


def write_random_model(shape: Shape, folder: Path) -> Path:
    """Write `model/` and `transcoders/` of a shape as `utils.models` reads them; what is there already is kept."""
    done = folder / "done.json"
    if done.is_file() and json.loads(done.read_text()) == shape._asdict():
        return folder
    torch.manual_seed(0)
    _write_model(shape, folder / "model")
    for layer in range(shape.n_layers):
        _write_transcoder(shape, folder / "transcoders" / f"layer_{layer}")
    done.write_text(json.dumps(shape._asdict()))
    return folder


def _write_model(shape: Shape, folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "bos_token": "<bos>", "unk_token": "<unk>"}
    words = [*special.values(), *(f"word{i}" for i in range(len(special), shape.vocabulary))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    config = Gemma3TextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        query_pre_attn_scalar=shape.head_dim,
        max_position_embeddings=512,
        sliding_window=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=0,
    )
    Gemma3ForCausalLM(config).save_pretrained(folder)


def _write_transcoder(shape: Shape, folder: Path) -> None:
    """With a skip. An MLP's input has unit scale, so a pre-activation is about standard normal: that gives the threshold."""
    from sae_lens import JumpReLUSkipTranscoder
    from sae_lens.saes.transcoder import JumpReLUSkipTranscoderConfig

    d_model, n_latents = shape.d_model, shape.n_latents
    transcoder = JumpReLUSkipTranscoder(
        JumpReLUSkipTranscoderConfig(
            d_in=d_model, d_out=d_model, d_sae=n_latents, apply_b_dec_to_input=False, device="cpu"
        )
    )
    with torch.no_grad():
        for weight in transcoder.parameters():
            weight.copy_(torch.randn_like(weight) * d_model**-0.5)
        share_of_silent = torch.tensor(1 - shape.n_active / n_latents)
        transcoder.threshold.fill_(float(torch.distributions.Normal(0.0, 1.0).icdf(share_of_silent)))
    transcoder.save_model(str(folder))
