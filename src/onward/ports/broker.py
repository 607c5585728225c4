"""The port of what carries records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from onward.ports.capabilities import Capabilities
from onward.ports.records import Delivery, Outgoing, Place, Record, Shift, WireType

if TYPE_CHECKING:
    from datetime import datetime

    from onward.events import Envelope
    from onward.topics import Topic


@dataclass(slots=True)
class Group:
    """One subscription's membership in its broker: what it reads, and whom to tell when its partitions change.

    `assigned` is awaited before any record of a partition is delivered and returns the place to begin at;
    `revoked` is awaited before another member may have the partition, and returns when its work is settled.
    `shifted` is awaited after `assigned`, when the log does not go on at that place. `positions` are the next offsets
    of the held partitions by the store, for who shows progress. `store` is the store's identity, "" where it has none.
    """

    name: str
    topic: str
    member: str
    assigned: Callable[[Sequence[int]], Awaitable[Mapping[int, Place]]]
    revoked: Callable[[Sequence[int]], Awaitable[None]]
    shifted: Callable[[Sequence[Shift]], Awaitable[None]]
    positions: Callable[[], Mapping[int, int]]
    store: str


class Consumer(Protocol):
    """One member of a group. Used by one task at a time."""

    async def next(self, limit: int, wait_s: float) -> Delivery | None:
        """The next batch of one assigned, not paused partition, or None if none came in time. Partitions take turns.

        Gives other tasks their turn at least once. Assignment callbacks run inside this call. Raises
        InfrastructureError when the broker can't be read.
        """
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Deliver from `offset` next. Does nothing for a partition that is not assigned."""
        ...

    def pause(self, partition: int) -> None:
        """Deliver nothing of this partition until `resume`. Safe to repeat."""
        ...

    def resume(self, partition: int) -> None:
        """Undo `pause`, and wake a waiting `next`. Safe to repeat."""
        ...

    @property
    def ends(self) -> Mapping[int, int]:
        """By assigned partition, the next offset to be given out as far as it is known here, without asking anyone."""
        ...

    async def close(self) -> None:
        """Give every partition back (through `revoked`) and leave the group. Safe to repeat."""
        ...


class Log(Protocol):
    """Reading a topic by place, beside what consumers are delivered. What waits raises InfrastructureError."""

    def wire_type(self, tag: Hashable) -> WireType: ...

    def envelope(self, topic: str, partition: int, record: Record) -> Envelope: ...

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from `offset` on, in order.

        There are fewer at the end of the partition, and when they come to DELIVERY_BYTES.
        """
        ...

    async def bounds(self, topic: str) -> list[tuple[int, int]]:
        """Per partition: the first offset still there, and the next one to be given out."""
        ...

    async def since(self, topic: str, time: datetime) -> list[int]:
        """Per partition: the first offset published (if delayed, due) at `time` (aware) or later, or the next one."""
        ...


class Broker(Protocol):
    """Carries records. Durable brokers return from `publish` only when the records will survive a power cut."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def log(self) -> Log: ...

    async def open(self, topics: Iterable[Topic]) -> None:
        """Create what is missing; raise RegistrationError where a topic exists with other partitions."""
        ...

    async def publish(self, outgoing: Sequence[Outgoing], source: str) -> None:
        """Append all or none, in this order per key; what is due later is put off, as durably, to be appended then.

        Raises BacklogFullError, and InfrastructureError; after either nothing was published, but for
        PublishUncertainError and CommitUncertainError. Cancelled, some or all may have been.
        """
        ...

    async def consume(self, group: Group) -> Consumer:
        """Join a group. Each partition has at most one live member of the group at a time."""
        ...

    async def close(self) -> None: ...
