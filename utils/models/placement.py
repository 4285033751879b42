"""On which device, and in which dtype, a model is loaded."""

from __future__ import annotations

import torch


def device_name(device: str | torch.device | None) -> str:
    """The device's name, after a check that this machine has it."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"Unknown device {device!r}: use 'cpu', 'cuda' or 'mps'.") from None
    if not is_available(torch.device(device)):
        raise ValueError(
            f"This machine has no {kind} device that PyTorch can use ({device}): leave device out, or pass 'cpu'."
        )
    return str(device)


def is_available(device: torch.device) -> bool:
    """Whether a tensor can be put there and read again."""
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    try:
        return torch.ones(1, device=device).item() == 1
    except Exception:  # each kind of device says in its own way that it is not there; "meta" holds no values
        return False


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """`dtype` as a torch.dtype; a string may be written with or without "torch."."""
    if dtype is None:
        return None
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    raise ValueError(f"Unknown dtype {dtype!r}: use float32, float64 or bfloat16.")


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
