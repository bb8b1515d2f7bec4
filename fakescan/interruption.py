"""Ctrl-C, put off to a moment at which work can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hold_interruptions() -> Iterator[list[int]]:
    """Let Ctrl-C wait for the end of this context, which then raises KeyboardInterrupt.

    What is given fills with those that wait. Who ignores Ctrl-C goes on ignoring it.
    """
    held: list[int] = []
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield held
        return
    previous = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, previous)
    if held:
        raise KeyboardInterrupt
