"""Tiny random models of three architectures, with random transcoders, saved and loaded as real ones are.

All dimensions differ from one another, so that a tensor used in a wrong direction cannot pass for a right one. To make one draws no
random numbers from a test's own sequence: a test sees the same numbers whether it is the first to ask for a model or not.
"""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from sae_lens import JumpReLUSkipTranscoder, JumpReLUTranscoder
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.transcoder import JumpReLUSkipTranscoderConfig, JumpReLUTranscoderConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ARCHITECTURES = ("gemma3", "qwen3", "gpt2")
# with a cap on logits and attention scores; with biases in a gated MLP; with attention and MLP side by side; with ReLU
MORE_ARCHITECTURES = ("gemma2", "llama", "pythia", "relu")
N_CTX = 23
D_MODEL = 24
D_LATENTS = 41
WORDS = "the capital of state containing Dallas is Austin opposite small big city in France Paris and to".split()
PROMPT = "the capital of the state containing Dallas is"


def save_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """One token a word, with `<bos>` in front."""
    vocab = {word: i for i, word in enumerate(["<pad>", "<bos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return fast


def make_hf_model(architecture: str, n_layers: int, vocab_size: int) -> torch.nn.Module:
    """A random model with all weights, norms and biases away from their neutral values."""
    common = {"vocab_size": vocab_size, "bos_token_id": 1, "pad_token_id": 0, "eos_token_id": 0}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10}
    sizes = {"hidden_size": D_MODEL, "intermediate_size": 27, "num_hidden_layers": n_layers}
    if architecture == "gemma3":
        # both kinds of attention layers, and a window shorter than the prompt
        kinds = ["sliding_attention", "full_attention"] * n_layers
        config = Gemma3TextConfig(
            **common,
            **heads,
            **sizes,
            max_position_embeddings=N_CTX,
            sliding_window=4,
            layer_types=kinds[:n_layers],
            query_pre_attn_scalar=10,
        )
        model = Gemma3ForCausalLM(config)
    elif architecture == "gemma2":
        config = Gemma2Config(
            **common,
            **heads,
            **sizes,
            max_position_embeddings=N_CTX,
            sliding_window=4,
            query_pre_attn_scalar=10,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=3.0,
        )
        model = Gemma2ForCausalLM(config)
    elif architecture == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                **common,
                **sizes,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=N_CTX,
                mlp_bias=True,
                tie_word_embeddings=True,
            )
        )
    elif architecture == "pythia":
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(**common, **sizes, num_attention_heads=4, max_position_embeddings=N_CTX)
        )
    elif architecture == "relu":
        model = LlamaForCausalLM(
            LlamaConfig(
                **common, **sizes, num_attention_heads=4, max_position_embeddings=N_CTX, hidden_act="relu", head_dim=6
            )
        )
    elif architecture == "qwen3":
        model = Qwen3ForCausalLM(
            Qwen3Config(**common, **heads, **sizes, max_position_embeddings=N_CTX, tie_word_embeddings=False)
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(**common, n_embd=D_MODEL, n_inner=27, n_layer=n_layers, n_head=3, n_positions=N_CTX, n_ctx=N_CTX)
        )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn_like(weight)
            is_norm = "norm" in name or "ln_" in name
            weight.copy_(noise * 0.3 + 1.0 if is_norm and name.endswith("weight") else noise * 0.4)
            if is_norm and architecture in ("gemma2", "gemma3"):
                weight.sub_(1.0)  # Gemma's norms multiply by 1 + weight
    return model


@torch.random.fork_rng(devices=[])
def tiny_model(
    folder: Path, architecture: str = "gemma3", n_layers: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0
) -> TransformerBridge:
    """Save a tiny random model in Hugging Face form and open it with TransformerBridge."""
    folder = Path(folder)
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tokenizer(folder)
    # its progress bars would be shown as what a student's code printed
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        make_hf_model(architecture, n_layers, len(tokenizer)).save_pretrained(folder)
        return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=dtype)


@torch.random.fork_rng(devices=[])
def tiny_transcoders(
    model: TransformerBridge, skip: bool = True, dtype: torch.dtype | None = None, seed: int = 1
) -> dict[int, JumpReLUTranscoder]:
    """One random transcoder a layer; a latent is active on about a fifth of the positions."""
    torch.manual_seed(seed)
    dtype = dtype or next(model.parameters()).dtype
    kind, config = (
        (JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig)
        if skip
        else (JumpReLUTranscoder, JumpReLUTranscoderConfig)
    )
    transcoders = {}
    for layer in range(model.cfg.n_layers):
        metadata = SAEMetadata(hook_name=f"blocks.{layer}.mlp.hook_in", hook_name_out=f"blocks.{layer}.hook_mlp_out")
        transcoder = kind(
            config(
                d_in=D_MODEL,
                d_out=D_MODEL,
                d_sae=D_LATENTS,
                apply_b_dec_to_input=False,
                dtype=str(dtype).removeprefix("torch."),
                metadata=metadata,
            )
        )
        with torch.no_grad():
            for name, weight in transcoder.named_parameters():
                weight.copy_(torch.randn_like(weight) * 0.3)
                if name == "threshold":
                    weight.abs_().add_(1.0)
        transcoders[layer] = transcoder
    return transcoders
