from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fakescan.lookahead import ByteBudget, read_ahead

Reserve = Callable[[int], None]


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "fakescan-read" in thread.name]


def test_results_come_in_order_whatever_finishes_first() -> None:
    def task(item: int, reserve: Reserve) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * 10

    assert list(read_ahead(range(30), task, workers=4, ahead=9)) == [10 * n for n in range(30)]


def test_no_more_is_taken_than_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = read_ahead(items(), lambda item, reserve: item, workers=2, ahead=5)
    for wanted in range(10):
        assert next(results) == wanted
        assert len(taken) <= wanted + 5
    results.close()


def test_stopping_early_ends_every_thread() -> None:
    begun: list[int] = []

    def task(item: int, reserve: Reserve) -> int:
        begun.append(item)
        time.sleep(0.01)
        return item

    results = read_ahead(range(10_000), task, workers=3, ahead=100)
    assert next(results) == 0
    results.close()
    assert readers() == []
    so_far = len(begun)
    time.sleep(0.05)
    assert len(begun) == so_far < 10_000


def test_an_error_of_a_task_is_raised_in_its_turn() -> None:
    def task(item: int, reserve: Reserve) -> int:
        if item == 2:
            raise RuntimeError("a bug")
        return item

    results = read_ahead(range(5), task, workers=2, ahead=5)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError, match="a bug"):
        next(results)
    assert readers() == []


def test_bytes_in_flight_stay_within_the_budget() -> None:
    lock = threading.Lock()
    held, most = 0, 0

    def task(item: int, reserve: Reserve) -> int:
        nonlocal held, most
        reserve(40)
        with lock:
            held += 40
            most = max(most, held)
        time.sleep(0.003)
        with lock:
            held -= 40
        return item

    assert list(read_ahead(range(40), task, workers=8, ahead=8, limit=100)) == list(range(40))
    # The oldest task never waits, so that one task's bytes may come on top.
    assert 40 <= most <= 140


@pytest.mark.timeout(10)
def test_a_picture_larger_than_the_budget_goes_alone() -> None:
    def task(item: int, reserve: Reserve) -> int:
        reserve(10)
        reserve(1000)
        return item

    assert list(read_ahead(range(20), task, workers=4, ahead=10, limit=100)) == list(range(20))


def test_the_younger_waits_and_the_oldest_does_not() -> None:
    budget = ByteBudget(100)
    budget.enter(0)
    budget.enter(1)
    budget.reserve(0, 90)
    passed = threading.Event()

    def younger() -> None:
        budget.reserve(1, 50)
        passed.set()

    thread = threading.Thread(target=younger)
    thread.start()
    budget.reserve(0, 500)
    assert not passed.wait(0.05)
    budget.leave(0)
    assert passed.wait(5)
    thread.join()
