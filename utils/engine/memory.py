"""How much memory a graph takes, said before the work, and what helps when it is too much."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

log = logging.getLogger(__name__)

# Beside the matrix of edges stand, for a while, masks of it, columns of it, and what pruning keeps (measured: 1.6 in all).
COPIES = 1.75
WHAT_HELPS = "keep fewer latents (top_k or max_latent_nodes), shorten the prompt"


def zero_edges(vectors: Float[Tensor, "n_nodes d_model"], n_columns: int) -> Float[Tensor, "n_nodes n_columns"]:
    """An empty matrix of edges for nodes with these vectors, after a look at the memory that is left.

    Raises:
        MemoryError: see `check_room`.
    """
    n_nodes = len(vectors)
    check_room(
        round(COPIES * n_nodes * n_columns * vectors.element_size()),
        vectors.device,
        f"The graph has {n_nodes:,} nodes, for which {{}} of memory are needed",
        WHAT_HELPS,
    )
    return vectors.new_zeros(n_nodes, n_columns)


def check_room(needed: int, device: torch.device, what: str, helps: str) -> None:
    """Say what some work takes, as information, and refuse it if there is not so much memory.

    Args:
        needed: bytes.
        device: where.
        what: the beginning of the sentence, with {} where the size stands.
        helps: what the reader can do about it.

    Raises:
        MemoryError: it is more than the device has; one sentence says what helps.
    """
    free, what = free_bytes(device), what.format(size(needed))
    if free is not None and needed > free:
        other = "use device='cpu'" if device.type != "cpu" else "close other programs"
        raise MemoryError(f"{what}, but {device} has {size(free)} left: {helps}, or {other}.")
    log.info("%s.", what)


def size(n_bytes: float) -> str:
    """A number of bytes for people."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, round(n_bytes / 1e6))} MB"


def free_bytes(device: torch.device) -> int | None:
    """How much memory is left on a device; None where the system does not say."""
    if device.type == "cuda":
        # what PyTorch holds in reserve can be used again
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    if device.type != "cpu":
        return None
    found = [look() for look in (_available, _left_of_address_space, _left_of_container)]
    return min((n for n in found if n is not None), default=None)


def _available() -> int | None:
    """What the whole machine has left (Linux)."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


def _left_of_address_space() -> int | None:
    """What is left of this process' own limit, where it has one."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _lines("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not used:
        return None
    return max(0, limit - int(used[0].split()[0]) * os.sysconf("SC_PAGE_SIZE"))


def _left_of_container() -> int | None:
    """What is left of the container's limit, where there is one (Linux)."""
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if not limit or not used or not limit[0].isdigit():
        return None
    return max(0, int(limit[0]) - int(used[0]))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says, in any of the forms PyTorch gives it, that memory ran out."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(error) for sign in signs)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn what PyTorch says when memory runs out into a MemoryError of one sentence.

    Raises:
        MemoryError: memory ran out. One that says what helps passes as it is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or WHAT_HELPS in str(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise MemoryError(
            f"The memory ran out while the prompt was traced: {WHAT_HELPS}, lower batch_size, or use device='cpu'."
        ) from None
