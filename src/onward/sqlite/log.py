"""The log in the file: appended inside whatever transaction is open, read by range scan.

An event's identity is its offset, dense per (topic, partition), from the counter row of its lane and never from a
reused rowid; `pos` packs lane and offset into the rowid, so that one B-tree holds everything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, islice, repeat
from operator import itemgetter
from time import time
from typing import NamedTuple

import apsw

from onward.delays import DELAYED, micros_of
from onward.errors import BacklogFullError
from onward.ids import uuid7_bytes
from onward.partitioning import partitions_of
from onward.ports import DELIVERY_BYTES, Outgoing, Record, fields_of
from onward.sqlite.database import Database
from onward.sqlite.delayed import hold
from onward.sqlite.failures import translate
from onward.sqlite.fetch import fetch
from onward.sqlite.names import Names, StoredTopic
from onward.topics import Topic

LANE_SHIFT = 40  # 2**40 events per partition, 2**22 partitions per file
OFFSET_MASK = (1 << LANE_SHIFT) - 1
READ_CHUNK = 32  # so many records are read before their size is looked at: 32 MiB of the largest there are

_SELECT = (
    "SELECT pos & 1099511627775, kind, value, key, id, source, time, extra FROM onward_log"
    " WHERE pos >= ? AND pos < ? ORDER BY pos LIMIT ?"
)
_INSERT = "INSERT INTO onward_log (pos, kind, value, key, id, source, time, extra) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_pos_of = itemgetter(0)
_value_of = itemgetter(2)


class _Columns(NamedTuple):
    """As `fields_of`."""

    topic: tuple[str, ...]
    type: tuple[str, ...]
    version: tuple[int, ...]
    value: tuple[bytes | None, ...]
    key: tuple[str | None, ...]
    extra: tuple[bytes | None, ...]
    id: tuple[bytes | None, ...]
    source: tuple[str | None, ...]
    due: tuple[int | None, ...]


class FileLog:
    """The log of one database in this process: appended inside whatever transaction is open on its writer.

    `appended` is called after a commit with the names of the topics that grew. `forget` after a rollback.
    """

    def __init__(self, database: Database, *, now: Callable[[], float] = time) -> None:
        """`now` gives seconds since the epoch."""
        self.database = database
        self.now = now
        self.names = Names(database.writer)
        self.appended: list[Callable[[set[str]], None]] = []
        self._connection = database.writer
        self._pending: set[str] = set()
        self._turn = 0
        database.after_commit.append(self._tell)

    def forget(self) -> None:
        self.names.forget()
        self._pending.clear()

    def _tell(self) -> None:
        if self._pending:
            topics, self._pending = self._pending, set()
            for tell in self.appended:
                tell(topics)

    def append(self, outgoing: Sequence[Outgoing], source: str) -> None:
        """Append in this order per partition, and put off what is due later; the caller commits.

        Raises BacklogFullError before anything of its topic was written.
        """
        own_source = self.names.source(source)
        micros = micros_of(self.now())
        columns = _columns(outgoing)
        if any(columns.due):
            self._hold([event for event in outgoing if event.due and event.due > micros], own_source, micros)
            outgoing = [event for event in outgoing if not event.due or event.due <= micros]
            columns = _columns(outgoing)
        topics = set(columns.topic)
        for name in sorted(topics):
            if len(topics) > 1:
                columns = _columns([event for event in outgoing if event.topic == name])
            self._append_topic(name, columns, own_source, micros)
        self._pending.update(topics)

    def append_due(self, topic: str, events: Sequence[Outgoing], micros: int) -> None:
        """Append events that were published at that time, and say so themselves by whom; the caller commits.

        Never refused: the topic had room for them when they were published.
        """
        self._append_topic(topic, _columns(events), 0, micros, refused_when_full=False)
        self._pending.add(topic)

    def _hold(self, events: Sequence[Outgoing], own_source: int, micros: int) -> None:
        for name in dict.fromkeys(event.topic for event in events):
            later = [event for event in events if event.topic == name]
            stored = self.names.create_topic(Topic(name))
            held = fetch(
                self._connection,
                "SELECT t.delayed_bytes + sum(l.bytes) FROM onward_topic t JOIN onward_lane l ON l.topic = t.id"
                " WHERE t.id = ?",
                (stored.id,),
            )
            self._refuse_when_full(stored, held[0][0], sum(len(event.value or b"") for event in later))
            if hold(self._connection, self.names, later, own_source, micros):
                self._pending.add(DELAYED)

    def _append_topic(
        self, name: str, columns: _Columns, own_source: int, micros: int, *, refused_when_full: bool = True
    ) -> None:
        """What all events have in common is looked up once, and most else moves a column at once."""
        names = self.names
        stored = names.topic(name)
        if stored is None or stored.broker:
            stored = names.create_topic(Topic(name))
        lanes = fetch(
            self._connection,
            "SELECT id << 40 | next_offset, bytes FROM onward_lane WHERE topic = ? ORDER BY partition",
            (stored.id,),
        )
        _, types, versions, values, keys, extras, ids, sources, _ = columns
        value_bytes = [0 if value is None else len(value) for value in values]
        if refused_when_full:
            self._refuse_when_full(stored, sum(size for _, size in lanes), sum(value_bytes))
        next_pos = [pos for pos, _ in lanes]
        adds = [0] * len(lanes)
        places: list[int] = []
        for partition, size in zip(self._partitions(keys, len(lanes)), value_bytes, strict=True):
            places.append(next_pos[partition])
            next_pos[partition] += 1
            adds[partition] += size
        wires = [(types[0], versions[0])] if _is_one(types) and _is_one(versions) else zip(types, versions, strict=True)
        kinds = [names.kind(*wire) for wire in wires]
        new_ids = uuid7_bytes(len(values))
        rows = list(
            zip(
                places,
                kinds if len(kinds) > 1 else repeat(kinds[0]),
                values,
                keys,
                new_ids if not any(ids) else [own or new for own, new in zip(ids, new_ids, strict=True)],
                [own_source if each is None else names.source(each) for each in sources]
                if any(sources)
                else repeat(own_source),
                repeat(micros),
                extras,
                strict=False,
            )
        )
        if len(lanes) > 1:
            rows.sort(key=_pos_of)
        self._connection.executemany(_INSERT, rows)
        self._connection.executemany(
            "UPDATE onward_lane SET next_offset = ?, bytes = bytes + ? WHERE id = ?",
            [
                (pos & OFFSET_MASK, size, pos >> LANE_SHIFT)
                for pos, (before, _), size in zip(next_pos, lanes, adds, strict=True)
                if pos != before
            ],
        )

    def _partitions(self, keys: Sequence[str | None], count: int) -> Sequence[int]:
        """By key; an event without one goes where this append's other keyless events go, taking turns by append."""
        self._turn += 1
        if count == 1:
            return [0] * len(keys)
        hashed = partitions_of([key.encode() for key in keys if key is not None], count)
        if len(hashed) == len(keys):
            return hashed
        keyless, by_key = self._turn % count, iter(hashed)
        return [keyless if key is None else next(by_key) for key in keys]

    def _refuse_when_full(self, stored: StoredTopic, held: int, adds: int) -> None:
        limit = stored.topic.retention.backlog_bytes
        if held + adds > limit:
            limit = self.names.anew(stored).topic.retention.backlog_bytes
        if held + adds > limit:
            raise BacklogFullError(
                f"Topic {stored.topic.name!r} holds {held:,} bytes of events and may hold {limit:,}, so"
                f" {adds:,} bytes more were refused; nothing was published. Start the services that read it, retire"
                " a subscription that nobody runs any more, or declare a larger Retention.backlog_bytes and start the"
                " service that does.",
                topic=stored.topic.name,
                held_bytes=held,
                limit_bytes=limit,
            )


