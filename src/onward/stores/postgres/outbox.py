"""Events of a transaction on their way out: one row, or few, inserted last before COMMIT."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from onward.delays import moment_of
from onward.ports import Outgoing
from onward.relay.rows import body, completed, parts
from onward.stores.postgres.session import Command

_APPEND = (
    "INSERT INTO onward.outbox (service, due_at, created_at, events, body)"
    " VALUES ($1, $2, coalesce($3::timestamptz, clock_timestamp()), $4, $5)"
)


def append(outputs: Sequence[Outgoing], service: str, now: datetime | None = None) -> list[Command]:
    """To be sent last in the transaction. Each event gets its id here, the same however often it is sent.

    `now` is for tests; it is the server's clock that counts.
    """
    rows = [
        (service, None if part[0].due is None else moment_of(part[0].due), now, len(part), body(part))
        for part in parts(completed(outputs, service))
    ]
    return [Command(_APPEND, rows)]
