"""Events that a broker will never take as they are: shown, put back into their outbox, or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onward.inspection.letter import MOST_LISTED, Letter, refused_event, unknown_letter
from onward.inspection.view import Ruling
from onward.ports import Outgoing
from onward.stores.postgres.inspection import Snapshot
from onward.stores.postgres.outbox import append
from onward.stores.postgres.session import Session

_REFUSED = (
    "SELECT id, service, extract(epoch FROM refused_at)::float8, why, topic, type, version, value, key, extra,"
    " event_id, source FROM onward.refused"
)
_ALL = f"{_REFUSED} WHERE $1::text IS NULL OR service = $1 ORDER BY id DESC LIMIT $2"
_NAMED = f"{_REFUSED} WHERE id = ANY($1::bigint[])"
_TO_TAKE = f"{_REFUSED} WHERE $1::bigint[] IS NULL OR id = ANY($1) ORDER BY id FOR UPDATE"
_DELETE = "DELETE FROM onward.refused WHERE id = ANY($1::bigint[])"


async def refused(snapshot: Snapshot, ids: Sequence[int] | None, *, service: str | None) -> list[Letter]:
    """The newest first, at most 1,000; or those of `ids`. Raises StoreError for one that is not there."""
    if ids is None:
        return [_letter(row) for row in await snapshot.rows(_ALL, service, MOST_LISTED)]
    found = [_letter(row) for row in await snapshot.rows(_NAMED, [-each for each in ids])]
    _complete(ids, [each.id for each in found])
    return found


async def rule_on_refused(session: Session, ruling: Ruling, ids: Sequence[int] | None) -> int:
    """As `StoreView.rule`, inside a transaction of which nothing is to be kept when it raises."""
    doing = "Ruling on what a broker refused"
    rows = (await session.run(_TO_TAKE, (None if ids is None else [-each for each in ids],), doing)).rows
    _complete(ids or (), [-row[0] for row in rows])
    await session.run(_DELETE, ([row[0] for row in rows],), doing)
    if ruling is Ruling.RETRY:
        await session.send([each for row in rows for each in append([_event(row)], row[1])], doing)
    return len(rows)


def _complete(ids: Sequence[int], found: Sequence[int]) -> None:
    for letter_id in ids:
        if letter_id not in found:
            raise unknown_letter(letter_id)


def _letter(row: tuple[Any, ...]) -> Letter:
    row_id, service, refused_at, why, *_ = row
    return refused_event(row_id, service, refused_at, why, _event(row))


def _event(row: tuple[Any, ...]) -> Outgoing:
    topic, kind, version, value, key, *rest = row[4:]
    return Outgoing(topic, kind, version, value, None if key is None else key.decode(), *rest)
