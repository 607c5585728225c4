"""What a relay needs of a store's outbox."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from onward.errors import BrokerError, EncodeError
from onward.ports import Outgoing
from onward.relay.columns import Columns, joined


def outbox_of(service: str) -> str:
    """Told among the topics that grew when something was put into this service's outbox."""
    return f"(outbox of {service})"


class Term(NamedTuple):
    """One relay's time at an outbox, and the incarnation under which it numbers, from 1 in every lane."""

    epoch: int  # rises with each term
    token: bytes
    incarnation: bytes  # a UUIDv7: it says when it was opened


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """The place of a row's events in the broker: partition and number of each, and who gave them."""

    epoch: int
    turn: int  # the row's place among those of the epoch, rising
    incarnation: bytes
    places: tuple[tuple[int, int], ...]


ASIDE = 0
"""The epoch of what waits apart from the others: its topic takes no events, or it must not pass what waits there. Its
`turn` is its place among them. Terms have higher ones."""

NOWHERE = (-1, 0)
"""The place of an event that its broker will never take: it gets no number, and is not sent."""


class Refused(NamedTuple):
    """An event that its broker will never take, and why, in words."""

    event: Outgoing
    why: str


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """Events that one transaction published, in order; `stamp` is None until they have numbers or were set aside.

    Thousands are on their way at a time: neither they nor their stamps are followed by the garbage collector.
    """

    id: int
    created: int  # microseconds since the epoch
    columns: Columns
    stamp: Stamp | None = None

    @property
    def events(self) -> list[Outgoing]:
        """For what is rare."""
        return list(self.columns.events)

    def singly(self) -> list[OutboxRow]:
        """A row for each event that has a number."""
        assert self.stamp is not None
        return [self.only(at) for at, place in enumerate(self.stamp.places) if place != NOWHERE]

    def only(self, at: int) -> OutboxRow:
        """One of its events, which has a number."""
        assert self.stamp is not None
        stamp = replace(self.stamp, places=(self.stamp.places[at],))
        return OutboxRow(self.id, self.created, self.columns.only([at]), stamp)


class Batch(NamedTuple):
    """Rows with their numbers, and what they hold together: events, and the place of each."""

    rows: Sequence[OutboxRow]
    columns: Columns
    places: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, rows: Sequence[OutboxRow]) -> Batch:
        """One row or more, all of them numbered."""
        places = chain.from_iterable(row.stamp.places for row in rows if row.stamp is not None)
        return cls(rows, joined([row.columns for row in rows]), list(places))

    def refused(self) -> list[Refused]:
        """Its events that have no place."""
        if NOWHERE not in self.places:
            return []
        return [
            Refused(event, f"{len(event.value or b''):,} bytes are more than topic {event.topic!r} takes")
            for event, place in zip(self.columns.events, self.places, strict=True)
            if place == NOWHERE
        ]


class OutboxStats(NamedTuple):
    """Since when the oldest event waits that may leave, and whether a relay has the lease."""

    oldest: int | None  # microseconds since the epoch; of a delayed one, its time
    led: bool


class Outbox(Protocol):
    """Events of one service that its store's transactions published and its broker does not have yet.

    A relay numbers rows, publishes them, and deletes them. What it does under a term that is over has no effect.
    """

    async def lease(self, for_s: float, term: Term | None = None) -> Term | None:
        """Begin a term, or prolong this one; None while another relay has the lease. 0 seconds give it up.

        Raises LeaseLostError when `term` is over, and InfrastructureError.
        """
        ...

    async def read(
        self, limit: int, *, after: Stamp | None = None, numbered: bool = False, aside: bool = False
    ) -> list[OutboxRow]:
        """The next rows, `limit` at most, and fewer when their events come to DELIVERY_BYTES.

        Numbered ones in the order in which they were numbered, behind `after`; those that were set aside in the order
        of their turns, behind `after`; others by presence, in the order of commits, those that had to wait for their
        time first.
        """
        ...

    async def number(self, term: Term, stamps: Mapping[int, Stamp], barred: Mapping[str, str] | None = None) -> None:
        """Store the numbers of these rows, by id, all or none; a stamp with the epoch ASIDE sets its row aside.

        `barred` are the topics that take no events now and why, instead of those that were noted before; None where
        they are the same. Raises LeaseLostError.

        Raises TransactionError when one has numbers or is gone. After another InfrastructureError they may have been
        stored: begin another term.
        """
        ...

    async def delete(self, term: Term, ids: Sequence[int], refused: Sequence[Refused] = ()) -> None:
        """Forget rows that the broker has confirmed, and keep what it refused of them apart, in one transaction.

        Safe to repeat. Raises LeaseLostError.
        """
        ...

    async def stats(self) -> OutboxStats: ...


class Outlet(Protocol):
    """Where a relay sends events: a broker that is not the store's file."""

    def begin(self) -> None:
        """Take events again after a send failed. Whoever asks sends first what is not known to be there."""
        ...

    def known_places(self, columns: Columns) -> Sequence[int | EncodeError | BrokerError] | None:
        """`places`, if nobody has to be asked for them."""
        ...

    async def places(self, columns: Columns) -> Sequence[int | EncodeError | BrokerError]:
        """The partition of each, by its key; for those without one, any.

        EncodeError says why one will never be taken, BrokerError why its topic takes none now, the same for each of a
        topic's. Raises InfrastructureError where that is so of all topics.
        """
        ...

    def send(self, batch: Batch) -> Future[None]:
        """Take events that have numbers, in this order per partition, behind those that it took before.

        Those whose place is NOWHERE are left out. What it returns ends when the broker has them all. It raises
        BrokerError (whose field `refused` says whether that is for good, and `lanes` which ones failed, where that is
        known) and EncodeError, after which nothing of what was taken is sent any more, and nothing is taken before
        `begin`.
        """
        ...

    async def prove(self, batch: Batch, within_s: float) -> None:
        """Send events, one of each lane, to see whether these take any, beside all else. Raises as `send` does."""
        ...
