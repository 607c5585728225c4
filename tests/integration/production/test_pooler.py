"""A real pooler in transaction mode between the services and PostgreSQL: it is all the same to them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from onward import App, Context, Event, Transaction
from onward.cli import main
from scripts.servers.kafka import Kafka
from scripts.servers.process import Keeping
from tests.integration.kafka.stage import Placed, placed
from tests.integration.kills.stage import Stage as Bank
from tests.integration.kills.stage import assert_exactly_once as assert_each_once
from tests.integration.production.bouncer import Bouncer
from tests.integration.production.stage import Stage
from tests.integration.services import running

CONNECTIONS = 3  # fewer than there are transactions at once
SCHEMA = """
CREATE TABLE IF NOT EXISTS effect
    (place BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL, pid INTEGER NOT NULL DEFAULT pg_backend_pid())
"""
INSERT = "INSERT INTO effect (key, n) VALUES (:key, :n)"
EVENTS = 400
TURNS = 3


class Packed(Event, type="pooler.packed", topic="pooler.packed", key="key"):
    key: str
    n: int


@pytest.fixture
def bouncer(keeping: Keeping, postgres_url: str) -> Bouncer:
    return Bouncer(keeping, postgres_url, connections=CONNECTIONS)


def handlers(app: App) -> None:
    """Of each kind, with statements of each kind."""

    @app.on(Placed)
    async def write(placed: Placed, tx: Transaction) -> Packed:
        await tx.submit(INSERT, key="write", n=placed.n)
        return Packed(key=placed.key, n=placed.n)

    @app.on(Packed)
    async def by_session(packed: Packed, session: AsyncSession) -> None:
        await session.execute(
            text("INSERT INTO effect (key, n) VALUES (:key, :n)"), {"key": "by_session", "n": packed.n}
        )

    @app.on(Packed)
    async def many(events: list[Packed], tx: Transaction) -> None:
        for packed in events:
            await tx.execute(INSERT, key="many", n=packed.n)

    @app.on(Placed)
    async def call(placed: Placed, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.execute(INSERT, key="call", n=placed.n)


NAMES = ("write", "by_session", "many", "call")


def test_behind_a_pooler_in_transaction_mode_an_empty_database_becomes_a_store_and_every_handler_works(
    kafka: Kafka, bouncer: Bouncer, postgres_url: str, tmp_path: Path
) -> None:
    stage = Stage(kafka, postgres_url, tmp_path)
    app = App(stage.name, broker=kafka.url, store=bouncer.url, schema=SCHEMA, topics=[stage.topic])
    handlers(app)

    async def scene() -> None:
        async with running(app):
            for first in range(0, EVENTS, 50):
                await app.publish(*placed(range(first, first + 50)))
            await stage.until_handled(len(NAMES) * EVENTS)

    asyncio.run(scene())
    found = stage.effects()
    for name in NAMES:
        assert sorted(n for key, n in found if key == name) == [*range(EVENTS)], name
    assert len(found) == len(NAMES) * EVENTS
    assert 1 < len(stage.rows("SELECT DISTINCT pid FROM effect")) <= CONNECTIONS, "transactions of several connections"
    with psycopg.connect(bouncer.url) as guest:  # whoever comes next has nothing of ours on the connection
        assert guest.execute("SHOW idle_in_transaction_session_timeout").fetchall() == [("0",)]
        assert guest.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
    looked = CliRunner().invoke(main, ["doctor", "--store", bouncer.url, "--broker", kafka.url])
    assert "ok  pooler: one is in between, which is fine in transaction mode" in looked.stdout
    audited = CliRunner().invoke(main, ["audit", "--store", bouncer.url, "--broker", kafka.url])
    assert audited.exit_code == 0, audited.stdout


@pytest.mark.timeout(180)
def test_a_pooler_that_is_killed_in_the_middle_loses_doubles_and_reorders_nothing(
    kafka: Kafka, bouncer: Bouncer, postgres_url: str, tmp_path: Path
) -> None:
    by_pooler = Bank(tmp_path, kafka.url, bouncer.url)
    direct = Bank(tmp_path / "direct", kafka.url, postgres_url)
    published = TURNS * EVENTS
    with by_pooler.running("direct", "plain"):
        for turn in range(TURNS):
            assert direct.publish(turn * EVENTS, (turn + 1) * EVENTS) == 0
            direct.wait_for("book", turn * EVENTS + EVENTS // 4)
            bouncer.kill()
            bouncer.start()
        for handler in ("book", "notify"):
            assert_each_once(direct.wait_for(handler, published), range(published))
        confirmed = direct.wait_for("confirm", published + published // 10)
        assert_each_once([each for each in confirmed if not each[0].startswith("forwarded")], range(published))
    assert direct.audited() == 0
