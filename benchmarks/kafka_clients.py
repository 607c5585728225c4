"""Client libraries, reading alone: what onward could be built on, and what its consumer makes of its own.

Each side decodes every order to its type and stores nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from benchmarks.harness import Benchmark
from benchmarks.kafka_loop import decode
from benchmarks.kafka_orders import BATCH, UNITS, Watch, fill, servers
from benchmarks.orders import expect
from onward.brokers.kafka.broker import KafkaBroker
from onward.ports import Group, Place, Shift

WAIT_S = 1.0


def _confluent(topic: str, at_once: int, count: int, folder: Path) -> dict[str, float]:
    fill(topic, count)
    options = {
        "bootstrap.servers": servers(),
        "group.id": f"clients-{folder.name}",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
    }
    seen, watch, first = 0, Watch(), 0
    with closing(Consumer(options)) as consumer:
        consumer.subscribe([topic])
        while seen < count:
            for message in consumer.consume(at_once, WAIT_S):
                assert message.error() is None
                decode(message.value() or b"")
                seen += 1
            if not first and seen:
                first, watch = seen, Watch()
        values = watch.values(seen - first)
    expect("orders read", seen, count)
    return values


def _aiokafka(topic: str, count: int, folder: Path) -> dict[str, float]:
    from aiokafka import AIOKafkaConsumer

    async def read() -> tuple[int, dict[str, float]]:
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=servers(),
            group_id=f"clients-{folder.name}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        seen, watch, first = 0, Watch(), 0
        while seen < count:
            for messages in (await consumer.getmany(timeout_ms=int(WAIT_S * 1000), max_records=BATCH)).values():
                for message in messages:
                    decode(message.value)
                seen += len(messages)
            if not first and seen:
                first, watch = seen, Watch()
        values = watch.values(seen - first)
        await consumer.stop()
        return seen, values

    fill(topic, count)
    seen, values = asyncio.run(read())
    expect("orders read", seen, count)
    return values


def _onward(topic: str, count: int, folder: Path) -> dict[str, float]:
    """Its consumer alone: deliveries of one partition, types, keys and numbers read, the topic looked after."""

    async def assigned(partitions: Sequence[int]) -> Mapping[int, Place]:
        return dict.fromkeys(partitions, Place(0))

    async def revoked(_partitions: Sequence[int]) -> None: ...

    async def shifted(_shifts: Sequence[Shift]) -> None: ...

    async def read() -> tuple[int, dict[str, float]]:
        broker = KafkaBroker(f"kafka://{servers()}", "clients")
        group = Group(f"clients-{folder.name}", topic, "", assigned, revoked, shifted, dict, "")
        consumer = await broker.consume(group)
        seen, watch, first = 0, Watch(), 0
        while seen < count:
            delivery = await consumer.next(BATCH, WAIT_S)
            if delivery is None:
                continue
            for record in delivery.records:
                decode(record[2])
            seen += len(delivery.records)
            if not first:
                first, watch = seen, Watch()
        values = watch.values(seen - first)
        await broker.close()
        return seen, values

    fill(topic, count)
    seen, values = asyncio.run(read())
    expect("orders read", seen, count)
    return values


def _sides(topic: str) -> dict[str, Any]:
    return {
        "confluent-kafka, consume(1000)": partial(_confluent, topic, BATCH),
        "confluent-kafka, one at a time": partial(_confluent, topic, 1),
        "aiokafka, getmany(1000)": partial(_aiokafka, topic),
        "onward's consumer": partial(_onward, topic),
    }


BENCHMARKS = [
    Benchmark(
        name,
        _sides(topic),
        UNITS,
        500_000,
        2000,
        against="confluent-kafka, consume(1000)",
    )
    for name, topic in (("clients, JSON of anybody", "orders"), ("clients, events of onward", "own_orders"))
]
