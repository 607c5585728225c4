"""How a contract's tests are played: each in an event loop of its own, on an adapter opened for it, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

from onward.events import Envelope
from onward.ports import (
    Broker,
    Claim,
    Consumer,
    Group,
    HandlerEntry,
    Log,
    Outgoing,
    Place,
    Record,
    ServiceEntry,
    Shift,
    Store,
)
from onward.ports import SubscriptionEntry as Entry
from onward.topics import Topic

SCENE_S = 30.0
ORDERS = Topic("orders", partitions=4)
ONE = Topic("one", partitions=1)
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (n INTEGER PRIMARY KEY)"

Suite = TypeVar("Suite")
OpenBroker = Callable[[], AbstractAsyncContextManager[Broker]]


class Published(NamedTuple):
    """An event that a store's transaction published."""

    topic: str
    value: bytes | None
    source: str


async def logged(log: Log) -> list[Published]:
    """All that is in the suite's topics, for stores whose commits append to the log itself."""
    found = []
    for topic in (ORDERS, ONE):
        for partition, (first, end) in enumerate(await log.bounds(topic.name)):
            for record in await log.read(topic.name, partition, first, end - first):
                source = log.envelope(topic.name, partition, record).source
                found.append(Published(topic.name, record[2], source))
    return found


class StoreInspection(Protocol):
    """What the port does not show and the contract wants to see; written once for each store."""

    def tallies(self, subscription: int) -> Mapping[str, tuple[int, int, int]]:
        """By handler: succeeded, dead and skipped, over all partitions."""
        ...

    async def retry_dead_letters(self) -> int:
        """Ask every dead letter to run again; how many there are."""
        ...

    async def published(self) -> list[Published]:
        """What the store's transactions published: in the log, or on its way there; in order per key."""
        ...


@dataclass(frozen=True, slots=True)
class StoreBench:
    """A store of the service "shop", and the broker that its outputs go to; both open, and closed by who gave it."""

    store: Store
    broker: Broker
    inspection: StoreInspection

    async def claimed(self, entry: ServiceEntry | None = None, partition: int = 0) -> Claim:
        """Topics created, the service registered, one of its accounts claimed."""
        await self.broker.open([ORDERS, ONE])
        (subscription, *_) = await self.store.open(entry or service())
        return await self.claim_again(subscription, partition)

    async def claim_again(self, subscription: int, partition: int = 0) -> Claim:
        (claim,) = await self.store.claim(subscription, ORDERS.name, [partition], "member")
        return claim

    async def effects(self) -> list[int]:
        """What is committed in the service's table."""
        async with self.store.unit() as unit:
            return [row[0] for row in (await unit.tx.execute("SELECT n FROM effect ORDER BY n")).rows]

    async def published(self) -> int:
        return len(await self.inspection.published())


OpenStore = Callable[[], AbstractAsyncContextManager[StoreBench]]


def on_broker(scene: Callable[[Suite, Broker], Awaitable[None]]) -> Callable[[Suite, OpenBroker], None]:
    """A test of a broker: takes the fixture `open_broker`, plays the scene on what it opens."""

    def test(self: Suite, open_broker: OpenBroker) -> None:
        async def play() -> None:
            async with asyncio.timeout(SCENE_S), open_broker() as broker:
                await broker.open([ORDERS, ONE])
                await scene(self, broker)

        asyncio.run(play())

    test.__name__ = test.__qualname__ = scene.__name__
    return test


def on_store(scene: Callable[[Suite, StoreBench], Awaitable[None]]) -> Callable[[Suite, OpenStore], None]:
    """A test of a store: takes the fixture `open_store`, plays the scene on what it opens."""

    def test(self: Suite, open_store: OpenStore) -> None:
        async def play() -> None:
            async with asyncio.timeout(SCENE_S), open_store() as bench:
                await scene(self, bench)

        asyncio.run(play())

    test.__name__ = test.__qualname__ = scene.__name__
    return test


def event(value: bytes = b"{}", *, key: str | None = None, topic: Topic = ORDERS) -> Outgoing:
    return Outgoing(topic.name, "contract.event", 1, value, key)


def arrived(offset: int, key: str | None, partition: int) -> Envelope:
    """What a log says of an event at this place."""
    return Envelope(
        id=f"event-{partition}-{offset}",
        source="elsewhere",
        type="contract.event",
        version=2,
        topic="orders",
        partition=partition,
        offset=offset,
        key=key,
        time=datetime(2024, 2, 29, 12, 30, 15, 123456, UTC),
        extensions={"traceparent": "00-abc-def-01"},
    )


def handler(
    name: str = "pay", kind: str = "transactional", start: str = "earliest", joined: Sequence[int] = (0, 0, 0, 0)
) -> HandlerEntry:
    return HandlerEntry(name, kind, start, ("contract.event",), tuple(joined))


def service(
    *handlers: HandlerEntry,
    starts: Sequence[int] = (0, 0, 0, 0),
    schema: str = SCHEMA,
    chosen: tuple[int, ...] | None = None,
) -> ServiceEntry:
    """The service "shop" with one subscription on ORDERS."""
    entry = Entry("transactional", ORDERS.name, True, handlers or (handler(),), tuple(starts), chosen)
    return ServiceEntry("shop", (schema,), {}, (entry,))


@dataclass(slots=True)
class Seat:
    """A member of a group that notes what happens to it."""

    member: str
    start: int = 0
    held: set[int] = field(default_factory=set)
    revoked: list[int] = field(default_factory=list)

    def group(self, topic: Topic, name: str = "readers") -> Group:
        return Group(name, topic.name, self.member, self._assign, self._revoke, self._shift, dict, "")

    async def _assign(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        self.held.update(partitions)
        return dict.fromkeys(partitions, Place(self.start))

    async def _shift(self, shifts: Sequence[Shift]) -> None:
        """Its log goes on where it begins."""

    async def _revoke(self, partitions: Sequence[int]) -> None:
        self.held.difference_update(partitions)
        self.revoked.extend(partitions)


@asynccontextmanager
async def other_turns() -> AsyncIterator[Callable[[], int]]:
    """A task that wants a turn of the loop all the time, and how many it has had so far."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    try:
        yield lambda: turns
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def take(consumer: Consumer, count: int, limit: int = 1000) -> list[tuple[int, Record]]:
    """The next `count` records or more, each with its partition; the scene's time bounds the wait."""
    taken: list[tuple[int, Record]] = []
    while len(taken) < count:
        delivery = await consumer.next(limit, 1.0)
        if delivery is not None:
            taken.extend((delivery.partition, record) for record in delivery.records)
    return taken
