"""The broker on Kafka: topics, publishing, and members of groups."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from time import time_ns

from onward import ids
from onward.brokers.kafka import wire
from onward.brokers.kafka.address import parse
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.cluster import Cluster
from onward.brokers.kafka.consumer import KafkaConsumer
from onward.brokers.kafka.log import KafkaLog
from onward.brokers.kafka.outlet import KafkaOutlet
from onward.brokers.kafka.partitions import Partitions
from onward.brokers.kafka.publishing import FEW, Senders, lanes_of
from onward.errors import BrokerError, EncodeError, PublishUncertainError
from onward.ports import Alike, Capabilities, Group, Outgoing, fields_of
from onward.topics import Topic


class KafkaBroker:
    """`Broker` on a Kafka cluster, for one service. Connects when it is first used.

    A publish is not all or nothing: where it fails in the middle, PublishUncertainError says so.
    """

    capabilities = Capabilities(durable=True, shared=True, atomic_publish=False)

    def __init__(self, url: str, service: str) -> None:
        """Raises SettingError for an address that can't be used."""
        self._client = Client(parse(url), service)
        self._cluster = Cluster(self._client)
        self.log = KafkaLog(self._client, self._cluster)
        self._consumers: set[KafkaConsumer] = set()
        self._senders = Senders(self._client)
        self._partitions = Partitions(self._cluster)
        self._headings = wire.Headings()
        self.outlet = KafkaOutlet(self._client, self._partitions)

    async def open(self, topics: Iterable[Topic]) -> None:
        """Topics of which an event says no more than the name are taken as they are."""
        named = list(topics)
        await asyncio.to_thread(self._cluster.ensure, named)
        self._partitions.doubt(topic.name for topic in named)

    async def publish(self, outgoing: Sequence[Outgoing], source: str) -> None:
        topics = {outgoing.topic} if isinstance(outgoing, Alike) else {event.topic for event in outgoing}
        await self._partitions.prepare(topics)
        published = 0
        for room, events in self._by_room(outgoing, topics).items():
            try:
                await self._sent(room, events, source)
            except (BrokerError, EncodeError) as error:
                if not published:
                    raise
                raise PublishUncertainError(
                    f"Of {len(outgoing)} events at least {published} are there, and another one failed: {error}",
                    published=published,
                    count=len(outgoing),
                ) from error
            published += len(events)

    def _by_room(self, outgoing: Sequence[Outgoing], topics: set[str]) -> Mapping[int, Sequence[Outgoing]]:
        of_topics = {topic: self._partitions.room(topic) for topic in topics}
        rooms = {*of_topics.values()}
        if len(rooms) == 1:
            return {rooms.pop(): outgoing}
        found: dict[int, list[Outgoing]] = {}
        for event in outgoing:
            found.setdefault(of_topics[event.topic], []).append(event)
        return found

    async def _sent(self, room: int, events: Sequence[Outgoing], source: str) -> None:
        micros = time_ns() // 1_000
        topics, _, _, values, texts, *_ = fields_of(events)
        keys = [None if text is None else text.encode() for text in texts]
        places = self._partitions.of(topics, keys)
        headings = self._headings.of_all(events, ids.uuid7_texts(len(events)), source, wire.moment(micros))
        messages = zip(topics, values, keys, places, repeat(micros // 1_000), headings, strict=False)
        if self._senders.idle:  # or what goes by one of the two could overtake what goes by the other
            self._senders.gathers = len(events) > FEW
        await self._senders.of(room).send(messages, lanes_of(topics, places), events)

    async def consume(self, group: Group) -> KafkaConsumer:
        consumer = KafkaConsumer(self._client, self._cluster, group, self._consumers.discard)
        self._consumers.add(consumer)
        return consumer

    def wake(self, topics: Iterable[str]) -> None:
        """Kafka wakes who waits."""

    async def close(self) -> None:
        for consumer in list(self._consumers):
            await consumer.close()
        await self._senders.close()
        await self.outlet.close()
        await asyncio.to_thread(self.log.close)
