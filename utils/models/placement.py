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
    missing = (kind == "cuda" and not torch.cuda.is_available()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise ValueError(f"This machine has no {kind} device that PyTorch can use: leave device out, or pass 'cpu'.")
    return str(device)


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
