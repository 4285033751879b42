"""Arguments checked and put into form: prompts, tokens, thresholds, and the model's mode.

Whatever is wrong is said in one sentence, with what to do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.engine.memory import free_bytes, memory_errors
from utils.engine.targets import GivenTargets


def tokenize_prompt(model: TransformerBridge, prompt: str, position: int | None = None) -> Int[Tensor, "1 seq"]:
    """The prompt's tokens, with one beginning-of-sequence token in front if the model wants one, even if the text has one too.

    Args:
        position: keep the tokens up to and with this one; negative numbers count from the end. What is behind a target
            cannot act on it.

    Raises:
        TypeError: the prompt is not a text, or the position not a whole number.
        ValueError: there are no tokens, or more than the model can take, or there is no such position.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"The prompt must be a text, not a {type(prompt).__name__}.")
    if not prompt.strip():
        raise ValueError("The prompt is empty; give at least one word.")
    tokens = model.to_tokens(prompt, truncate=False)
    bos = model.tokenizer.bos_token_id
    while bos is not None and tokens[0, :2].tolist() == [bos, bos]:
        tokens = tokens[:, 1:]
    n_ctx, seq_len = getattr(model.cfg, "n_ctx", None), tokens.shape[1]
    if n_ctx and seq_len > n_ctx:
        raise ValueError(f"The prompt has {seq_len} tokens, but the model takes at most {n_ctx}; shorten it.")
    if position is None:
        return tokens
    check_whole_number("position", position)
    if not -seq_len <= position < seq_len:
        raise ValueError(f"position must be between {-seq_len} and {seq_len - 1} for this prompt, not {position}.")
    return tokens[:, : position % seq_len + 1]


def text_of(model: TransformerBridge, tokens: Int[Tensor, "1 seq"]) -> str:
    """The text of some tokens, without the beginning-of-sequence token in front."""
    ids = tokens[0].tolist()
    return model.tokenizer.decode(ids[1:] if ids[:1] == [model.tokenizer.bos_token_id] else ids)


def first_visible_position(model: TransformerBridge, tokens: Int[Tensor, "1 seq"], start_posn: int | None) -> int:
    """`start_posn`; if it is None, 1 for a prompt with a beginning-of-sequence token, else 0.

    Raises:
        TypeError: it is not a whole number.
        ValueError: there is no such position.
    """
    seq_len = tokens.shape[1]
    if start_posn is None:
        starts_with_bos = tokens[0, 0].item() == model.tokenizer.bos_token_id
        return int(starts_with_bos and seq_len > 1)
    check_whole_number("start_posn", start_posn)
    if not 0 <= start_posn < seq_len:
        raise ValueError(f"start_posn must be between 0 and {seq_len - 1} for this prompt, not {start_posn}.")
    return start_posn


def check_threshold(threshold: float, name: str = "A pruning threshold") -> None:
    """Refuse a threshold that is not a share.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not between 0 and 1.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, Real):
        raise TypeError(f"{name} must be a number between 0 and 1, not {threshold!r}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"{name} must be between 0 and 1, not {threshold}.")


def check_whole_number(name: str, value: int) -> None:
    """Refuse what is not a whole number.

    Raises:
        TypeError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")


def check_tracing_arguments(top_k: int | None, batch_size: int, node_threshold: float, edge_threshold: float) -> None:
    """Refuse numbers out of range.

    Raises:
        TypeError: one of them is not a number of the right kind.
        ValueError: one of them is out of range.
    """
    check_threshold(node_threshold, "node_threshold")
    check_threshold(edge_threshold, "edge_threshold")
    check_whole_number("batch_size", batch_size)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    if top_k is not None:
        check_whole_number("top_k", top_k)
        if top_k < 0:
            raise ValueError(f"top_k must be at least 0, or None to keep every active latent, not {top_k}.")


def check_max_latent_nodes(max_latent_nodes: int | None) -> None:
    """Refuse a number of nodes that cannot be kept.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is below 1.
    """
    if max_latent_nodes is not None:
        check_whole_number("max_latent_nodes", max_latent_nodes)
        if max_latent_nodes < 1:
            raise ValueError(f"max_latent_nodes must be at least 1, or None to keep all, not {max_latent_nodes}.")


