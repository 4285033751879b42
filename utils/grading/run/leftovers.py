"""What a call leaves behind and should not: the gradient mode, hooks of models (its own stay, those of others are gone), and
weights that ask for gradients or no longer do.
"""

from collections.abc import Iterable, Iterator

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


_known: dict[int, tuple[nn.Module, list[nn.Module]]] = {}


def remember(model: nn.Module) -> None:
    """A model that many tests use: its modules are not looked for again until all are forgotten."""
    _known.pop(id(model), None)
    _known[id(model)] = model, list(all_modules(model))


def forget_all() -> None:
    """What `remember` was told no longer holds."""
    _known.clear()


def all_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of a model, those of the model that a TransformerBridge wraps included."""
    if id(model) in _known:
        yield from _known[id(model)][1]
        return
    yield from model.modules()
    # TransformerBridge keeps it out of its own modules
    if isinstance(getattr(model, "original_model", None), nn.Module):
        yield from model.original_model.modules()


class Before:
    """How things are before a call. `leftover` says afterwards what is not as it was."""

    def __init__(self, models: Iterable[nn.Module] = ()):
        modules = {id(module): module for model in models for module in all_modules(model)}.values()
        self._grad_mode = torch.is_grad_enabled()
        # past the modules' own ways to find an attribute, which take long: this runs around every call and every test
        hooks = [(module, vars(module)[name]) for module in modules for name in MODULE_HOOKS]
        self._hooks = [(now, set(now)) for _, now in hooks]
        # in its first run a TransformerBridge puts hooks of its own on other modules than its hook points
        self._at_points = [(now, set(now)) for module, now in hooks if type(module).__name__ == "HookPoint"]
        weights = [p for module in modules for p in vars(module)["_parameters"].values() if p is not None]
        self._weights = [(p, p.requires_grad) for p in weights]

    def leftover(self) -> str:
        """A sentence for the student; empty if all is as it was."""
        if any(before - now.keys() for now, before in self._hooks):
            return SENTENCES["gone"]
        if any(now.keys() - before for now, before in self._at_points):
            return SENTENCES["stay"]
        if torch.is_grad_enabled() != self._grad_mode:
            return SENTENCES["off" if self._grad_mode else "on"]
        return SENTENCES["weights"] if any(p.requires_grad != flag for p, flag in self._weights) else ""


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
