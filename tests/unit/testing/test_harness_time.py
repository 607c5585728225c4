import asyncio
from collections.abc import Iterator

import pytest

from onward import App, Context, Event, Retry, Transaction
from onward.events.registry import isolated_registry
from onward.pipeline import plain
from onward.runtime.clock import SystemClock
from onward.testing import FakeClock, Harness

PATIENT = Retry(max_attempts=3, first_s=10.0, factor=2.0, jitter=0.0)


class Rung(Event, type="harness-time.rung", topic="harness-time-bells", key="bell"):
    bell: str
    n: int = 0


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolated_registry():
        yield


def answering_at_last(*, tx: bool) -> tuple[App, list[int]]:
    """An App whose handler succeeds at its third attempt; the attempts it made."""
    app = App("patient")
    tries: list[int] = []

    def fail(attempt: int) -> None:
        tries.append(attempt)
        if attempt < 3:
            raise ValueError("not yet")

    if tx:

        @app.on(Rung, retry=PATIENT)
        async def answer(rung: Rung, tx: Transaction, ctx: Context) -> None:
            fail(ctx.attempt)
    else:

        @app.on(Rung, retry=PATIENT)
        async def answer_plainly(rung: Rung, ctx: Context) -> None:
            fail(ctx.attempt)

    return app, tries


@pytest.mark.parametrize("tx", [True, False], ids=["transactional", "plain"])
def test_retries_that_wait_come_when_their_time_has_come_and_not_before(tx: bool) -> None:
    app, tries = answering_at_last(tx=tx)

    async def scene() -> None:
        async with Harness(app, waits=True) as h:
            await h.publish(Rung(bell="front"))
            await h.advance(9.0)
            assert set(tries) == {1}
            await h.advance(1.0)
            assert tries[-1] == 2
            await h.advance(19.0)
            assert tries[-1] == 2
            await h.advance(1.0)
            await h.settle()
            assert tries[-1] == 3
            assert len(h.handled) == 1

    asyncio.run(scene())


@pytest.mark.parametrize("tx", [True, False], ids=["transactional", "plain"])
def test_waits_that_follow_each_other_pass_in_one_advance(tx: bool) -> None:
    app, tries = answering_at_last(tx=tx)

    async def scene() -> None:
        async with Harness(app, waits=True) as h:
            await h.publish(Rung(bell="front"))
            await h.advance(30.0)
            assert tries[-1] == 3
            assert len(h.handled) == 1

    asyncio.run(scene())


def test_a_partition_whose_plain_handler_is_busy_waits_for_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "TURN_S", 0.0)  # as if each look had found no room for so long
    app = App("busy")

    @app.on(Rung, concurrency=1)
    async def answer(rung: Rung) -> None:
        await asyncio.sleep(0)

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(*(Rung(bell="front", n=n) for n in range(3 * plain.SMALLEST_WINDOW)))
            await h.settle()
            assert [each.event.n for each in h.handled] == list(range(3 * plain.SMALLEST_WINDOW))

    asyncio.run(scene())


def test_a_harness_lives_by_a_clock_that_stands_still() -> None:
    async def scene() -> None:
        async with Harness(App("idle")) as h:
            assert isinstance(h.clock, FakeClock)
            before = h.clock.time()
            await h.advance(60.0)
            assert h.clock.time() == before + 60.0

    asyncio.run(scene())


def test_a_clock_that_nobody_can_turn_is_not_advanced() -> None:
    async def scene() -> None:
        async with Harness(App("real"), clock=SystemClock()) as h:
            with pytest.raises(ValueError, match="FakeClock"):
                await h.advance(1.0)

    asyncio.run(scene())
