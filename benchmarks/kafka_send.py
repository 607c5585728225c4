"""`app.send` to Kafka, acknowledged by all replicas when it returns: against a raw idempotent producer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.harness import Benchmark
from benchmarks.kafka_orders import (
    ANSWER_S,
    BATCH,
    UNITS,
    OrderSent,
    Watch,
    fields,
    logged,
    make_topic,
    servers,
    service,
)
from benchmarks.orders import expect
from onward.ids import text, uuid7_bytes

IN_FLIGHT = 4  # calls of `app.send` that wait at once
WARM_UP = 100  # events in one call, so that the producer of many has its connections

Headers = list[tuple[str, str | bytes | None]]


def _events(begin: int, end: int) -> list[OrderSent]:
    return [OrderSent(**fields(number)) for number in range(begin, end)]


def _by_producer(headers: bool, count: int, folder: Path) -> dict[str, float]:
    """Keeps no event and counts what Kafka has confirmed; `headers` are those of CloudEvents, as onward writes them."""
    make_topic("sent")
    events = _events(0, count)
    encode = msgspec.json.Encoder(decimal_format="number").encode
    producer = Producer({"bootstrap.servers": servers(), "enable.idempotence": True, "partitioner": "murmur2_random"})
    confirmed = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal confirmed
        assert error is None, error
        confirmed += 1

    for _ in range(WARM_UP):
        producer.produce("sent", encode(events[0]), b"", on_delivery=delivered)
    assert producer.flush(ANSWER_S) == 0
    watch = Watch()
    for begin in range(0, count, BATCH):
        batch = events[begin : begin + BATCH]
        for event, said in zip(batch, _headers(len(batch)) if headers else [None] * len(batch), strict=True):
            value, key = encode(event), event.order_id.encode()
            while True:
                try:
                    producer.produce("sent", value, key, on_delivery=delivered, headers=said)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(ANSWER_S) == 0
    values = watch.values(count)
    expect("events confirmed", confirmed, count + WARM_UP)
    expect("events in the topic", logged("sent"), count + WARM_UP)
    return values


def _headers(count: int) -> Iterator[Headers]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()
    for event_id in uuid7_bytes(count):
        yield [
            ("ce_type", b"kafka.order_sent"),
            ("ce_dataversion", b"1"),
            ("ce_specversion", b"1.0"),
            ("ce_id", text(event_id).encode()),
            ("ce_source", b"inventory"),
            ("ce_time", now),
            ("content-type", b"application/json"),
        ]


def _by_onward(batch: int, count: int, folder: Path) -> dict[str, float]:
    make_topic("sent")
    values = asyncio.run(_send(batch, count, folder))
    expect("events in the topic", logged("sent"), count + WARM_UP)
    return values


async def _send(batch: int, count: int, folder: Path) -> dict[str, float]:
    events = _events(0, count)
    app = service(folder, "sent")
    await app.send(*events[:WARM_UP])
    begins = iter(range(0, count, batch))

    async def sender() -> None:
        for begin in begins:
            await app.send(*events[begin : begin + batch])

    watch = Watch()
    await asyncio.gather(*[sender() for _ in range(IN_FLIGHT)])
    values = watch.values(count)
    await app.close()
    return values


BENCHMARKS = [
    Benchmark(
        "send to Kafka",
        {
            "raw producer": partial(_by_producer, True),
            "onward, 1000 a call": partial(_by_onward, BATCH),
            "raw producer, no headers": partial(_by_producer, False),
        },
        UNITS,
        200_000,
        2000,
        against="raw producer",
    )
]
