"""What a row of an outbox holds, in every store: events of one transaction, encoded together, and their places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from onward.delays import marked
from onward.ports import DELIVERY_BYTES, Outgoing
from onward.relay.columns import Columns, columns_of
from onward.relay.port import OutboxRow, Stamp

ROW_EVENTS = 1_000
ROW_BYTES = 1 << 20

Found = tuple[int, int, bytes, int | None, int, bytes, bytes]
"""Of a row: id, created in microseconds, body; and of a numbered one epoch, turn, incarnation, places."""

_value_of = itemgetter(Outgoing._fields.index("value"))
_due_of = itemgetter(Outgoing._fields.index("due"))
_encode = msgspec.msgpack.Encoder().encode
_columns = msgspec.msgpack.Decoder(Columns).decode
_events = msgspec.msgpack.Decoder(list[Outgoing]).decode
_places = msgspec.msgpack.Decoder(tuple[tuple[int, int], ...]).decode


class Written(NamedTuple):
    """One row; `body` is to be opened by `opened`."""

    due: int | None  # microseconds since the epoch
    events: int
    body: bytes


def rows_of(outputs: Sequence[Outgoing], service: str) -> list[Written]:
    """In order, each of one time, and bounded, so that a reader can bound what it holds.

    Each event gets an id and a source here, the same however often it is sent; a delayed one the mark of its time.
    """
    return [Written(part[0].due, len(part), _encode(columns_of(_delayed(part), service))) for part in _parts(outputs)]


def _delayed(part: Sequence[Outgoing]) -> Sequence[Outgoing]:
    due = part[0].due
    return part if due is None else [event._replace(extra=marked(event.extra, due)) for event in part]


def _parts(events: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    one_time = len(events) == 1 or len({*map(_due_of, events)}) == 1
    if one_time and len(events) <= ROW_EVENTS and _size(events) <= ROW_BYTES:
        yield events
        return
    part: list[Outgoing] = []
    size = 0
    for event in events:
        bytes_ = len(event.value or b"")
        if part and (event.due != part[0].due or len(part) >= ROW_EVENTS or size + bytes_ > ROW_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += bytes_
    if part:
        yield part


def _size(events: Sequence[Outgoing]) -> int:
    return sum(map(len, filter(None, map(_value_of, events))))


def places(stamp: Stamp) -> bytes:
    """To be opened by `opened`."""
    return _encode(stamp.places)


def opened(found: Sequence[Found]) -> Iterator[OutboxRow]:
    """At least one, and as many as come to DELIVERY_BYTES."""
    size = 0
    for row_id, created, encoded, epoch, turn, incarnation, placed in found:
        size += len(encoded)
        if size > DELIVERY_BYTES and size > len(encoded):
            return
        stamp = None if epoch is None else Stamp(epoch, turn, incarnation, _places(placed))
        try:
            columns = _columns(encoded)
        except msgspec.ValidationError:
            columns = _written_before(encoded)
        yield OutboxRow(row_id, created, columns, stamp)


def _written_before(encoded: bytes) -> Columns:
    """By a version that had no columns yet: a list of events, each complete."""
    return columns_of(_events(encoded), "")
