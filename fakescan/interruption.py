"""Ctrl-C and other requests to end, put off to a moment at which work can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def hold_interruptions() -> Iterator[list[int]]:
    """Let Ctrl-C wait for the end of this context, which then raises KeyboardInterrupt.

    So do SIGTERM and SIGHUP, which are then sent anew. What is given fills with those that wait.
    Who ignores one goes on ignoring it.
    """
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    present = (getattr(signal, name) for name in _NAMES if hasattr(signal, name))
    previous = {
        number: signal.getsignal(number)
        for number in present
        if signal.getsignal(number) not in {signal.SIG_IGN, None}  # None: not set by Python
    }
    for number in previous:
        signal.signal(number, lambda got, _: held.append(got))
    try:
        yield held
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])
        raise KeyboardInterrupt
