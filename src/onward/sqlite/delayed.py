"""The table of delayed events: rows go in when they are published, and out by the transaction that appends them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import apsw

from onward.delays import marked
from onward.ids import uuid7_bytes
from onward.ports import Outgoing
from onward.sqlite.fetch import fetch
from onward.sqlite.names import Names

MOVED_ROWS = 500  # at once, so that no writer waits for long
MOVED_BYTES = 8 << 20  # and no more than with the row that passes this

_INSERT = (
    "INSERT INTO onward_delayed (due, topic, kind, value, key, event_id, source, time, extra)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COUNT = "UPDATE onward_topic SET delayed = delayed + ?, delayed_bytes = delayed_bytes + ? WHERE id = ?"
_DUE = (
    "SELECT d.id, d.topic, t.name, d.time, d.kind, d.value, d.key, d.extra, d.event_id, d.source"
    " FROM onward_delayed d JOIN onward_topic t ON t.id = d.topic WHERE d.due <= ? ORDER BY d.due, d.id LIMIT ?"
)


class DueEvent(NamedTuple):
    """A delayed event that is due, and when it was published."""

    id: int
    topic: int
    micros: int
    outgoing: Outgoing


def hold(connection: apsw.Connection, names: Names, events: Sequence[Outgoing], source: int, micros: int) -> bool:
    """Put events of one topic, which is there, off; whether one of them is due before all that waited."""
    stored = names.topic(events[0].topic)
    assert stored is not None
    ((before,),) = fetch(connection, "SELECT min(due) FROM onward_delayed")
    rows: list[tuple[Any, ...]] = []
    for event, new_id in zip(events, uuid7_bytes(len(events)), strict=True):
        assert event.due is not None
        own_source = source if event.source is None else names.source(event.source)
        kind = names.kind(event.type, event.version)
        extra = marked(event.extra, event.due)
        rows.append((event.due, stored.id, kind, event.value, event.key, event.id or new_id, own_source, micros, extra))
    connection.executemany(_INSERT, rows)
    connection.execute(_COUNT, (len(rows), _size(events), stored.id))
    return before is None or min(row[0] for row in rows) < before


def take(connection: apsw.Connection, names: Names, micros: int) -> list[DueEvent]:
    """Remove the first of what is due by then, in the order in which it has to be appended; the caller does that."""
    with closing(_due(connection, names, micros)) as due:
        found = list(_bounded(due))
    connection.executemany("DELETE FROM onward_delayed WHERE id = ?", [(each.id,) for each in found])
    for topic in {each.topic for each in found}:
        gone = [each.outgoing for each in found if each.topic == topic]
        connection.execute(_COUNT, (-len(gone), -_size(gone), topic))
    return found


def _due(connection: apsw.Connection, names: Names, micros: int) -> Generator[DueEvent]:
    cursor = connection.cursor()
    try:
        rows: Iterator[tuple[Any, ...]] = cursor.execute(_DUE, (micros, MOVED_ROWS))
        for row_id, topic, name, published, kind, value, key, extra, event_id, source in rows:
            wire = names.wire_type(kind)
            outgoing = Outgoing(name, wire.type, wire.version, value, key, extra, event_id, names.source_name(source))
            yield DueEvent(row_id, topic, published, outgoing)
    finally:
        cursor.close(True)


def _bounded(due: Iterable[DueEvent]) -> Iterator[DueEvent]:
    size = 0
    for each in due:
        yield each
        size += len(each.outgoing.value or b"")
        if size >= MOVED_BYTES:
            return


def _size(events: Iterable[Outgoing]) -> int:
    return sum(len(event.value or b"") for event in events)
