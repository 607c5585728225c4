"""Blocked keys and the events parked behind them, in a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from onward.ports import Claim, Parked, Queues, Settlement
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import Session
from onward.stores.postgres.text import storable
from onward.stores.settling import MOST_AT_ONCE, blocked_here, claim_lost, parked_event

_BLOCKED = (
    "SELECT handler, key, partition, (SELECT count(*) FROM onward.account WHERE subscription = $1)"
    " FROM onward.blocked WHERE subscription = $1"
)
_BLOCK = (
    "INSERT INTO onward.blocked (subscription, handler, key, partition, letter) SELECT $1, $2, $3, $4, id"
    ' FROM onward.dead_letter WHERE (subscription, partition, "offset", handler) = ($1, $5, $6, $2)'
    " ON CONFLICT (subscription, handler, sha256(key)) DO UPDATE SET letter = excluded.letter,"
    " partition = excluded.partition, due_at = NULL"
)
_BEHIND = (
    "INSERT INTO onward.blocked AS k (subscription, handler, key, partition, waiting) VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (subscription, handler, sha256(key)) DO UPDATE SET waiting = k.waiting + excluded.waiting,"
    " partition = CASE WHEN k.letter IS NULL THEN excluded.partition ELSE k.partition END"
)
_PARK = (
    'INSERT INTO onward.parked (blocked, partition, "offset", event_id, event_type, event_version, event_source,'
    " event_time, extra, value) SELECT id, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM onward.blocked"
    " WHERE subscription = $1 AND handler = $2 AND sha256(key) = sha256($3)"
)
_UNPARK = (
    "WITH gone AS (DELETE FROM onward.parked WHERE id = $1 RETURNING blocked)"
    " UPDATE onward.blocked k SET waiting = k.waiting - 1, due_at = NULL FROM gone WHERE k.id = gone.blocked"
)
_PUT_OFF = (
    "WITH tried AS (UPDATE onward.parked SET attempts = $2, begun = $3, error = $4, fingerprint = $5, first_at = $6"
    " WHERE id = $1 RETURNING blocked)"
    " UPDATE onward.blocked k SET due_at = $7 FROM tried WHERE k.id = tried.blocked"
)
# The key's row itself goes with the last event that is parked behind it, by who has its partition claimed.
DECIDED = "UPDATE onward.blocked SET letter = NULL, due_at = NULL WHERE letter = ANY($1::bigint[])"
_FREE = (
    "DELETE FROM onward.blocked WHERE subscription = $1 AND handler = $2 AND sha256(key) = sha256($3)"
    " AND letter IS NULL AND waiting = 0"
)
_LOCK = (
    "SELECT 1 FROM onward.blocked WHERE id IN (SELECT k.id FROM unnest($2::text[], $3::bytea[]) AS touched (name, key)"
    "  JOIN onward.blocked k ON k.subscription = $1 AND k.handler = name AND sha256(k.key) = sha256(touched.key)"
    " UNION SELECT id FROM onward.blocked WHERE letter = ANY($4::bigint[]))"
    ' ORDER BY subscription, handler COLLATE "C", key FOR UPDATE'
)
_LOCK_ACCOUNT = "SELECT 1 FROM onward.account WHERE subscription = $1 AND partition = $2 FOR UPDATE"
# Under the lock nobody parks anything behind them, so that what is empty stays it.
_EMPTY = (
    "SELECT handler, key FROM onward.blocked WHERE subscription = $1 AND partition = $2 AND letter IS NULL"
    ' AND waiting = 0 ORDER BY handler COLLATE "C", key LIMIT 100 FOR UPDATE'
)
_GOING_ON = (
    "SELECT id FROM onward.blocked WHERE subscription = $1 AND partition = $2 AND letter IS NULL AND waiting > 0"
    " AND (due_at IS NULL OR due_at <= $3) ORDER BY id LIMIT 100"
)
_DUE = (  # with a limit that the planner knows, or it would read all that is parked
    'SELECT p.id, p.partition, p."offset", k.handler, p.attempts, p.begun, p.error, p.fingerprint, p.event_id,'
    " p.event_type, p.event_version, p.event_source, p.extra, p.value, p.first_at, p.event_time, k.key"
    " FROM unnest($1::bigint[]) going (id) JOIN onward.blocked k ON k.id = going.id CROSS JOIN LATERAL"
    " (SELECT * FROM onward.parked WHERE blocked = k.id ORDER BY blocked, id LIMIT {share}) p ORDER BY k.id, p.id"
)
_SHARES = (100, 20, 5, 1)  # of one key, the fewer the more keys go on
_DUE_BY_SHARE = {share: _DUE.format(share=share) for share in _SHARES}
ANEW = (  # no dead letter, which has its own id below 0, is that low
    'UPDATE onward.parked p SET "offset" = -p.id - (1::bigint << 48) FROM onward.blocked k'
    ' WHERE k.id = p.blocked AND k.subscription = $1 AND p.partition = $2 AND p."offset" >= 0'
)


async def blocked(session: Session, subscription: int, partition: int, doing: str) -> set[tuple[str, str]]:
    """The (handler, key)s whose events are parked, as far as they come on this partition."""
    found = await session.run(_BLOCKED, (subscription,), doing)
    if not found.rows:
        return set()
    return blocked_here(
        ((name, key.decode(), where) for name, key, where, _ in found.rows), partition, found.rows[0][3]
    )


async def queues(session: Session, claim: Claim, now: float) -> Queues:
    where = (claim.subscription, claim.partition)
    doing = "Looking for parked events"
    await session.run(_LOCK_ACCOUNT, where, doing)  # before any key, as every commit does
    empty = await session.run(_EMPTY, where, doing)
    going_on = await session.run(_GOING_ON, (*where, datetime.fromtimestamp(now, UTC)), doing)
    due: list[Parked] = []
    if going_on.rows:
        share = next(each for each in _SHARES if each <= MOST_AT_ONCE // len(going_on.rows))
        found = await session.run(_DUE_BY_SHARE[share], ([blocked_id for (blocked_id,) in going_on.rows],), doing)
        due = [
            parked_event(claim, row, at.timestamp() if at else 0.0, time.astimezone(UTC), key.decode())
            for *row, at, time, key in found.rows
        ]
    return Queues(due, [(handler, key.decode()) for handler, key in empty.rows])


def locked(claim: Claim, done: Settlement) -> Iterator[Command]:
    """The rows of all keys that a commit says something of, locked in one order, behind that of its account.

    Events of a key may come on several partitions, where a topic got more: their commits do not wait for each other.
    """
    touched = {letter.place for letter in done.dead if letter.place is not None}
    touched.update(event.place for event in (*done.unparked, *done.parked, *(tried for tried, _ in done.put_off)))
    if touched or done.revived:
        handlers, keys = zip(*map(_stored, touched), strict=True) if touched else ((), ())
        yield Command(_LOCK, [(claim.subscription, list(handlers), list(keys), done.revived)])


def settle_parked(claim: Claim, done: Settlement) -> Iterator[Command]:
    """What a commit says of keys; its dead letters are written already, and those retried are settled."""
    where = claim.subscription
    rows = [
        (where, *_stored(letter.place), claim.partition, letter.envelope.partition, letter.offset)
        for letter in done.dead
        if letter.place is not None
    ]
    if rows:
        yield Command(_BLOCK, rows)
    if done.revived:
        yield Command(DECIDED, [(done.revived,)])
    for event in done.unparked:
        yield Command(_UNPARK, [(event.id,)], claim_lost(claim))
    for event, due in done.put_off:
        row = (
            event.id,
            event.attempts,
            event.begun,
            storable(event.error),
            event.fingerprint,
            _time(event.first_at),
            _time(due),
        )
        yield Command(_PUT_OFF, [row], claim_lost(claim))
    if done.parked:
        counts = Counter(event.place for event in done.parked)
        yield Command(_BEHIND, [(where, *_stored(each), claim.partition, counts[each]) for each in counts])
        yield Command(_PARK, [_row(claim, event) for event in done.parked])
    for place in done.freed:
        yield Command(_FREE, [(where, *_stored(place))], claim_lost(claim))


def _row(claim: Claim, event: Parked) -> tuple[object, ...]:
    envelope = event.envelope
    return (
        claim.subscription,
        *_stored(event.place),
        claim.partition,
        event.offset,
        storable(envelope.id),
        storable(envelope.type),
        envelope.version,
        storable(envelope.source),
        envelope.time,
        msgspec.json.encode(envelope.extensions) if envelope.extensions else None,
        event.value,
    )


def _stored(place: tuple[str, str]) -> tuple[str, bytes]:
    handler, key = place
    return handler, key.encode()


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
