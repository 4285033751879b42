"""What a call leaves behind and should not: the gradient mode, hooks of models (its own stay, those of others are gone), and
weights that ask for gradients or no longer do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
RELOAD = "If you have run this version outside of the check, load the model anew."

SENTENCES = {
    "off": "You leave gradients switched off: use `with torch.no_grad():`, which puts back what was before.",
    "on": "You leave gradients switched on: use `with torch.enable_grad():`, which puts back what was before.",
    "stay": f"You leave hooks on the model: add them with `with hooked(model, hooks):`, which removes them again. {RELOAD}",
    "gone": "You remove hooks that others have put on the model: take away your own alone, as `with hooked(model, hooks):` "
    "does; `reset_hooks` takes away all.",
    "weights": f"You leave `requires_grad` of the model's weights changed: put it back, or work on detached copies. {RELOAD}",
}

# a level of hooks that nobody else uses: TransformerLens counts up from 0, `hooked` down from -1
_LEVEL = -(10**9)


@dataclass
class Places:
    """Where a call may leave something on a model, found once: a look at thousands of modules takes long.

    Attributes:
        modules: all modules, those of the model that a TransformerBridge wraps included.
        hooks: their dictionaries of hooks.
        at_points: those of TransformerLens' hook points. In its first run a TransformerBridge puts hooks of its own elsewhere.
        weights: their own parameters.
    """

    modules: list[nn.Module]
    hooks: list[dict]
    at_points: list[dict]
    weights: list[nn.Parameter]


_known: dict[int, tuple[nn.Module, Places]] = {}


def remember(model: nn.Module) -> None:
    """A model that many tests use: its modules are not looked for again until it is forgotten."""
    _known[id(model)] = model, _find_places(model)


def forget(models: Iterable[nn.Module]) -> None:
    """What `remember` was told of them no longer holds."""
    for model in models:
        _known.pop(id(model), None)


def places_of(model: nn.Module) -> Places:
    """Where a call may leave something on a model."""
    return _known[id(model)][1] if id(model) in _known else _find_places(model)


def _find_places(model: nn.Module) -> Places:
    # TransformerBridge keeps the model that it wraps out of its own modules
    inner = getattr(model, "original_model", None)
    found = [*model.modules(), *(inner.modules() if isinstance(inner, nn.Module) else ())]
    modules = list({id(module): module for module in found}.values())
    # past the modules' own ways to find an attribute, which take long
    hooks = [(module, vars(module)[name]) for module in modules for name in MODULE_HOOKS]
    weights = {id(p): p for module in modules for p in vars(module)["_parameters"].values() if p is not None}
    return Places(
        modules,
        [held for _, held in hooks],
        [held for module, held in hooks if type(module).__name__ == "HookPoint"],
        list(weights.values()),
    )


class Before:
    """How things are before a call. `leftover` says afterwards what is not as it was.

    It is made around every call and every test, so it keeps numbers: thousands of small objects would wake the garbage collector.
    """

    def __init__(self, models: Iterable[nn.Module] = ()):
        self._places = [places_of(model) for model in models]
        self._grad_mode = torch.is_grad_enabled()
        self._hooks = [(held, set(held)) for place in self._places for held in place.hooks if held]
        self._counts = [len(held) for place in self._places for held in place.at_points]
        self._asking = [weight.requires_grad for place in self._places for weight in place.weights]

    def leftover(self) -> str:
        """A sentence for the student; empty if all is as it was."""
        if any(before - now.keys() for now, before in self._hooks):
            return SENTENCES["gone"]
        # none is gone: where one was added, there are more
        if [len(held) for place in self._places for held in place.at_points] != self._counts:
            return SENTENCES["stay"]
        if torch.is_grad_enabled() != self._grad_mode:
            return SENTENCES["off" if self._grad_mode else "on"]
        asking = [weight.requires_grad for place in self._places for weight in place.weights]
        return SENTENCES["weights"] if asking != self._asking else ""


class HooksOfOthers:
    """Hooks at all places of some models that change nothing: whoever takes them away takes away what is not theirs."""

    def __init__(self, models: Iterable[nn.Module]):
        self._points = {
            id(p): p for model in models if hasattr(model, "hook_points") for p in model.hook_points()
        }.values()

    def __enter__(self) -> None:
        for point in self._points:
            point.add_hook(lambda value, hook: None, level=_LEVEL)

    def __exit__(self, *error) -> None:
        for point in self._points:
            point.remove_hooks(level=_LEVEL)
