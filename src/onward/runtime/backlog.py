"""What waits for each service of a file, whether or not a process of it runs."""

from __future__ import annotations

from onward.sqlite.accounts import subscriptions
from onward.sqlite.inspection import Inspection


def backlog(database: str) -> dict[str, dict[str, int]]:
    """Events not handled yet, by service and topic; an event counts for each subscription that is owed it.

    Blocks for some milliseconds: not for an event loop. Raises StoreError.
    """
    inspection = Inspection.open(database)
    try:
        found: dict[str, dict[str, int]] = {}
        for each in subscriptions(inspection):
            topics = found.setdefault(each.service, {})
            topics[each.topic] = topics.get(each.topic, 0) + sum(account.lag for account in each.accounts)
        return found
    finally:
        inspection.close()
