"""Where a relay sends events on Kafka: with their numbers in a header, in order also after a send that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterator, Sequence
from itertools import chain, groupby, repeat
from operator import itemgetter
from time import time_ns

from msgspec.structs import replace

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.partitions import Partitions
from onward.brokers.kafka.publishing import FEW, Lanes, Prepared, Sender, Senders, lanes_of, too_large
from onward.errors import BrokerError, OnwardError
from onward.ports import Outgoing
from onward.relay import NOWHERE, Batch, Columns, OutboxRow
from onward.relay.barred import Answer, ask_of_open

ENDS_S = 1.0  # for what was given up


class KafkaOutlet:
    """`Outlet` on Kafka, with producers of its own: what fails in a relay's sends takes nobody else's with it.

    Two kinds: events that come few at a time leave at once, many are gathered to larger requests.
    """

    def __init__(self, client: Client, partitions: Partitions) -> None:
        self._partitions = partitions
        self._senders = Senders(client, ends=True)
        self._under_way: set[asyncio.Future[None]] = set()  # cancelled where a send failed
        self._order = asyncio.Lock()
        self._term = 0
        self._broken = False
        self._rooms: dict[str, int] = {}  # of the term
        self._failed: object = ()  # lanes, of the first send that failed

    def begin(self) -> None:
        self._broken = False
        self._term += 1
        self._failed = ()
        self._rooms.clear()
        self._senders.begin()

    def known_places(self, columns: Columns) -> Sequence[Answer] | None:
        topics = {kind.topic for kind in columns.kinds}
        return self._places(columns, topics) if self._partitions.known(topics) else None

    async def places(self, columns: Columns) -> Sequence[Answer]:
        topics = {kind.topic for kind in columns.kinds}
        barred = await self._partitions.barred(topics)
        if not barred:
            return await self._measured(columns, topics)
        return await ask_of_open(columns, barred.get, lambda rest: self._measured(rest, topics - barred.keys()))

    async def _measured(self, columns: Columns, topics: Collection[str]) -> Sequence[Answer]:
        await self._partitions.measure(topics)
        return self._places(columns, topics)

    def _places(self, columns: Columns, topics: Collection[str]) -> Sequence[Answer]:
        partitions = self._partitions.of(columns.topic_of_each(), columns.keys)
        if _most_bytes(columns) <= min(map(self._partitions.room, topics)):
            return partitions
        return [
            partition if _bytes(event) <= self._partitions.room(event.topic) else too_large(event)
            for event, partition in zip(columns.events, partitions, strict=True)
        ]

    def send(self, batch: Batch) -> asyncio.Future[None]:
        return asyncio.create_task(self._sent(batch))

    async def _sent(self, batch: Batch) -> None:
        topics = {kind.topic for kind in batch.columns.kinds}
        try:
            async with self._order:  # whoever was told first hands over first
                parts = await self._parted(batch, topics)
                sends: list[Awaitable[object]] = [self._tried(*each) for each in parts]
                if len(sends) > 1:
                    together = asyncio.gather(*sends)
                    sends = [together]
                    try:
                        await asyncio.sleep(0)  # each of them hands over
                    except BaseException:
                        together.cancel()
                        raise
            for each in sends:  # one by itself hands over now, before anybody else has a turn
                await each
        except BaseException as error:
            self._broken = True
            self._senders.abandon()  # what waits behind it must not go before it
            self._partitions.doubt(topics)
            if self._under_way:  # they end now, and none of them in a later term; one of them may have failed first
                await asyncio.wait(self._under_way, timeout=ENDS_S)
            if isinstance(error, OnwardError):
                error.fields["lanes"] = error.fields.get("lanes") or self._failed
            raise

    async def prove(self, batch: Batch, within_s: float) -> None:
        topics = {kind.topic for kind in batch.columns.kinds}
        await self._partitions.measure(topics)
        sender = self._senders.alone(min(map(self._partitions.room, topics)), within_s)
        try:
            await sender.send(*_ready(batch))
        finally:
            sender.abandon()

    async def _parted(self, batch: Batch, topics: Collection[str]) -> list[tuple[Batch, Sender]]:
        """What each of the producers that these topics need is to send."""
        await self._partitions.measure(topics)
        await self._turn_to(gathers=len(batch.columns) > FEW)
        if self._broken or self._senders.ended:
            raise BrokerError("A send before this one failed, and nothing is sent behind what that one left out.")
        by_room: dict[int, set[str]] = {}
        for topic in topics:
            # As it was when the term began: nothing goes by one producer while something is under way by another.
            room = self._rooms.setdefault(topic, self._partitions.room(topic))
            by_room.setdefault(room, set()).add(topic)
        if len(by_room) == 1 and NOWHERE not in batch.places:
            return [(batch, self._senders.of(room)) for room in by_room]
        parts = [(_of(batch, ours), room) for room, ours in by_room.items()]
        return [(part, self._senders.of(room)) for part, room in parts if part is not None]

    async def _turn_to(self, *, gathers: bool) -> None:
        """Send by that kind, or soon: nothing goes by one of the two while something is under way by the other."""
        if gathers is self._senders.gathers or self._senders.ended:
            return
        if self._under_way:
            if not gathers:  # what is few goes with the others
                return
            ended, _ = await asyncio.wait(self._under_way)
            if any(each.cancelled() for each in ended):
                return
        self._senders.gathers = gathers

    async def _tried(self, batch: Batch, sender: Sender) -> None:
        term = self._term
        over = asyncio.get_running_loop().create_future()
        self._under_way.add(over)
        try:
            await sender.send(*_ready(batch))
            over.set_result(None)
        except BaseException as error:
            if term == self._term:
                self._broken = True
                if isinstance(error, OnwardError):
                    self._failed = self._failed or error.fields.get("lanes", ())
            raise
        finally:
            self._under_way.discard(over)
            over.cancel()  # if it is not settled

    async def close(self) -> None:
        await self._senders.close()


def _ready(batch: Batch) -> tuple[Iterator[Prepared], Lanes, Sequence[Outgoing]]:
    """For a sender."""
    lanes = lanes_of(batch.columns.topic_of_each(), [partition for partition, _ in batch.places])
    return _prepared(batch), lanes, batch.columns.events


def _of(batch: Batch, topics: Collection[str]) -> Batch | None:
    """What of it is of these topics and has a place."""
    rows = []
    for row in batch.rows:
        assert row.stamp is not None
        placed = zip(row.stamp.places, row.columns.topic_of_each(), strict=True)
        ours = [at for at, (place, topic) in enumerate(placed) if place != NOWHERE and topic in topics]
        if ours:
            stamp = replace(row.stamp, places=tuple([row.stamp.places[at] for at in ours]))
            rows.append(OutboxRow(row.id, row.created, row.columns.only(ours), stamp))
    return Batch.of(rows) if rows else None


def _most_bytes(columns: Columns) -> int:
    """No event of them has more."""
    return sum(max(map(len, filter(None, each)), default=0) for each in (columns.values, columns.keys, columns.extras))


def _bytes(event: Outgoing) -> int:
    return len(event.value or b"") + len((event.key or "").encode()) + len(event.extra or b"")


def _prepared(batch: Batch) -> Iterator[Prepared]:
    """Each is made when it is asked for, but for the ids: they are cheap together."""
    millis = time_ns() // 1_000_000
    by_incarnation = [list(rows) for _, rows in groupby(batch.rows, _incarnation_of)]
    batches = [batch] if len(by_incarnation) == 1 else map(Batch.of, by_incarnation)
    return chain.from_iterable(_of_one_incarnation(each, millis) for each in batches)


def _of_one_incarnation(batch: Batch, millis: int) -> Iterator[Prepared]:
    rows, columns, places = batch
    topics = columns.topic_of_each()
    times = (repeat(wire.moment(row.created), len(row.columns.values)) for row in rows)
    headers = wire.numbered(
        columns.kind_of_each(),
        columns.extras or repeat(None),
        wire.id_texts(columns.ids),
        chain.from_iterable(times),
        _numbers(topics, places, _incarnation_of(rows[0]).hex()),
    )
    partitions = map(itemgetter(0), places)
    return zip(topics, columns.values, columns.keys, partitions, repeat(millis), headers, strict=False)


def _numbers(topics: Sequence[str], places: Sequence[tuple[int, int]], incarnation: str) -> Iterator[bytes]:
    """A number says for which place it is, since others may copy events elsewhere."""
    of_topics: dict[str, dict[int, bytes]] = {}
    current = ""
    lanes: dict[int, bytes] = {}
    for topic, (partition, number) in zip(topics, places, strict=True):
        if topic != current:
            current, lanes = topic, of_topics.setdefault(topic, {})
        if partition not in lanes:
            lanes[partition] = f"{incarnation} {topic} {partition} ".encode()
        yield b"%s%d" % (lanes[partition], number)


def _incarnation_of(row: OutboxRow) -> bytes:
    assert row.stamp is not None
    return row.stamp.incarnation
