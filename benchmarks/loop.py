"""The hand-written loop: what a careful programmer writes against the same tables for this one purpose. Same schema,
pragmas, batch, ids and hashes as onward; claims, retries, dead letters and metrics it has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from time import time_ns
from typing import Any

import apsw
import msgspec

from benchmarks.orders import BATCH, file_in
from onward.ids import uuid7_bytes
from onward.partitioning import partitions_of

_READ = (
    "SELECT pos & 1099511627775, kind, value, key, id, source, time, extra FROM onward_log"
    " WHERE pos >= ? AND pos < ? ORDER BY pos LIMIT ?"
)
_INSERT = "INSERT INTO onward_log (pos, kind, value, key, id, source, time, extra) VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
_MOVE = (
    "UPDATE onward_account SET next_offset = ?, revision = revision + 1, moved_at = ?"
    " WHERE subscription = ? AND partition = ? AND revision = ?"
)
_TALLY = (
    "INSERT INTO onward_tally (subscription, partition, handler, succeeded) VALUES (?, ?, 'loop', ?)"
    " ON CONFLICT DO UPDATE SET succeeded = succeeded + excluded.succeeded"
)
_LANES = "SELECT id, next_offset FROM onward_lane WHERE topic = ? ORDER BY partition"


class Placed(msgspec.Struct, frozen=True):
    order_id: str
    sku: str
    quantity: int
    total: Decimal


class Reserved(msgspec.Struct, frozen=True):
    order_id: str


decode = msgspec.json.Decoder(Placed).decode
encode = msgspec.json.Encoder(decimal_format="number").encode
Outputs = list[tuple[str, bytes]]
Handle = Callable[[Any, apsw.Connection, Outputs], object]


def connect(folder: Path) -> apsw.Connection:
    connection = apsw.Connection(str(file_in(folder)))
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)
    connection.set_busy_timeout(5000)
    connection.transaction_mode = "IMMEDIATE"
    return connection


class Topic:
    """One topic's log: `append` inside the open transaction, in this order per partition."""

    def __init__(self, connection: apsw.Connection, name: str) -> None:
        self.connection = connection
        ((self.id,),) = connection.execute("SELECT id FROM onward_topic WHERE name = ?", (name,)).fetchall()

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        lanes, ends = map(list, zip(*self.connection.execute(_LANES, (self.id,)), strict=True))
        before, sizes = list(ends), [0] * len(ends)
        partitions = partitions_of([key.encode() for key, _ in events], len(ends))
        micros = time_ns() // 1000
        rows = []
        for (key, value), partition, event_id in zip(events, partitions, uuid7_bytes(len(events)), strict=True):
            rows.append((lanes[partition] << 40 | ends[partition], 1, value, key, event_id, 1, micros))
            ends[partition] += 1
            sizes[partition] += len(value)
        rows.sort()
        self.connection.executemany(_INSERT, rows)
        moved = [
            (end, size, lane) for lane, start, end, size in zip(lanes, before, ends, sizes, strict=True) if end != start
        ]
        self.connection.executemany("UPDATE onward_lane SET next_offset = ?, bytes = bytes + ? WHERE id = ?", moved)


class Reader:
    """One subscription, alone: reads a partition's batch, runs it and moves the account in one transaction."""

    def __init__(self, connection: apsw.Connection, handle: Handle) -> None:
        self.connection, self.handle = connection, handle
        self.stock, orders = Topic(connection, "stock"), Topic(connection, "orders")
        self.lanes = [lane for lane, _ in connection.execute(_LANES, (orders.id,))]
        find = "SELECT subscription, partition, next_offset, revision FROM onward_account ORDER BY partition"
        rows: Any = connection.execute(find)
        self.accounts: list[list[int]] = [list(row) for row in rows]

    def step(self) -> int:
        """One batch of each partition that has any; how many events."""
        execute, handle, done = self.connection.execute, self.handle, 0
        for account, lane in zip(self.accounts, self.lanes, strict=True):
            subscription, partition, offset, revision = account
            records: list[Any] = execute(_READ, (lane << 40 | offset, (lane + 1) << 40, BATCH)).fetchall()
            if not records:
                continue
            events = [decode(record[2]) for record in records]
            outputs: Outputs = []
            with self.connection:
                for event in events:
                    handle(event, self.connection, outputs)
                if outputs:
                    self.stock.append(outputs)
                account[2:] = records[-1][0] + 1, revision + 1
                execute(_MOVE, (account[2], time_ns() / 1e9, subscription, partition, revision))
                assert self.connection.changes() == 1
                execute(_TALLY, (subscription, partition, len(records)))
            done += len(records)
        return done
