"""Dead letters as rows, with all that is known of their event."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from onward.ports import DeadLetter
from onward.stores.postgres.text import storable

LETTER = (
    'INSERT INTO onward.dead_letter (subscription, partition, "offset", handler, state, cause, error, detail,'
    " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
    " event_key, extra, value) VALUES ($1, $2, $3, $4, 'dead', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
    " $17, $18, $19)"
)
RETRYING = (
    'SELECT id, "offset", handler, cause, error, detail, fingerprint, attempts, event_id, event_type,'
    " event_version, event_source, extra, value, first_at, event_time, event_key FROM onward.dead_letter"
    " WHERE subscription = $1 AND partition = $2 AND state = 'retrying' ORDER BY \"offset\" LIMIT 100"
)


def letter_row(subscription: int, letter: DeadLetter, now: datetime) -> tuple[object, ...]:
    envelope = letter.envelope
    return (
        subscription,
        envelope.partition,
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
