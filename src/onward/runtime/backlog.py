"""What waits for each service of a file, whether or not a process of it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from onward.inspection.finding import nobody_runs
from onward.sqlite.accounts import subscriptions
from onward.sqlite.inspection import Inspection


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one service, by topic.

    lags:    events not handled yet; one counts for each subscription that is owed it.
    delayed: events that will come to the topics it reads, when they are due.
    idle:    by title, what is to be said of subscriptions that events wait for and no process runs.
    """

    lags: dict[str, int] = field(default_factory=dict)
    delayed: dict[str, int] = field(default_factory=dict)
    idle: dict[str, str] = field(default_factory=dict)


def backlog(database: str) -> dict[str, Backlog]:
    """By service. Blocks for some milliseconds: not for an event loop. Raises StoreError."""
    inspection = Inspection.open(database)
    try:
        delayed = dict(inspection.rows("SELECT name, delayed FROM onward_topic"))
        found: dict[str, Backlog] = {}
        claimed = {group for member in inspection.members() for group in member.groups}
        for each in subscriptions(inspection):
            service = found.setdefault(each.service, Backlog())
            if each.lag is None:  # its log is elsewhere: the processes that read it know more than the file
                continue
            service.lags[each.topic] = service.lags.get(each.topic, 0) + each.lag
            service.delayed[each.topic] = delayed[each.topic]
            if each.lag and each.group not in claimed:
                told = nobody_runs(each)
                service.idle[each.title] = f"{told.sentence}. {told.remedy}"
        return found
    finally:
        inspection.close()
