"""Other people's clients: they read what onward writes, and whatever they write is handled or named."""

import asyncio
import json
import subprocess
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, KafkaProducer
from kafka.serializer import Serializer

from onward import App, Context, Event, Transaction
from onward.partitioning import partition_of
from scripts.servers import kafka_jars
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import INSERT, PATIENCE_S, TOPIC, Stage, written
from tests.integration.services import running

COMPRESSIONS = ("gzip", "snappy", "lz4", "zstd")
KEYS_OF_JAVA = 40
PARTITIONS = 7


class Ordered(Event, type="kafka.ordered", topic="orders", key="order_id"):
    order_id: int
    customer_id: int
    total: Decimal


class Json(Serializer):  # type: ignore[misc]
    def serialize(self, topic: str, headers: object, data: object) -> bytes:
        return json.dumps(data).encode()


def handled(stage: Stage, app: App, count: int) -> None:
    """Runs the app until so many effects are there."""

    async def scene() -> None:
        async with running(app):
            await stage.until_handled(count)

    asyncio.run(scene())


def assert_is_cloud_event(
    value: bytes, key: bytes, headers: Sequence[tuple[str, bytes]], source: str, *, numbered: bool
) -> None:
    assert value == b'{"order_id":7,"customer_id":456,"total":99.90}'
    assert key == b"7"
    named = {name: text.decode() for name, text in headers}
    event_id, time = named.pop("ce_id"), named.pop("ce_time")
    if numbered:
        number = named.pop("onward-number")
        assert number.isascii()
        assert number.isprintable()
    assert event_id.split("-")[2].startswith("7")
    assert time.endswith("Z")
    assert named == {
        "ce_type": "kafka.ordered",
        "ce_dataversion": "1",
        "ce_specversion": "1.0",
        "ce_source": source,
        "content-type": "application/json",
    }


@pytest.mark.parametrize("way", ["sent", "published"])
def test_what_onward_sends_is_plain_json_with_readable_headers_to_other_clients(
    kafka: Kafka, tmp_path: Path, way: str
) -> None:
    stage = Stage(kafka, tmp_path)

    async def write() -> None:
        app = stage.app()
        ordered = Ordered(order_id=7, customer_id=456, total=Decimal("99.90"))
        await (app.send(ordered) if way == "sent" else app.publish(ordered))
        await app.close()

    asyncio.run(write())
    numbered = way == "published"
    reader = KafkaConsumer(
        "orders",
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=int(PATIENCE_S * 1000),
    )
    message = next(reader)
    reader.close()
    assert_is_cloud_event(message.value, message.key, message.headers, stage.name, numbered=numbered)

    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": f"{stage.name}-other", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["orders"])
    found = consumer.poll(PATIENCE_S)
    consumer.close()
    assert found is not None
    headers: Any = found.headers()
    value, key = bytes(found.value() or b""), bytes(found.key() or b"")
    assert_is_cloud_event(value, key, headers, stage.name, numbered=numbered)


def test_a_json_producer_that_knows_nothing_of_onward_is_handled_by_a_typed_handler(
    kafka: Kafka, tmp_path: Path
) -> None:
    kafka.create_topic("orders", partitions=3)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, value_serializer=Json())
    producer.send("orders", {"order_id": 123, "customer_id": 456, "total": 100.0}).get(PATIENCE_S)
    producer.close()
    stage = Stage(kafka, tmp_path)
    app = stage.app()
    seen: list[tuple[Ordered, str]] = []

    @app.on(Ordered)
    async def take(ordered: Ordered, tx: Transaction, ctx: Context) -> None:
        seen.append((ordered, ctx.envelope.id))
        await tx.execute(INSERT, key="ordered", n=ordered.order_id)

    handled(stage, app, 1)
    ((ordered, event_id),) = seen
    assert (ordered.order_id, ordered.customer_id, ordered.total) == (123, 456, Decimal("100.0"))
    assert [type(each) for each in (ordered.order_id, ordered.customer_id, ordered.total)] == [int, int, Decimal]
    assert event_id.endswith("/0")  # known by its place: topic, partition and offset


