"""Services on a real Kafka with an SQLite store; effects are counted by a connection that knows only its own table."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import apsw
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from onward import App, Event, Topic, Transaction
from onward.runtime.service import Service
from scripts.servers.kafka import Kafka
from tests.integration.services import running

PATIENCE_S = 30.0
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (place INTEGER PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL)"
INSERT = "INSERT INTO effect (key, n) VALUES (:key, :n)"
TOPIC = "placed"


class Placed(Event, type="kafka.placed", topic=TOPIC, key="key"):
    key: str
    n: int


class Stage:
    """One service, under a name that no earlier test had: groups outlive their topics."""

    def __init__(self, kafka: Kafka, folder: Path, *, partitions: int = 4) -> None:
        self.kafka = kafka
        self.database = folder / "store.db"
        self.name = f"stage-{secrets.token_hex(4)}"
        self.topic = Topic(TOPIC, partitions=partitions)
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})

    def app(self, options: str = "", *, bootstrap: str = "") -> App:
        """The service without handlers: to send, or to declare some."""
        return App(
            self.name,
            broker=f"kafka://{bootstrap or self.kafka.bootstrap}{options}",
            store=f"sqlite:///{self.database}",
            schema=SCHEMA,
            topics=[self.topic],
        )

    def recorder(self, options: str = "", *, bootstrap: str = "") -> App:
        """The service with a handler that writes down each event, in its transaction."""
        app = self.app(options, bootstrap=bootstrap)

        @app.on(Placed)
        async def record(placed: Placed, tx: Transaction) -> None:
            await tx.execute(INSERT, key=placed.key, n=placed.n)

        return app

    @asynccontextmanager
    async def recording(self, options: str = "") -> AsyncIterator[Service]:
        async with running(self.recorder(options)) as service:
            yield service

    def effects(self) -> list[tuple[str, int]]:
        """(key, n) in the order in which they were committed."""
        return [(str(key), int(str(n))) for key, n in self.rows("SELECT key, n FROM effect ORDER BY place")]

    def numbers(self) -> list[int]:
        return sorted(n for _, n in self.effects())

    def rows(self, sql: str) -> list[tuple[apsw.SQLiteValue, ...]]:
        """What is committed; nothing while there is no file yet."""
        with suppress(apsw.SQLError, apsw.CantOpenError):
            with closing(apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
                connection.set_busy_timeout(5000)
                return connection.execute(sql).fetchall()
        return []

    async def until(self, holds: Callable[[], bool]) -> None:
        """Look until it does: what is looked at is in a file or on Kafka, which tell nobody of their changes."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.01)

    async def until_handled(self, count: int) -> None:
        await self.until(lambda: len(self.effects()) >= count)

    def committed(self, group: str = "") -> dict[int, int]:
        """The offsets of a group, by default the transactional handlers', as Kafka's own tools show them."""
        asked = [ConsumerGroupTopicPartitions(group or f"{self.name}:{TOPIC}")]
        (answer,) = self.admin.list_consumer_group_offsets(asked).values()
        return {place.partition: place.offset for place in answer.result(PATIENCE_S).topic_partitions or ()}

    def produce(self, *values: bytes | None, acks: str = "1", compression: str = "none") -> None:
        """As any other program does; returns when all are acknowledged."""
        failed: list[object] = []
        producer = Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap,
                "acks": acks,
                "compression.type": compression,
                "log_level": 0,
            }
        )
        for value in values:
            producer.produce(TOPIC, value, on_delivery=lambda error, _: failed.append(error) if error else None)
        assert producer.flush(PATIENCE_S) == 0
        assert failed == []

    def values_of(self, topic: str, partitions: Iterable[int] = ()) -> list[bytes | None]:
        """What is in a topic, partition by partition; in all of them unless some are named."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.name, "enable.partition.eof": True}
        )
        partitions = partitions or self.admin.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions
        found: list[bytes | None] = []
        try:
            for partition in sorted(partitions):
                consumer.assign([TopicPartition(topic, partition, 0)])
                while True:
                    message = consumer.poll(PATIENCE_S)
                    assert message is not None
                    if (error := message.error()) is not None:
                        assert error.code() == KafkaError._PARTITION_EOF
                        break
                    found.append(message.value())
        finally:
            consumer.close()
        return found

    def forget(self, partition: int, offset: int) -> None:
        """Have Kafka delete the events before `offset`, as its retention does."""
        deleted = self.admin.delete_records([TopicPartition(TOPIC, partition, offset)])
        for each in deleted.values():
            each.result(PATIENCE_S)


def placed(numbers: Iterable[int], *, keys: int = 7) -> list[Placed]:
    return [Placed(key=f"key-{n % keys}", n=n) for n in numbers]


def written(*numbers: int) -> list[bytes]:
    """The same events without keys or headers, as other programs write them."""
    return [b'{"key":"key-%d","n":%d}' % (n % 7, n) for n in numbers]


def assert_exactly_once(found: Sequence[tuple[str, int]], expected: Iterable[int]) -> None:
    """Nothing lost, nothing twice, order per key."""
    counts = Counter(n for _, n in found)
    assert sorted(set(expected) - counts.keys()) == [], "lost"
    assert {n: count for n, count in counts.items() if count > 1} == {}, "twice"
    by_key: dict[str, list[int]] = {}
    for key, n in found:
        by_key.setdefault(key, []).append(n)
    for key, numbers in by_key.items():
        assert numbers == sorted(numbers), f"{key} out of order"
