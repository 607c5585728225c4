"""Events of a transaction on their way out: one statement, the last before COMMIT."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from onward.delays import marked
from onward.ids import uuid7_bytes
from onward.ports import Outgoing
from onward.stores.postgres.session import Command

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_APPEND = (
    "INSERT INTO onward.outbox"
    " (service, created_at, topic, type, version, key, value, extra, source, event_id, due_at)"
    " SELECT $1, $2, topic, type, version, key, value, extra, source, event_id, due_at"
    " FROM unnest($3::text[], $4::text[], $5::integer[], $6::bytea[], $7::bytea[], $8::bytea[], $9::text[],"
    " $10::bytea[], $11::timestamptz[]) WITH ORDINALITY"
    " AS o (topic, type, version, key, value, extra, source, event_id, due_at, place) ORDER BY place"
)


def append(outputs: Sequence[Outgoing], service: str) -> Command:
    """Rows in the order of `outputs`, their ids rising."""
    topics, types, versions, values, keys, extras, ids, sources, dues = zip(*outputs, strict=True)
    new_ids = uuid7_bytes(len(outputs))
    row = (
        service,
        datetime.now(UTC),
        list(topics),
        list(types),
        list(versions),
        [None if key is None else key.encode() for key in keys],
        list(values),
        [extra if due is None else marked(extra, due) for extra, due in zip(extras, dues, strict=True)],
        [source or service for source in sources],
        [own or new for own, new in zip(ids, new_ids, strict=True)],
        [None if due is None else _EPOCH + timedelta(microseconds=due) for due in dues],
    )
    return Command(_APPEND, [row])
