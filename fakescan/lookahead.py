"""Tasks on threads, run ahead of their turn within bounds, given out in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

BYTES_IN_FLIGHT = 2 << 30
"""What files and pixels being decoded may take together; one picture alone may take more."""


class ByteBudget:
    """How many bytes tasks may hold at once. The oldest task always gets what it asks for.

    So no two can wait for each other, and the budget is exceeded by one task at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[int, int] = {}
        self._changed = threading.Condition()

    def enter(self, ticket: int) -> None:
        """Begin task `ticket`; the lower, the older."""
        with self._changed:
            self._held[ticket] = 0

    def reserve(self, ticket: int, amount: int) -> None:
        """Wait until task `ticket` may hold `amount` bytes more."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    sum(self._held.values()) + amount <= self._limit or ticket == min(self._held)
                )
            )
            self._held[ticket] += amount

    def leave(self, ticket: int) -> None:
        """End task `ticket` and give back all that it holds."""
        with self._changed:
            del self._held[ticket]
            self._changed.notify_all()


def read_ahead(
    items: Iterable[T],
    task: Callable[[T, Callable[[int], None]], R],
    *,
    workers: int,
    ahead: int,
    limit: int = BYTES_IN_FLIGHT,
    stop: Callable[[], None] = lambda: None,
) -> Generator[R]:
    """Apply `task` on threads, at most `ahead` items before the one given out, in their order.

    A task gets a function that reserves bytes, held until it returns. At the end, early or not,
    tasks under way are waited for; `stop` is called before that, and may cut them short.
    """
    budget = ByteBudget(limit)

    def run(ticket: int, item: T) -> R:
        budget.enter(ticket)
        try:
            return task(item, lambda amount: budget.reserve(ticket, amount))
        finally:
            budget.leave(ticket)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="fakescan-read")
    running: deque[Future[R]] = deque()
    try:
        for ticket, item in enumerate(items):
            running.append(pool.submit(run, ticket, item))
            while running and (len(running) >= ahead or running[0].done()):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        stop()
        pool.shutdown(wait=True, cancel_futures=True)
