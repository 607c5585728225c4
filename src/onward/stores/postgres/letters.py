"""Dead letters as rows: written with all that is known of their event, and read to be run again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from onward.events import Envelope
from onward.ports import Claim, DeadLetter, Retried
from onward.stores.postgres.text import storable

LETTER = (
    'INSERT INTO onward.dead_letter (subscription, partition, "offset", handler, state, cause, error, detail,'
    " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
    " event_key, extra, value) VALUES ($1, $2, $3, $4, 'dead', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
    " $17, $18, $19)"
)
RETRYING = (
    'SELECT id, "offset", handler, cause, error, detail, fingerprint, attempts, first_at, event_id, event_type,'
    " event_version, event_source, event_time, event_key, extra, value FROM onward.dead_letter"
    " WHERE subscription = $1 AND partition = $2 AND state = 'retrying' ORDER BY \"offset\" LIMIT 100"
)


def letter_row(where: tuple[int, int], letter: DeadLetter, now: datetime) -> tuple[object, ...]:
    envelope = letter.envelope
    return (
        *where,
        letter.offset,
        letter.handler,
        letter.cause,
        storable(letter.error),
        storable(letter.detail),
        storable(letter.fingerprint),
        letter.attempts,
        datetime.fromtimestamp(letter.first_at, UTC),
        now,
        storable(envelope.id),
        storable(envelope.type),
        envelope.version,
        storable(envelope.source),
        envelope.time,
        None if envelope.key is None else envelope.key.encode(),
        msgspec.json.encode(envelope.extensions) if envelope.extensions else None,
        letter.value,
    )


def retried(claim: Claim, row: tuple[Any, ...]) -> Retried:
    letter_id, offset, handler, cause, error, detail, mark, attempts, first_at, *event = row
    event_id, event_type, version, source, time, key, extra, value = event
    envelope = Envelope(
        id=event_id,
        source=source,
        type=event_type,
        version=version,
        topic=claim.topic,
        partition=claim.partition,
        offset=offset,
        key=None if key is None else key.decode(),
        time=time.astimezone(UTC),
        extensions=msgspec.json.decode(extra, type=dict[str, str]) if extra else {},
    )
    return Retried(
        letter_id,
        DeadLetter(offset, handler, cause, error, detail, mark, attempts, first_at.timestamp(), envelope, value),
    )
