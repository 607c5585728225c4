"""Which partition an event goes to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from time import monotonic

from confluent_kafka import KafkaError

from onward.brokers.kafka.cluster import KAFKA_S_OWN_LIMIT, Cluster
from onward.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnreachableError,
    OnwardError,
    RegistrationError,
    SettingError,
)
from onward.partitioning import partitions_of
from onward.topics import Topic

COUNT_EVERY_S = 30.0
ASK_AGAIN_S = 1.0  # where nobody answered
OVERHEAD_BYTES = 1_024  # headers, and what Kafka writes beside a message


class Partitions:
    """How many each topic has, as of late: partitions may be added while we run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._counts: dict[str, tuple[int, float]] = {}  # how many, and until when that is taken for true
        self._rooms: dict[str, tuple[int, float]] = {}  # in bytes, and until when that is taken for true
        self._turn = 0
        self._turns: dict[str, asyncio.Lock] = {}
        self._asking: Counter[str] = Counter()  # who asks about a topic, or waits for who does
        self._asks: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, OnwardError]] = {}  # when, and what who waited then is told a copy of

    def doubt(self, topics: Iterable[str]) -> None:
        """Look again before the next use. Who has looked and not yet asked `of` goes on with what was known."""
        for topic in topics:
            if topic in self._counts:
                self._counts[topic] = self._counts[topic][0], 0.0

    async def prepare(self, topics: Iterable[str]) -> None:
        """Have them known for `of` and `room`; one that nobody declared is created. Raises BrokerError.

        Of one topic, who comes first goes on first, whether or not there was anything to be asked.
        """
        for topic in topics:
            if self._asking[topic] or not self._fresh(topic):
                await self._in_turn(topic)

    def _fresh(self, topic: str) -> bool:
        """Whether it is known for `of` and `room`."""
        return monotonic() <= min(self._counts.get(topic, (0, 0.0))[1], self._rooms.get(topic, (0, 0.0))[1])

    async def _in_turn(self, topic: str) -> None:
        came_at = monotonic()
        self._asking[topic] += 1
        try:
            async with self._turns.setdefault(topic, asyncio.Lock()):
                if not self._fresh(topic) and not self._failed_since(came_at, topic):
                    await self._asked(topic)
                if failed := self._failed_since(came_at, topic):
                    raise _copy(failed)
        finally:
            self._asking[topic] -= 1

    def _failed_since(self, moment: float, topic: str) -> OnwardError | None:
        """What one heard is told to all who waited then."""
        failed_at, error = self._failed.get(topic, (0.0, None))
        return error if failed_at >= moment else None

    async def _asked(self, topic: str) -> None:
        """By a task of its own: what is asked for one who goes away is for those who wait behind it."""
        asked = self._asks.get(topic)
        if asked is None or asked.done():
            asked = self._asks[topic] = asyncio.create_task(self._ask(topic))
        await asyncio.shield(asked)

    async def _ask(self, topic: str) -> None:
        try:
            await self._look(topic)
        except OnwardError as error:
            self._failed[topic] = monotonic(), _copy(error)
        else:
            self._failed.pop(topic, None)
            await self.measure([topic])

    async def measure(self, topics: Iterable[str]) -> None:
        """Have it known for `room` how much their messages may hold. Never raises: the server has the last word."""
        for topic in topics:
            known, until = self._rooms.get(topic, (0, 0.0))
            if monotonic() > until:
                told = await asyncio.to_thread(self._cluster.message_bytes, topic)
                if told is None:
                    self._rooms[topic] = known or KAFKA_S_OWN_LIMIT - OVERHEAD_BYTES, monotonic() + ASK_AGAIN_S
                else:
                    self._rooms[topic] = told - OVERHEAD_BYTES, monotonic() + COUNT_EVERY_S

    def room(self, topic: str) -> int:
        """The most bytes that key, value and extensions of an event may have."""
        return self._rooms[topic][0]

    async def _look(self, topic: str) -> None:
        known, until = self._counts.get(topic, (0, 0.0))
        if monotonic() <= until:
            return
        if not known:
            await asyncio.to_thread(self._cluster.ensure, [Topic.by_name(topic)])
        # None where a partition has no leader just now, or somebody has deleted the topic.
        count = await asyncio.to_thread(self._cluster.partitions, topic) or known
        if not count:
            raise _unled(topic)
        self._counts[topic] = count, monotonic() + COUNT_EVERY_S

    def known(self, topics: Iterable[str]) -> bool:
        """Whether all of them are, for `of` and `room`."""
        return all(map(self._fresh, topics))

    async def barred(self, topics: Iterable[str]) -> dict[str, BrokerError]:
        """Have the others known for `of`; why these take no events now, all of whose partitions have to be there.

        Raises BrokerUnreachableError and BrokerRefusedError where the cluster is the reason.
        """
        found: dict[str, BrokerError] = {}
        for topic in topics:
            try:
                await self._look_closely(topic)
            except (BrokerError, SettingError, RegistrationError) as error:
                if _of_all(error):
                    raise
                found[topic] = error if isinstance(error, BrokerError) else BrokerError(str(error))
        return found

    async def _look_closely(self, topic: str) -> None:
        known, until = self._counts.get(topic, (0, 0.0))
        if monotonic() <= until:
            return
        count = await asyncio.to_thread(self._cluster.partitions, topic)
        if not count and not known and not await asyncio.to_thread(self._cluster.exists, topic):
            await asyncio.to_thread(self._cluster.ensure, [Topic.by_name(topic)])
            count = await asyncio.to_thread(self._cluster.partitions, topic)
        if not count:
            raise _unled(topic)
        self._counts[topic] = count, monotonic() + COUNT_EVERY_S

    def of(self, topics: Sequence[str], keys: Sequence[bytes | None]) -> list[int]:
        """Of events with these topics and keys; one without a key goes where the others of this call go, by turns."""
        self._turn += 1
        names = {*topics}
        if len(names) == 1:
            return self._among(keys, *names)
        found: list[int] = [0] * len(topics)
        for name in names:
            places = [place for place, topic in enumerate(topics) if topic == name]
            for place, partition in zip(places, self._among([keys[place] for place in places], name), strict=True):
                found[place] = partition
        return found

    def _among(self, keys: Sequence[bytes | None], topic: str) -> list[int]:
        """Of keys of one topic."""
        count, _ = self._counts[topic]
        found = partitions_of([key for key in keys if key is not None], count)
        if len(found) == len(keys):
            return found
        turn, by_key = self._turn % count, iter(found)
        return [turn if key is None else next(by_key) for key in keys]


def _copy(error: OnwardError) -> OnwardError:
    """One that is raised keeps what it passed through, and is for one to raise."""
    found = type(error)(str(error), **error.fields)
    found.__cause__ = error.__cause__
    return found


def _of_all(error: OnwardError) -> bool:
    """Whether it says something of the cluster, and not of one topic."""
    if isinstance(error, BrokerRefusedError):
        return error.fields.get("code") != KafkaError.TOPIC_AUTHORIZATION_FAILED
    return isinstance(error, BrokerUnreachableError)


def _unled(topic: str) -> BrokerError:
    return BrokerError(
        f"Topic {topic!r} has a partition without a leader, or is gone again: which partition its events go to is not"
        " known. Look at the cluster; nothing was sent."
    )
