"""How each service stands on each topic: what waits, who holds what, what died, what is on its way out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onward.inspection.accounts import Subscribed


@dataclass(frozen=True, slots=True)
class Holder:
    """A partition, and who reads it: None when no living process does.

    Where it is not `sure`, that process claimed it last and has not given it back, and may be dead. `lag` is None where
    the end of the partition is not known, `pid` where the process may be on another machine.
    """

    partition: int
    lag: int | None
    pid: int | None
    member: str | None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """One subscription: `handled` counts events from its start on, `rate_per_s` is None before a second look.

    `parked` events wait behind a dead letter of their key, once for each handler that they wait for.
    """

    service: str
    subscription: str
    topic: str
    handlers: tuple[str, ...]
    lag: int | None
    handled: int
    dead_letters: int
    retrying: int
    parked: int
    holders: tuple[Holder, ...]
    rate_per_s: float | None = None

    @property
    def title(self) -> tuple[str, str, str]:
        return self.service, self.subscription, self.topic


@dataclass(frozen=True, slots=True)
class Held:
    """One topic whose log the store holds: events and bytes of values kept, and delayed events that are to come."""

    topic: str
    partitions: int
    events: int
    bytes: int
    delayed: int


@dataclass(frozen=True, slots=True)
class Barred:
    """A topic that takes no events now, and why, as the relay that led last found."""

    topic: str
    why: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """A service's outbox: for how long its oldest event has waited, None where none does; whether a relay leads.

    `refused` are events that the broker will never take, and that are kept apart. Events of `barred` topics wait, and
    what must not go before them; the others go on.
    """

    service: str
    oldest_age_s: float | None
    led: bool
    refused: int = 0
    barred: tuple[Barred, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A whole store at one moment. `unknown` says why ends of logs are not known, "" where they are."""

    database: str
    subscriptions: tuple[Standing, ...]
    topics: tuple[Held, ...]
    outboxes: tuple[Leaving, ...] = ()
    unknown: str = ""


def standing(found: Subscribed, holders: list[Holder], dead: int, retrying: int, parked: int) -> Standing:
    return Standing(
        service=found.service,
        subscription=found.name,
        topic=found.topic,
        handlers=tuple(handler.name for handler in found.handlers),
        lag=found.lag,
        handled=sum(account.handled for account in found.accounts),
        dead_letters=dead,
        retrying=retrying,
        parked=parked,
        holders=tuple(holders),
    )


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
