"""How values cross between tests and an answer.

What goes to the answer is pickled: it comes from code of the course. What comes back is plain data, plain tensors, and names of what
stays there; a reader trusts nothing of it.
"""

import collections
import contextlib
import dataclasses
import enum
import io
import itertools
import keyword
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from types import FunctionType, MethodType, SimpleNamespace

import cloudpickle
import torch
from torch import Tensor, nn

from utils.cohort.isolate.values import Malformed, decode, encode, is_live, pack, unpack
from utils.grading.run.leftovers import places_of

OURS = ("utils.", "solutions")  # whose classes an answer may give back
LARGEST = 256 << 20  # bytes of a model that is sent to where answers run


class StaysHere(TypeError):
    """A value that cannot cross; the text says why."""


class Shared:
    """Models and dictionaries that both sides have: they cross by their number, and a part of one by its name in it."""

    def __init__(self, modules: Iterable[nn.Module]):
        self.modules = list(modules)
        self._parts: dict[int, dict[str, nn.Module]] = {}
        self._places = {
            id(part): (number, name)
            for number, module in reversed([*enumerate(self.modules)])
            for name, part in parts_of(module)
        }

    def place(self, module: nn.Module) -> tuple[int, str] | None:
        """Number and name of a module; None if it is not shared."""
        return self._places.get(id(module))

    def at(self, number: int, name: str) -> nn.Module:
        """The module there. Raises LookupError."""
        if number not in self._parts:
            self._parts[number] = dict(parts_of(self.modules[number]))
        return self._parts[number][name]


def parts_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A module and all in it, by name. TransformerBridge keeps the model that it wraps out of its own modules."""
    yield from module.named_modules()
    original = getattr(module, "original_model", None)
    if isinstance(original, nn.Module):
        yield from ((f"original_model|{name}", part) for name, part in original.named_modules())


def size_of(module: nn.Module) -> int:
    """The bytes of its weights."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


def modules_in(value: object) -> list[nn.Module]:
    """The models and dictionaries in something that is sent, without their parts; those found so far, if it cannot be sent."""
    found: list[nn.Module] = []

    class Finder(cloudpickle.Pickler):
        def persistent_id(self, inner: object) -> object:
            if isinstance(inner, nn.Module):
                found.append(inner)
                return "module"
            return "left out" if isinstance(inner, Tensor | FunctionType | MethodType) else None

    with contextlib.suppress(Exception):
        Finder(io.BytesIO()).dump(value)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# To the answer
# ---------------------------------------------------------------------------------------------------------------------


class Remote:
    """Something that stays on the side of the answer; what is done with it is a message."""

    def __init__(self, ask: Callable, number: int, kind: str):
        object.__setattr__(self, "_remote", (ask, number, kind))

    def __repr__(self) -> str:
        return f"<{self._remote[2]}>"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name != "__name__":
            raise AttributeError(name)
        return _do(self, "getattr", name)

    def __setattr__(self, name: str, value: object) -> None:
        _do(self, "setattr", name, value)

    def __call__(self, *args, **kwargs) -> object:
        return _do(self, "call", list(args), kwargs)

    def __len__(self) -> int:
        return _do(self, "len")

    def __bool__(self) -> bool:
        return _do(self, "bool")

    def __iter__(self) -> Iterator:
        found = _do(self, "iter")
        if not isinstance(found, Remote):
            raise TypeError("what is gone through is no iterator")
        for _ in itertools.count():
            more = _do(found, "next")
            if not more:
                return
            yield more[0]

    def __next__(self) -> object:
        more = _do(self, "next")
        if not more:
            raise StopIteration
        return more[0]

    def __getitem__(self, key: object) -> object:
        return _do(self, "getitem", key)

    def __enter__(self) -> object:
        return _do(self, "enter")

    def __exit__(self, *error: object) -> None:
        _do(self, "exit")


def _do(remote: Remote, name: str, *arguments: object) -> object:
    ask, number, _ = object.__getattribute__(remote, "_remote")
    return ask("do", name, number, *arguments)


OPERATIONS: dict[str, Callable] = {
    "getattr": getattr,
    "setattr": setattr,
    "call": lambda function, args, kwargs: function(*args, **kwargs),
    "len": len,
    "bool": bool,
    "iter": iter,
    "next": lambda iterator: next(([element] for element in iterator), []),
    "getitem": lambda value, key: value[key],
    "enter": lambda value: value.__enter__(),
    "exit": lambda value: value.__exit__(None, None, None) and None,
}


