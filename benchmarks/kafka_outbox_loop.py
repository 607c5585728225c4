"""What a careful programmer writes by hand to publish with a transaction: rows of an outbox in PostgreSQL, a relay that
a NOTIFY wakes, and a consumer that commits its position with the effect. The relay numbers rows in a transaction of
their own before they leave, as onward's does, which is what lets a consumer tell a repetition; there are no leases,
retries, dead letters or metrics, and one relay only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.kafka_orders import ANSWER_S, servers
from benchmarks.kafka_postgres import TAKE

CHANNEL = "raw_outbox"
SCHEMA = (
    "CREATE TABLE raw_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key bytea NOT NULL,"
    " body bytea NOT NULL, number bigint)",
    "CREATE TABLE raw_position (partition int PRIMARY KEY, next_offset bigint NOT NULL)",
)
_PUT = "INSERT INTO raw_outbox (key, body) VALUES (%s, %s)"
_WAITING = "SELECT id, key, body FROM raw_outbox WHERE number IS NULL ORDER BY id LIMIT 1000"
_NUMBER = "UPDATE raw_outbox SET number = id WHERE id = ANY(%s)"
_DELETE = "DELETE FROM raw_outbox WHERE id = ANY(%s)"
_MOVE = (
    "INSERT INTO raw_position VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET next_offset = excluded.next_offset"
)
_TAKE = TAKE.replace(":n", "%(n)s").replace(":sku", "%(sku)s")


def publish(connection: psycopg.Connection[Any], events: list[tuple[bytes, bytes]]) -> None:
    """Keys and values, in one transaction; the relay is woken by its commit."""
    with connection.transaction(), connection.pipeline(), connection.cursor() as cursor:
        for event in events:
            cursor.execute(_PUT, event)
        cursor.execute(f"NOTIFY {CHANNEL}")


def relay(url: str, topic: str, ready: Callable[[], object]) -> None:
    """Runs until the process ends."""
    connection = psycopg.connect(url, autocommit=True)
    listening = psycopg.connect(url, autocommit=True)
    listening.execute(f"LISTEN {CHANNEL}")
    producer = _producer()
    ready()
    while True:
        rows = connection.execute(_WAITING).fetchall()
        if not rows:
            for _ in listening.notifies(timeout=1.0, stop_after=1):
                pass
            continue
        ids = [row[0] for row in rows]
        connection.execute(_NUMBER, (ids,))
        for _, key, body in rows:
            producer.produce(topic, body, key)
        assert producer.flush(ANSWER_S) == 0
        connection.execute(_DELETE, (ids,))


def consume(url: str, group: str, topic: str, ready: Callable[[], object], handle: Callable[[bytes], Any]) -> None:
    """Runs until the process ends. `handle` gives the order, and is told of its effect by a call of what it gives."""
    connection = psycopg.connect(url)
    options = {"group.id": group, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": servers(), "enable.auto.commit": False, **options})

    def assigned(_consumer: Consumer, _places: list[TopicPartition]) -> None:
        ready()

    consumer.subscribe([topic], on_assign=assigned)
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        order, done = handle(message.value() or b"")
        with connection.transaction():
            connection.execute(_TAKE, {"n": order.quantity, "sku": order.sku})
            done()
            offset: Any = message.offset()
            connection.execute(_MOVE, (message.partition(), offset + 1))


def _producer() -> Producer:
    """One that waits for no more messages before it sends."""
    options = {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 0}
    return Producer({"bootstrap.servers": servers(), **options})
