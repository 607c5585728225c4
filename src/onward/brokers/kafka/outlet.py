"""Where a relay sends events on Kafka: with their numbers in a header, in order also after a send that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from time import time_ns

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.partitions import Partitions
from onward.brokers.kafka.publishing import Prepared, Senders, too_large
from onward.errors import BrokerError
from onward.ports import Outgoing
from onward.relay import NOWHERE, OutboxRow
from onward.relay.barred import Answer

Placed = tuple[Outgoing, tuple[int, int]]
"""An event with its partition and number."""


class KafkaOutlet:
    """`Outlet` on Kafka, with producers of its own: what fails in a relay's sends takes nobody else's with it."""

    def __init__(self, client: Client, partitions: Partitions) -> None:
        self._partitions = partitions
        self._senders = Senders(client)
        self._order = asyncio.Lock()
        self._broken = False

    def begin(self) -> None:
        self._broken = False

    async def places(self, events: Sequence[Outgoing]) -> list[Answer]:
        topics = {event.topic for event in events}
        barred = await self._partitions.barred(topics)
        if not barred:
            return await self._places(events, topics)
        open_topics = topics - barred.keys()
        found = iter(await self._places([event for event in events if event.topic in open_topics], open_topics))
        return [next(found) if event.topic in open_topics else barred[event.topic] for event in events]

    async def _places(self, events: Sequence[Outgoing], topics: Collection[str]) -> list[Answer]:
        await self._partitions.measure(topics)
        room = {topic: self._partitions.room(topic) for topic in topics}
        return [
            partition if _size(event) <= room[event.topic] else too_large(event)
            for event, partition in zip(events, self._partitions.of(events), strict=True)
        ]

    def send(self, rows: Sequence[OutboxRow]) -> asyncio.Future[None]:
        return asyncio.create_task(self._sent(rows))

    async def _sent(self, rows: Sequence[OutboxRow]) -> None:
        try:
            async with self._order:  # whoever was told first hands over first
                sends = await self._handed(rows)
            await asyncio.gather(*sends)
        except BaseException:
            self._broken = True
            self._senders.abandon()  # what waits behind it must not go before it
            self._partitions.doubt({event.topic for row in rows for event in row.events})
            raise

    async def _handed(self, rows: Sequence[OutboxRow]) -> list[asyncio.Task[None]]:
        """One for each of the producers that these topics need."""
        topics = {event.topic for row in rows for event in row.events}
        await self._partitions.measure(topics)
        if self._broken:
            raise BrokerError("A send before this one failed, and nothing is sent behind what that one left out.")
        rooms = {topic: self._partitions.room(topic) for topic in topics}
        placed = [(row, _placed(row)) for row in rows]
        sends = []
        for room in set(rooms.values()):
            part = [(row, [each for each in events if rooms[each[0].topic] == room]) for row, events in placed]
            events = [event for _, found in part for event, _ in found]
            if events:
                sends.append(asyncio.create_task(self._senders.of(room).send(_prepared(part), events)))
        return sends

    async def close(self) -> None:
        await self._senders.close()


def _placed(row: OutboxRow) -> list[Placed]:
    assert row.stamp is not None
    placed = list(zip(row.events, row.stamp.places, strict=True))
    return placed if NOWHERE not in row.stamp.places else [each for each in placed if each[1] != NOWHERE]


def _size(event: Outgoing) -> int:
    return len(event.value or b"") + len(event.key or "") * 4 + len(event.extra or b"")


def _prepared(rows: Iterable[tuple[OutboxRow, list[Placed]]]) -> Iterator[Prepared]:
    millis = time_ns() // 1_000_000
    heading = wire.Headings().of
    for row, events in rows:
        assert row.stamp is not None
        created = datetime.fromtimestamp(row.created / 1e6, UTC).isoformat().replace("+00:00", "Z").encode()
        incarnation = row.stamp.incarnation.hex()
        for event, (partition, number) in events:
            assert event.id is not None
            assert event.source is not None
            key = None if event.key is None else event.key.encode()
            headers = heading(event, event.id, event.source, created)
            headers.insert(wire.NUMBER_AT, wire.number(incarnation, event.topic, partition, number))
            yield event.topic, event.value, key, partition, millis, headers
