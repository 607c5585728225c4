"""Where a relay sends events on Kafka: with their numbers in a header, in order also after a send that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from time import time_ns

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.partitions import Partitions
from onward.brokers.kafka.publishing import Prepared, Sender, too_large
from onward.errors import EncodeError
from onward.ports import Outgoing
from onward.relay import NOWHERE, OutboxRow


class KafkaOutlet:
    """`Outlet` on Kafka, with a producer of its own: what fails in a relay's sends takes nobody else's with it."""

    def __init__(self, client: Client, partitions: Partitions) -> None:
        self._client = client
        self._partitions = partitions
        self._sender: Sender | None = None

    async def places(self, events: Sequence[Outgoing]) -> list[int | EncodeError]:
        topics = {event.topic for event in events}
        await self._partitions.look(topics)
        await self._partitions.measure(topics)
        room = {topic: self._partitions.room(topic) for topic in topics}
        return [
            partition if _size(event) <= room[event.topic] else too_large(event)
            for event, partition in zip(events, self._partitions.of(events), strict=True)
        ]

    def send(self, rows: Sequence[OutboxRow]) -> asyncio.Future[None]:
        if self._sender is None or self._sender.abandoned:
            self._sender = Sender(self._client)
        return asyncio.create_task(self._sent(self._sender, rows))

    async def _sent(self, sender: Sender, rows: Sequence[OutboxRow]) -> None:
        try:
            await sender.send(_prepared(rows), [event for row in rows for event, _ in _placed(row)])
        except BaseException:
            sender.abandon()  # what waits behind it must not go before it
            raise

    async def close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()


def _placed(row: OutboxRow) -> Iterable[tuple[Outgoing, tuple[int, int]]]:
    assert row.stamp is not None
    placed = zip(row.events, row.stamp.places, strict=True)
    return placed if NOWHERE not in row.stamp.places else [each for each in placed if each[1] != NOWHERE]


def _size(event: Outgoing) -> int:
    return len(event.value or b"") + len(event.key or "") * 4 + len(event.extra or b"")


def _prepared(rows: Sequence[OutboxRow]) -> Iterator[Prepared]:
    millis = time_ns() // 1_000_000
    heading = wire.Headings().of
    for row in rows:
        assert row.stamp is not None
        created = datetime.fromtimestamp(row.created / 1e6, UTC).isoformat().replace("+00:00", "Z").encode()
        incarnation = row.stamp.incarnation.hex()
        for event, (partition, number) in _placed(row):
            assert event.id is not None
            assert event.source is not None
            key = None if event.key is None else event.key.encode()
            headers = heading(event, event.id, event.source, created)
            headers.insert(wire.NUMBER_AT, wire.number(incarnation, event.topic, partition, number))
            yield event.topic, event.value, key, partition, millis, headers
