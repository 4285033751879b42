"""What an answer is given is not its own to change: tensors that a call changes in place are named, and put back. Nor may it leave
hooks or another gradient mode behind (`leftovers`).
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from utils.grading.compare.expectations import expect
from utils.grading.run.leftovers import Before, HooksOfOthers
from utils.grading.run.still_running import StillRunning

DEPTH = 5
OWN = ("utils.", "solutions.", "tests.", "answer_", "__main__")


def guarded(answer: object, reference: object) -> object:
    """The answer, which now fails if it changes a tensor that it is given, leaves something behind on a model that it is given or
    in the gradient mode, or does not take what `reference` takes.

    Classes and generators are handed out as they are.
    """
    if not inspect.isfunction(answer) or inspect.isgeneratorfunction(answer):
        return answer

    @functools.wraps(answer)
    def call(*args, **kwargs):
        arguments = _bound(answer, reference, args, kwargs)
        watched = [_Watched(tensor, name) for name, value in arguments.items() for tensor in tensors_in(value)]
        models = list({id(model): model for model in modules_in(arguments)}.values())
        with HooksOfOthers(models):
            before, running = Before(models), StillRunning()
            try:
                result = answer(*args, **kwargs)
            finally:
                running.end()
                changed = [each for each in watched if each.is_changed()]
                for each in changed:
                    each.put_back()
            leftover = before.leftover()
        if changed:
            expect(False, f"You change `{changed[0].name}`, which you were given: make a new one (clone it).")
        if leftover:
            expect(False, leftover)
        return result

    return call


def _bound(answer: Callable, reference: object, args: tuple, kwargs: dict) -> dict[str, object]:
    """The arguments of a call by name. Raises Unexpected if the answer cannot be called like this."""
    signature = inspect.signature(answer)
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError:
        name, wanted = answer.__name__, ", ".join(inspect.signature(reference).parameters)
        taken = ", ".join(map(str, signature.parameters))
        expect(False, f"`{getattr(reference, '__name__', name)}` must take ({wanted}); yours takes ({taken}).")
        raise


class _Watched:
    """A tensor as it was."""

    def __init__(self, tensor: Tensor, name: str):
        self.name = name
        self._tensor = tensor
        self._before = tensor.detach().clone()
        self._version = version_of(tensor)

    def is_changed(self) -> bool:
        return version_of(self._tensor) != self._version or not _is_same(self._tensor.detach(), self._before)

    def put_back(self) -> None:
        """The values, and the count of changes, by which autograd knows whether a recorded run still holds."""
        with torch.no_grad():
            if self._tensor.shape == self._before.shape and self._tensor.dtype == self._before.dtype:
                self._tensor.data.copy_(self._before)
            else:
                self._tensor.data = self._before.clone()
        if self._version is not None:
            torch._C._autograd._unsafe_set_version_counter((self._tensor,), (self._version,))


def version_of(tensor: Tensor) -> int | None:
    """How often a tensor was changed in place, if that is counted."""
    return None if tensor.is_inference() else tensor._version


def _is_same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) or bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def tensors_in(value: object, depth: int = DEPTH) -> Iterator[Tensor]:
    """Plain tensors in a value: in lists, dictionaries and objects of the course, but not in models nor their weights."""
    if isinstance(value, nn.Module | nn.Parameter | type) or not depth:
        return
    if isinstance(value, Tensor):
        is_plain = type(value) is Tensor and value.layout is torch.strided
        if is_plain and not torch._C._functorch.is_functorch_wrapped_tensor(value):
            yield value
        return
    for inner in _parts(value):
        yield from tensors_in(inner, depth - 1)


def modules_in(value: object, depth: int = DEPTH) -> Iterator[nn.Module]:
    """Models and other modules in a value: in lists, dictionaries and objects of the course, but not inside one another."""
    if isinstance(value, nn.Module):
        yield value
    elif depth and not isinstance(value, Tensor | type):
        for inner in _parts(value):
            yield from modules_in(inner, depth - 1)


def _parts(value: object) -> list[object]:
    """What a list, a dictionary or an object of the course holds; nothing for other values."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    if type(value).__name__ == "ActivationCache":  # to import TransformerLens for this would take seconds
        return [value.cache_dict]
    if hasattr(value, "__dict__") and (type(value).__module__.startswith(OWN) or isinstance(value, SimpleNamespace)):
        return [vars(value)]
    return []
