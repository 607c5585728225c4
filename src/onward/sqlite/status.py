"""How each service stands on each topic of a file: what waits, who holds what, what died."""

from __future__ import annotations

from onward.inspection.ends import ask_if_answered, with_ends
from onward.inspection.status import Held, Holder, Standing, Status, standing
from onward.inspection.view import LogsView
from onward.sqlite.accounts import subscriptions
from onward.sqlite.inspection import Inspection
from onward.sqlite.leaving import outboxes


def status(inspection: Inspection, logs: LogsView | None = None) -> Status:
    """Raises StoreError."""
    members = {member.id: member for member in inspection.members()}
    with inspection.snapshot():
        leases = {
            (group, topic, partition): member
            for group, topic, partition, member in inspection.rows(
                "SELECT l.group_name, t.name, l.partition, l.member FROM onward_lease l"
                " JOIN onward_topic t ON t.id = l.topic"
            )
        }
        letters = {
            subscription: (dead, retrying)
            for subscription, dead, retrying in inspection.rows(
                "SELECT subscription, sum(state = 'dead'), sum(state = 'retrying') FROM onward_dead_letter"
                " WHERE state IN ('dead', 'retrying') GROUP BY subscription"
            )
        }
        parked = dict(inspection.rows("SELECT subscription, sum(waiting) FROM onward_blocked GROUP BY subscription"))
        found = subscriptions(inspection)
        topics = inspection.rows(
            "SELECT t.name, t.partitions, sum(l.next_offset - l.first_offset), sum(l.bytes), t.delayed"
            " FROM onward_topic t JOIN onward_lane l ON l.topic = t.id WHERE t.broker = ''"
            " GROUP BY t.id ORDER BY t.name"
        )
        leaving = outboxes(inspection)
    ends = ask_if_answered(logs, found)
    standings: list[Standing] = []
    for each in with_ends(found, ends):
        holders: list[Holder] = []
        for account in each.accounts:
            reader = account.owner if each.elsewhere else leases.get((each.group, each.topic, account.partition))
            member = members.get(reader or "")
            pid, name = (member.pid, member.id) if member is not None else (None, None)
            holders.append(Holder(account.partition, account.lag, pid, name))
        standings.append(standing(each, holders, *letters.get(each.id, (0, 0)), parked.get(each.id, 0)))
    held = tuple(Held(*row) for row in topics)
    return Status(str(inspection.path), tuple(standings), held, tuple(leaving), ends.unknown)
