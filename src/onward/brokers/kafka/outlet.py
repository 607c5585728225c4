"""Where a relay sends events on Kafka: with their numbers in a header, in order also after a send that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from time import time_ns

from msgspec.structs import replace

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.partitions import Partitions
from onward.brokers.kafka.publishing import Prepared, Senders, too_large
from onward.errors import BrokerError
from onward.ports import Outgoing
from onward.relay import NOWHERE, OutboxRow
from onward.relay.barred import Answer

GATHER_MS = 5  # as the client library has it by default


class KafkaOutlet:
    """`Outlet` on Kafka, with producers of its own: what fails in a relay's sends takes nobody else's with it."""

    def __init__(self, client: Client, partitions: Partitions) -> None:
        self._partitions = partitions
        self._senders = Senders(client, gather_ms=GATHER_MS)
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
        by_room: dict[int, set[str]] = {}
        for topic in topics:
            by_room.setdefault(self._partitions.room(topic), set()).add(topic)
        sends = []
        for room, ours in by_room.items():
            part = rows if ours == topics and not any(map(_leaves_out, rows)) else _of(rows, ours)
            events = [event for row in part for event in row.events]
            if events:
                sends.append(asyncio.create_task(self._senders.of(room).send(_prepared(part, events), events)))
        return sends

    async def close(self) -> None:
        await self._senders.close()


def _leaves_out(row: OutboxRow) -> bool:
    return row.stamp is None or NOWHERE in row.stamp.places


def _of(rows: Sequence[OutboxRow], topics: Collection[str]) -> list[OutboxRow]:
    """What of them is of these topics and has a place."""
    found = []
    for row in rows:
        assert row.stamp is not None
        placed = zip(row.events, row.stamp.places, strict=True)
        ours = [each for each in placed if each[1] != NOWHERE and each[0].topic in topics]
        stamp = replace(row.stamp, places=tuple(place for _, place in ours))
        found.append(OutboxRow(row.id, row.created, [event for event, _ in ours], stamp))
    return found


def _size(event: Outgoing) -> int:
    return len(event.value or b"") + len(event.key or "") * 4 + len(event.extra or b"")


def _prepared(rows: Sequence[OutboxRow], events: Sequence[Outgoing]) -> Iterator[Prepared]:
    """`events` are those of all rows. Each is made when it is asked for, but for the ids: they are cheap together.

    A number says for which place it is, since others may copy events elsewhere.
    """
    millis = time_ns() // 1_000_000
    heading = wire.Headings().numbered
    texts = iter(wire.id_texts([_id_of(event) for event in events]))
    incarnation, lane, whose = b"", "", ""
    for row in rows:
        assert row.stamp is not None
        by, time = row.stamp.incarnation, wire.moment(row.created)
        for event, (partition, number), id_text in zip(row.events, row.stamp.places, texts, strict=False):
            topic, value, key = event.topic, event.value, event.key
            if topic != lane or by != incarnation:
                incarnation, lane, whose = by, topic, f"{by.hex()} {topic}"
            headers = heading(event, id_text, time, f"{whose} {partition} {number}".encode())
            yield topic, value, None if key is None else key.encode(), partition, millis, headers


def _id_of(event: Outgoing) -> bytes:
    assert event.id is not None
    return event.id
