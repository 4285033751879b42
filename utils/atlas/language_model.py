"""The language model itself: its architecture, the batches it reads, and the training loop."""

import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GemmaConfig, GemmaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from utils.atlas.corpus import Sentence
from utils.atlas.interchange import STEPS, MlpExchange, Partners, Step, step_loss
from utils.atlas.tokenizer import BOS_ID, EOS_ID, PAD_ID

# How often each family is read. Two-hop questions carry the course; sums need many repetitions.
MIXTURE = {
    "two-hop": 0.24,
    "one-hop": 0.06,
    "location": 0.06,
    "named": 0.16,
    "opposite": 0.10,
    "opposite abroad": 0.10,
    "translation": 0.10,
    "indirect object": 0.03,
    "induction": 0.05,
    "addition": 0.10,
}


@dataclass(frozen=True)
class ModelConfig:
    """Size of the model and how it is trained."""

    vocab_size: int = 3000
    n_layers: int = 6
    d_model: int = 128
    d_mlp: int = 512
    n_heads: int = 4
    n_key_value_heads: int = 2
    max_length: int = 128
    steps: int = 4200  # updates on sentences alone, ...
    batch_size: int = 80
    taught_steps: int = 1200  # ... and then updates that also teach where the steps of a question are taken
    taught: tuple[Step, ...] = STEPS  # these places, one an update
    exchanged: int = 40  # questions an update into which facts of others are put, see `interchange`
    interchange: float = 1.0  # weight of their loss
    sequence_length: int = 24
    learning_rate: float = 2e-3
    taught_rate: float = 8e-4
    weight_decay: float = 0.1
    prompt_weight: float = 0.1  # weight of a prompt token's loss beside an answer token's
    sparsity: float = 0.02  # weight of `NeuronWrites`, which makes the MLPs say little and in few words, ...
    final_sparsity: float = 0.3  # ... and what it grows to in the second half
    compile: bool = True  # twice as fast; needs a C++ compiler, and is left out where there is none


def build_model(config: ModelConfig) -> PreTrainedModel:
    """A Gemma model with random weights: grouped-query attention, RMSNorms before both blocks, a gated MLP with ReLU.

    This is the first Gemma, not Gemma 3: where a norm follows the MLP, the MLP must write a vector of full length at every
    token, whether it has something to say or not, and no dictionary makes sense of that.
    """
    return GemmaForCausalLM(
        GemmaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_mlp,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_key_value_heads,
            head_dim=config.d_model // config.n_heads,
            max_position_embeddings=config.max_length,
            hidden_act="relu",
            pad_token_id=PAD_ID,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
        )
    )


@dataclass
class Rows:
    """Sentences of one family as padded token rows, and the loss weight of every token."""

    tokens: Int[Tensor, "row position"]
    weights: Float[Tensor, "row position"]
    sentences: list[Sentence]


def encode_rows(
    sentences: list[Sentence], tokenizer: PreTrainedTokenizerFast, length: int, prompt_weight: float
) -> Rows:
    """Rows `<bos> sentence <eos> <pad> …`; the answer and its tail weigh 1, the prompt `prompt_weight`, padding 0.

    Sentences longer than `length` tokens are left out.
    """
    prompts = tokenizer([s.prompt for s in sentences])["input_ids"]
    texts = tokenizer([s.text for s in sentences])["input_ids"]
    kept = [(p, t, s) for p, t, s in zip(prompts, texts, sentences, strict=True) if len(t) < length]
    tokens = torch.full((len(kept), length), tokenizer.pad_token_id)
    weights = torch.zeros(len(kept), length)
    for row, (prompt, text, _) in enumerate(kept):
        tokens[row, : len(text) + 1] = torch.tensor([*text, tokenizer.eos_token_id])
        weights[row, 1 : len(prompt)] = prompt_weight
        weights[row, len(prompt) : len(text) + 1] = 1.0
    return Rows(tokens, weights, [sentence for _, _, sentence in kept])


