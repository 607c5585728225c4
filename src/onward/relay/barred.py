"""What may not leave an outbox now, because its topic takes no events or because it must not pass what waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from onward.errors import BrokerError, EncodeError
from onward.ledger import Lane
from onward.ports import Outgoing
from onward.relay.columns import Columns
from onward.relay.port import ASIDE, NOWHERE, OutboxRow
from onward.relay.suspects import Fronts, Suspects

Answer = int | EncodeError | BrokerError
"""What an outlet says of an event: its partition, that it will never be taken, or that its topic takes none now."""


class BarredTopic(NamedTuple):
    """Why a topic takes no events, and one of those that wait, to ask with again."""

    why: BrokerError
    event: Outgoing


class Barred:
    """Topics that take no events, and lanes in which something waits. A row waits as a whole, and in it all its events.

    Holds as much as there are topics and partitions, however much waits. Nothing is taken back: once a topic takes
    events again, go through what waits from its front, with another one of these.
    """

    def __init__(self, suspects: Suspects) -> None:
        self.topics: dict[str, BarredTopic] = {}
        self.fronts = Fronts(suspects)
        self._suspects = suspects
        self._keyed: set[Lane] = set()
        self._numbered: set[Lane] = set()

    def __bool__(self) -> bool:
        return bool(self.topics)

    def why(self, topic: str) -> BrokerError | None:
        barred = self.topics.get(topic)
        return self._suspects.why(topic) if barred is None else barred.why

    def whys(self) -> dict[str, str]:
        """By topic, in words."""
        return {topic: str(self._suspects.why(topic) or each.why) for topic, each in sorted(self.topics.items())}

    def stays(self, row: OutboxRow, answers: Sequence[Answer]) -> bool:
        """Whether the row has to wait, for what its outlet says of each event; asked row by row, in their order.

        Behind one that waits, events with a key wait in its lanes; behind one that has numbers, all of them do.
        """
        waits = False
        for event, answer in zip(row.events, answers, strict=True):
            if isinstance(answer, BrokerError):
                self.topics.setdefault(event.topic, BarredTopic(answer, event))
                waits = True
        if row.stamp is not None and row.stamp.epoch != ASIDE:
            lanes = [
                (event.topic, place[0])
                for event, place in zip(row.events, row.stamp.places, strict=True)
                if place != NOWHERE
            ]
            waits = waits or not self._numbered.isdisjoint(lanes)
            if waits:
                self.fronts.note(row)
                self._numbered.update(lanes)
            return waits
        placed = [(event, answer) for event, answer in zip(row.events, answers, strict=True) if isinstance(answer, int)]
        keyed = [(event.topic, partition) for event, partition in placed if event.key is not None]
        waits = (
            waits
            or not self._keyed.isdisjoint(keyed)
            or not self._numbered.isdisjoint((event.topic, partition) for event, partition in placed)
        )
        if waits:
            self._keyed.update(keyed)
        return waits


async def ask_of_open(
    columns: Columns,
    why: Callable[[str], BrokerError | None],
    ask: Callable[[Columns], Awaitable[Sequence[Answer]]],
) -> list[Answer]:
    """An answer for each event: `why` its topic takes none, and what `ask` says of those of which that gives None."""
    whys = list(map(why, columns.topic_of_each()))
    asked = [place for place, known in enumerate(whys) if known is None]
    found = iter(await ask(columns.only(asked)) if asked else [])
    return [next(found) if known is None else known for known in whys]
