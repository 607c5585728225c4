"""The ends of logs that the store does not hold, asked from the broker that does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from onward.errors import BrokerError
from onward.inspection.accounts import Subscribed
from onward.inspection.sums import Kept
from onward.inspection.view import Bounds, LogsView
from onward.ledger import IntervalSet

NO_BROKER = (
    "The ends of logs are not known: name the broker with --broker or ONWARD_BROKER. What waits beyond the accounts'"
    " positions was not looked at."
)


@dataclass(frozen=True, slots=True)
class Ends:
    """By topic and partition; `unknown` says why some are not there, "" where none lacks."""

    bounds: Mapping[tuple[str, int], Bounds] = field(default_factory=dict)
    unknown: str = ""

    @property
    def events(self) -> int:
        """How many offsets there are between firsts and ends."""
        return sum(end - first for first, end in self.bounds.values())

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


def ask_if_answered(logs: LogsView | None, found: Iterable[Subscribed]) -> Ends:
    """The same, for who goes on without a broker that fails."""
    try:
        return ask(logs, found)
    except BrokerError as error:
        return Ends(unknown=f"The ends of logs are not known: {error}")


def with_ends(found: Iterable[Subscribed], ends: Ends) -> list[Subscribed]:
    """The same subscriptions, with those ends that are known of the logs elsewhere."""
    completed = []
    for each in found:
        if each.elsewhere:
            accounts = [
                replace(account, end=ends.bounds.get((each.topic, account.partition), (0, None))[1])
                for account in each.accounts
            ]
            each = replace(each, accounts=accounts)
        completed.append(each)
    return completed
