import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from onward import App, Context, Event, SyncTransaction, Transaction
from onward.errors import DelayError
from onward.events.registry import isolated_registry
from onward.testing import Harness

FIVE_MINUTES = timedelta(minutes=5)


class Booked(Event, type="harness-delays.booked", topic="harness-delays-rooms", key="room"):
    room: str


class Reminded(Event, type="harness-delays.reminded", topic="harness-delays-reminders", key="room"):
    room: str
    step: int = 0


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolated_registry():
        yield


def hotel() -> App:
    """Three handlers that remind, each in its way, and one that reminds again."""
    app = App("hotel", schema="CREATE TABLE IF NOT EXISTS reminded (step INTEGER)")

    @app.on(Booked)
    async def remind_in_the_transaction(booked: Booked, tx: Transaction) -> None:
        await tx.publish(Reminded(room=booked.room, step=1), delay=60)

    @app.on(Booked)
    def remind_synchronously(booked: Booked, tx: SyncTransaction) -> None:
        tx.publish(Reminded(room=booked.room, step=2), delay=timedelta(seconds=30))

    @app.on(Booked)
    async def remind_plainly(booked: Booked, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await app.publish(Reminded(room=booked.room, step=3), within=tx, delay=90)

    @app.on(Reminded)
    async def remind_again(reminded: Reminded, tx: Transaction) -> None:
        await tx.execute("INSERT INTO reminded VALUES (:step)", step=reminded.step)
        if reminded.step == 3:
            await tx.publish(Reminded(room=reminded.room, step=4), delay=10)

    return app


def test_delayed_events_come_in_their_order_as_time_passes() -> None:
    async def scene() -> None:
        async with Harness(hotel()) as h:
            await h.publish(Booked(room="4"))
            await h.settle()
            assert sorted(event.step for event in h.delayed) == [1, 2, 3]
            assert h.rows("SELECT step FROM reminded") == []
            await h.advance(59)
            await h.settle()
            assert h.rows("SELECT step FROM reminded") == [(2,)]
            await h.advance(41)  # the fourth was put off by the third, at 90
            await h.settle()
            assert h.rows("SELECT step FROM reminded") == [(2,), (1,), (3,), (4,)]
            assert h.delayed == []

    asyncio.run(scene())


def test_the_app_publishes_at_a_time_or_after_a_delay() -> None:
    app = hotel()

    async def scene() -> None:
        async with Harness(app) as h:
            now = datetime.fromtimestamp(h.clock.time(), UTC)
            await app.publish(Reminded(room="4", step=1), at=now + FIVE_MINUTES)
            await app.publish(Reminded(room="4", step=2), delay=FIVE_MINUTES / 2)
            await app.publish(Reminded(room="4", step=5), at=now - FIVE_MINUTES)
            await h.settle()
            assert [each.event.step for each in h.handled] == [5]
            assert [event.step for event in h.delayed] == [2, 1]
            await h.advance(FIVE_MINUTES.total_seconds())
            await h.settle()
            assert [each.event.step for each in h.handled] == [5, 2, 1]

    asyncio.run(scene())


def test_what_is_undone_is_not_put_off() -> None:
    app = hotel()

    async def scene() -> None:
        async with Harness(app) as h:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
                async with app.transaction() as tx:
                    await tx.publish(Reminded(room="4"), delay=1)
                    app.outbox(tx).add(Reminded(room="4"), delay=1)
                    raise ZeroDivisionError
            async with app.transaction() as tx:
                with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
                    async with tx.savepoint():
                        await tx.publish(Reminded(room="4"), delay=1)
                        raise ZeroDivisionError
            assert h.delayed == []

    asyncio.run(scene())


def test_what_waits_outlives_a_restart() -> None:
    app = hotel()

    async def scene() -> None:
        async with Harness(app) as h:
            await app.publish(Reminded(room="4", step=7), delay=60)
            await h.advance(30)
            await h.restart()
            await h.advance(30)
            await h.settle()
            assert h.rows("SELECT step FROM reminded") == [(7,)]

    asyncio.run(scene())


def test_a_time_that_cannot_be_waited_for_is_refused_at_every_door() -> None:
    app = hotel()

    async def scene() -> None:
        async with Harness(app) as h:
            with pytest.raises(DelayError):
                await app.publish(Reminded(room="4"), delay=-1)
            async with app.transaction() as tx:
                with pytest.raises(DelayError):
                    await tx.publish(Reminded(room="4"), at=datetime(2024, 1, 1))  # noqa: DTZ001 - what is refused
                with pytest.raises(DelayError):
                    app.outbox(tx).add(Reminded(room="4"), delay=timedelta(days=400))
            assert h.delayed == []
            assert h.published == []

    asyncio.run(scene())


def test_a_delay_that_no_float_can_say_exactly_is_over_when_as_much_has_passed() -> None:
    app = hotel()

    async def scene() -> None:
        async with Harness(app) as h:
            for _ in range(50):
                await app.publish(Reminded(room="4"), delay=0.1)
                await h.advance(0.1)
                assert h.delayed == []

    asyncio.run(scene())
