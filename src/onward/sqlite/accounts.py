"""What the file says of every subscription: its handlers, its accounts, and the ends of its partitions."""

from __future__ import annotations

import json

from onward.inspection.accounts import Account, Registered, Subscribed
from onward.sqlite.inspection import Inspection


def subscriptions(inspection: Inspection) -> list[Subscribed]:
    """All live subscriptions by service, topic and name; those to logs that another broker holds, without ends."""
    handlers: dict[int, list[Registered]] = {}
    for subscription, name, kind, start, types, joined in inspection.rows(
        "SELECT subscription, name, kind, start, types, joined FROM onward_handler ORDER BY subscription, name"
    ):
        found = Registered(name, kind, start, tuple(json.loads(types)), tuple(json.loads(joined)))
        handlers.setdefault(subscription, []).append(found)
    live = {
        key: Subscribed(key, service, name, topic, tuple(handlers.get(key, ())), elsewhere=bool(elsewhere))
        for key, service, name, topic, elsewhere in inspection.rows(
            "SELECT s.id, s.service, s.name, t.name, t.broker <> '' FROM onward_subscription s"
            " JOIN onward_topic t ON t.id = s.topic WHERE s.retired_at IS NULL ORDER BY s.service, t.name, s.name"
        )
    }
    for subscription, *account in inspection.rows(
        "SELECT a.subscription, a.partition, a.start_offset, a.next_offset, a.beyond, a.owner,"
        " CASE WHEN t.broker = '' THEN l.next_offset END"
        " FROM onward_account a JOIN onward_subscription s ON s.id = a.subscription"
        " JOIN onward_topic t ON t.id = s.topic JOIN onward_lane l ON l.topic = s.topic AND l.partition = a.partition"
        " WHERE s.retired_at IS NULL ORDER BY a.subscription, a.partition"
    ):
        live[subscription].accounts.append(Account(*account))
    return list(live.values())
