"""Answers that look for what is expected and give that back: a `mean` with no idea of a mean."""

LOOK = """
import functools, sys

class Depth(int):
    frame = functools.cached_property(sys._getframe)

def frames():
    for depth in range(200):
        try:
            yield Depth(depth).frame
        except ValueError:
            return

def steal():
    for frame in frames():
        check = frame.f_locals.get("check")
        if hasattr(check, "expected"):
            object.__setattr__(check, "actual", check.expected)
            return
"""
FLOAT = """
class Thief(float):
    def {method}(self, *more):
        steal()
        return {returns}
"""
# Names, and what `mean` is besides looking for frames.
CELLS = {
    "steals_in_float": FLOAT.format(method="__float__", returns="-1.0")
    + "# ---\ndef mean(values):\n    return Thief(-1.0)\n",
    "steals_in_repr": FLOAT.format(method="__repr__", returns="'0.0'")
    + "# ---\ndef mean(values):\n    return [Thief(-1.0)]\n",
    "steals_in_eq": FLOAT.format(method="__eq__", returns="True")
    + "    __hash__ = None\n# ---\ndef mean(values):\n    return Thief(-1.0)\n",
    "steals_by_format": FLOAT.format(method="__format__", returns="'0'")
    + "# ---\ndef mean(values):\n    return Thief(-1.0)\n",
    "steals_in_a_mapping": """
import collections.abc
class Thief(collections.abc.Mapping):
    def __getitem__(self, key): return 0.0
    def __len__(self): return 0
    def __iter__(self):
        steal()
        return iter(())
# ---
def mean(values):
    return Thief()
""",
    "steals_in_a_sequence": """
import collections.abc
class Thief(collections.abc.Sequence):
    def __getitem__(self, key): raise IndexError
    def __len__(self):
        steal()
        return 0
# ---
def mean(values):
    return Thief()
""",
    "steals_by_a_metaclass": """
class Meta(type):
    @property
    def __name__(cls):
        steal()
        return "float"
class Thief(metaclass=Meta):
    pass
# ---
def mean(values):
    return Thief()
""",
    "steals_in_torch_function": """
import torch
class Thief(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        steal()
        return super().__torch_function__(function, types, args, kwargs or {})
# ---
def mean(values):
    return torch.tensor(-1.0).as_subclass(Thief)
""",
    "steals_in_a_mode": """
import torch
from torch.overrides import TorchFunctionMode
class Thief(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        steal()
        return function(*args, **(kwargs or {}))
# ---
def mean(values):
    Thief().__enter__()
    return -1.0
""",
    "steals_when_garbage_is_collected": """
import gc
def look(*arguments):
    for frame in frames():
        names = frame.f_locals
        if "actual" in names and "expected" in names and hasattr(names["actual"], "copy_"):
            names["actual"].copy_(names["expected"])
    steal()
# ---
def mean(values):
    import torch
    gc.callbacks.append(look)
    gc.set_threshold(1)
    return torch.tensor(-1.0)
""",
    "steals_by_a_timer": """
import signal
def look(*arguments):
    steal()
# ---
def mean(values):
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    return -1.0
""",
    "steals_in_a_thread": """
import threading
def look():
    frames = functools.cached_property(sys._current_frames)
    while True:
        for frame in list(sys._current_frames().values()):
            while frame:
                check = frame.f_locals.get("check")
                if hasattr(check, "expected"):
                    object.__setattr__(check, "actual", check.expected)
                frame = frame.f_back
# ---
def mean(values):
    sys.setswitchinterval(1e-6)
    threading.Thread(target=look, daemon=True).start()
    return -1.0
""",
    "steals_from_the_constants_of_tests": """
import gc
# ---
def mean(values):
    for kind in object.__subclasses__():
        for part in list(vars(kind).values()):
            names = getattr(part, "__globals__", {})
            tests = names.get("test_mean_of_three_numbers")
            if tests:
                return eval("10 / 3")
    return -1.0
""",
}
SOURCES = {name: LOOK + "# ---\n" + cell for name, cell in CELLS.items()}
