"""Where a relay sends events on Kafka: with their numbers in a header, in order also after a send that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import time_ns

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.partitions import Partitions
from onward.brokers.kafka.publishing import Prepared, Sender
from onward.ports import Outgoing
from onward.relay import OutboxRow


class KafkaOutlet:
    """`Outlet` on Kafka, with a producer of its own: what fails in a relay's sends takes nobody else's with it."""

    def __init__(self, client: Client, partitions: Partitions) -> None:
        self._client = client
        self._partitions = partitions
        self._sender: Sender | None = None

    async def places(self, events: Sequence[Outgoing]) -> list[int]:
        await self._partitions.look({event.topic for event in events})
        return self._partitions.of(events)

    def send(self, rows: Sequence[OutboxRow]) -> asyncio.Future[None]:
        if self._sender is None or self._sender.abandoned:
            self._sender = Sender(self._client)
        return asyncio.create_task(self._sent(self._sender, rows))

    async def _sent(self, sender: Sender, rows: Sequence[OutboxRow]) -> None:
        try:
            await sender.send(_prepared(rows), [event for row in rows for event in row.events])
        except BaseException:
            sender.abandon()  # what waits behind it must not go before it
            raise

    async def close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()


def _prepared(rows: Sequence[OutboxRow]) -> Iterator[Prepared]:
    millis = time_ns() // 1_000_000
    heading = wire.Headings().of
    for row in rows:
        assert row.stamp is not None
        created = datetime.fromtimestamp(row.created / 1e6, UTC).isoformat().replace("+00:00", "Z").encode()
        incarnation = row.stamp.incarnation.hex()
        for event, (partition, number) in zip(row.events, row.stamp.places, strict=True):
            assert event.id is not None
            assert event.source is not None
            key = None if event.key is None else event.key.encode()
            headers = heading(event, event.id, event.source, created)
            headers.insert(wire.NUMBER_AT, wire.number(incarnation, event.topic, partition, number))
            yield event.topic, event.value, key, partition, millis, headers
