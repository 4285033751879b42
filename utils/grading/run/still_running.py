"""Code of an answer that would run after its call has ended, in the middle of a test: callbacks, timers, and modes of torch."""

import gc
import signal
import threading

from torch import overrides
from torch.utils import _python_dispatch
from torch.utils._device import DeviceContext

TIMERS = {name: getattr(signal, name) for name in ("ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)}
SIGNALS = [getattr(signal, name) for name in ("SIGALRM", "SIGVTALRM", "SIGPROF") if hasattr(signal, name)]
# What watches all that torch computes: for each kind how to see what is on, take the last off, and put one on.
MODES = [
    (overrides._get_current_function_mode_stack, overrides._pop_mode, overrides._push_mode),
    (
        _python_dispatch._get_current_dispatch_mode_stack,
        _python_dispatch._pop_mode,
        _python_dispatch._push_mode,
    ),
]


class StillRunning:
    """What is set before a call; `end` puts it back afterwards."""

    def __init__(self):
        self._callbacks = gc.callbacks[:]
        self._modes = [seen() for seen, _, _ in MODES]
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def end(self) -> None:
        """Take away what came in between. The default device, which is a mode too, is put back after the test."""
        for before, (seen, pop, push) in zip(self._modes, MODES):
            now = seen()
            kept = [mode for mode in now if isinstance(mode, DeviceContext) or any(mode is other for other in before)]
            if len(kept) < len(now):
                for _ in now:
                    pop()
                for mode in kept:
                    push(mode)
        gc.callbacks[:] = self._callbacks
        known = {number: handler for number, handler in self._handlers.items() if handler is not None}
        changed = {number for number, handler in known.items() if signal.getsignal(number) is not handler}
        if changed and threading.current_thread() is threading.main_thread():
            for timer in TIMERS.values():
                signal.setitimer(timer, 0)
            for number in changed:
                signal.signal(number, known[number])