def batches(families: dict[str, Rows], batch_size: int, seed: int, start: int) -> Iterator[Rows]:
    """Endless batches in the proportions of `MIXTURE`; batch `k` depends on `seed` and `k` only, so training resumes."""
    names = list(families)
    shares = torch.tensor([MIXTURE[name] for name in names])
    counts = torch.tensor([len(families[name].tokens) for name in names])
    offsets = counts.cumsum(0) - counts
    tokens = torch.cat([families[name].tokens for name in names])
    weights = torch.cat([families[name].weights for name in names])
    sentences = [sentence for name in names for sentence in families[name].sentences]
    step = start
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        family = torch.multinomial(shares, batch_size, replacement=True, generator=generator)
        index = offsets[family] + (torch.rand(batch_size, generator=generator) * counts[family]).long()
        yield Rows(tokens[index], weights[index], [sentences[i] for i in index.tolist()])
        step += 1


def learning_rate_at(step: int, config: ModelConfig) -> float:
    """Linear warm-up over 100 updates and a cosine to zero; once on sentences alone, and once more with steps taught."""
    peak, done, steps = config.learning_rate, step, config.steps
    if step >= config.steps:
        peak, done, steps = config.taught_rate, step - config.steps, config.taught_steps
    return peak * min(1.0, (done + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done / steps))


def sparsity_at(step: int, config: ModelConfig) -> float:
    """Weight of the penalty on what neurons write: first what to say is learnt, then to say it briefly."""
    late = min(1.0, max(0.0, 2 * step / config.steps - 1))
    return min(1.0, step / 500) * (config.sparsity + late * (config.final_sparsity - config.sparsity))


def loss_of(model: PreTrainedModel, batch: Rows) -> Float[Tensor, ""]:
    """Cross-entropy of the next token, weighted by `batch.weights`."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch.tokens, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
    )
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


class NeuronWrites:
    """How much the neurons of the MLPs write, one by one, beside the length of the residual stream they write into.

    As a penalty it makes few neurons write at a time, and an MLP write only what is needed.
    """

    def __init__(self, model: PreTrainedModel):
        self.shares: list[Float[Tensor, ""]] = []
        for layer in model.model.layers:
            layer.post_attention_layernorm.register_forward_pre_hook(self._measure_stream)
            layer.mlp.down_proj.register_forward_pre_hook(self._measure_writes)

    def _measure_stream(self, norm, args) -> None:
        self._stream = args[0].detach().float().norm(dim=-1)

    def _measure_writes(self, projection, args) -> None:
        writes = args[0].float().abs() * projection.weight.detach().norm(dim=0)
        self.shares.append((writes.sum(-1) / self._stream).mean())

    def take(self) -> Float[Tensor, ""]:
        """The mean over the layers of the last forward pass."""
        shares, self.shares = self.shares, []
        return torch.stack(shares).mean()


def save_checkpoint(path: Path, model: PreTrainedModel, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint, one complete file replacing the other."""
    part = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, part)
    part.replace(path)


def build_optimizer(model: PreTrainedModel, config: ModelConfig) -> torch.optim.Optimizer:
    """AdamW; the weights of norms do not decay."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def train_model(
    config: ModelConfig, families: dict[str, Rows], partners: Partners, checkpoint: Path, seed: int
) -> PreTrainedModel:
    """Train from scratch, or on from `checkpoint` if it is there; a checkpoint is written every 500 steps.

    On one thread, so that the weights do not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = build_model(config)
    optimizer = build_optimizer(model, config)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    writes, exchange = NeuronWrites(model), MlpExchange(model)
    runner = torch.compile(model) if config.compile and shutil.which("c++") else model
    stream = batches(families, config.batch_size, seed, start)
    total = config.steps + config.taught_steps
    progress = tqdm(range(start, total), initial=start, total=total, desc="language model", disable=None)
    model.train()
    for step in progress:
        if step == config.steps:
            optimizer = build_optimizer(model, config)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        loss = loss_of(runner, next(stream)) + sparsity_at(step, config) * writes.take()
        exchange.take()
        if step >= config.steps:
            taught, rng = config.taught[step % len(config.taught)], random.Random(seed * 1_000_003 + step)
            drawn = partners.draw(config.exchanged, taught.fact, rng)
            share = torch.tensor([[rng.random()] for _ in range(config.exchanged)])
            moved = step_loss(runner, exchange, partners, taught, drawn, config.sequence_length, share)
            writes.take()
            loss = loss + config.interchange * moved
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % 500 == 0:
            save_checkpoint(checkpoint, model, optimizer, step + 1)
    torch.set_num_threads(threads)
    return model.eval()
