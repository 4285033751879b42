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
        self._before: dict[int, _Given] = {}

    def note(self, number: int) -> None:
        """A model is given: from now on its changes are told."""
        if number not in self._before:
            self._before[number] = _Given(self._shared.modules[number])

    def changes(self) -> list:
        """For each changed part: the number of its model, its name, and its state."""
        return [[number, *change] for number, given in self._before.items() for change in given.changes()]


class _Given:
    """A model as it was when it was given."""

    def __init__(self, model: nn.Module):
        self._parts = list(parts_of(model))
        self._before = [state_of(part) for _, part in self._parts]
        self._own = list({id(part): vars(part) for _, part in self._parts}.values())
        self._weights = [weight for own in self._own for weight in own["_parameters"].values() if weight is not None]
        self._numbers = self._look()

    def changes(self) -> list[tuple[str, list]]:
        """Name and state of each part that is not as it was."""
        if self._look() == self._numbers:
            return []
        now = [(name, state_of(part)) for name, part in self._parts]
        return [(name, state) for (name, state), before in zip(now, self._before) if state != before]

    def _look(self) -> list[list]:
        """What `state_of` tells, of all parts in a few lists: it is asked with every message, and as a rule nothing has changed."""
        counts = [[len(own.get(kind, ())) for own in self._own] for kind in COUNTED]
        asking = [weight.requires_grad for weight in self._weights]
        having = [weight.grad is not None for weight in self._weights]
        modes = [own["training"] for own in self._own]
        return [modes, [own.get("context_level") for own in self._own], *counts, asking, having]


def state_of(part: nn.Module) -> list:
    """Whether it is in training, its numbers of hooks, `context_level`, and of each weight whether it asks for and has a gradient."""
    own = vars(part)
    weights = [weight for weight in own["_parameters"].values() if weight is not None]
    return [
        own["training"],
        [len(own.get(kind, ())) for kind in COUNTED],
        own.get("context_level"),
        [[weight.requires_grad, weight.grad is not None] for weight in weights],
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
