"""What a row of an outbox holds, in every store: events of one transaction, encoded together, and their places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from onward.delays import marked
from onward.ids import uuid7_bytes
from onward.ports import DELIVERY_BYTES, Outgoing
from onward.relay.port import OutboxRow, Stamp

ROW_EVENTS = 1_000
ROW_BYTES = 1 << 20

Found = tuple[int, int, bytes, int | None, int, bytes, bytes]
"""Of a row: id, created in microseconds, body; and of a numbered one epoch, turn, incarnation, places."""

_new = tuple.__new__
_encode = msgspec.msgpack.Encoder().encode
_events = msgspec.msgpack.Decoder(list[Outgoing]).decode
_places = msgspec.msgpack.Decoder(tuple[tuple[int, int], ...]).decode


def completed(outputs: Sequence[Outgoing], service: str) -> list[Outgoing]:
    """Each with an id and a source, the same however often it is sent; a delayed one with the mark of its time."""
    done: list[Outgoing] = []
    for event, new_id in zip(outputs, uuid7_bytes(len(outputs)), strict=True):
        topic, name, version, value, key, extra, own, said, due = event
        if due is not None:
            extra = marked(extra, due)
        # What event._replace(…) does, in a third of its time.
        done.append(_new(Outgoing, (topic, name, version, value, key, extra, own or new_id, said or service, due)))
    return done


def parts(events: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """In order, each of one time, and bounded, so that a reader can bound what it holds."""
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


def body(part: Sequence[Outgoing]) -> bytes:
    """To be opened by `opened`."""
    return _encode(part)


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
        yield OutboxRow(row_id, created, _events(encoded), stamp)
