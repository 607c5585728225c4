"""Blocked keys and the events parked behind them, on the SQLite file."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from onward.ports import Claim, Parked, Queues, Settlement
from onward.sqlite.fetch import fetch
from onward.sqlite.letters import DECIDED
from onward.sqlite.times import from_micros, to_micros
from onward.stores.settling import MOST_AT_ONCE, blocked_here, claim_lost, parked_event

_BLOCKED = "SELECT handler, key, partition FROM onward_blocked WHERE subscription = ?"
_PARTITIONS = "SELECT count(*) FROM onward_account WHERE subscription = ?"
_BLOCK = (
    "INSERT INTO onward_blocked (subscription, handler, key, partition, letter) SELECT ?1, ?2, ?3, ?4, id"
    " FROM onward_dead_letter WHERE (subscription, partition, offset, handler) = (?1, ?5, ?6, ?2)"
    " ON CONFLICT DO UPDATE SET letter = excluded.letter, partition = excluded.partition, due = NULL"
)
_BEHIND = (
    "INSERT INTO onward_blocked (subscription, handler, key, partition, waiting) VALUES (?, ?, ?, ?, 1)"
    " ON CONFLICT DO UPDATE SET waiting = waiting + 1,"
    " partition = CASE WHEN letter IS NULL THEN excluded.partition ELSE partition END RETURNING id"
)
_PARK = (
    "INSERT INTO onward_parked (blocked, partition, offset, event_id, event_type, event_version, event_source,"
    " event_time, extra, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UNPARK = "DELETE FROM onward_parked WHERE id = ? RETURNING blocked"
_ONE_LESS = "UPDATE onward_blocked SET waiting = waiting - 1, due = NULL WHERE id = ?"
_PUT_OFF = (
    "UPDATE onward_parked SET attempts = ?, begun = ?, error = ?, fingerprint = ?, first_at = ? WHERE id = ?"
    " RETURNING blocked"
)
_NOT_BEFORE = "UPDATE onward_blocked SET due = ? WHERE id = ?"
_FREE = (
    "DELETE FROM onward_blocked WHERE subscription = ? AND handler = ? AND key = ? AND letter IS NULL AND waiting = 0"
)
_EMPTY = (
    "SELECT handler, key FROM onward_blocked WHERE subscription = ? AND partition = ? AND letter IS NULL"
    " AND waiting = 0 ORDER BY id LIMIT ?"
)
_GOING_ON = (
    "SELECT id, handler, key FROM onward_blocked WHERE subscription = ? AND partition = ? AND letter IS NULL"
    " AND coalesce(due, 0) <= ? AND waiting > 0 ORDER BY id LIMIT ?"
)
_FIRST = (
    "SELECT id, partition, offset, ?2, attempts, begun, error, fingerprint, event_id, event_type, event_version,"
    " event_source, extra, value, coalesce(first_at, 0), event_time FROM onward_parked WHERE blocked = ?1"
    " ORDER BY id LIMIT ?3"
)


def blocked(connection: apsw.Connection, subscription: int, partition: int) -> set[tuple[str, str]]:
    """The (handler, key)s whose events are parked, as far as they come on this partition."""
    rows: list[tuple[Any, ...]] = connection.execute(_BLOCKED, (subscription,)).fetchall()
    if not rows:
        return set()
    ((partitions,),) = fetch(connection, _PARTITIONS, (subscription,))
    return blocked_here(rows, partition, partitions)


def queues(connection: apsw.Connection, claim: Claim, now: float) -> Queues:
    where = (claim.subscription, claim.partition)
    due: list[Parked] = []
    going_on = fetch(connection, _GOING_ON, (*where, now, MOST_AT_ONCE))
    for blocked_id, handler, key in going_on:
        rows = fetch(connection, _FIRST, (blocked_id, handler, MOST_AT_ONCE // len(going_on)))
        due += [parked_event(claim, row, at, from_micros(micros), key) for *row, at, micros in rows]
    return Queues(due, [(handler, key) for handler, key in fetch(connection, _EMPTY, (*where, MOST_AT_ONCE))])


def settle_parked(writer: apsw.Connection, claim: Claim, done: Settlement) -> None:
    """What a commit says of keys; its dead letters are written already, and those retried are settled."""
    for letter in done.dead:
        if letter.place is not None:
            writer.execute(
                _BLOCK, (claim.subscription, *letter.place, claim.partition, letter.envelope.partition, letter.offset)
            )
    for letter_id in done.revived:
        writer.execute(DECIDED, (letter_id,))
    for event in done.unparked:
        behind = _behind(writer, claim, _UNPARK, (event.id,))
        writer.execute(_ONE_LESS, (behind,))
    for event, due in done.put_off:
        what = (event.attempts, event.begun, event.error, event.fingerprint, event.first_at)
        behind = _behind(writer, claim, _PUT_OFF, (*what, event.id))
        writer.execute(_NOT_BEFORE, (due, behind))
    for event in done.parked:
        ((behind,),) = fetch(writer, _BEHIND, (claim.subscription, *event.place, claim.partition))
        writer.execute(_PARK, _row(behind, claim, event))
    for place in done.freed:
        writer.execute(_FREE, (claim.subscription, *place))


def begin_anew(connection: apsw.Connection, subscription: int, partition: int) -> None:
    """Offsets of the old log mean nothing any more; no dead letter, which has its own id below 0, is that low."""
    connection.execute(
        "UPDATE onward_parked SET offset = -id - (1 << 48) WHERE partition = ?2 AND offset >= 0"
        " AND blocked IN (SELECT id FROM onward_blocked WHERE subscription = ?1)",
        (subscription, partition),
    )


def _behind(writer: apsw.Connection, claim: Claim, sql: str, params: tuple[object, ...]) -> int:
    """The key row of a parked event that this changes. Nobody takes one away but who has the claim."""
    found = fetch(writer, sql, params)
    if not found:
        raise claim_lost(claim)
    return int(found[0][0])


def _row(behind: int, claim: Claim, event: Parked) -> tuple[object, ...]:
    envelope = event.envelope
    return (
        behind,
        claim.partition,
        event.offset,
        envelope.id,
        envelope.type,
        envelope.version,
        envelope.source,
        to_micros(envelope.time),
        msgspec.json.encode(envelope.extensions) if envelope.extensions else None,
        event.value,
    )