def to_answer(
    message: dict,
    shared: Shared,
    said_of: Callable[[list[Tensor]], dict],
    hold: Callable[[Callable], int],
    own: tuple[str, ...],
) -> bytes:
    """A message to an answer.

    Args:
        said_of: gives what the message says of its tensors that ask for gradients.
        hold: keeps a function of the tests, and gives the number by which the answer calls it.
        own: folders of tests: of what is defined in files there, only functions cross, as numbers.

    Raises StaysHere.
    """

    live: list[Tensor] = []

    class Pickler(_TensorPickler):
        def persistent_id(self, value: object) -> object:
            if isinstance(value, nn.Module):
                place = shared.place(value)
                if (place is None or not place[1]) and any(places_of(value).at_points):
                    raise StaysHere("a model is sent with hooks that the test has put on it")
                if place is None and size_of(value) > LARGEST:
                    raise StaysHere("the model is too large to be sent")
                return place and ("module", *place)
            if isinstance(value, PurePath):
                raise StaysHere("an answer cannot read or write the files of a test")
            if type(value) is Remote:
                return "yours", object.__getattribute__(value, "_remote")[1]
            if type(value) is Tensor and is_live(value):
                return "live", _index(live, value)
            if isinstance(value, type) and _file_of(value).startswith(own):
                raise StaysHere(f"objects of the tests' class {value.__name__} cannot be sent")
            if isinstance(value, FunctionType | MethodType):
                function = value.__func__ if isinstance(value, MethodType) else value
                if function.__code__.co_filename.startswith(own):
                    return "function", hold(value)
            return None

    file = io.BytesIO()
    try:
        Pickler(file).dump(message.pop("value"))
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise StaysHere(f"{type(error).__name__}: {error}") from error
    lives = io.BytesIO()
    _TensorPickler(lives).dump([tensor.detach() for tensor in live])
    more = said_of(live) if live else {}
    return pickle.dumps((message | more, lives.getvalue(), file.getvalue()))


class _TensorPickler(cloudpickle.Pickler):
    """Writes plain tensors by their bytes: torch's own way is made for large files, and takes long for small tensors."""

    def reducer_override(self, value: object) -> object:
        if type(value) is Tensor and _is_bare(value):
            return _from_bytes, (
                bytearray(value.reshape(-1).view(torch.uint8).numpy()),
                value.dtype,
                tuple(value.shape),
            )
        return super().reducer_override(value)


def _is_bare(tensor: Tensor) -> bool:
    """Whether its bytes, shape and dtype are all that there is to it."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.numel() > 0
        and not (tensor.is_complex() or tensor.is_quantized or tensor.is_neg() or tensor.is_inference())
        and not (is_live(tensor) or vars(tensor) or torch._C._functorch.is_functorch_wrapped_tensor(tensor))
    )


def _from_bytes(data: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    # a copy lies in memory as torch's own tensors do: the last digits of sums may depend on that
    return torch.frombuffer(data, dtype=dtype).reshape(shape).clone()


def _index(live: list[Tensor], value: Tensor) -> int:
    """The place of a tensor among others, to which it is added if it is new."""
    for index, other in enumerate(live):
        if other is value:
            return index
    live.append(value)
    return len(live) - 1


def _file_of(kind: type) -> str:
    return str(getattr(sys.modules.get(kind.__module__), "__file__", ""))


def load(data: bytes, known: Callable[[tuple], object]) -> object:
    """The value that `to_answer` wrote, on the side of the answer; `known` gives what has a name only."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name: tuple) -> object:
            return known(name)

    return Unpickler(io.BytesIO(data)).load()


# ---------------------------------------------------------------------------------------------------------------------
# From the answer
# ---------------------------------------------------------------------------------------------------------------------


