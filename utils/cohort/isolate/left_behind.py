"""What an answer leaves behind on the models that it was given, so that a test in another process sees it."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from utils.cohort.isolate.wire import Shared, parts_of
from utils.grading.run.process_state import module_restorer, parameter_restorer

COUNTED = ("fwd_hooks", "bwd_hooks")  # TransformerLens' lists of hooks


class LeftBehind:
    """Tells, on the side of an answer, how the models that it got differ from what they were."""

    def __init__(self, shared: Shared):
        self._shared = shared
        self._before: dict[int, list[tuple[str, nn.Module, list]]] = {}

    def note(self, number: int) -> None:
        """A model is given: from now on its changes are told."""
        if number not in self._before:
            parts = parts_of(self._shared.modules[number])
            self._before[number] = [(name, part, state_of(part)) for name, part in parts]

    def changes(self) -> list:
        """For each changed part: the number of its model, its name, and its state."""
        found = []
        for number, parts in self._before.items():
            for name, part, before in parts:
                now = state_of(part)
                if now != before:
                    found.append([number, name, now])
        return found


def state_of(part: nn.Module) -> list:
    """Whether it is in training, its numbers of hooks, `context_level`, and of each weight whether it asks for and has a gradient.

    It is asked often, so it looks past the module's own ways to find an attribute.
    """
    own = vars(part)
    return [
        own["training"],
        [len(own.get(kind, ())) for kind in COUNTED],
        own.get("context_level"),
        [
            [weight.requires_grad, weight.grad is not None]
            for weight in own["_parameters"].values()
            if weight is not None
        ],
    ]


def leave_behind(shared: Shared, changes: Iterable) -> list[Callable[[], bool]]:
    """Do the same here: hooks that change nothing, gradients of zeros. Returns what puts it back. Raises ValueError, TypeError or LookupError."""
    undo: list[Callable[[], bool]] = []
    for number, name, (training, counts, level, weights) in changes:
        part = shared.at(number, name)
        undo += [module_restorer(part), *map(parameter_restorer, part.parameters(recurse=False))]
        part.training = training is True
        for direction, kind, count in zip(("fwd", "bwd"), COUNTED, counts, strict=True):
            for _ in range(min(count, 100) - len(getattr(part, kind, ()))):
                part.add_hook(_nothing, dir=direction)
        if type(level) is int:
            part.context_level = level
        for weight, (asks, has) in zip(part.parameters(recurse=False), weights, strict=True):
            weight.requires_grad_(asks is True)
            weight.grad = torch.zeros_like(weight) if has is True else None
    return undo


def _nothing(value: object, hook: object) -> None:
    return None
