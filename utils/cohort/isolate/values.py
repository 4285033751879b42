"""Values on their way from student code to the judge: plain data and raw numbers, never pickle.

What is sent is a list of frames: two lengths, JSON, and a block of raw numbers that the JSON points into. A reader trusts nothing.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Number

import numpy as np
import torch
from torch import Tensor

from utils.grading.compare.fingerprints import without_addresses

LENGTHS = struct.Struct(">II")
DEEPEST = 30
LONGEST = 500
LONGEST_TEXT = 16 << 20  # of a frame: read, it takes about thirty times as much memory
DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float64, torch.float32, torch.int64, torch.int32)
}
DTYPES |= {name: getattr(torch, name) for name in ("int16", "int8", "uint8", "bool", "complex64", "complex128")}


class Malformed(ValueError):
    """What came back is not what a child sends."""


@dataclass(frozen=True)
class Other:
    """An object that is no plain data, by its type and its text."""

    kind: str
    text: str

    def __repr__(self) -> str:
        return self.text


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


def pack(message: dict, block: bytes = b"") -> bytes:
    """One frame."""
    text = json.dumps(message).encode()
    return LENGTHS.pack(len(text), len(block)) + text + block


def encode(value: object, block: bytearray, depth: int = 0) -> object:
    """A value as JSON; the numbers of tensors are added to `block`.

    Only the true type counts, and only what the basic types themselves say: a subclass cannot lie about its content.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if issubclass(kind, Tensor):
        return _encode_tensor(value, block)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return {"int": str(int.__int__(value))}
    if issubclass(kind, float):
        return {"float": float.__float__(value).hex()}
    if issubclass(kind, np.generic) and issubclass(kind, Number | np.bool_):
        return encode(value.item(), block, depth + 1)
    if issubclass(kind, complex):
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if depth < DEEPEST:
        if issubclass(kind, Mapping):
            items = dict.items(value) if issubclass(kind, dict) else value.items()
            return {"dict": [[encode(part, block, depth + 1) for part in item] for item in items]}
        for name, base, kinds in (("tuple", tuple, tuple), ("set", set, Set), ("list", list, Sequence)):
            if issubclass(kind, kinds) and not issubclass(kind, bytes | bytearray | memoryview):
                elements = base.__iter__(value) if issubclass(kind, base) else iter(value)
                return {name: [encode(element, block, depth + 1) for element in elements]}
    return {"other": [kind.__name__, without_addresses(repr(value))[:LONGEST]]}


def _encode_tensor(tensor: Tensor, block: bytearray) -> dict:
    with torch._C.DisableTorchFunctionSubclass():
        plain = Tensor.as_subclass(tensor, Tensor).detach().cpu().resolve_conj().resolve_neg()
        if plain.dtype in (torch.bfloat16, torch.float16):
            plain = plain.float()
        name = str(plain.dtype).removeprefix("torch.")
        if name not in DTYPES:
            return {"other": ["Tensor", str(plain.dtype)]}
        start = len(block)
        block += plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return {"tensor": name, "shape": list(plain.shape), "at": start}


def writable(text: str) -> str:
    """A text that can be written to a file: halves of characters, and bytes that are no text, by their numbers."""
    return text.encode("utf-8", "backslashreplace").decode()


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def unpack(data: bytes) -> Iterator[tuple[dict, bytes]]:
    """All whole frames. A last one that is cut off is left out. Raises Malformed."""
    place = 0
    while place + LENGTHS.size <= len(data):
        text_size, block_size = LENGTHS.unpack_from(data, place)
        start = place + LENGTHS.size
        place = start + text_size + block_size
        if place > len(data):
            return
        if text_size > LONGEST_TEXT:
            raise Malformed("a frame has too long a text")
        try:
            message = json.loads(data[start : start + text_size])
        except (ValueError, RecursionError) as error:
            raise Malformed(str(error)) from error
        if not isinstance(message, dict):
            raise Malformed("a frame is no object")
        yield message, data[start + text_size : place]


def decode(value: object, block: bytes) -> object:
    """What was encoded. Raises Malformed."""
    try:
        return _decode(value, block, 0)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _decode(value: object, block: bytes, depth: int) -> object:
    if value is None or type(value) in (bool, str):
        return value
    if depth > DEEPEST:
        raise Malformed("values lie too deep in each other")
    if "tensor" in value:
        return _decode_tensor(value, block)
    ((name, content),) = value.items()
    if name == "int":
        return int(content)
    if name == "float":
        return float.fromhex(content)
    if name == "complex":
        return complex(*map(float.fromhex, content))
    if name == "other":
        kind, text = content
        return Other(str(kind), str(text))
    if name == "dict":
        return {_decode(key, block, depth + 1): _decode(element, block, depth + 1) for key, element in content}
    if name not in ("tuple", "set", "list"):
        raise Malformed(f"no kind of value is called {name!r}")
    return {"tuple": tuple, "set": set, "list": list}[name](_decode(element, block, depth + 1) for element in content)


def size_of_tensors(value: object) -> int:
    """How many bytes the tensors in something encoded have."""
    if isinstance(value, dict):
        if "tensor" in value:
            return math.prod(value["shape"]) * torch.empty(0, dtype=DTYPES[value["tensor"]]).element_size()
        return sum(map(size_of_tensors, value.values()))
    return sum(map(size_of_tensors, value)) if isinstance(value, list) else 0


def _decode_tensor(value: dict, block: bytes) -> Tensor:
    dtype, shape, start = DTYPES[value["tensor"]], value["shape"], value["at"]
    if not all(type(size) is int and size >= 0 for size in [*shape, start]):
        raise Malformed("a tensor has no such shape")
    count = math.prod(shape)
    size = count * torch.empty(0, dtype=dtype).element_size()
    if start + size > len(block):
        raise Malformed("a tensor is longer than what came")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(block[start : start + size]), dtype=dtype).reshape(shape)
