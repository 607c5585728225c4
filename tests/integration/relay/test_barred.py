"""A topic that takes no events holds up its own, and no other's."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its stub leaves it out

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


def deleted(stage: Stage, topic: str) -> None:
    stage.admin.delete_topics([topic])[topic].result(PATIENCE_S)
    while topic in stage.admin.list_topics(timeout=PATIENCE_S).topics:
        time.sleep(0.05)