def test_every_compression_is_read(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    kafka.create_topic(TOPIC, partitions=4)
    for number, compression in enumerate(COMPRESSIONS):
        stage.produce(*written(*range(number * 50, number * 50 + 50)), compression=compression)
    handled(stage, stage.recorder(), 200)
    assert stage.numbers() == [*range(200)]


def test_what_a_transaction_aborted_is_never_handled_and_what_it_committed_once(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    kafka.create_topic(TOPIC, partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": stage.name, "log_level": 0})
    producer.init_transactions(PATIENCE_S)
    for number in range(6):
        producer.begin_transaction()
        for value in written(*range(number * 10, number * 10 + 10)):
            producer.produce(TOPIC, value)
        assert producer.flush(PATIENCE_S) == 0  # or what is aborted would never have been in the log
        if number % 2:
            producer.abort_transaction(PATIENCE_S)
        else:
            producer.commit_transaction(PATIENCE_S)

    async def scene() -> None:
        async with stage.recording():
            await stage.until_handled(30)
            await stage.until(lambda: stage.committed() == {0: 66})  # the marks of six transactions lie behind it too

    asyncio.run(scene())
    assert stage.numbers() == [*range(10), *range(20, 30), *range(40, 50)]


def test_what_is_no_event_becomes_a_dead_letter_with_its_bytes_and_its_neighbours_are_handled(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    kafka.create_topic(TOPIC, partitions=1)
    large = b'{"key":"large","n":1,"more":"%s"}' % (b"x" * 1000)
    writer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    unreadable = [("ce_type", b"\xff\xfe"), ("trace", b"\x80")]
    for value, headers in (
        (written(1)[0], []),
        (None, []),
        (b"", []),
        (b"\xff not JSON", []),
        (large, []),
        (written(2)[0], unreadable),
        (written(3)[0], [("ce_type", b"of.somebody.else")]),
        (written(4)[0], [("", b""), ("schl\N{LATIN SMALL LETTER U WITH DIAERESIS}ssel", b"x")]),
    ):
        writer.send(TOPIC, value=value, key=b"same", headers=headers).get(PATIENCE_S)
    writer.close()

    async def scene() -> None:
        async with running(stage.recorder("?max_value_bytes=500")):
            await stage.until(lambda: stage.committed() == {0: 8})

    asyncio.run(scene())
    assert stage.numbers() == [1, 2, 4]
    letters = stage.rows("SELECT offset, cause, value FROM onward_dead_letter ORDER BY offset")
    assert [offset for offset, _, _ in letters] == [1, 2, 3, 4]
    assert [value for _, _, value in letters] == [None, b"", b"\xff not JSON", large[:500]]


def test_a_key_goes_where_the_java_client_sends_it_and_its_compressions_are_read(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path, partitions=PARTITIONS)
    kafka.create_topic(TOPIC, partitions=PARTITIONS)
    said = subprocess.run(
        [
            kafka_jars.java(),
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{kafka_jars.fetch()}/*",
            str(Path(__file__).with_name("JavaProducer.java")),
            kafka.bootstrap,
            TOPIC,
            str(KEYS_OF_JAVA),
        ],
        stdout=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=True,
    ).stdout.decode()
    chosen = dict(line.rsplit(" ", 1) for line in said.splitlines())
    assert len(chosen) == KEYS_OF_JAVA * 5
    assert {key: int(partition) for key, partition in chosen.items()} == {
        key: partition_of(key.encode(), PARTITIONS) for key in chosen
    }
    handled(stage, stage.recorder(), len(chosen))
    assert sorted(stage.effects()) == sorted((key, int(key.rsplit("-", 1)[1])) for key in chosen)
