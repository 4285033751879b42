"""What student code may change and the next test must not see is put back: the program's settings (`restored`), the functions
that tests compare by (`comparison_tools`), and the models and tensors that tests share (`watch`, `restore_watched`).
"""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from utils.grading.run.comparison_tools import TOOLS
from utils.grading.run.leftovers import MODULE_HOOKS, Before, Places, forget, places_of, remember
from utils.grading.run.unchanged import tensors_in, version_of

HANDLES = ("fwd_hooks", "bwd_hooks")  # TransformerLens' own lists of them


@contextmanager
def restored() -> Iterator[None]:
    """Begin with fixed seeds; leave the program's settings as they were before, and what tests compare by as it was at the start."""
    random_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    streams = sys.stdin, sys.stdout, sys.stderr
    folder, environment, path = os.getcwd(), dict(os.environ), list(sys.path)
    dtype, device, n_threads = torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    is_deterministic, recursion = torch.are_deterministic_algorithms_enabled(), sys.getrecursionlimit()
    seed_everything()
    try:
        with ExitStack() as modes:
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
            modes.enter_context(np.errstate())
            yield
    finally:
        TOOLS.put_back()
        sys.stdin, sys.stdout, sys.stderr = streams
        os.chdir(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        sys.path[:] = path
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # None, where it suffices, leaves no mode behind; a named device puts one around every later call of torch
            torch.set_default_device(None)
            if torch.get_default_device() != device:
                torch.set_default_device(device)
        if torch.get_num_threads() != n_threads:
            torch.set_num_threads(n_threads)
        if torch.are_deterministic_algorithms_enabled() != is_deterministic:
            torch.use_deterministic_algorithms(is_deterministic)  # it reads torch's compiler, which takes two seconds
        sys.setrecursionlimit(recursion)
        random.setstate(random_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def seed_everything(seed: int = 0) -> None:
    """Seed all random numbers that course code uses."""
    random.seed(seed)
    np.random.seed(seed)
    if torch.cuda.is_initialized() or torch.backends.mps.is_available():
        torch.manual_seed(seed)
    else:
        # for a GPU that nobody uses, `torch.manual_seed` writes the whole call stack down, which takes longer than a short test
        torch.default_generator.manual_seed(seed)


class Watched:
    """Models and tensors that the tests of a session share: after each graded test they are as they are when they are noted."""

    def __init__(self):
        self._models: list[nn.Module] = []
        self._kept = _Kept()
        self.is_as_noted = True  # nothing that is watched was found changed
        self._data: list[torch.Tensor] = []
        self._versions: list[int] = []

    def note_model(self, model: nn.Module) -> None:
        """Its hooks, modes and gradients will be put back."""
        remember(model)
        self._models.append(model)
        self._kept.add(places_of(model))

    def note_data(self, value: object) -> None:
        """The tensors in it must not change."""
        counted = [tensor for tensor in tensors_in(value) if version_of(tensor) is not None]
        self._data += counted
        self._versions += [tensor._version for tensor in counted]

    def before(self) -> Before:
        """How the models are now."""
        return Before(self._models)

    def data_are_unchanged(self) -> bool:
        """Whether the tensors are as they were made."""
        return [tensor._version for tensor in self._data] == self._versions

    def put_back(self) -> bool:
        """Put all models back. False: weights or tensors were changed, and all is forgotten."""
        is_whole = self._kept.put_back() and self.data_are_unchanged()
        if not is_whole:
            self.is_as_noted = False
            self.forget()
        return is_whole

    def forget(self) -> None:
        """Look at nothing any more."""
        forget(self._models)
        self._kept = _Kept()
        for noted in (self._models, self._data, self._versions):
            noted.clear()


class _Parts(NamedTuple):
    """Where something may be changed on models: what modules hold, hook points and models with levels of hooks among them, dictionaries
    of hooks, those of them that had some already, weights, and those whose changes are counted.
    """

    own: list[dict]
    points: list[dict]
    roots: list[dict]
    hooks: list[dict]
    with_hooks: list[dict]
    weights: list[nn.Parameter]
    counted: list[nn.Parameter]

    def look(self) -> list[list]:
        """How all of it is now, in a few lists: thousands of small objects would wake the garbage collector."""
        return [
            [own["training"] for own in self.own],
            *([*map(len, [own[name] for own in self.points])] for name in HANDLES),
            [own["context_level"] for own in self.roots],
            [*map(len, self.hooks)],
            [*map(list, self.with_hooks)],
            [weight.requires_grad for weight in self.weights],
            [id(weight.grad) for weight in self.weights],
            [weight._version for weight in self.counted],
        ]


class _Kept:
    """Models as they were when they were noted."""

    def __init__(self):
        self._parts = _Parts([], [], [], [], [], [], [])
        self._before = self._parts.look()
        self._restorers: list[Callable[[], bool]] = []

    def add(self, places: Places) -> None:
        """One more model."""
        own = [vars(module) for module in places.modules]
        points = [each for each in own if all(isinstance(each.get(name), list) for name in HANDLES)]
        roots = [each for each in own if "context_level" in each]
        counted = [weight for weight in places.weights if version_of(weight) is not None]
        with_hooks = [held for held in places.hooks if held]
        parts = _Parts(own, points, roots, places.hooks, with_hooks, places.weights, counted)
        for mine, new in [*zip(self._parts, parts), *zip(self._before, parts.look())]:
            mine += new
        self._restorers += [module_restorer(module) for module in places.modules]
        self._restorers += [parameter_restorer(weight) for weight in places.weights]

    def put_back(self) -> bool:
        """Put all back. False: weights were changed."""
        # as a rule nothing has changed, and a look at all takes a sixth of the time of one restorer after the other
        return self._parts.look() == self._before or all([restore() for restore in self._restorers])


_now = Watched()


@contextmanager
def watching(watched: Watched) -> Iterator[None]:
    """Within it, what is watched is noted there: the fixtures of a session are looked at in its own tests, not in those of others."""
    global _now
    before, _now = _now, watched
    try:
        yield
    finally:
        _now = before


def watch(*models: nn.Module) -> None:
    """Models that tests share: after each graded test their hooks, modes and gradients are as they are now."""
    for model in models:
        _now.note_model(model)


def watch_data(*values: object) -> None:
    """Tensors that tests share, alone or in lists, dictionaries and objects: an answer must not change them."""
    for value in values:
        _now.note_data(value)


def before_a_test() -> Before:
    """How the models that tests share are now: afterwards it says what an answer has left on them."""
    return _now.before()


def data_are_unchanged() -> bool:
    """Whether the tensors that tests share are as they were made."""
    return _now.data_are_unchanged()


def restore_watched() -> bool:
    """Put all watched models back. False: weights or tensors were changed, and all must be made again."""
    return _now.put_back()


def module_restorer(module: nn.Module) -> Callable[[], bool]:
    """A function that puts hooks and the training mode back, and returns True."""
    training, level = module.training, getattr(module, "context_level", None)
    own = vars(module)  # what it holds, past its own ways to find an attribute, which take long
    hooks = {name: dict(own[name]) for name in MODULE_HOOKS}
    handles = {name: list(own[name]) for name in HANDLES if isinstance(own.get(name), list)}

    def restore() -> bool:
        if own["training"] != training:
            module.training = training
        if level is not None and module.context_level != level:
            module.context_level = level
        for name, before in hooks.items():
            now = own[name]
            if now.keys() != before.keys():
                now.clear()
                now.update(before)
        for name, before in handles.items():
            if own[name] != before:
                setattr(module, name, list(before))
        return True

    return restore


def parameter_restorer(parameter: nn.Parameter) -> Callable[[], bool]:
    """A function that puts `requires_grad` and `grad` back, and says whether the weights are still the same."""
    requires_grad, grad, version = parameter.requires_grad, parameter.grad, version_of(parameter)

    def restore() -> bool:
        if parameter.requires_grad != requires_grad:
            parameter.requires_grad_(requires_grad)
        if parameter.grad is not grad:
            parameter.grad = grad
        return version_of(parameter) == version

    return restore
