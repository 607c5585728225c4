"""What the file says of every subscription: its handlers, its accounts, and the ends of its partitions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from onward.errors import StoreCorruptError
from onward.ledger import IntervalSet, Position
from onward.sqlite.inspection import Inspection


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler on record; `joined` is the first offset it is owed, per partition."""

    name: str
    kind: str
    start: str
    types: tuple[str, ...]
    joined: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """One partition of a subscription beside the bounds of the log there; `moved_at` in seconds since the epoch."""

    partition: int
    start: int
    next: int
    beyond: bytes | None
    owner: str | None
    unclean: int
    moved_at: float | None
    first: int
    end: int

    @property
    def position(self) -> Position:
        """Raises StoreCorruptError for a row that no sequence of commits leads to."""
        try:
            beyond = IntervalSet.from_bytes(self.beyond) if self.beyond else IntervalSet()
            return Position(self.start, self.next, beyond)
        except ValueError as error:
            raise StoreCorruptError(f"The account of partition {self.partition} is damaged: {error}") from error

    @property
    def lag(self) -> int:
        """Events published here that are not handled yet."""
        try:
            return self.position.in_flight(self.end)
        except StoreCorruptError:
            return max(0, self.end - self.next)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription that is not retired."""

    id: int
    service: str
    name: str
    topic: str
    topic_id: int
    handlers: tuple[Registered, ...]
    accounts: list[Account] = field(default_factory=list)

    @property
    def group(self) -> str:
        """The name its partitions are leased under."""
        return self.service if self.name == "transactional" else f"{self.service}.{self.name}"

    @property
    def title(self) -> str:
        return f"{self.service}/{self.name} on {self.topic}"


def subscriptions(inspection: Inspection) -> list[Subscribed]:
    """All live subscriptions by service, topic and name."""
    handlers: dict[int, list[Registered]] = {}
    for subscription, name, kind, start, types, joined in inspection.rows(
        "SELECT subscription, name, kind, start, types, joined FROM onward_handler ORDER BY subscription, name"
    ):
        found = Registered(name, kind, start, tuple(json.loads(types)), tuple(json.loads(joined)))
        handlers.setdefault(subscription, []).append(found)
    live = {
        key: Subscribed(key, service, name, topic, topic_id, tuple(handlers.get(key, ())))
        for key, service, name, topic, topic_id in inspection.rows(
            "SELECT s.id, s.service, s.name, t.name, t.id FROM onward_subscription s"
            " JOIN onward_topic t ON t.id = s.topic WHERE s.retired_at IS NULL ORDER BY s.service, t.name, s.name"
        )
    }
    for subscription, *account in inspection.rows(
        "SELECT a.subscription, a.partition, a.start_offset, a.next_offset, a.beyond, a.owner, a.unclean, a.moved_at,"
        " l.first_offset, l.next_offset FROM onward_account a JOIN onward_subscription s ON s.id = a.subscription"
        " JOIN onward_lane l ON l.topic = s.topic AND l.partition = a.partition"
        " WHERE s.retired_at IS NULL ORDER BY a.subscription, a.partition"
    ):
        live[subscription].accounts.append(Account(*account))
    return list(live.values())
