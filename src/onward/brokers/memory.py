"""The broker in memory, for tests: the log is lists, a group is a dictionary, a wake-up is an event."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from operator import itemgetter
from time import time
from typing import NamedTuple

import msgspec

from onward import ids
from onward.brokers.log_consumer import LogConsumer
from onward.delays import DELAYED, due_of, marked, micros_of
from onward.errors import BacklogFullError, RegistrationError, StoreClosedError
from onward.events import Envelope
from onward.partitioning import partition_of
from onward.ports import Capabilities, Group, Outgoing, Record, WireType
from onward.sqlite.log import deliverable
from onward.sqlite.times import from_micros, to_micros
from onward.topics import Topic


class MemoryLog:
    """`Log` in lists, which whoever has the log itself may read without waiting: `lanes` by topic and partition.

    A record is `(offset, wire type, value, key, id, source, microseconds, extra)`.
    """

    def __init__(self) -> None:
        self.lanes: dict[str, list[list[Record]]] = {}
        self.declared: dict[str, Topic] = {}

    def wire_type(self, tag: Hashable) -> WireType:
        assert isinstance(tag, WireType)
        return tag

    def envelope(self, topic: str, partition: int, record: Record) -> Envelope:
        offset, wire, _, key, event_id, source, micros, extra = record
        return Envelope(
            id=event_id,
            source=source,
            type=wire.type,
            version=wire.version,
            topic=topic,
            partition=partition,
            offset=offset,
            key=key,
            time=from_micros(micros),
            extensions=msgspec.json.decode(extra, type=dict[str, str]) if extra else {},
        )

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        lanes = self.lanes.get(topic)
        return lanes[partition][offset : offset + limit] if lanes else []

    async def bounds(self, topic: str) -> list[tuple[int, int]]:
        return [(0, len(lane)) for lane in self.lanes.get(topic, ())]

    async def since(self, topic: str, time: datetime) -> list[int]:
        micros = to_micros(time)
        return [
            next((record[0] for record in lane if (due_of(record[7]) or record[6]) >= micros), len(lane))
            for lane in self.lanes.get(topic, ())
        ]

    def create(self, topic: Topic) -> Topic:
        if topic.name not in self.declared:
            self.declared[topic.name] = topic
            self.lanes[topic.name] = [[] for _ in range(topic.partitions)]
        elif topic.says_retention:
            self.declared[topic.name] = replace(self.declared[topic.name], retention=topic.retention)
        return self.declared[topic.name]


class MemoryDelayed(NamedTuple):
    """An event that waits until it is due, and when it was published; both in microseconds since the epoch."""

    due: int
    outgoing: Outgoing
    micros: int


class MemoryBroker:
    """`Broker` for one process and one event loop, and the `Delayed` events that it holds back."""

    capabilities = Capabilities(durable=False, shared=False, atomic_publish=True)

    def __init__(self, *, now: Callable[[], float] = time) -> None:
        """`now` gives seconds since the epoch."""
        self.log = MemoryLog()
        self.delayed: list[MemoryDelayed] = []
        self.appended: list[Callable[[set[str]], None]] = []
        self.owners: dict[tuple[str, str], dict[int, MemoryConsumer]] = {}
        self.members: dict[tuple[str, str], list[MemoryConsumer]] = {}
        self._now = now
        self._bytes: dict[str, int] = {}  # of the log, and of what waits to come there
        self._turn = count()
        self._closed = False

    async def open(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            known = self.log.create(topic)
            if topic.declared and known.partitions != topic.partitions:
                raise RegistrationError(
                    f"Topic {topic.name!r} has {known.partitions} partitions and the code declares {topic.partitions}:"
                    f" their number is fixed when a topic is created. Declare partitions={known.partitions}.",
                    topic=topic.name,
                )

    async def publish(self, outgoing: Sequence[Outgoing], source: str) -> None:
        self.prepare(outgoing, source)()

    def prepare(self, outgoing: Sequence[Outgoing], source: str) -> Callable[[], None]:
        """Refuse now what can't be published; what comes back appends it, and can't fail.

        So a store can commit in between. Raises BacklogFullError and StoreClosedError.
        """
        if self._closed:
            raise StoreClosedError("The broker in memory was closed. Nothing was published; use it until `close`.")
        sizes: dict[str, int] = {}
        for event in outgoing:
            sizes[event.topic] = sizes.get(event.topic, 0) + len(event.value or b"")
        for name, adds in sizes.items():
            held, limit = self._bytes.get(name, 0), self.log.create(Topic(name)).retention.backlog_bytes
            if held + adds > limit:
                raise BacklogFullError(
                    f"Topic {name!r} holds {held:,} bytes of events and may hold {limit:,}, so {adds:,} bytes more"
                    " were refused; nothing was published. Raise Retention.backlog_bytes.",
                    topic=name,
                )
        events = list(outgoing)
        return lambda: self._append(events, source, sizes)

    def _append(self, events: list[Outgoing], source: str, sizes: dict[str, int]) -> None:
        micros, turn = micros_of(self._now()), next(self._turn)
        before = self.next_due()
        grown: set[str] = set()
        for event, new_id in zip(events, ids.uuid7_bytes(len(events)), strict=True):
            named = event._replace(id=event.id or new_id, source=event.source or source)
            if event.due is None or event.due <= micros:
                self._append_one(named, micros, turn)
                grown.add(event.topic)
            else:
                held = named._replace(extra=marked(event.extra, event.due))
                insort(self.delayed, MemoryDelayed(event.due, held, micros), key=itemgetter(0))
        for name, adds in sizes.items():
            self._bytes[name] = self._bytes.get(name, 0) + adds
        if self.next_due() != before:
            grown.add(DELAYED)
        self._tell(grown)

    def _append_one(self, event: Outgoing, micros: int, turn: int) -> None:
        lanes = self.log.lanes[event.topic]
        lane = lanes[turn % len(lanes) if event.key is None else partition_of(event.key.encode(), len(lanes))]
        assert event.id is not None
        wire = WireType(event.type, event.version)
        lane.append((len(lane), wire, event.value, event.key, _text(event.id), event.source, micros, event.extra))

    def _tell(self, grown: set[str]) -> None:
        self.wake(grown)
        for tell in self.appended:
            tell(grown)

    def next_due(self) -> int | None:
        return self.delayed[0].due if self.delayed else None

    async def deliver(self) -> int:
        count = bisect_right(self.delayed, micros_of(self._now()), key=itemgetter(0))
        due, self.delayed = self.delayed[:count], self.delayed[count:]
        for each in due:
            self._append_one(each.outgoing, each.micros, next(self._turn))
        if due:
            self._tell({each.outgoing.topic for each in due})
        return len(due)

    async def consume(self, group: Group) -> MemoryConsumer:
        consumer = MemoryConsumer(self, group)
        self.members.setdefault(consumer.place, []).append(consumer)
        self.wake([group.topic])  # the others give their excess back in their next `next`
        await consumer.rebalance()
        return consumer

    def wake(self, topics: Iterable[str]) -> None:
        """Look for records, or for a change of members, in these topics; in all when none is named."""
        names = set(topics)
        for (_, topic), consumers in self.members.items():
            if not names or topic in names:
                for consumer in consumers:
                    consumer.wake()

    async def close(self) -> None:
        for consumers in list(self.members.values()):
            for consumer in list(consumers):
                await consumer.close()
        self._closed = True


class MemoryConsumer(LogConsumer):
    """`Consumer` in memory. The first members in order of joining hold the remainder of the partitions."""

    def __init__(self, broker: MemoryBroker, group: Group) -> None:
        super().__init__(group.topic)
        self.place = (group.name, group.topic)
        self._broker = broker
        self._group = group
        self._lanes = broker.log.lanes[group.topic]
        self._owners = broker.owners.setdefault(self.place, {})

    async def _share_out(self) -> None:
        await self.rebalance()

    def _ends(self) -> list[int]:
        return list(map(len, self._lanes))

    def _read(self, partition: int, offset: int, limit: int) -> list[Record]:
        return deliverable(self._lanes[partition][offset : offset + limit])

    async def rebalance(self) -> None:
        """Give back what is more than our share, then take what nobody has, up to it."""
        members = self._broker.members[self.place]
        if self not in members:
            return
        base, more = divmod(len(self._lanes), len(members))
        share = base + (members.index(self) < more)
        mine = sorted(self._positions)
        await self._give_up(mine[share:])
        free = [partition for partition in range(len(self._lanes)) if partition not in self._owners]
        taken = free[: max(0, share - len(mine))]
        if taken:
            self._owners.update(dict.fromkeys(taken, self))
            try:
                places = await self._group.assigned(taken)
                self._positions.update((partition, place.offset) for partition, place in places.items())
            except BaseException:
                self._free(taken)
                raise

    async def _give_up(self, partitions: list[int]) -> None:
        held = self._drop(partitions)
        if held:
            try:
                await self._group.revoked(held)
            finally:
                self._free(held)

    def _free(self, partitions: list[int]) -> None:
        for partition in partitions:
            self._owners.pop(partition, None)
        self._broker.wake([self._group.topic])

    async def close(self) -> None:
        members = self._broker.members[self.place]
        if self in members:
            members.remove(self)
            await self._give_up(list(self._positions))
            self._broker.wake([self._group.topic])


def _text(event_id: bytes) -> str:
    return ids.text(event_id) if len(event_id) == 16 else event_id.decode()
