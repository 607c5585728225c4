"""What a relay sent again is handled once, whatever was done out of order before a kill, and though `next` jumps."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from onward.brokers.log_consumer import LogConsumer
from onward.ledger import RECENT, IntervalSet, Run
from onward.ports import Broker, Delivery, Group, Record
from onward.runtime.subscription import Subscription
from tests.unit.pipeline.stage import TOPIC, Noted, Stage, until

EVENTS = 10
AT_ONCE = 3  # of the records a delivery may hold
OPENED = datetime(2100, 1, 1, tzinfo=UTC)


class Numbered(LogConsumer):
    """The log of a stage as if a relay had filled it, up to `delivered`; each event's number is its `n` and one."""

    def __init__(self, stage: Stage, group: Group, delivered: int) -> None:
        super().__init__(TOPIC)
        self._stage = stage
        self._group = group
        self._delivered = delivered

    async def next(self, limit: int, wait_s: float) -> Delivery | None:
        delivery = await super().next(limit, 0.0)
        if delivery is None:
            return None
        return replace(delivery, runs=[_run(record) for record in delivery.records])

    async def _share_out(self) -> None:
        if not self._positions:
            places = await self._group.assigned([0])
            self._positions = {0: places[0].offset}

    def _ends(self) -> Sequence[int]:
        return [self._delivered]

    def _read(self, partition: int, offset: int, limit: int) -> list[Record]:
        return self._stage.delivery(offset).records[: min(AT_ONCE, self._delivered - offset)]

    async def close(self) -> None:
        """Killed: nothing is given back."""


def _run(record: Record) -> Run:
    return Run("relay", OPENED, int(cast(bytes, record[2]).split(b":")[1].strip(b" }")) + 1, record[0], 1)


@asynccontextmanager
async def subscribed(stage: Stage, delivered: int) -> AsyncIterator[Subscription]:
    """A process that is killed in the end, having been delivered the log up to there."""

    class Relayed:
        async def consume(self, group: Group) -> Numbered:
            return Numbered(stage, group, delivered)

    runner = stage.runner()
    parts: dict[str, Any] = {"subscription_id": stage.subscription, "topic": TOPIC, "runner": runner}
    subscription = Subscription(
        group="shop",
        member="m",
        broker=cast(Broker, Relayed()),
        store=stage.store,
        clock=stage.clock,
        **parts,
    )
    running = asyncio.create_task(subscription.run())
    try:
        yield subscription
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("later", [0, 2 * RECENT])
def test_a_copy_of_what_was_done_beyond_a_slow_event_is_handled_once_after_two_kills(later: int) -> None:
    """Also where relays began so many terms since."""

    async def main() -> None:
        done: list[int] = []
        gate = asyncio.Event()

        async def note(noted: Noted) -> None:
            if noted.n == 0:
                await gate.wait()
            done.append(noted.n)

        stage = Stage()
        stage.on(note, Noted)
        await stage.open()
        await stage.publish(*(Noted(n=n) for n in range(EVENTS)))

        def position() -> tuple[int, int]:
            ((next_offset, beyond),) = stage.rows("SELECT next_offset, beyond FROM onward_account")
            return next_offset, len(beyond or b"")

        async with subscribed(stage, EVENTS) as subscription:
            await until(lambda: any(each.position.beyond.count == EVENTS - 1 for each in subscription.claims.values()))
        assert position()[0] == 0
        gate.set()
        async with subscribed(stage, AT_ONCE):
            await until(lambda: position() == (EVENTS, 0))

        async with stage.database.transaction() as connection:  # a claim reads these, and not what came before them
            connection.executemany(
                "INSERT INTO onward_producer VALUES (?, 0, ?, 1, ?)",
                [(stage.subscription, f"relay {n:04}", IntervalSet.of([1]).to_bytes()) for n in range(later)],
            )
        await stage.publish(*(Noted(n=n) for n in (2, 5, 6, 9, EVENTS, EVENTS)))
        async with subscribed(stage, EVENTS + 6):
            await until(lambda: position() == (EVENTS + 6, 0))
        assert sorted(done) == list(range(EVENTS + 1))
        assert stage.tally() == [("", 0, 0, 5), ("note", EVENTS + 1, 0, 0)]

    asyncio.run(main())
