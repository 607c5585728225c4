"""The hand-written loop on Kafka: what a careful programmer writes with confluent-kafka, msgspec and apsw for this one
purpose. Same schema, pragmas and batch as onward, a savepoint around each event, and the offset in the transaction of
the effects; claims, retries, dead letters and metrics it has none."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.kafka_orders import BATCH, servers
from benchmarks.loop import connect

_MOVE = (
    "UPDATE onward_account SET next_offset = ?, revision = revision + 1, moved_at = ?"
    " WHERE subscription = ? AND partition = ? AND revision = ?"
)
_TALLY = (
    "INSERT INTO onward_tally (subscription, partition, handler, succeeded) VALUES (?, ?, 'loop', ?)"
    " ON CONFLICT DO UPDATE SET succeeded = succeeded + excluded.succeeded"
)
_FIND = "SELECT partition, subscription, next_offset, revision FROM onward_account"


class Placed(msgspec.Struct, frozen=True):
    order_id: str
    customer_id: str
    sku: str
    quantity: int
    total: Decimal
    warehouse: str


decode = msgspec.json.Decoder(Placed).decode
Execute = Callable[..., Any]
Handle = Callable[[Placed, Execute], object]


class Reader:
    """One subscription, alone: reads a batch, runs it and moves the accounts in one transaction."""

    def __init__(self, folder: Path, topic: str, handle: Handle, *, savepoints: bool = True) -> None:
        self.connection = connect(folder)
        self.handle, self.savepoints = handle, savepoints
        rows: Any = self.connection.execute(_FIND)
        self.accounts: dict[int, list[int]] = {partition: rest for partition, *rest in rows}
        options = {
            "bootstrap.servers": servers(),
            "group.id": f"loop-{folder.name}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
        }
        self.consumer = Consumer(options)
        self.consumer.subscribe([topic], on_assign=self._assigned)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            place.offset = self.accounts[place.partition][1]
        consumer.incremental_assign(places)

    def step(self) -> int:
        """One batch, if there is any; how many events."""
        messages = self.consumer.consume(BATCH, 0.1)
        if not messages:
            return 0
        execute, handle, savepoints = self.connection.cursor().execute, self.handle, self.savepoints
        done: dict[int, int] = {}
        ends: dict[int, int] = {}
        with self.connection:
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                event = decode(message.value())  # type: ignore[arg-type]  # one without a value fails, as it should
                if savepoints:
                    execute("SAVEPOINT event")
                    handle(event, execute)
                    execute("RELEASE event")
                else:
                    handle(event, execute)
                partition: Any = message.partition()
                done[partition] = done.get(partition, 0) + 1
                ends[partition] = message.offset() + 1  # type: ignore[operator]  # a message has its place
            self._move(ends, done)
        return len(messages)

    def _move(self, ends: dict[int, int], done: dict[int, int]) -> None:
        for partition, end in ends.items():
            subscription, _, revision = account = self.accounts[partition]
            self.connection.execute(_MOVE, (end, time(), subscription, partition, revision))
            assert self.connection.changes() == 1
            self.connection.execute(_TALLY, (subscription, partition, done[partition]))
            account[1:] = end, revision + 1

    def close(self) -> None:
        self.consumer.close()
        self.connection.close()
