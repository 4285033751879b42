"""Generation as one uses it: `generate`'s text, with a cache of keys and values, so that each token costs one step.

`generate` runs the whole text anew for every token, which is how one reads it. Here the prompt is run once with its edits;
after that only the new token is run, with the edits of the prompt's last position.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from solutions.chapter4_interventions.interventions import Edit, LayerEdits, check_edits, resolve_edits, run_base
from utils.engine.arguments import evaluating
from utils.engine.hooks import Hook, Transcoder, hooked, mlp_out_hook, reading_hook


@torch.no_grad()
def continue_text(
    model: TransformerBridge,
    transcoders: dict[int, Transcoder],
    tokens: Int[Tensor, "batch seq"],
    edits: Sequence[Edit],
    n_new: int,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    freeze_attention: bool = False,
    stop_at: int | None = None,
) -> Int[Tensor, "batch seq_and_new"]:
    """Continue prompts of one length while latents are edited.

    Args:
        model, transcoders, tokens, edits, temperature, seed: as for `generate`.
        n_new: number of tokens to add, at most. Fewer are added where all rows have ended, or the model's length is reached.
        top_p: draw from the smallest set of most probable tokens that reaches this share of the probability.
        freeze_attention: hold every attention pattern at its value on the same text without edits.
        stop_at: the token that ends a row; None takes the tokenizer's end-of-sequence token. Behind its end a row is filled up
            with this token.

    Returns:
        The prompts, each followed by its new tokens.

    Raises:
        TypeError, ValueError: an edit is for a place that is not there, or a number is out of range.
    """
    if n_new < 0 or temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"n_new and temperature must be at least 0 and top_p above 0 and at most 1, not {n_new}, {temperature}, {top_p}."
        )
    end = model.tokenizer.eos_token_id if stop_at is None else stop_at
    length = getattr(model.cfg, "n_ctx", None)
    n_new = n_new if not length else min(n_new, length - tokens.shape[1])
    generator = torch.Generator(tokens.device).manual_seed(seed)
    with evaluating(model):
        resolved = resolve_edits(check_edits(edits, transcoders, tokens), run_base(model, transcoders, tokens).acts)
        edited, plain = _Running(model), _Running(model)
        text, new, has_ended = tokens, tokens, torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        for step in range(n_new):
            here = resolved if step == 0 else _at_the_end(resolved, tokens.shape[1] - 1)
            hooks = [hook for layer, found in here.items() for hook in _edit_hooks(layer, transcoders[layer], found)]
            if freeze_attention:
                hooks += plain.patterns_of(new)
            logits = edited.run(new, hooks)
            new = choose_token(logits, temperature, top_p, generator)
            if end is not None:
                new[has_ended] = end
                has_ended |= new[:, 0] == end
            text = torch.cat([text, new], dim=1)
            if bool(has_ended.all()):
                break
    return text


def choose_token(
    logits: Float[Tensor, "batch d_vocab"], temperature: float, top_p: float, generator: torch.Generator
) -> Int[Tensor, "batch 1"]:
    """The most probable token at temperature 0; above, one that is drawn."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    probs = (logits / temperature).softmax(dim=-1)
    if top_p < 1:
        ranked = probs.sort(dim=-1, descending=True)
        # the token that reaches the share is still drawn from
        out = ranked.values.cumsum(dim=-1) - ranked.values >= top_p
        probs = probs.masked_fill(out.gather(-1, ranked.indices.argsort(dim=-1)), 0)
    return torch.multinomial(probs, 1, generator=generator)


def _at_the_end(resolved: dict[int, LayerEdits], last: int) -> dict[int, LayerEdits]:
    """The edits of the prompt's last position, for a new token that is run alone."""
    found = {}
    for layer, edits in resolved.items():
        at_end = edits.positions == last
        if bool(at_end.any()):
            rows, positions, latents, values = (part[at_end] for part in edits)
            found[layer] = LayerEdits(rows, torch.zeros_like(positions), latents, values)
    return found


def _edit_hooks(layer: int, transcoder: Transcoder, edits: LayerEdits) -> list[Hook]:
    """Each edited latent adds the change of its activation, against what it would be now, times its row of `W_dec`."""
    live = {}

    def read(x: Tensor, hook: HookPoint) -> None:
        live["acts"] = transcoder.encode(x[edits.rows, edits.positions])

    def write(y: Tensor, hook: HookPoint) -> Tensor:
        before = live["acts"].gather(1, edits.latents[:, None])[:, 0]
        written = (edits.values.to(y) - before.to(y))[:, None] * transcoder.W_dec[edits.latents].to(y)
        return y.index_put((edits.rows, edits.positions), written, accumulate=True)

    return [(reading_hook(layer), read), (mlp_out_hook(layer), write)]


class _Running:
    """A model with the keys and values of the text so far."""

    def __init__(self, model: TransformerBridge):
        self.model, self.cache = model, None

    def run(self, new: Int[Tensor, "batch new"], hooks: list[Hook]) -> Float[Tensor, "batch d_vocab"]:
        """The logits behind the last of some new tokens."""
        arguments = {} if self.cache is None else {"past_key_values": self.cache}
        with hooked(self.model, hooks):
            logits, self.cache = self.model(new, return_type="logits_and_cache", use_cache=True, **arguments)
        return logits[:, -1]

    def patterns_of(self, new: Int[Tensor, "batch new"]) -> list[Hook]:
        """Run some new tokens, and return hooks that hold every attention pattern at what it was."""
        patterns: dict[str, Tensor] = {}

        def keep(value: Tensor, hook: HookPoint) -> None:
            patterns[hook.name] = value

        def hold(value: Tensor, hook: HookPoint, name: str) -> Tensor:
            return patterns[name]

        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(self.model.cfg.n_layers)]
        self.run(new, [(name, keep) for name in names])
        return [(name, partial(hold, name=name)) for name in names]
