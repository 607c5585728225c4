"""The hand-written loop with an output for each event: a batch's outputs are one row of an outbox, written with the
effects, sent once that is committed, and deleted with a later batch, once Kafka has confirmed all of it. After a crash
it would send rows that are there again; it numbers nothing, so that would be seen as new events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import time_ns
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.kafka_loop import Execute, Placed, Reader
from benchmarks.kafka_orders import ANSWER_S, servers
from benchmarks.orders import TAKE
from onward.ids import text, uuid7_bytes

_INSERT = "INSERT INTO onward_outbox (service, created_at, events, body) VALUES ('loop', ?, ?, ?)"
_DELETE = "DELETE FROM onward_outbox WHERE id = ?"


class Reserved(msgspec.Struct, frozen=True):
    order_id: str


to_json = msgspec.json.Encoder().encode
to_body = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class _Row:
    """Outputs of one batch: key, value and id of each, how many Kafka has not confirmed, and its id in the outbox."""

    events: list[tuple[bytes, bytes, bytes]]
    left: int = field(init=False)
    id: int = 0

    def __post_init__(self) -> None:
        self.left = len(self.events)

    def confirmed(self, error: KafkaError | None, _message: Message) -> None:
        assert error is None, error
        self.left -= 1


class RelayingReader(Reader):
    """One UPDATE and one output each, sent to a topic by the loop itself."""

    def __init__(self, folder: Path, topic: str, outputs: str) -> None:
        super().__init__(folder, topic, self._reserve)
        self.outputs = outputs
        self.fresh: list[tuple[bytes, bytes]] = []
        self.rows: deque[_Row] = deque()
        options = {"enable.idempotence": True, "partitioner": "murmur2_random"}
        self.producer = Producer({"bootstrap.servers": servers(), **options})

    def _reserve(self, event: Placed, execute: Execute) -> None:
        execute(TAKE, {"n": event.quantity, "sku": event.sku})
        self.fresh.append((event.order_id.encode(), to_json(Reserved(event.order_id))))

    def _move(self, ends: dict[int, int], done: dict[int, int]) -> None:
        """Inside the transaction of the batch."""
        ids = uuid7_bytes(len(self.fresh))
        row = _Row([(key, value, event_id) for (key, value), event_id in zip(self.fresh, ids, strict=True)])
        self.fresh = []
        self.connection.execute(_INSERT, (time_ns() // 1000, len(row.events), to_body(row.events)))
        row.id = self.connection.last_insert_rowid()
        self._delete_confirmed()
        super()._move(ends, done)
        self.rows.append(row)

    def _delete_confirmed(self) -> None:
        while self.rows and not self.rows[0].left:
            self.connection.execute(_DELETE, (self.rows.popleft().id,))

    def step(self) -> int:
        count = super().step()
        if count:
            self._send(self.rows[-1])
        self.producer.poll(0)
        return count

    def _send(self, row: _Row) -> None:
        produce, confirmed = self.producer.produce, row.confirmed
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()
        for key, value, event_id in row.events:
            headers: Any = [
                ("ce_type", b"kafka.reserved"),
                ("ce_dataversion", b"1"),
                ("ce_specversion", b"1.0"),
                ("ce_id", text(event_id).encode()),
                ("ce_source", b"inventory"),
                ("ce_time", now),
                ("content-type", b"application/json"),
            ]
            while True:
                try:
                    produce(self.outputs, value, key, on_delivery=confirmed, headers=headers)
                    break
                except BufferError:
                    self.producer.poll(0.1)

    def finish(self) -> None:
        """Everything is there and gone from the outbox."""
        assert self.producer.flush(ANSWER_S) == 0
        with self.connection:
            self._delete_confirmed()
