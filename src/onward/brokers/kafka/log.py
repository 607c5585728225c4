"""Reading topics on Kafka by place, beside what consumers are delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import LIBRARY_LOG, Client
from onward.brokers.kafka.cluster import Cluster
from onward.events import Envelope
from onward.ports import Record, WireType

READ_S = 10.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_STRONG = {
    "group.id": "onward-reader",  # the library wants one; nothing is committed under it
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
}


class KafkaLog:
    """`Log` on Kafka."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self._client = client
        self._cluster = cluster
        self._reader: Consumer | None = None
        self._lock = Lock()

    def wire_type(self, tag: Hashable) -> WireType:
        return wire.wire_type(tag)

    def envelope(self, topic: str, partition: int, record: Record) -> Envelope:
        return wire.envelope(topic, partition, record, self._cluster.identities.get(topic, topic))

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        return await asyncio.to_thread(self._read, topic, partition, offset, limit)

    def _read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        if partition >= self._cluster.partitions(topic):
            return []
        doing = f"Reading topic {topic!r}"
        with self._lock:
            try:
                if self._reader is None:
                    self._reader = Consumer(self._client.options({}, _STRONG), logger=LIBRARY_LOG)
                self._reader.assign([TopicPartition(topic, partition, offset)])
                found = self._fetch(self._reader, limit, doing)
                self._reader.unassign()
            except KafkaException as error:
                raise self._client.teller.told(error, doing) from None
        records, _ = wire.records(found, self._client.address.max_value_bytes)
        return records.get(partition, [])

    def _fetch(self, reader: Consumer, limit: int, doing: str) -> list[Message]:
        found: list[Message] = []
        until = monotonic() + READ_S
        while len(found) < limit:
            message = reader.poll(READ_S)
            if message is None or monotonic() > until:
                raise self._client.teller.unreachable(doing, f"no answer in {READ_S:g} s")
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                break
            else:
                raise self._client.teller.told(error, doing)
        return found

    async def bounds(self, topic: str) -> list[tuple[int, int]]:
        return await asyncio.to_thread(self._bounds, topic)

    def _bounds(self, topic: str) -> list[tuple[int, int]]:
        partitions = range(self._cluster.partitions(topic))
        return list(self._cluster.bounds(topic, partitions).values())

    async def since(self, topic: str, time: datetime) -> list[int]:
        return await asyncio.to_thread(self._since, topic, (time - _EPOCH) // _MILLISECOND)

    def _since(self, topic: str, millis: int) -> list[int]:
        """By the time that Kafka keeps of each message: whole milliseconds, so that one of the same counts as later."""
        partitions = range(self._cluster.partitions(topic))
        found = self._cluster.since(topic, partitions, max(millis, 0))
        ends = self._cluster.bounds(topic, partitions)
        return [found[partition] if found[partition] >= 0 else ends[partition][1] for partition in partitions]

    def close(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
