"""The ends of logs that the store does not hold, and who reads them, asked from the broker that does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from onward.errors import BrokerError
from onward.inspection.accounts import Account, Subscribed
from onward.inspection.sums import Kept
from onward.inspection.view import Bounds, LogsView
from onward.ledger import IntervalSet

NO_BROKER = (
    "The ends of logs are not known: name the broker with --broker or ONWARD_BROKER. What waits beyond the accounts'"
    " positions was not looked at."
)


@dataclass(frozen=True, slots=True)
class Ends:
    """By topic and partition; `unknown` says why some are not there, "" where none lacks.

    `readers` has the partitions that living members read, by group and topic, where that is sure.
    """

    bounds: Mapping[tuple[str, int], Bounds] = field(default_factory=dict)
    unknown: str = ""
    readers: Mapping[tuple[str, str], Collection[int]] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """How many offsets there are between firsts and ends."""
        return sum(end - first for first, end in self.bounds.values())

    def is_sure(self, each: Subscribed, account: Account) -> bool:
        """Whether the account's owner, None among them, is who holds it."""
        return account.owner is None or (each.group, each.topic) in self.readers

    def kept(self, place: tuple[str, int]) -> Kept | None:
        """What there is of a partition's log, as far as the broker tells: all between its bounds."""
        if place not in self.bounds:
            return None
        first, end = self.bounds[place]
        return Kept(first, end, IntervalSet.of(range(first, end)))


def ask(logs: LogsView | None, found: Iterable[Subscribed]) -> Ends:
    """Of all topics whose logs are elsewhere. To be called after the accounts were read. Raises BrokerError."""
    topics = sorted({each.topic for each in found if each.elsewhere})
    if not topics:
        return Ends()
    if logs is None:
        return Ends(unknown=NO_BROKER)
    told = logs.bounds(topics)
    bounds = {(topic, partition): each for topic in told for partition, each in enumerate(told[topic])}
    absent = [topic for topic in topics if not told.get(topic)]
    unknown = f"The broker has no topic {', '.join(absent)}: what waited there was not looked at." if absent else ""
    return Ends(bounds, unknown)


def ask_if_answered(logs: LogsView | None, found: Collection[Subscribed]) -> Ends:
    """The same with readers, for who goes on without a broker that fails."""
    try:
        ends = ask(logs, found)
    except BrokerError as error:
        return Ends(unknown=f"The ends of logs are not known: {error}")
    there = {topic for topic, _ in ends.bounds}
    groups = {(each.group, each.topic) for each in found if each.elsewhere and each.topic in there}
    return replace(ends, readers=logs.readers(groups)) if logs is not None and groups else ends


def with_ends(found: Iterable[Subscribed], ends: Ends) -> list[Subscribed]:
    """The same subscriptions, with what is known of the logs elsewhere: their ends, and that nobody reads them."""
    return [_completed(each, ends) if each.elsewhere else each for each in found]


def _completed(each: Subscribed, ends: Ends) -> Subscribed:
    read = ends.readers.get((each.group, each.topic))
    return replace(
        each,
        accounts=[
            replace(
                account,
                end=ends.bounds.get((each.topic, account.partition), (0, None))[1],
                owner=account.owner if read is None or account.partition in read else None,
            )
            for account in each.accounts
        ],
    )
