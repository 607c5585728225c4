"""How each service stands on each topic: what waits, who claimed what, what died."""

from __future__ import annotations

import asyncio

from onward.inspection.ends import ask_if_answered, with_ends
from onward.inspection.status import Holder, Status, standing
from onward.inspection.view import LogsView
from onward.stores.postgres.accounts import subscriptions
from onward.stores.postgres.inspection import Inspection
from onward.stores.postgres.leaving import outboxes

_LETTERS = (
    "SELECT subscription, count(*) FILTER (WHERE state = 'dead'), count(*) FILTER (WHERE state = 'retrying')"
    " FROM onward.dead_letter WHERE state IN ('dead', 'retrying') GROUP BY subscription"
)
_PARKED = "SELECT subscription, sum(waiting)::bigint FROM onward.blocked GROUP BY subscription"


async def status(inspection: Inspection, logs: LogsView | None) -> Status:
    """Who holds a partition is who claimed it last and has not given it back, if the broker has a reader of it."""
    async with inspection.snapshot() as snapshot:
        found = await subscriptions(snapshot)
        letters = {subscription: (dead, retrying) for subscription, dead, retrying in await snapshot.rows(_LETTERS)}
        parked = dict(await snapshot.rows(_PARKED))
    leaving = await outboxes(inspection)
    ends = await asyncio.to_thread(ask_if_answered, logs, found)
    standings = [
        standing(
            each,
            [
                Holder(account.partition, account.lag, None, account.owner, sure=ends.is_sure(each, account))
                for account in each.accounts
            ],
            *letters.get(each.id, (0, 0)),
            parked.get(each.id, 0),
        )
        for each in with_ends(found, ends)
    ]
    return Status(str(inspection.address), tuple(standings), (), tuple(leaving), ends.unknown)
