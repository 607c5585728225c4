import asyncio

import pytest

from onward.testing import FakeClock


def test_a_fake_clock_stands_still_until_it_is_advanced() -> None:
    async def scene() -> None:
        clock = FakeClock(start_s=100.0)
        assert clock.time() == 100.0
        await clock.advance(2.5)
        assert clock.time() == 102.5

    asyncio.run(scene())


def test_sleepers_wake_in_order_of_their_time_and_each_at_its_own() -> None:
    async def scene() -> None:
        clock = FakeClock(start_s=0.0)
        woken: list[tuple[str, float]] = []

        async def sleep(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.time()))

        tasks = [asyncio.create_task(sleep(*each)) for each in (("late", 5.0), ("early", 1.0), ("also early", 1.0))]
        await asyncio.sleep(0)
        assert clock.sleepers == 3
        assert clock.next_at == 1.0
        await clock.advance(4.0)
        assert woken == [("early", 1.0), ("also early", 1.0)]
        assert clock.time() == 4.0
        await clock.advance(1.0)
        assert woken[2:] == [("late", 5.0)]
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_who_sleeps_again_within_the_time_that_passes_wakes_again() -> None:
    async def scene() -> None:
        clock = FakeClock(start_s=0.0)
        ticks: list[float] = []

        async def tick() -> None:
            for _ in range(3):
                await clock.sleep(10.0)
                ticks.append(clock.time())

        task = asyncio.create_task(tick())
        await asyncio.sleep(0)
        await clock.advance(30.0)
        assert ticks == [10.0, 20.0, 30.0]
        await task

    asyncio.run(scene())


def test_a_cancelled_sleeper_does_not_hold_time_up() -> None:
    async def scene() -> None:
        clock = FakeClock(start_s=0.0)
        task = asyncio.create_task(clock.sleep(1.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert clock.sleepers == 0
        assert clock.next_at is None
        await clock.advance(2.0)
        assert clock.time() == 2.0

    asyncio.run(scene())


def test_no_sleep_at_all_needs_no_advance() -> None:
    async def scene() -> None:
        clock = FakeClock(start_s=3.0)
        async with asyncio.timeout(5):
            await clock.sleep(0.0)
        assert (clock.sleepers, clock.time()) == (0, 3.0)

    asyncio.run(scene())


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="back"):
        asyncio.run(FakeClock().advance(-1.0))
