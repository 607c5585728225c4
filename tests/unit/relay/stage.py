"""A relay over a real outbox and a broker of the test's own, which says when and whether it has what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from onward.errors import BrokerError, BrokerUnreachableError, EncodeError
from onward.ledger import Lane
from onward.ports import Outgoing
from onward.relay import NOWHERE, Batch, Columns
from onward.relay.barred import Answer
from onward.relay.leader import Relay
from onward.sqlite.database import Database
from onward.sqlite.outbox import FileOutbox

PATIENCE_S = 10.0


class Outlet:
    """Notes what is sent as (value, incarnation, partition, number). `answers` are given to sends in turn."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes, int, int]] = []
        self.topics: list[tuple[str, bytes | None]] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.answers: list[BrokerError | None] = []
        self.holds = False
        self.unreachable = False
        self.broken = False
        self.refuses: bytes | None = None
        self.faults: list[Exception] = []
        self.barred: set[str] = set()
        self.stuck: set[Lane] = set()
        self.proofs: list[list[bytes | None]] = []
        self.always_known = False
        self._asked = 0

    def begin(self) -> None:
        self.broken = False

    def known_places(self, columns: Columns) -> list[Answer] | None:
        """Known each second time, or always, where all is well."""
        self._asked += 1
        known = (self.always_known or self._asked % 2 == 0) and not (self.faults or self.unreachable or self.barred)
        return [self._place(event) for event in columns.events] if known else None

    async def places(self, columns: Columns) -> list[Answer]:
        if self.faults:
            raise self.faults.pop(0)
        if self.unreachable:
            raise BrokerUnreachableError("Nobody answers.")
        return [self._place(event) for event in columns.events]

    def _place(self, event: Outgoing) -> Answer:
        if event.topic in self.barred:
            return BrokerError(f"Topic {event.topic} is shut.")
        return EncodeError("No.") if event.value == b"no" else 0 if event.key is None else int(event.key)

    def send(self, batch: Batch) -> asyncio.Future[None]:
        there = asyncio.get_running_loop().create_future()
        refused = any(event.value == self.refuses for event in batch.columns.events if self.refuses)
        if self.broken or refused:
            self.broken = True
            there.set_exception(EncodeError("Never.") if refused else BrokerError("A send before it failed."))
            return there
        stuck = self._stuck(batch)
        if stuck:
            self.broken = True
            there.set_exception(BrokerError("Nobody takes it.", lanes=stuck))
            return there
        self._take(batch)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            self.broken = True
            there.set_exception(answer)
        elif self.holds:
            self.waiting.append(there)
        else:
            there.set_result(None)
        return there

    async def prove(self, batch: Batch, within_s: float) -> None:
        self.proofs.append([event.value for event in batch.columns.events])
        if any(event.value == self.refuses for event in batch.columns.events if self.refuses):
            raise EncodeError("Never.")
        if stuck := self._stuck(batch):
            raise BrokerError("Still nobody takes it.", lanes=stuck)
        self._take(batch)

    def _stuck(self, batch: Batch) -> list[Lane]:
        topics = batch.columns.topic_of_each()
        lanes = {(topic, partition) for topic, (partition, _) in zip(topics, batch.places, strict=True)}
        return sorted(lanes & self.stuck)

    def _take(self, batch: Batch) -> None:
        for row in batch.rows:
            assert row.stamp is not None
            for event, place in zip(row.events, row.stamp.places, strict=True):
                if place != NOWHERE:
                    self.topics.append((event.topic, event.value))
                    self.sent.append((event.value, row.stamp.incarnation, *place))

    @property
    def numbers(self) -> list[tuple[bytes | None, int, int]]:
        return [(value, partition, number) for value, _, partition, number in self.sent]


class Stage:
    """One outbox; `publish` commits a transaction."""

    def __init__(self) -> None:
        self.database = Database.open(":memory:")
        self.outbox = FileOutbox(self.database, "shop")
        self.outlet = Outlet()

    async def publish(self, *values: bytes, key: str | None = None) -> None:
        async with self.database.transaction():
            self.outbox.append([Outgoing("orders", "shop.placed", 1, value, key) for value in values])

    async def publish_row(self, *events: tuple[str, str | None, bytes]) -> None:
        """Topic, key and value of each; together in one transaction."""
        async with self.database.transaction():
            self.outbox.append([Outgoing(topic, "shop.placed", 1, value, key) for topic, key, value in events])

    def values(self, topic: str) -> list[bytes | None]:
        return [value for name, value in self.outlet.topics if name == topic]

    def waiting(self) -> int:
        ((count,),) = self.database.read("SELECT coalesce(sum(events), 0) FROM onward_outbox")
        return int(count)

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[Relay]:
        relay = Relay(self.outbox, self.outlet, "shop")
        self.outbox.appended.append(relay.told)
        relay.start()
        try:
            yield relay
        finally:
            await relay.stop()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.005)


async def calm() -> None:
    """Turns of the loop in which whatever can go on does."""
    for _ in range(50):
        await asyncio.sleep(0)


def on_stage(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        stage = Stage()
        async with asyncio.timeout(2 * PATIENCE_S):
            await scene(stage)
        stage.database.close()

    asyncio.run(play())
