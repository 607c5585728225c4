import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from onward.delays import DELAYED, micros_of
from onward.errors import StoreBusyError
from onward.testing import FakeClock
from onward.timers import AFTER_FAILURE_S, LONGEST_PATIENCE_S, Timers


class Shelf:
    """`Delayed` that notes when it was asked to deliver; `taken` are due times that another process has moved."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.dues: list[float] = []
        self.taken: set[float] = set()
        self.asked_at: list[float] = []
        self.delivered: list[tuple[float, float]] = []  # when it was due, and when it came
        self.failures: list[Exception] = []

    def next_due(self) -> int | None:
        return min(map(micros_of, self.dues), default=None)

    async def deliver(self) -> int:
        now = self.clock.time()
        self.asked_at.append(now)
        if self.failures:
            raise self.failures.pop()
        due = [each for each in self.dues if each <= now]
        self.dues = [each for each in self.dues if each > now]
        ours = [each for each in due if each not in self.taken]
        self.delivered += [(each, now) for each in ours]
        return len(ours)


def played(scene: Callable[[Shelf, Timers], Awaitable[None]]) -> None:
    async def play() -> None:
        clock = FakeClock(start_s=0.0)
        shelf = Shelf(clock)
        timers = Timers(shelf, clock)
        timers.start()
        try:
            await turns()
            await scene(shelf, timers)
        finally:
            await timers.stop()

    asyncio.run(play())


async def turns() -> None:
    """Let the loop under test go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_each_is_delivered_when_it_is_due_and_nobody_asks_before() -> None:
    async def scene(shelf: Shelf, timers: Timers) -> None:
        shelf.dues += [30.0, 10.0]
        timers.told({DELAYED})
        await turns()
        await shelf.clock.advance(100.0)
        assert shelf.delivered == [(10.0, 10.0), (30.0, 30.0)]
        assert shelf.asked_at == [10.0, 30.0]

    played(scene)


def test_an_earlier_one_that_is_put_off_later_is_on_time() -> None:
    async def scene(shelf: Shelf, timers: Timers) -> None:
        shelf.dues.append(30.0)
        timers.told({DELAYED})
        await turns()
        await shelf.clock.advance(5.0)
        shelf.dues.append(10.0)
        timers.told({"orders", DELAYED})
        await turns()
        await shelf.clock.advance(6.0)
        assert shelf.delivered == [(10.0, 10.0)]

    played(scene)


def test_other_news_wakes_nobody() -> None:
    async def scene(shelf: Shelf, timers: Timers) -> None:
        shelf.dues.append(0.0)
        timers.told({"orders"})
        await turns()
        assert shelf.asked_at == []

    played(scene)


def test_who_comes_second_is_patient_until_the_first_is_gone() -> None:
    async def scene(shelf: Shelf, timers: Timers) -> None:
        shelf.dues += [float(n) for n in range(1, 31)]
        shelf.taken.update(float(n) for n in range(1, 21))  # and then that process dies
        timers.told({DELAYED})
        await turns()
        await shelf.clock.advance(40.0)
        waited = [at - int(at) for at in shelf.asked_at]
        assert waited[0] == 0.0
        assert waited[:20] == sorted(waited[:20])
        assert waited[19] == waited[20] == LONGEST_PATIENCE_S
        assert shelf.delivered == [(21.0, 21.25), *((float(n), float(n)) for n in range(22, 31))]

    played(scene)


def test_a_store_that_fails_for_a_time_delays_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(shelf: Shelf, timers: Timers) -> None:
        shelf.failures.append(StoreBusyError("somebody holds it"))
        shelf.dues.append(10.0)
        timers.told({DELAYED})
        await turns()
        await shelf.clock.advance(60.0)
        assert shelf.delivered == [(10.0, 10.0 + AFTER_FAILURE_S)]

    with caplog.at_level(logging.WARNING, "onward.timers"):
        played(scene)
    assert "somebody holds it" in caplog.text


def test_what_nobody_expected_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(shelf: Shelf, timers: Timers) -> None:
        shelf.failures.append(ZeroDivisionError())
        shelf.dues.append(0.0)
        timers.told({DELAYED})
        await turns()
        assert timers.task is not None
        assert isinstance(timers.task.exception(), ZeroDivisionError)

    played(scene)
    assert "not delivered by this process any more" in caplog.text


def test_starting_and_stopping_twice_does_it_once() -> None:
    async def scene(_shelf: Shelf, timers: Timers) -> None:
        task = timers.task
        timers.start()
        assert timers.task is task
        await timers.stop()
        await timers.stop()
        assert timers.task is None

    played(scene)
