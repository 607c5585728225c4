"""A topic that takes no events holds up its own, and no other's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub leaves some out
    AclOperation,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from onward import App, Event, Transaction
from onward.cli import main
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import INSERT, PATIENCE_S, SCHEMA, Placed, Stage, assert_exactly_once
from tests.integration.kafka.test_access import TOPICS, _may, allowed, guarded, options

DELIVERY_MS = 3_000
WAITING = "SELECT coalesce(sum(events), 0) FROM onward_outbox"
BARRED = "SELECT topic FROM onward_barred"


class Billed(Event, type="relay.billed", topic="bills", key="key"):
    key: str
    n: int


@pytest.mark.parametrize("store", ["file", "postgresql"])
def test_events_of_a_topic_that_may_not_be_made_wait_in_order_and_the_others_go_on(
    store: str, kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stage = Stage(kafka, tmp_path)
    on_file = store == "file"
    where = f"sqlite:///{stage.database}" if on_file else request.getfixturevalue("postgres_url")
    schema = SCHEMA if on_file else SCHEMA.replace("place INTEGER PRIMARY KEY", "place serial")
    broker = f"kafka://{guarded(kafka)}{options(kafka)}"
    app = App(stage.name, broker=broker, store=where, schema=schema, topics=[stage.topic])

    @app.on(Placed)
    async def record(placed: Placed, tx: Transaction) -> None:
        await tx.execute(INSERT, key=placed.key, n=placed.n)

    def rows(sql: str) -> list[tuple[Any, ...]]:
        if on_file:
            return stage.rows(sql)
        with psycopg.connect(where) as connection:
            return connection.execute(sql.replace("onward_", "onward.").encode()).fetchall()

    def doctor() -> str:
        told = CliRunner().invoke(main, ["doctor", "--store", where], catch_exceptions=False)
        assert told.exit_code == 1
        return told.stdout

    async def scene() -> None:
        async with app.lifespan() as service:
            assert service is not None
            await app.publish(Billed(key="a", n=0), Placed(key="waits", n=0))
            for n in range(1, 10):
                await app.publish(Billed(key="a", n=n))
                await app.publish(Placed(key="passes", n=n))
            await app.publish(Placed(key="waits", n=1))
            await stage.until(lambda: rows("SELECT count(*) FROM effect") == [(9,)])
            assert "for topic 'bills' wait in its outbox" in service.unready()[0]
            told = await asyncio.to_thread(doctor)
            assert "events for bills can't leave, while others do" in told
            assert "was refused by Kafka" in told
            for created in stage.admin.create_acls(
                [_may(ResourceType.TOPIC, "bills", operation) for operation in TOPICS]
            ).values():
                created.result(PATIENCE_S)
            await stage.until(lambda: rows("SELECT count(*) FROM onward_outbox") == [(0,)])
            await stage.until(lambda: rows("SELECT count(*) FROM effect") == [(11,)])
            await stage.until(lambda: service.unready() == [])

    with allowed(stage):
        asyncio.run(scene())
    assert rows("SELECT n FROM effect WHERE key = 'waits' ORDER BY place") == [(0,), (1,)]
    assert stage.values_of("bills") == [b'{"key":"a","n":%d}' % n for n in range(10)]


def test_a_topic_that_is_deleted_holds_up_its_own_also_where_they_have_numbers(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    kafka.create_topic("bills", 2)
    app = stage.recorder(f"?delivery.timeout.ms={DELIVERY_MS}")

    async def scene() -> None:
        async with app.lifespan():
            await app.publish(Billed(key="a", n=0), Placed(key="passes", n=0))
            await stage.until(lambda: stage.numbers() == [0] and stage.rows(WAITING) == [(0,)])
            await asyncio.to_thread(deleted, stage, "bills")
            await app.publish(*(Billed(key="a", n=n) for n in range(1, 4)))
            await stage.until(lambda: stage.rows(BARRED) == [("bills",)])
            await app.publish(*(Placed(key="passes", n=n) for n in range(1, 10)), Billed(key="a", n=4))
            await app.publish(*(Placed(key="passes", n=n) for n in range(10, 20)))
            await app.publish(*(Placed(key="waits", n=n) for n in range(20, 30)))
            await stage.until(lambda: stage.numbers() == [0, *range(20, 30)])
            await asyncio.to_thread(kafka.create_topic, "bills", 2)
            await stage.until(lambda: stage.rows(WAITING) == [(0,)])
            await stage.until(lambda: len(stage.numbers()) == 30)

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(30))
    assert list(dict.fromkeys(stage.values_of("bills"))) == [b'{"key":"a","n":%d}' % n for n in range(1, 5)]


def test_a_topic_that_is_made_again_with_fewer_partitions_holds_up_its_own_until_it_has_those_that_have_numbers(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path)
    kafka.create_topic("bills", 2)
    app = stage.recorder(f"?delivery.timeout.ms={DELIVERY_MS}")
    keys = [f"k{number}" for number in range(8)]  # which are not all of one partition

    async def scene() -> None:
        async with app.lifespan():
            await app.publish(Billed(key="a", n=0), Placed(key="passes", n=0))
            await stage.until(lambda: stage.numbers() == [0] and stage.rows(WAITING) == [(0,)])
            await asyncio.to_thread(deleted, stage, "bills")
            for n in (1, 2):
                await app.publish(*(Billed(key=key, n=n) for key in keys))
            await stage.until(lambda: stage.rows(BARRED) == [("bills",)])
            await asyncio.to_thread(kafka.create_topic, "bills", 1)
            for n in range(1, 20):
                await app.publish(Placed(key="passes", n=n))
            await stage.until(lambda: stage.numbers() == [*range(20)])
            await stage.until(lambda: stage.rows(WAITING) == [(16,)])
            more = stage.admin.create_partitions([NewPartitions("bills", 2)])["bills"]
            await asyncio.to_thread(more.result, PATIENCE_S)
            await stage.until(lambda: stage.rows(WAITING) == [(0,)])

    asyncio.run(scene())
    sent = list(dict.fromkeys(stage.values_of("bills")))
    for key in keys:
        theirs = [b'{"key":"%s","n":%d}' % (key.encode(), n) for n in (1, 2)]
        assert [value for value in sent if value in theirs] == theirs


def altered(stage: Stage, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    stage.admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)


def test_a_topic_whose_timestamps_are_refused_holds_up_its_own_and_no_other(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a machine's clock is wrong by more than a topic allows."""
    now = time.time_ns
    monkeypatch.setattr("onward.brokers.kafka.outlet.time_ns", lambda: now() - 7_200_000_000_000)
    stage = Stage(kafka, tmp_path)
    kafka.create_topic("bills", 2)
    _holds_up_its_own(
        stage,
        shut=lambda: altered(stage, "bills", "message.timestamp.before.max.ms", "3600000"),
        opened=lambda: altered(stage, "bills", "message.timestamp.before.max.ms", "86400000"),
    )


