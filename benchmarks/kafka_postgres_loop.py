"""The hand-written loop into PostgreSQL: what a careful programmer writes with confluent-kafka, msgspec and psycopg for
this one purpose. Same schema, statements and batch as onward, in pipeline mode, and the offset in the transaction of
the effects; it has no savepoints, claims, retries, dead letters or metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.kafka_loop import Placed
from benchmarks.kafka_orders import BATCH, servers

TAKE = "UPDATE stock SET free = free - %(n)s WHERE sku = %(sku)s AND free >= %(n)s"
LOOK = "SELECT free FROM stock WHERE sku = %(sku)s FOR UPDATE"
SET = "UPDATE stock SET free = %(free)s WHERE sku = %(sku)s"
_MOVE = (
    "UPDATE onward.account SET next_offset = %s, revision = revision + 1, moved_at = now()"
    " WHERE subscription = %s AND partition = %s AND revision = %s"
)
_TALLY = (
    "INSERT INTO onward.tally AS t (subscription, partition, handler, succeeded) VALUES (%s, %s, 'loop', %s)"
    " ON CONFLICT (subscription, partition, handler) DO UPDATE SET succeeded = t.succeeded + excluded.succeeded"
)
_FIND = "SELECT partition, subscription, next_offset, revision FROM onward.account"

decode = msgspec.json.Decoder(Placed).decode
Handle = Callable[[list[Placed], "psycopg.Cursor[Any]"], object]


def blind(events: list[Placed], cursor: psycopg.Cursor[Any]) -> None:
    """All UPDATEs of a batch travel together: nobody reads what they say."""
    cursor.executemany(TAKE, [{"n": event.quantity, "sku": event.sku} for event in events])


def read_then_write(events: list[Placed], cursor: psycopg.Cursor[Any]) -> None:
    """The write of an event travels with the next one's read."""
    for event in events:
        cursor.execute(LOOK, {"sku": event.sku})
        ((free,),) = cursor.fetchall()
        cursor.execute(SET, {"free": free - event.quantity, "sku": event.sku})


class Reader:
    """One subscription, alone: reads a batch, runs it and moves the accounts in one transaction."""

    def __init__(self, url: str, group: str, topic: str, handle: Handle) -> None:
        self.connection = psycopg.connect(url)
        self.connection.prepare_threshold = 0
        self.handle = handle
        with self.connection.transaction():
            rows = self.connection.execute(_FIND).fetchall()
        self.accounts: dict[int, list[int]] = {partition: rest for partition, *rest in rows}
        options = {
            "bootstrap.servers": servers(),
            "group.id": group,
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
        events: list[Placed] = []
        done: dict[int, int] = {}
        ends: dict[int, int] = {}
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            events.append(decode(message.value()))  # type: ignore[arg-type]  # one without a value fails, as it should
            partition: Any = message.partition()
            done[partition] = done.get(partition, 0) + 1
            ends[partition] = message.offset() + 1  # type: ignore[operator]  # a message has its place
        with self.connection.transaction(), self.connection.pipeline(), self.connection.cursor() as cursor:
            self.handle(events, cursor)
            for partition, end in ends.items():
                subscription, _, revision = account = self.accounts[partition]
                cursor.execute(_MOVE, (end, subscription, partition, revision))
                cursor.execute(_TALLY, (subscription, partition, done[partition]))
                account[1:] = end, revision + 1
        return len(events)

    def close(self) -> None:
        self.consumer.close()
        self.connection.close()