@dataclass
class TracingArguments:
    """How a prompt is traced: the arguments that `attribute` (chapter 3, where they are described) and its kin share.

    Raises:
        ValueError: a number is out of range.
        TypeError: there is no such argument, or it is of the wrong kind.
    """

    n_output_nodes: int = 3
    start_posn: int | None = None
    top_k: int | None = None
    batch_size: int = 128
    node_threshold: float = 0.8
    edge_threshold: float = 0.85
    probability_mass: float | None = None
    max_output_nodes: int = 10
    target_tokens: GivenTargets | None = None
    position: int | None = None
    max_latent_nodes: int | None = None
    keep_embeddings: bool = True
    model_name: str | None = None
    dictionary_name: str = ""
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        check_tracing_arguments(self.top_k, self.batch_size, self.node_threshold, self.edge_threshold)
        check_max_latent_nodes(self.max_latent_nodes)


def check_output_choice(
    d_vocab: int,
    n_output_nodes: int,
    probability_mass: float | None,
    max_output_nodes: int,
    token_ids: Sequence[int] | None,
) -> None:
    """Refuse a choice of output tokens that cannot be made.

    Raises:
        ValueError: a number is out of range.
    """
    if token_ids is not None:
        ids = list(token_ids)
        if not ids or not all(0 <= i < d_vocab for i in ids):
            raise ValueError(f"Token ids must be between 0 and {d_vocab - 1}, and at least one is needed; got {ids}.")
    elif probability_mass is None:
        if n_output_nodes < 1:
            raise ValueError(f"n_output_nodes must be at least 1, not {n_output_nodes}.")
    elif not 0 < probability_mass <= 1:
        raise ValueError(f"probability_mass must be above 0 and at most 1, not {probability_mass}.")
    elif max_output_nodes < 1:
        raise ValueError(f"max_output_nodes must be at least 1, not {max_output_nodes}.")


def name_of(model: TransformerBridge) -> str:
    """The model's name on the hub, or the last part of the folder it was loaded from."""
    name = str(getattr(model.cfg, "model_name", None) or "")
    return Path(name).name if Path(name).is_absolute() else name


@contextmanager
def evaluating(model: TransformerBridge) -> Iterator[None]:
    """Without dropout and autocast, and in float32 where the weights are in half precision and there is room for a copy.

    An edge is a small difference of large numbers: half precision is enough for the weights, not for the sums. The model's
    mode and weights are put back at the end.

    Raises:
        MemoryError: the memory ran out meanwhile; one sentence says what helps.
    """
    # the bridge does not own the Hugging Face model that it runs
    modules = _modules_of(model, model.original_model)
    training = [module for module in modules if module.training]
    # not `module.parameters(False)`: for a thousand modules that takes milliseconds
    tensors = {id(x): x for module in modules for x in (*module._parameters.values(), *module._buffers.values())}
    halves = {x: x.data for x in tensors.values() if x is not None and x.dtype in (torch.float16, torch.bfloat16)}
    if not _has_room(4 * sum(x.numel() for x in halves), model.W_U.device):
        halves = {}
    try:
        for module in training:
            module.training = False
        for tensor in halves:
            tensor.data = tensor.data.float()
        with torch.autocast(model.W_U.device.type, enabled=False), memory_errors():
            yield
    finally:
        for tensor, data in halves.items():
            tensor.data = data
        for module in training:
            module.training = True


def _modules_of(*models: torch.nn.Module) -> set[torch.nn.Module]:
    """All modules in these models. `modules()` makes all their names as well, which takes several times as long."""
    found, new = set(), set(models)
    while new:
        found |= new
        new = {part for module in new for part in module._modules.values() if part is not None} - found
    return found


def _has_room(n_bytes: int, device: torch.device) -> bool:
    """Whether so much memory is free, as far as this machine says; half of what is free stays for the work."""
    free = free_bytes(device)
    return free is None or 2 * n_bytes <= free