def _columns(events: Sequence[Outgoing]) -> _Columns:
    return _Columns(*fields_of(events))


def _is_one(column: tuple[object, ...]) -> bool:
    return column.count(column[0]) == len(column)


def read(connection: apsw.Connection, lane: int, offset: int, limit: int) -> list[Record]:
    """Up to `limit` records of a lane from `offset` on, no more than one delivery may hold. Raises StoreError."""
    try:
        return _read(connection, lane, offset, limit)
    except apsw.Error as error:
        raise translate(error, "Reading the log") from error


def _read(connection: apsw.Connection, lane: int, offset: int, limit: int) -> list[Record]:
    cursor = connection.execute(_SELECT, (lane << LANE_SHIFT | offset, (lane + 1) << LANE_SHIFT, limit))
    records: list[Record] = []
    size, more = 0, True
    while more and size < DELIVERY_BYTES:
        chunk = list(islice(cursor, READ_CHUNK))
        size += sum(map(len, filter(None, map(_value_of, chunk))))
        records += chunk
        more = len(chunk) == READ_CHUNK
    cursor.close(True)
    return records if size <= DELIVERY_BYTES else deliverable(records)


def deliverable(records: list[Record]) -> list[Record]:
    """The first of these, as many as one delivery may hold."""
    sizes = accumulate(len(record[2] or b"") for record in records)
    return records[: max(1, bisect_right(list(sizes), DELIVERY_BYTES))]
