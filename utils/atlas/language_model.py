"""The language model itself: its architecture, the batches it reads, and the training loop."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel, PreTrainedTokenizerFast

from utils.atlas.corpus import Sentence

# How often each family is read. Two-hop questions carry the course; sums need many repetitions.
MIXTURE = {
    "two-hop": 0.33,
    "one-hop": 0.08,
    "location": 0.07,
    "named": 0.14,
    "opposite": 0.05,
    "opposite abroad": 0.08,
    "translation": 0.07,
    "indirect object": 0.03,
    "induction": 0.06,
    "addition": 0.09,
}


@dataclass(frozen=True)
class ModelConfig:
    """Size of the model and how it is trained."""

    vocab_size: int = 800
    n_layers: int = 6
    d_model: int = 128
    d_mlp: int = 512
    n_heads: int = 4
    n_key_value_heads: int = 2
    max_length: int = 128
    steps: int = 6000
    batch_size: int = 128
    sequence_length: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    noise: float = 0.0  # Gaussian noise added after each layer in training, as a share of the residual stream's RMS
    prompt_weight: float = 0.1  # weight of a prompt token's loss beside an answer token's
    arch: str = "gemma"
    sparsity: float = 0.0
    activation: str = "gelu_pytorch_tanh"
    compile: bool = True


def build_model(config: ModelConfig) -> PreTrainedModel:
    """A Gemma 3 model with random weights: grouped-query attention, QK-norm, norms around both blocks, gated MLP."""
    common = dict(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_key_value_heads,
        head_dim=config.d_model // config.n_heads,
        max_position_embeddings=config.max_length,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
        **({'hidden_act':config.activation} if config.arch=='qwen' else {'hidden_activation':config.activation}),
    )
    if config.arch == "qwen":
        from transformers import Qwen3Config, Qwen3ForCausalLM

        return Qwen3ForCausalLM(Qwen3Config(**common, rope_theta=10_000.0))
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            **common,
            sliding_window=config.max_length,
            layer_types=["full_attention"] * config.n_layers,
        )
    )


@dataclass
class Rows:
    """Sentences of one family as padded token rows, and the loss weight of every token."""

    tokens: Int[Tensor, "row position"]
    weights: Float[Tensor, "row position"]


def encode_rows(
    sentences: list[Sentence], tokenizer: PreTrainedTokenizerFast, length: int, prompt_weight: float
) -> Rows:
    """Rows `<bos> sentence <eos> <pad> …`; the answer and its tail weigh 1, the prompt `prompt_weight`, padding 0.

    Sentences longer than `length` tokens are left out.
    """
    prompts = tokenizer([s.prompt for s in sentences])["input_ids"]
    texts = tokenizer([s.text for s in sentences])["input_ids"]
    kept = [(p, t) for p, t in zip(prompts, texts, strict=True) if len(t) < length]
    tokens = torch.full((len(kept), length), tokenizer.pad_token_id)
    weights = torch.zeros(len(kept), length)
    for row, (prompt, text) in enumerate(kept):
        tokens[row, : len(text) + 1] = torch.tensor([*text, tokenizer.eos_token_id])
        weights[row, 1 : len(prompt)] = prompt_weight
        weights[row, len(prompt) : len(text) + 1] = 1.0
    return Rows(tokens, weights)


def batches(families: dict[str, Rows], batch_size: int, seed: int, start: int) -> Iterator[Rows]:
    """Endless batches in the proportions of `MIXTURE`; batch `k` depends on `seed` and `k` only, so training resumes."""
    names = list(families)
    shares = torch.tensor([MIXTURE[name] for name in names])
    counts = torch.tensor([len(families[name].tokens) for name in names])
    offsets = counts.cumsum(0) - counts
    tokens = torch.cat([families[name].tokens for name in names])
    weights = torch.cat([families[name].weights for name in names])
    step = start
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        family = torch.multinomial(shares, batch_size, replacement=True, generator=generator)
        index = offsets[family] + (torch.rand(batch_size, generator=generator) * counts[family]).long()
        yield Rows(tokens[index], weights[index])
        step += 1


def add_noise(model: PreTrainedModel, size: float) -> None:
    """Add Gaussian noise to the residual stream after every layer but the last, in training mode only.

    Noise makes a representation pay that can be told apart and cleaned up: the MLPs learn to re-detect "Texas".
    """

    def hook(module, args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        if module.training:
            rms = hidden.detach().pow(2).mean(-1, keepdim=True).sqrt()
            hidden = hidden + size * rms * torch.randn_like(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    for layer in model.model.layers[:-1]:
        layer.register_forward_hook(hook)


def learning_rate_at(step: int, config: ModelConfig) -> float:
    """Linear warm-up over 100 steps, then a cosine to zero, as a factor of the peak rate."""
    warm_up = min(1.0, (step + 1) / 100)
    return warm_up * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / config.steps)).item())


def loss_of(model: PreTrainedModel, batch: Rows) -> Float[Tensor, ""]:
    """Cross-entropy of the next token, weighted by `batch.weights`."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch.tokens, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
    )
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def sparsity_taps(model, hoyer=False):
    taps = []
    size = {}

    def residual(module, args):
        size[0] = args[0].detach().float().pow(2).sum(-1).sqrt()

    def hook(module, args):
        writes = args[0].float() * module.weight.detach().norm(dim=0)
        total = writes.abs().sum(-1)
        taps.append((total / ((writes.pow(2).sum(-1) + 1e-6).sqrt() if hoyer else size[0])).mean())

    for layer in model.model.layers:
        layer.post_attention_layernorm.register_forward_pre_hook(residual)
        layer.mlp.down_proj.register_forward_pre_hook(hook)
    return taps


def train_model(
    config: ModelConfig, families: dict[str, Rows], checkpoint: Path, seed: int, log=None
) -> PreTrainedModel:
    """Train from scratch, or on from `checkpoint` if it is there; a checkpoint is written every 500 steps."""
    torch.manual_seed(seed)
    model = build_model(config)
    decay = [{"params": [p for p in model.parameters() if (p.dim() > 1) is matrix],
              "weight_decay": config.weight_decay * matrix} for matrix in (True, False)]
    optimizer = torch.optim.AdamW(decay, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    if config.noise:
        add_noise(model, config.noise)
    taps = sparsity_taps(model) if config.sparsity else []
    model.train()
    runner = torch.compile(model) if config.compile else model
    stream = batches(families, config.batch_size, seed, start)
    progress = tqdm(range(start, config.steps), initial=start, total=config.steps, desc="language model")
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_at(step, config)
        taps.clear()
        loss = loss_of(runner, next(stream))
        total = loss + config.sparsity * min(1, step / 500) * sum(taps) / len(taps) if taps else loss
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}", sp=f"{sum(taps).item()/6:.2f}" if taps else "")
        if (step + 1) % 500 == 0:
            temporary = checkpoint.with_suffix(".part")
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, temporary
            )
            temporary.replace(checkpoint)
            if log:
                log(step + 1, model)
    return model.eval()
