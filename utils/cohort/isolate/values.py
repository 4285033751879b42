"""Values on their way from student code to the judge: plain data and raw numbers, never pickle.

What is sent is a list of frames: two lengths, JSON, and a block of raw numbers that the JSON points into. A reader trusts nothing.
"""

import dataclasses
import json
import math
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Number

import numpy as np
import torch
from torch import Tensor

from utils.grading.compare.fingerprints import without_addresses

LENGTHS = struct.Struct(">II")
DEEPEST = 30
LONGEST = 500
MOST_DIMENSIONS = 64
LONGEST_TEXT = 16 << 20  # of a frame: read, it takes about thirty times as much memory
DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float64, torch.float32, torch.int64, torch.int32)
}
DTYPES |= {name: getattr(torch, name) for name in ("int16", "int8", "uint8", "bool", "complex64", "complex128")}
DTYPES |= {name: getattr(torch, name) for name in ("float16", "bfloat16")}


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


Special = Callable[[object, Callable[[object], object]], object]


def encode(
    value: object,
    block: bytearray,
    depth: int = 0,
    special: Special | None = None,
    rest: Callable[[object], object] | None = None,
) -> object:
    """A value as JSON; the numbers of tensors are added to `block`.

    Only the true type counts, and only what the basic types themselves say: a subclass cannot lie about its content.

    Args:
        special: is asked first; it gets a value and how to write what is in it, and gives None for what is nothing special.
        rest: writes what is no plain data; its type and text are written otherwise.
    """

    def inner(part: object) -> object:
        return encode(part, block, depth + 1, special, rest)

    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if special is not None and depth < DEEPEST and (made := special(value, inner)) is not None:
        return made
    if issubclass(kind, Tensor):
        return _encode_tensor(value, block)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return {"int": str(int.__int__(value))}
    if issubclass(kind, float):
        return {"float": float.__float__(value).hex()}
    if issubclass(kind, np.generic) and issubclass(kind, Number | np.bool_) and stands_in_a_file(kind):
        return inner(value.item())
    if issubclass(kind, complex):
        plain = complex.__add__(value, 0j)
        return {"complex": [plain.real.hex(), plain.imag.hex()]}
    if depth < DEEPEST:
        if issubclass(kind, dict) or (issubclass(kind, Mapping) and stands_in_a_file(kind)):
            items = dict.items(value) if issubclass(kind, dict) else value.items()
            return {"dict": [[inner(part) for part in item] for item in items]}
        for name, base, kinds in (("tuple", tuple, tuple), ("set", set, Set), ("list", list, Sequence)):
            is_own = issubclass(kind, base) or stands_in_a_file(kind)
            if issubclass(kind, kinds) and is_own and not issubclass(kind, bytes | bytearray | memoryview):
                elements = base.__iter__(value) if issubclass(kind, base) else iter(value)
                return {name: [inner(element) for element in elements]}
    if rest is not None:
        return rest(value)
    name = type.__dict__["__name__"].__get__(kind)
    is_from_file = stands_in_a_file(kind)
    if is_from_file and dataclasses.is_dataclass(kind) and depth < DEEPEST:
        fields = [
            (f.name, decode(inner(object.__getattribute__(value, f.name)), block)) for f in dataclasses.fields(kind)
        ]
        text = f"{name}({', '.join(f'{field}={value!r}' for field, value in fields)})"
    else:
        text = repr(value) if is_from_file else f"<{name}>"
    return {"other": [name, without_addresses(text)[:LONGEST]]}


def stands_in_a_file(kind: type) -> bool:
    """Whether a class, and all that it is made from, is what a module of Python's, a package's or the course's has by its name.

    Code of such a class may be run by who compares; a class from a notebook could look around there.
    """
    for base in type.__dict__["__mro__"].__get__(kind):
        module, name = type.__dict__["__module__"].__get__(base), type.__dict__["__name__"].__get__(base)
        home = sys.modules.get(module) if type(module) is str else None
        is_read = home is not None and ("__file__" in vars(home) or home.__name__ in sys.builtin_module_names)
        if not is_read or vars(home).get(name) is not base:
            return False
    return True


def is_live(tensor: Tensor) -> bool:
    """Whether a tensor asks for gradients, or comes from one that does."""
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.requires_grad


def _encode_tensor(tensor: Tensor, block: bytearray) -> dict:
    with torch._C.DisableTorchFunctionSubclass():
        plain = Tensor.as_subclass(tensor, Tensor).detach().cpu().resolve_conj().resolve_neg()
        name = str(plain.dtype).removeprefix("torch.")
        if name not in DTYPES:
            return {"other": ["Tensor", str(plain.dtype)]}
        start = len(block)
        if plain.numel():  # the stride is said anew: one number may lie there with a stride of 0
            row = plain.contiguous().as_strided((plain.numel(),), (1,))
            block += row.view(torch.uint8).numpy().tobytes()
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


def decode(value: object, block: bytes, special: Callable[[str, object, Callable], object] | None = None) -> object:
    """What was encoded; `special` reads what `encode` wrote by another of that name. Raises Malformed."""
    try:
        return _decode(value, block, 0, special)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _decode(value: object, block: bytes, depth: int, special: Callable | None) -> object:
    def inner(part: object) -> object:
        return _decode(part, block, depth + 1, special)

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
        return {inner(key): inner(element) for key, element in content}
    if name not in ("tuple", "set", "list"):
        if special is not None:
            return special(name, content, inner)
        raise Malformed(f"no kind of value is called {name!r}")
    return {"tuple": tuple, "set": set, "list": list}[name](inner(element) for element in content)


def size_of_tensors(value: object) -> int:
    """How many bytes the tensors in something encoded have."""
    if isinstance(value, dict):
        if "tensor" in value:
            return math.prod(_shape_of(value)) * torch.empty(0, dtype=DTYPES[value["tensor"]]).element_size()
        return sum(map(size_of_tensors, value.values()))
    return sum(map(size_of_tensors, value)) if isinstance(value, list) else 0


def _shape_of(value: dict) -> list[int]:
    """The shape of an encoded tensor. Raises Malformed for what no tensor has: a product of it could take minutes."""
    shape = value["shape"]
    if len(shape) > MOST_DIMENSIONS or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise Malformed("a tensor has no such shape")
    return shape


def _decode_tensor(value: dict, block: bytes) -> Tensor:
    dtype, shape, start = DTYPES[value["tensor"]], _shape_of(value), value["at"]
    if type(start) is not int or start < 0:
        raise Malformed("a tensor begins nowhere")
    count = math.prod(shape)
    size = count * torch.empty(0, dtype=dtype).element_size()
    if start + size > len(block):
        raise Malformed("a tensor is longer than what came")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(block[start : start + size]), dtype=dtype).reshape(shape)
