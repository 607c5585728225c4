"""What goes in and out of a log: events on their way out, records as they come, and places in a partition."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    from onward.errors import MessageError
    from onward.ledger import Run

DELIVERY_BYTES = 8 << 20

Record = tuple[Any, ...]


class WireType(NamedTuple):
    """Name and version of an event type as a record carries them; `type` is "" where the record names none."""

    type: str
    version: int
    fault: MessageError | None = None  # why records of this tag can't be opened, whatever their bytes are


class Repeated(NamedTuple):
    """The tag of a record that came before at a lower offset, in place of its own: it goes to no handler."""

    tag: Hashable


class Outgoing(NamedTuple):
    """An encoded event on its way out. `id` is None for a new event: the adapter gives it a UUIDv7."""

    topic: str
    type: str
    version: int
    value: bytes | None
    key: str | None
    extra: bytes | None = None
    id: bytes | None = None
    source: str | None = None
    due: int | None = None  # microseconds since the epoch, before which it may not be in the log


@dataclass(slots=True, eq=False)
class Alike(Sequence[Outgoing]):
    """Many new events of one type, with one `extra`, by columns: each is made when it is asked for."""

    topic: str
    type: str
    version: int
    values: Sequence[bytes | None]
    keys: Sequence[str | None]  # as many
    extra: bytes | None

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Outgoing: ...
    @overload
    def __getitem__(self, place: slice) -> list[Outgoing]: ...
    def __getitem__(self, place: int | slice) -> Outgoing | list[Outgoing]:
        if isinstance(place, slice):
            return [self[at] for at in range(len(self))[place]]
        return Outgoing(self.topic, self.type, self.version, self.values[place], self.keys[place], self.extra)

    def __iter__(self) -> Iterator[Outgoing]:
        topic, name, version, extra = self.topic, self.type, self.version, self.extra
        # What Outgoing(…) does, without the call of its Python __new__: a third of the time.
        new = tuple.__new__
        return iter(
            [
                new(Outgoing, (topic, name, version, value, key, extra, None, None, None))
                for value, key in zip(self.values, self.keys, strict=True)
            ]
        )


def fields_of(events: Sequence[Outgoing]) -> tuple[tuple[Any, ...], ...]:
    """Events turned by a quarter: a tuple for each field of Outgoing, with a place for each event."""
    if not events:
        return ((),) * len(Outgoing._fields)
    if not isinstance(events, Alike):
        return tuple(zip(*events, strict=True))
    count = len(events)
    shared = [(each,) * count for each in (events.topic, events.type, events.version, events.extra, None)]
    topics, types, versions, extras, none = shared
    return topics, types, versions, tuple(events.values), tuple(events.keys), extras, none, none, none


class Place(NamedTuple):
    """Where in a partition; `mark` is what the broker wants kept beside the offset, such as which log it is one of."""

    offset: int
    mark: str = ""
    beyond: int = 0  # the offset after the last one that is done, where some are done out of order


class Shift(NamedTuple):
    """Where a partition goes on, other than its account says, and why, in words.

    `anew` is another log of the same name: its offsets, from `others` on, mean other events. Otherwise what lies before
    `place` and is not done is lost.
    """

    partition: int
    place: Place
    anew: bool
    why: str
    others: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records of one partition in offset order, 1 to the asked limit; `end` is the offset to go on from.

    Their values are DELIVERY_BYTES at most, unless one record alone is larger. Offsets may have gaps, and what lies
    between two records holds no event.
    """

    topic: str
    partition: int
    records: list[Record]
    end: int
    mark: str = ""  # to be kept beside `end`
    runs: Sequence[Run] = ()  # those with producers' numbers, rising by offset
