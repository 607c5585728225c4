"""Dead letters as people see them, and what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from onward.errors import StoreError
from onward.inspection.letter import MOST_LISTED, Letter, refused_letter, unknown_letter
from onward.inspection.view import Ruling
from onward.stores.postgres.inspection import Snapshot
from onward.stores.postgres.parking import DECIDED
from onward.stores.postgres.session import Session

_LETTERS = (
    'SELECT d.id, s.service, d.handler, s.topic, d.partition, d."offset", d.state, d.cause, d.error, d.detail,'
    " d.fingerprint, d.attempts, extract(epoch FROM d.first_at)::float8, extract(epoch FROM d.died_at)::float8,"
    " d.event_id, d.event_type, d.event_version, d.event_source, d.event_time, d.event_key, d.value,"
    " coalesce(k.waiting, 0) FROM onward.dead_letter d JOIN onward.subscription s ON s.id = d.subscription"
    " LEFT JOIN onward.blocked k ON k.letter = d.id"
)
_WAITING = (
    f"{_LETTERS} WHERE ($1::text IS NULL OR s.service = $1) AND d.state IN ('dead', 'retrying')"
    " ORDER BY d.id DESC LIMIT $2"
)
_ALL = f"{_LETTERS} WHERE ($1::text IS NULL OR s.service = $1) ORDER BY d.id DESC LIMIT $2"
_NAMED = f"{_LETTERS} WHERE d.id = ANY($1::bigint[])"
# What moves an account locks it first, and keys, letters and sums after it: whoever rules does the same.
_LOCK = (
    "SELECT 1 FROM onward.account a WHERE EXISTS (SELECT 1 FROM onward.dead_letter d"
    " WHERE (d.subscription, d.partition) = (a.subscription, a.partition)"
    " AND CASE WHEN $1::bigint[] IS NULL THEN d.state = 'dead' ELSE d.id = ANY($1) END)"
    " ORDER BY a.subscription, a.partition FOR UPDATE OF a"
)
# In the order of every commit: other partitions may have events of these keys.
_LOCK_KEYS = (
    "SELECT 1 FROM onward.blocked k JOIN onward.dead_letter d ON d.id = k.letter"
    " WHERE d.state = 'dead' AND ($1::bigint[] IS NULL OR d.id = ANY($1))"
    ' ORDER BY k.subscription, k.handler COLLATE "C", k.key FOR UPDATE OF k'
)
_RETRY = (
    "UPDATE onward.dead_letter d SET state = 'retrying' FROM onward.subscription s"
    " WHERE s.id = d.subscription AND s.retired_at IS NULL"
    " AND CASE WHEN $1::bigint[] IS NULL THEN d.state = 'dead'"
    "  ELSE d.id = ANY($1) AND d.state IN ('dead', 'retrying') END RETURNING d.id"
)
_DISCARD = (
    "UPDATE onward.dead_letter SET state = 'discarded'"
    " WHERE state = 'dead' AND ($1::bigint[] IS NULL OR id = ANY($1)) RETURNING id"
)
_COUNT_DISCARDED = (
    "UPDATE onward.tally t SET dead = t.dead - d.count, discarded = t.discarded + d.count FROM"
    " (SELECT subscription, partition, handler, count(*) FROM onward.dead_letter WHERE id = ANY($1::bigint[])"
    "  GROUP BY subscription, partition, handler) d"
    " WHERE (t.subscription, t.partition, t.handler) = (d.subscription, d.partition, d.handler)"
)
_WHY_NOT = (
    "SELECT d.state, s.retired_at IS NOT NULL FROM onward.dead_letter d"
    " JOIN onward.subscription s ON s.id = d.subscription WHERE d.id = $1"
)


async def letters(
    snapshot: Snapshot, ids: Sequence[int] | None, *, service: str | None, every_state: bool
) -> list[Letter]:
    """As `StoreView.letters`."""
    if ids is None:
        rows = await snapshot.rows(_ALL if every_state else _WAITING, service, MOST_LISTED)
        return [_letter(row) for row in rows]
    found = {row[0]: _letter(row) for row in await snapshot.rows(_NAMED, list(ids))}
    for letter_id in ids:
        if letter_id not in found:
            raise unknown_letter(letter_id)
    return [found[letter_id] for letter_id in ids]


async def rule(session: Session, ruling: Ruling, ids: Sequence[int] | None) -> int:
    """As `StoreView.rule`, inside a transaction of which nothing is to be kept when it raises."""
    retrying = ruling is Ruling.RETRY
    doing = "Retrying dead letters" if retrying else "Discarding dead letters"
    named = None if ids is None else list(dict.fromkeys(ids))
    await session.run(_LOCK, (named,), doing)
    if not retrying:
        await session.run(_LOCK_KEYS, (named,), doing)
    changed = await session.run(_RETRY if retrying else _DISCARD, (named,), doing)
    ruled = [letter_id for (letter_id,) in changed.rows]
    for letter_id in named or ():
        if letter_id not in ruled:
            raise await _refused(session, letter_id, "retried" if retrying else "discarded")
    if not retrying:
        await session.run(DECIDED, (ruled,), doing)
        await session.run(_COUNT_DISCARDED, (ruled,), doing)
    return len(ruled)


async def _refused(session: Session, letter_id: int, verb: str) -> StoreError:
    found = await session.run(_WHY_NOT, (letter_id,), "Looking for a dead letter")
    if not found.rows:
        return unknown_letter(letter_id)
    state, retired = found.one()
    return refused_letter(letter_id, verb, state, retired=retired)


def _letter(row: tuple[Any, ...]) -> Letter:
    *fields, time, key, value, waiting = row
    named = dict(zip(Letter.__dataclass_fields__, (*fields, time.astimezone(UTC)), strict=False))
    return Letter(**named, event_key=None if key is None else key.decode(), value=value, waiting=waiting)
