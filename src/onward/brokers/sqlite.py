"""The broker on one SQLite file: the log is a table, a group's partitions are lease rows, wake-ups are datagrams."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from time import monotonic

import apsw
import msgspec

from onward import ids
from onward.brokers.log_consumer import LogConsumer
from onward.errors import RegistrationError, TransactionError
from onward.events import Envelope
from onward.ports import Capabilities, Group, Outgoing, Record, WireType
from onward.sqlite.failures import translate
from onward.sqlite.fetch import fetch
from onward.sqlite.log import FileLog, read
from onward.sqlite.publishing import Publisher
from onward.sqlite.since import since
from onward.sqlite.times import from_micros, to_micros
from onward.telemetry.failpoints import reach
from onward.topics import Topic

logger = logging.getLogger("onward.broker")

POLL_S = 1.0  # the net under wake-ups, and how often other members' lives are looked at

Alive = Callable[[str], Sequence[str]]
"""Live members of a group, by its name, in one order for all; ours is among them."""


class SqliteLog:
    """`Log` on the file."""

    def __init__(self, file: FileLog) -> None:
        self._file = file

    def wire_type(self, tag: Hashable) -> WireType:
        assert isinstance(tag, int)
        return self._file.names.wire_type(tag)

    def envelope(self, topic: str, partition: int, record: Record) -> Envelope:
        offset, kind, _, key, event_id, source, micros, extra = record
        wire = self._file.names.wire_type(kind)
        return Envelope(
            id=ids.text(event_id) if isinstance(event_id, bytes) else event_id,
            source=self._file.names.source_name(source),
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
        stored = self._file.names.topic(topic)
        return read(self._file.database.reader, stored.lanes[partition], offset, limit) if stored else []

    async def bounds(self, topic: str) -> list[tuple[int, int]]:
        return [
            (row[0], row[1])
            for row in self._file.database.read(
                "SELECT first_offset, next_offset FROM onward_lane WHERE topic ="
                " (SELECT id FROM onward_topic WHERE name = ?) ORDER BY partition",
                (topic,),
            )
        ]

    async def since(self, topic: str, time: datetime) -> list[int]:
        stored, bounds = self._file.names.topic(topic), await self.bounds(topic)
        micros, reader = to_micros(time), self._file.database.reader
        return [
            since(reader, lane, micros, *bound)
            for lane, bound in zip(stored.lanes if stored else (), bounds, strict=True)
        ]


class SqliteBroker:
    """`Broker` on the file. Concurrent publishers of one process share commits."""

    capabilities = Capabilities(durable=True, shared=True, atomic_publish=True)

    def __init__(self, file: FileLog, alive: Alive) -> None:
        self.log = SqliteLog(file)
        self._file = file
        self._alive = alive
        self._consumers: set[SqliteConsumer] = set()
        self._publisher = Publisher(file)
        file.appended.append(self.wake)

    async def open(self, topics: Iterable[Topic]) -> None:
        changed: list[Topic] = []
        try:
            async with self._file.database.transaction():
                for topic in topics:
                    stored = self._file.names.create_topic(topic).topic
                    if topic.says_retention and self._file.names.keep(topic):
                        changed.append(topic)
                    if topic.declared and stored.partitions != topic.partitions:
                        raise RegistrationError(
                            f"Topic {topic.name!r} has {stored.partitions} partitions and the code declares"
                            f" {topic.partitions}: their number is fixed when a topic is created, since order per key"
                            f" depends on it. Declare partitions={stored.partitions}, or use a new topic.",
                            topic=topic.name,
                        )
        except BaseException as error:
            self._file.forget()
            if isinstance(error, apsw.Error):
                raise translate(error, "Creating topics") from error
            raise
        for topic in changed:
            logger.warning("topic %s is kept otherwise from now on, as declared here: %s", topic.name, topic.retention)

    async def publish(self, outgoing: Sequence[Outgoing], source: str) -> None:
        if self._file.database.is_mine:
            raise TransactionError(
                "publish() was called inside a transaction of this task, and would wait for its end for ever. Use"
                " `app.publish(…, within=tx)` or `tx.publish(…)`, or return the event from the handler: it is published"
                " when the transaction commits."
            )
        await self._publisher.publish(outgoing, source)

    async def consume(self, group: Group) -> SqliteConsumer:
        consumer = SqliteConsumer(self, self._file, group, self._alive)
        await consumer.rebalance()
        self._consumers.add(consumer)
        return consumer

    def wake(self, topics: Iterable[str]) -> None:
        """Something was appended here or, by what a neighbour says, elsewhere."""
        names = set(topics)
        for consumer in self._consumers:
            if consumer.topic in names or not names:
                consumer.wake()

    def left(self, consumer: SqliteConsumer) -> None:
        self._consumers.discard(consumer)

    async def close(self) -> None:
        for consumer in list(self._consumers):
            await consumer.close()
        if self.wake in self._file.appended:
            self._file.appended.remove(self.wake)


class SqliteConsumer(LogConsumer):
    """`Consumer` on the file. Partitions are shared out evenly; whoever has too many gives the excess back."""

    def __init__(self, broker: SqliteBroker, file: FileLog, group: Group, alive: Alive) -> None:
        stored = file.names.topic(group.topic)
        assert stored is not None, "topics are opened before they are consumed"
        super().__init__(group.topic)
        self._broker = broker
        self._file = file
        self._group = group
        self._alive = alive
        self._topic_id = stored.id
        self._lanes = stored.lanes
        self._checked_at = 0.0
        self._closed = False

    async def _share_out(self) -> None:
        if monotonic() - self._checked_at >= POLL_S:
            await self.rebalance()

    def _ends(self) -> list[int]:
        rows = self._file.database.read(
            "SELECT next_offset FROM onward_lane WHERE topic = ? ORDER BY partition", (self._topic_id,)
        )
        return [end for (end,) in rows]

    def _read(self, partition: int, offset: int, limit: int) -> list[Record]:
        return read(self._file.database.reader, self._lanes[partition], offset, limit)

    async def rebalance(self) -> None:
        """Give back what is more than our share, take what nobody alive has, up to it."""
        self._checked_at = monotonic()
        members = self._alive(self._group.name)
        leases = self._leases()
        mine = [partition for partition, member in enumerate(leases) if member == self._group.member]
        lost = [partition for partition in self._positions if partition not in mine]
        if lost:
            await self._give_up(lost)
        share = _share(len(leases), members, self._group.member)
        if len(mine) > share:
            await self._give_up(mine[share:])
            await self._write_leases(mine[share:], None)
            self._broker.wake(())
        free = [
            partition
            for partition, member in enumerate(leases)
            if member is None or (member not in members and member != self._group.member)
        ]
        wanted = [*mine[:share], *free[: max(0, share - len(mine))]]
        fresh = [partition for partition in wanted if partition not in self._positions]
        if fresh:
            taken = await self._write_leases(fresh, self._group.member)
            reach("partitions.taken")
            places = await self._group.assigned(taken)
            self._positions.update((partition, place.offset) for partition, place in places.items())

    def _leases(self) -> list[str | None]:
        rows = self._file.database.read(
            "SELECT partition, member FROM onward_lease WHERE group_name = ? AND topic = ?",
            (self._group.name, self._topic_id),
        )
        held = {row[0]: row[1] for row in rows}
        return [held.get(partition) for partition in range(len(self._lanes))]

    async def _write_leases(self, partitions: list[int], member: str | None) -> list[int]:
        """Write them all in one transaction; returns those that were still as we saw them."""
        changed: list[int] = []
        try:
            async with self._file.database.transaction() as connection:
                members = set(self._alive(self._group.name)) - {self._group.member}
                leases = self._leases_now(connection)
                for partition in partitions:
                    if leases.get(partition) in members:
                        continue
                    connection.execute(
                        "INSERT OR REPLACE INTO onward_lease (group_name, topic, partition, member)"
                        " VALUES (?, ?, ?, ?)",
                        (self._group.name, self._topic_id, partition, member),
                    )
                    changed.append(partition)
        except apsw.Error as error:
            raise translate(error, "Sharing out partitions") from error
        return changed

    def _leases_now(self, connection: apsw.Connection) -> dict[int, str | None]:
        rows = fetch(
            connection,
            "SELECT partition, member FROM onward_lease WHERE group_name = ? AND topic = ?",
            (self._group.name, self._topic_id),
        )
        return {row[0]: row[1] for row in rows}

    async def _give_up(self, partitions: list[int]) -> None:
        held = self._drop(partitions)
        if held:
            await self._group.revoked(held)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._broker.left(self)
        held = list(self._positions)
        await self._give_up(held)
        if held:
            await self._write_leases(held, None)


def _share(partitions: int, members: Sequence[str], member: str) -> int:
    """How many partitions this member should hold; the first in order hold the remainder."""
    count = max(1, len(members))
    base, more = divmod(partitions, count)
    place = members.index(member) if member in members else count - 1
    return base + (place < more)
