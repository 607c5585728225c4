"""What Kafka will never take is kept apart, and holds up nobody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub leaves them out
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from onward import App, Event, Transaction
from scripts.servers.kafka import Kafka
from tests.integration.children import ROOT
from tests.integration.kafka.stage import INSERT, PATIENCE_S, SCHEMA, Stage

TOPIC_BYTES = 8_000
KEPT = "SELECT why FROM onward_refused"


class Described(Event, type="relay.described", topic="descriptions", key="key"):
    key: str
    n: int
    text: str


def limit(stage: Stage, kafka: Kafka) -> None:
    """Somebody made the topic before us, for small messages."""
    kafka.create_topic("descriptions", 1)
    entry = ConfigEntry("max.message.bytes", str(TOPIC_BYTES), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "descriptions", incremental_configs=[entry])
    stage.admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)


@pytest.mark.parametrize("store", ["file", "postgresql"])
def test_an_event_that_kafka_will_never_take_is_kept_apart_and_its_neighbours_go_on(
    store: str, kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stage = Stage(kafka, tmp_path)
    limit(stage, kafka)
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
