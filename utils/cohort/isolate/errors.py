"""Errors on their way between two processes: their names, what they say, and what a student reads of them."""

import builtins

from utils.cohort.isolate.values import Malformed, writable
from utils.grading.compare.expectations import Unexpected
from utils.grading.diagnose.failures import sentence
from utils.grading.run.limits import Endless, Stopped

OWN = {"Unexpected": Unexpected, "Stopped": Stopped, "Endless": Endless}
LONGEST = 2000


def described(error: BaseException) -> dict[str, str]:
    """An error as plain data."""
    kind = type(error)
    base = next(base.__name__ for base in kind.__mro__ if vars(builtins).get(base.__name__) is base)
    told = error.told if isinstance(getattr(error, "told", None), str) else sentence(error)
    own = next((name for name, known in OWN.items() if kind is known), "")
    return {"name": kind.__name__, "base": base, "own": own, "text": str(error)[:LONGEST], "told": told[:LONGEST]}


def rebuilt(content: object) -> Exception:
    """An error of the same name that says the same. Raises Malformed."""
    names = ("name", "base", "own", "text", "told")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), str) for name in names):
        raise Malformed("an error is none")
    name, base, own, text, told = (writable(content[name][:LONGEST]) for name in names)
    if own in OWN:
        return OWN[own](text)
    found = getattr(builtins, base, Exception)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        found = Exception
    kind = type(name if name.isidentifier() else base, (found,), {"__str__": lambda self: text, "told": told})
    return kind.__new__(kind)