def test_a_topic_with_too_few_replicas_holds_up_its_own_and_no_other(kafka_cluster: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka_cluster, tmp_path)
    bills = NewTopic("bills", 2, replica_assignment=[[1, 3], [1, 3]], config={"min.insync.replicas": "2"})
    stage.admin.create_topics([bills])["bills"].result(PATIENCE_S)
    follower = kafka_cluster.nodes[2]
    _holds_up_its_own(stage, shut=follower.kill, opened=follower.start)


def _holds_up_its_own(stage: Stage, shut: Callable[[], None], opened: Callable[[], None]) -> None:
    """Bills are not taken in between, which nothing but a send tells: one does, and then what is sent to find out."""
    app = stage.recorder(f"?delivery.timeout.ms={DELIVERY_MS}")

    async def scene() -> None:
        async with app.lifespan() as service:
            assert service is not None
            await app.publish(Billed(key="a", n=0), Placed(key="passes", n=0))
            await stage.until(lambda: stage.numbers() == [0] and stage.rows(WAITING) == [(0,)])
            await asyncio.to_thread(shut)
            await app.publish(*(Billed(key="a", n=n) for n in range(1, 4)), Placed(key="waits", n=1))
            await app.publish(Placed(key="passes", n=2))
            await stage.until(lambda: stage.rows(BARRED) == [("bills",)])
            for n in range(3, 20):
                await app.publish(Placed(key="passes", n=n))
                await app.publish(Billed(key="a", n=n + 1))
            await app.publish(Placed(key="waits", n=20))
            began = time.monotonic()
            await stage.until(
                lambda: {*stage.numbers()} - {1} == {0, *range(2, 20)}
            )  # 1 was sent with what was refused
            assert time.monotonic() - began < DELIVERY_MS / 1000
            assert "for topic 'bills' wait in its outbox" in service.unready()[0]
            await asyncio.sleep(2 * DELIVERY_MS / 1000)
            await app.publish(Placed(key="passes", n=21))
            await stage.until(lambda: 21 in stage.numbers())
            await asyncio.to_thread(opened)
            await stage.until(lambda: stage.rows(WAITING) == [(0,)] and len(stage.numbers()) == 22)
            await stage.until(lambda: service.unready() == [])

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(22))
    assert list(dict.fromkeys(stage.values_of("bills"))) == [b'{"key":"a","n":%d}' % n for n in range(21)]


def test_a_topic_that_may_not_be_written_to_holds_up_its_own_and_no_other(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    kafka.create_topic("bills", 2)
    app = stage.recorder(options(kafka), bootstrap=guarded(kafka))

    async def scene() -> None:
        async with app.lifespan() as service:
            assert service is not None
            for n in range(10):
                await app.publish(Billed(key="a", n=n))
                await app.publish(Billed(key="b", n=n))
                await app.publish(Placed(key="passes", n=n))
            await stage.until(lambda: "for topic 'bills' wait in its outbox" in "".join(service.unready()))
            assert "authorization" in service.unready()[0]
            await app.publish(Placed(key="passes", n=10))
            await stage.until(lambda: stage.numbers() == [*range(11)])
            write = [_may(ResourceType.TOPIC, "bills", AclOperation.WRITE)]
            for created in stage.admin.create_acls(write).values():
                created.result(PATIENCE_S)
            await stage.until(lambda: stage.rows(WAITING) == [(0,)])
            await stage.until(lambda: service.unready() == [])

    with allowed(stage):
        for created in stage.admin.create_acls([_may(ResourceType.TOPIC, "bills", AclOperation.DESCRIBE)]).values():
            created.result(PATIENCE_S)
        asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(11))
    for key in ("a", "b"):
        expected = [b'{"key":"%s","n":%d}' % (key.encode(), n) for n in range(10)]
        assert [value for value in dict.fromkeys(stage.values_of("bills")) if value in expected] == expected


def deleted(stage: Stage, topic: str) -> None:
    stage.admin.delete_topics([topic])[topic].result(PATIENCE_S)
    while topic in stage.admin.list_topics(timeout=PATIENCE_S).topics:
        time.sleep(0.05)
