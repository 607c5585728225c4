"""What Kafka will never take is kept apart, and holds up nobody."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub leaves them out
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from onward import App, Event, Transaction
from onward.cli import main
from onward.errors import EncodeError, PublishUncertainError
from scripts.servers.kafka import Kafka
from tests.integration.children import ROOT
from tests.integration.kafka.stage import INSERT, PATIENCE_S, SCHEMA, Stage

TOPIC_BYTES = 8_000
KEPT = "SELECT why FROM onward_refused"


class Described(Event, type="relay.described", topic="descriptions", key="key"):
    key: str
    n: int
    text: str


class Keyless(Event, type="relay.keyless", topic="compacted"):
    n: int


class Keyed(Event, type="relay.keyed", topic="compacted", key="key"):
    key: str
    n: int
    text: str


def made(stage: Stage, kafka: Kafka, topic: str, setting: str, value: str) -> None:
    """Somebody made the topic before us, and otherwise than we would have."""
    kafka.create_topic(topic, 1)
    alter(stage, topic, setting, value)


def alter(stage: Stage, topic: str, setting: str, value: str) -> None:
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    stage.admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)


@pytest.mark.parametrize("store", ["file", "postgresql"])
def test_an_event_that_kafka_will_never_take_is_kept_apart_and_its_neighbours_go_on(
    store: str, kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stage = Stage(kafka, tmp_path)
    made(stage, kafka, "descriptions", "max.message.bytes", str(TOPIC_BYTES))
    on_file = store == "file"
    where = f"sqlite:///{stage.database}" if on_file else request.getfixturevalue("postgres_url")
    app = App(stage.name, broker=kafka.url, store=where, schema=SCHEMA.replace("place INTEGER PRIMARY KEY, ", ""))
    seen = asyncio.Event()

    @app.on(Described)
    async def note(described: Described, tx: Transaction) -> None:
        await tx.execute(INSERT, key=described.key, n=described.n)
        if described.n == 3:
            seen.set()

    async def publish() -> None:
        async with app.lifespan(), asyncio.timeout(PATIENCE_S):
            await app.publish(
                Described(key="a", n=1, text="short"),
                Described(key="a", n=2, text="long" * TOPIC_BYTES),
                Described(key="a", n=3, text="short"),
            )
            await seen.wait()

    def rows(sql: str) -> list[tuple[Any, ...]]:
        if on_file:
            return stage.rows(sql)
        with psycopg.connect(where) as connection:
            return connection.execute(sql.encode()).fetchall()

    asyncio.run(publish())
    assert rows("SELECT n FROM effect ORDER BY n") == [(1,), (3,)]
    why = "32,027 bytes are more than topic 'descriptions' takes"
    assert rows(KEPT if on_file else KEPT.replace("onward_", "onward.")) == [(why,)]
    told = subprocess.run(
        [sys.executable, "-m", "onward", "doctor", "--store", where],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert told.returncode == 1
    assert "its broker will never take 1 of its events" in told.stdout


def test_a_refused_event_is_listed_shown_and_sent_when_its_topic_takes_it(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    made(stage, kafka, "descriptions", "max.message.bytes", str(TOPIC_BYTES))
    app, heard = relaying(stage)

    def onward(*arguments: str) -> str:
        told = CliRunner().invoke(main, [*arguments, "--database", str(stage.database)], catch_exceptions=False)
        assert told.exit_code == 0, told.output
        return told.stdout

    async def handled(expected: list[int], *events: Described) -> None:
        async with app.lifespan():
            await app.publish(*events)
            await stage.until(lambda: heard == expected)

    asyncio.run(handled([2], Described(key="a", n=1, text="long" * TOPIC_BYTES), Described(key="a", n=2, text="")))
    (listed,) = json.loads(onward("dead-letters", "list", "--json"))
    assert (listed["id"], listed["state"], listed["topic"]) == ("r1", "refused", "descriptions")
    assert "\nr1 " in onward("dead-letters", "list")
    shown = onward("dead-letters", "show", "r1")
    assert "32,027 bytes are more than topic 'descriptions' takes" in shown
    assert "longlong" in shown
    alter(stage, "descriptions", "max.message.bytes", str(100 * TOPIC_BYTES))
    assert onward("dead-letters", "retry", "r1").startswith("1 dead letter is marked")
    asyncio.run(handled([2, 1]))
    assert onward("dead-letters", "list") == "No dead letters.\n"


def relaying(stage: Stage) -> tuple[App, list[int]]:
    """A service that notes the descriptions it hears."""
    app = stage.app()
    heard: list[int] = []

    @app.on(Described)
    async def hear(described: Described, tx: Transaction) -> None:
        heard.append(described.n)

    return app, heard


def test_many_small_events_come_to_a_topic_that_takes_small_batches(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    made(stage, kafka, "descriptions", "max.message.bytes", str(TOPIC_BYTES))
    app, heard = relaying(stage)
    events = [Described(key="a", n=n, text="x" * 900) for n in range(200)]

    async def publish() -> None:
        async with app.lifespan():
            await app.publish(*events)
            await app.send(*(Described(key="b", n=n, text="x" * 900) for n in range(200, 400)))
            await stage.until(lambda: len(heard) == 400)

    asyncio.run(publish())
    assert sorted(heard) == [*range(400)]
    assert [n for n in heard if n < 200] == [*range(200)]


def test_what_kafka_refuses_though_it_has_a_number_is_kept_apart_and_others_go_on(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    made(stage, kafka, "compacted", "cleanup.policy", "compact")
    app, heard = relaying(stage)

    async def publish() -> None:
        async with app.lifespan():
            await app.publish(Described(key="a", n=0, text=""), Keyless(n=1), Described(key="a", n=2, text=""))
            await stage.until(lambda: heard == [0, 2])

    asyncio.run(publish())
    ((why,),) = stage.rows(KEPT)
    assert "A compacted topic needs a key" in str(why)
    assert stage.rows("SELECT count(*) FROM onward_outbox") == [(0,)]


def test_what_kafka_refuses_amid_others_that_it_has_is_kept_apart(kafka: Kafka, tmp_path: Path) -> None:
    """It is neither the first nor the last of its batch, of which Kafka took the first part and not the rest."""
    stage = Stage(kafka, tmp_path)
    made(stage, kafka, "compacted", "cleanup.policy", "compact")
    alter(stage, "compacted", "max.message.bytes", str(TOPIC_BYTES))
    app = stage.app()
    heard: list[int] = []

    @app.on(Keyed)
    async def hear(keyed: Keyed, tx: Transaction) -> None:
        heard.append(keyed.n)

    before, behind = (
        [Keyed(key="a", n=n, text="x" * 900) for n in numbers] for numbers in (range(100), range(100, 200))
    )

    async def publish() -> None:
        async with app.lifespan():
            await app.publish(*before, Keyless(n=1), *behind)
            await stage.until(lambda: len(heard) == 200)

    asyncio.run(publish())
    assert heard == [*range(200)]
    ((why,),) = stage.rows(KEPT)
    assert "A compacted topic needs a key" in str(why)


def test_nothing_of_a_key_is_on_kafka_behind_one_that_was_refused(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    made(stage, kafka, "descriptions", "max.message.bytes", str(TOPIC_BYTES))
    app, heard = relaying(stage)

    async def send() -> None:
        async with app.lifespan():
            texts = ["x" * (2 * TOPIC_BYTES if n == 50 else 500) for n in range(500)]
            events = [Described(key="a", n=n, text=text) for n, text in enumerate(texts)]
            with pytest.raises((EncodeError, PublishUncertainError)):
                await app.send(*events)
            await app.send(Described(key="a", n=1_000, text=""))
            await stage.until(lambda: 1_000 in heard)

    asyncio.run(send())
    assert heard == [*range(len(heard) - 1), 1_000]
    assert len(heard) <= 51