def to_tests(
    message: dict, shared: Shared, said_of: Callable[[list[Tensor]], dict], hold: Callable[[object], int]
) -> bytes:
    """A message from an answer: JSON, and the numbers of its tensors. `said_of` is as in `to_answer`."""
    block, live = bytearray(), []

    def special(value: object, inner: Callable[[object], object]) -> object:
        kind = type(value)
        if issubclass(kind, Tensor) and is_live(value):
            return {"live": _index(live, value)}
        if isinstance(value, nn.Module) and (place := shared.place(value)) is not None:
            return {"module": list(place)}
        if type(value) is Theirs:
            return {"yours": value.number}
        if issubclass(kind, torch.dtype | torch.device):
            return {"torch": str(value).removeprefix("torch.")}
        if issubclass(kind, enum.Enum):
            return {"enum": [kind.__module__, kind.__qualname__, value.name]}
        if issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
            fields = list(zip(kind._fields, tuple.__iter__(value)))
        elif dataclasses.is_dataclass(kind):
            fields = [
                (field.name, getattr(value, field.name))
                for field in dataclasses.fields(kind)
                if hasattr(value, field.name)
            ]
        elif kind is SimpleNamespace:
            fields = list(vars(value).items())
        else:
            return None
        base = "tuple" if issubclass(kind, tuple) else "object"
        return {
            "fields": [base, kind.__module__, kind.__qualname__, [[str(name), inner(field)] for name, field in fields]]
        }

    def rest(value: object) -> object:
        return {"remote": [hold(value), type(value).__name__]}

    value = encode(message["value"], block, special=special, rest=rest)
    lives = [encode(tensor.detach(), block) for tensor in live]
    more = said_of(live) if live else {}
    return pack({**message, **more, "value": value, "lives": lives}, bytes(block))


class Theirs:
    """On the side of the answer: a function of the tests."""

    def __init__(self, ask: Callable, number: int):
        self._ask = ask
        self.number = number

    def __call__(self, *args, **kwargs) -> object:
        return self._ask("do", "call", self.number, list(args), kwargs)


def from_answer(
    data: bytes,
    shared: Shared,
    wrap: Callable[[dict, list[Tensor]], list[Tensor]],
    ask: Callable,
    held: dict[int, Callable],
) -> dict:
    """What `to_tests` wrote, read with care. Raises Malformed."""
    try:
        ((message, block),) = unpack(data)
        lives = [decode(tensor, block) for tensor in message.pop("lives")]
        if not isinstance(message["what"], str) or not all(isinstance(t, Tensor) and can_be_live(t) for t in lives):
            raise Malformed("a message is none")
        known = wrap(message, lives)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(str(error)) from error

    def special(name: str, content: object, inner: Callable[[object], object]) -> object:
        if name == "live":
            return known[content]
        if name == "module":
            return shared.at(*content)
        if name == "yours":
            return held[content]
        if name == "torch":
            found = getattr(torch, content, None) if isinstance(content, str) else None
            return found if isinstance(found, torch.dtype) else torch.device(content)
        if name == "remote":
            number, kind = content
            if type(number) is not int or not isinstance(kind, str):
                raise Malformed("a thing has no number")
            return Remote(ask, number, kind)
        if name == "enum":
            module, kind, member = content
            found = _ours(module, kind)
            if not (isinstance(found, type) and issubclass(found, enum.Enum)):
                raise Malformed("no such kind of value")
            return found[member]
        if name == "fields":
            base, module, kind, fields = content
            return _rebuilt(base, module, kind, {str(field): inner(value) for field, value in fields})
        raise Malformed(f"no kind of value is called {name!r}")

    message["value"] = decode(message["value"], block, special)
    return message


def can_be_live(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _ours(module: str, kind: str) -> object:
    """A class of the course by its name; None for others."""
    if not (isinstance(module, str) and isinstance(kind, str) and module.startswith(OURS) and kind.isidentifier()):
        return None
    found = getattr(sys.modules.get(module), kind, None)
    return found if isinstance(found, type) and found.__module__ == module else None


def _rebuilt(base: str, module: str, kind: str, fields: dict[str, object]) -> object:
    """An object of the course's class, or of one with the same name and fields."""
    if not all(name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__") for name in fields):
        raise Malformed("a field has no name")
    found = _ours(module, kind)
    name = kind if isinstance(kind, str) and kind.isidentifier() else "Value"
    if base == "tuple":
        if found is not None and issubclass(found, tuple) and getattr(found, "_fields", None) == tuple(fields):
            return found._make(fields.values())
        return collections.namedtuple(name, fields)(*fields.values())
    if found is None or not dataclasses.is_dataclass(found):
        found = SimpleNamespace if name == "SimpleNamespace" else type(name, (), {})
    made = object.__new__(found) if found is not SimpleNamespace else SimpleNamespace()
    for field, value in fields.items():
        object.__setattr__(made, field, value)
    return made


def in_folders(folders: Iterable[Path]) -> tuple[str, ...]:
    """Folders as the beginnings of paths."""
    return tuple(f"{folder}/" for folder in folders)
