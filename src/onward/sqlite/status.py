"""How each service stands on each topic: what waits, who holds what, what died."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onward.ledger import IntervalSet
from onward.sqlite.accounts import Account, Subscribed, subscriptions
from onward.sqlite.inspection import Inspection


@dataclass(frozen=True, slots=True)
class Holder:
    """A partition, and the process that reads it: None when no living process does."""

    partition: int
    lag: int
    pid: int | None
    member: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """One subscription: `handled` counts events from its start on, `rate_per_s` is None before a second look."""

    service: str
    subscription: str
    topic: str
    handlers: tuple[str, ...]
    lag: int
    handled: int
    dead_letters: int
    retrying: int
    holders: tuple[Holder, ...]
    rate_per_s: float | None = None

    @property
    def title(self) -> tuple[str, str, str]:
        return self.service, self.subscription, self.topic


@dataclass(frozen=True, slots=True)
class Held:
    """One topic: events and bytes of values that are kept, and delayed events that are to come."""

    topic: str
    partitions: int
    events: int
    bytes: int
    delayed: int


@dataclass(frozen=True, slots=True)
class Status:
    """A whole file at one moment."""

    database: str
    subscriptions: tuple[Standing, ...]
    topics: tuple[Held, ...]


def status(inspection: Inspection) -> Status:
    """Raises StoreError."""
    members = {member.id: member for member in inspection.members()}
    with inspection.snapshot():
        leases = {
            (group, topic, partition): member
            for group, topic, partition, member in inspection.rows(
                "SELECT group_name, topic, partition, member FROM onward_lease"
            )
        }
        letters = {
            subscription: (dead, retrying)
            for subscription, dead, retrying in inspection.rows(
                "SELECT subscription, sum(state = 'dead'), sum(state = 'retrying') FROM onward_dead_letter"
                " WHERE state IN ('dead', 'retrying') GROUP BY subscription"
            )
        }
        standings: list[Standing] = []
        for found in subscriptions(inspection):
            holders: list[Holder] = []
            for account in found.accounts:
                member = members.get(leases.get((found.group, found.topic_id, account.partition)) or "")
                pid, name = (member.pid, member.id) if member is not None else (None, None)
                holders.append(Holder(account.partition, account.lag, pid, name))
            standings.append(_standing(found, holders, *letters.get(found.id, (0, 0))))
        topics = inspection.rows(
            "SELECT t.name, t.partitions, sum(l.next_offset - l.first_offset), sum(l.bytes), t.delayed"
            " FROM onward_topic t JOIN onward_lane l ON l.topic = t.id GROUP BY t.id ORDER BY t.name"
        )
    return Status(str(inspection.path), tuple(standings), tuple(Held(*row) for row in topics))


def with_rates(before: Status, after: Status, seconds: float) -> Status:
    """The later one, with the rate at which each subscription handled events in between."""
    handled = {each.title: each.handled for each in before.subscriptions}
    return replace(
        after,
        subscriptions=tuple(
            replace(each, rate_per_s=max(0, each.handled - handled.get(each.title, each.handled)) / seconds)
            for each in after.subscriptions
        ),
    )


def _standing(found: Subscribed, holders: list[Holder], dead: int, retrying: int) -> Standing:
    return Standing(
        service=found.service,
        subscription=found.name,
        topic=found.topic,
        handlers=tuple(handler.name for handler in found.handlers),
        lag=sum(account.lag for account in found.accounts),
        handled=sum(_handled(account) for account in found.accounts),
        dead_letters=dead,
        retrying=retrying,
        holders=tuple(holders),
    )


def _handled(account: Account) -> int:
    beyond = IntervalSet.from_bytes(account.beyond).count if account.beyond else 0
    return account.next - account.start + beyond
