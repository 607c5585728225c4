"""Orders on a real Kafka, the services that read them, and how what became of them is counted from outside."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from time import monotonic, perf_counter, process_time, sleep
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stub leaves NewTopic out

from benchmarks.orders import QUANTITY, SCHEMA, SKUS, TAKE
from onward import App, Event, Topic, Transaction
from onward.runtime import Service, open_engine

ADDRESS = "BENCHMARK_KAFKA"  # names the servers to measure against, as host:port
PARTITIONS = 4
BATCH = 1000  # events in a transaction, as onward's subscriptions have it
SENT_AT_ONCE = 10_000
ANSWER_S = 30.0
UNITS = {"rate": "events/s", "CPU": "µs/event"}
HANDLED_S = 180.0


class Order(Event, abstract=True, key="order_id"):
    """129 bytes as JSON."""

    order_id: str
    customer_id: str
    sku: str
    quantity: int
    total: Decimal
    warehouse: str


class OrderPlaced(Order, type="kafka.order_placed", topic="orders"):
    """As anybody's client writes it: without headers."""


class OwnOrderPlaced(Order, type="kafka.own_order_placed", topic="own_orders"):
    """As onward writes it: with the headers of CloudEvents."""


class OrderSent(Order, type="kafka.order_sent", topic="sent"):
    """What is sent where nobody has a backlog."""


class Reserved(Event, type="kafka.reserved", topic="reserved", key="order_id"):
    """What becomes of an order."""

    order_id: str


EVENTS: dict[str, type[Order]] = {"orders": OrderPlaced, "own_orders": OwnOrderPlaced, "sent": OrderSent}


async def take(order: Any, tx: Transaction) -> None:
    """One UPDATE."""
    await tx.execute(TAKE, n=order.quantity, sku=order.sku)


async def reserve(order: Any, tx: Transaction) -> Reserved:
    """One UPDATE and one event."""
    await tx.execute(TAKE, n=order.quantity, sku=order.sku)
    return Reserved(order_id=order.order_id)


HANDLERS: dict[str, Callable[..., Any]] = {"take": take, "reserve": reserve}


class Watch:
    """Times what is handled after the first batch: joining a group takes as long as it takes."""

    def __init__(self) -> None:
        self._began, self._cpu = perf_counter(), process_time()

    def values(self, count: int) -> dict[str, float]:
        """Per second, and what an event cost of this process's own time, the client library's threads included."""
        count = max(count, 1)  # the first batch may have been all, where a run is quick
        cpu_s = process_time() - self._cpu
        return {"rate": count / (perf_counter() - self._began), "CPU": cpu_s / count * 1e6}


def servers() -> str:
    return os.environ[ADDRESS]


def service(folder: Path, topic: str, handler: str = "") -> App:
    """The service with one of HANDLERS, or with none, to send. Each folder's has groups of its own."""
    app = App(
        f"inventory-{folder.name}",
        broker=f"kafka://{servers()}",
        store=f"sqlite:///{folder / 'onward.db'}",
        schema=SCHEMA,
        topics=[Topic(topic, partitions=PARTITIONS), Topic("reserved", partitions=PARTITIONS)],
    )
    if handler:
        app.on(EVENTS[topic])(HANDLERS[handler])
    return app


async def register(app: App) -> None:
    """Make the service's tables and accounts; nothing is handled."""
    engine = open_engine(app.name, app.settings)
    try:
        await engine.broker.open(app.plan.all_topics())
        await engine.prepare(await app.plan.entry(engine.broker.log))
    finally:
        await engine.close()


async def handled(running: Service, name: str, more_than: int) -> int:
    """Wait until a handler has handled more events than that; how many it has. Raises what ends the service."""
    until = monotonic() + HANDLED_S
    while (found := int(running.meter.snapshot()["handled"].get(name, 0))) <= more_than:
        if running.failure.done():
            await running.failure
        if monotonic() > until:
            raise TimeoutError(f"{found:,} events handled, and not more than {more_than:,} in {HANDLED_S:g} s")
        await asyncio.sleep(0.001)
    return found


def fields(number: int) -> dict[str, Any]:
    return {
        "order_id": f"order-{number:08d}",
        "customer_id": f"customer-{number % 99_991:05d}",
        "sku": f"sku{number % SKUS}",
        "quantity": QUANTITY,
        "total": Decimal("19.99"),
        "warehouse": "hamburg-north",
    }


def orders(topic: str, count: int) -> Iterator[list[Order]]:
    """`count` orders, in lists of SENT_AT_ONCE."""
    event = EVENTS[topic]
    for begin in range(0, count, SENT_AT_ONCE):
        yield [event(**fields(number)) for number in range(begin, min(begin + SENT_AT_ONCE, count))]


def fill(topic: str, count: int) -> None:
    """Have exactly so many orders in the topic: those that are there if their number is right."""
    if logged(topic) == count:
        return
    make_topic(topic)
    if topic == "orders":
        produce(topic, count)
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(send(topic, count, Path(folder)))
    assert logged(topic) == count


def produce(topic: str, count: int) -> None:
    """As a program without onward does it; returns when all are acknowledged."""
    producer = other_producer()
    hand_over(producer, topic, count)
    assert producer.flush(ANSWER_S) == 0


def other_producer() -> Producer:
    return Producer({"bootstrap.servers": servers(), "enable.idempotence": True, "partitioner": "murmur2_random"})


def hand_over(producer: Producer, topic: str, count: int) -> None:
    """So many orders; returns when the client has them."""
    encode = msgspec.json.Encoder(decimal_format="number").encode
    for number in range(count):
        order = fields(number)
        while True:
            try:
                producer.produce(topic, encode(order), order["order_id"].encode())
                break
            except BufferError:
                producer.poll(0.1)
        if number % BATCH == 0:
            producer.poll(0)


async def send(topic: str, count: int, folder: Path) -> None:
    app = service(folder, topic)
    for batch in orders(topic, count):
        await app.send(*batch)
    await app.close()


def make_topic(name: str, partitions: int = PARTITIONS) -> None:
    """An empty one, in place of what there is."""
    admin = AdminClient({"bootstrap.servers": servers(), "log_level": 0})
    if name in admin.list_topics(timeout=ANSWER_S).topics:
        admin.delete_topics([name])[name].result(ANSWER_S)
    until = monotonic() + ANSWER_S
    while True:  # the deletion may not be known everywhere yet
        try:
            admin.create_topics([NewTopic(name, num_partitions=partitions)])[name].result(ANSWER_S)
            break
        except KafkaException:
            if monotonic() > until:
                raise
            sleep(0.1)


def logged(topic: str) -> int:
    """How many messages a topic holds that nothing was deleted from, by a client of its own; -1 without the topic."""
    with closing(Consumer({"bootstrap.servers": servers(), "group.id": "counting"})) as consumer:
        found = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
        if found.error is not None:
            return -1
        places = [TopicPartition(topic, partition) for partition in found.partitions]
        return sum(consumer.get_watermark_offsets(place, timeout=ANSWER_S)[1] for place in places)
