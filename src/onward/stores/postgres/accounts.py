"""What a database says of every subscription, and of what became of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onward.inspection.accounts import Account, Registered, Subscribed
from onward.inspection.sums import Accounts, Came, Moved, Place, sums_of
from onward.stores.postgres.inspection import Snapshot

_SUBSCRIPTIONS = (
    "SELECT id, service, name, topic FROM onward.subscription WHERE retired_at IS NULL ORDER BY service, topic, name"
)
_HANDLERS = "SELECT subscription, name, kind, start, types, joined FROM onward.handler ORDER BY subscription, name"
_ACCOUNTS = (
    "SELECT a.subscription, a.partition, a.start_offset, a.next_offset, a.beyond,"
    " CASE WHEN a.token IS NOT NULL THEN a.owner END, NULL FROM onward.account a"
    " JOIN onward.subscription s ON s.id = a.subscription WHERE s.retired_at IS NULL"
    " ORDER BY a.subscription, a.partition"
)
_SUMS = "SELECT subscription, partition, handler, succeeded, dead, discarded, skipped FROM onward.tally"
_PARKED = (
    "SELECT k.subscription, p.partition, k.handler, count(*) FROM onward.parked p"
    " JOIN onward.blocked k ON k.id = p.blocked GROUP BY 1, 2, 3"
)
_MOVED = (
    "SELECT h.subscription, h.partition, s.service || '/' || s.name || ' on ' || s.topic, h.from_offset, h.to_offset,"
    " h.anew, h.lost, h.why, to_char(h.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), h.id,"
    " coalesce(to_char(h.accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '') FROM onward.shift h"
    " JOIN onward.subscription s ON s.id = h.subscription WHERE s.retired_at IS NULL ORDER BY h.id"
)
# Whole is what is written as one interval from 1 on: the format, the 1, and one varint without a padding.
WHOLE = "owed_from = 1 AND encode(done, 'hex') ~ '^0101([0-7].|([89a-f].){1,7}(0[1-9a-f]|[1-7].))$'"
_PRODUCERS = "SELECT subscription, partition, incarnation, owed_from, done FROM onward.producer"
_CAME = f"{_PRODUCERS} WHERE NOT ({WHOLE}) ORDER BY subscription, partition, incarnation"


async def subscriptions(snapshot: Snapshot) -> list[Subscribed]:
    """All live ones by service, topic and name; the ends of their partitions are for the broker to say."""
    handlers: dict[int, list[Registered]] = {}
    for subscription, name, kind, start, types, joined in await snapshot.rows(_HANDLERS):
        handlers.setdefault(subscription, []).append(Registered(name, kind, start, tuple(types), tuple(joined)))
    live = {
        key: Subscribed(key, service, name, topic, tuple(handlers.get(key, ())), elsewhere=True)
        for key, service, name, topic in await snapshot.rows(_SUBSCRIPTIONS)
    }
    for subscription, *account in await snapshot.rows(_ACCOUNTS):
        live[subscription].accounts.append(Account(*account))
    return list(live.values())


async def accounts(snapshot: Snapshot) -> Accounts:
    sums = sums_of(await snapshot.rows(_SUMS), await snapshot.rows(_PARKED))
    came: dict[Place, list[Came]] = {}
    for subscription, partition, *numbers in await snapshot.rows(_CAME):
        came.setdefault((subscription, partition), []).append(Came(*numbers))
    return Accounts(await subscriptions(snapshot), sums, moved=_moved(await snapshot.rows(_MOVED)), came=came)


def _moved(rows: Iterable[tuple[Any, ...]]) -> dict[Place, list[Moved]]:
    moved: dict[Place, list[Moved]] = {}
    for subscription, partition, title, *what in rows:
        moved.setdefault((subscription, partition), []).append(Moved(title, partition, *what))
    return moved
