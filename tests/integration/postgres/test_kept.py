"""What a connection keeps beyond a transaction where it is nobody else's, and a transaction that its first statement
begins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from select import select

import psycopg
import pytest

from onward.errors import StoreError, StoreUnreachableError
from onward.stores.postgres import session as sessions
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.session import Session
from scripts.servers.postgres import Postgres
from tests.integration.postgres.pooler import pooler
from tests.integration.postgres.test_apart import end_all_others

RUNS = 10
KEPT = Command("SELECT count(*) FILTER (WHERE statement LIKE $1), current_setting($2)"
               " FROM pg_prepared_statements", [("%FILTER%", "jit")])  # fmt: skip


async def kept_by(url: str) -> tuple[list[tuple[int, str]], str]:
    """What each of RUNS transactions found prepared, with a setting; and that setting outside a transaction."""
    connections = Connections(Address.read(f"{url}?pool_size=1"), ("jit",), kept=True)
    found = []
    for _ in range(RUNS):
        found.append((await connections.apart(KEPT, "Testing")).one())
        async with connections.transaction(KEPT) as session:
            await session.run("SELECT 1", (), "Testing")
    rows = await (await connections._free[0]._connection.execute("SHOW jit")).fetchall()
    connections.close()
    return found, rows[0][0]


def test_statements_and_settings_stay_on_a_connection_that_is_nobody_elses(postgres_url: str) -> None:
    assert asyncio.run(kept_by(postgres_url)) == ([(1, "off")] * RUNS, "off")


def test_nothing_stays_on_a_connection_that_a_pooler_gives_to_others(postgres_url: str, postgres: Postgres) -> None:
    async def play() -> tuple[list[tuple[int, str]], str]:
        async with pooler(postgres.port) as port:
            return await kept_by(postgres_url.replace(f":{postgres.port}/", f":{port}/"))

    assert asyncio.run(play()) == ([(0, "off")] * RUNS, "on")


def test_a_statement_that_the_server_could_not_prepare_is_prepared_the_next_time(postgres_url: str) -> None:
    async def play() -> None:
        connections = Connections(Address.read(postgres_url), kept=True)
        count = Command("SELECT count(*) FROM late WHERE n = $1", [(1,)])
        with pytest.raises(StoreError, match='"late" does not exist'):
            await connections.apart(count, "Testing")
        async with connections.transaction() as session:
            await session.script("CREATE TABLE late (n integer)", "Testing")
        assert (await connections.apart(count, "Testing")).scalar() == 0
        connections.close()

    asyncio.run(play())


def test_a_transaction_begins_with_its_first_statement_in_one_round_trip(postgres_url: str, tmp_path: Path) -> None:
    async def play() -> str:
        session = await Session.open(Address.read(postgres_url), ("jit",))
        await session.begin_soon()
        assert session._pending
        with (tmp_path / "trace").open("w") as trace:
            session._connection.pgconn.trace(trace.fileno())
            found = await session.run("SELECT current_setting('jit'), current_setting('lock_timeout')", (), "Testing")
            session._connection.pgconn.untrace()
        assert found.one() == ("off", "5s")
        assert session.in_transaction
        session.drop()
        return (tmp_path / "trace").read_text()

    assert asyncio.run(play()).count("\tReadyForQuery\t") == 1


@pytest.mark.parametrize("fresh_s", [sessions.FRESH_S, 0.0])
def test_whatever_begins_it_nothing_is_stored_before_the_commit(
    postgres_url: str, fresh_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement, one that is submitted, one said as the driver does, and one that the server can't run."""
    monkeypatch.setattr(sessions, "FRESH_S", fresh_s)

    def stored() -> int:
        with psycopg.connect(postgres_url) as other:
            return len(other.execute("SELECT FROM kept").fetchall())

    async def play() -> None:
        session = await Session.open(Address.read(postgres_url))
        insert = "INSERT INTO kept VALUES (1)"
        await session.script("CREATE TABLE kept (n integer)", "Testing")
        for say in (
            lambda: session.run(insert, (), "Testing"),
            lambda: session.run(insert, (), "Testing", before=[Command(insert)]),
            lambda: session.send([Command(insert)], "Testing"),
            lambda: session.drive(insert, None, many=False),
            lambda: session.script(insert, "Testing"),
        ):
            await session.begin_soon()
            await say()
            assert stored() == 0
            await session.rollback()
            assert stored() == 0
        await session.begin_soon()
        with pytest.raises(TypeError):
            await session.run("INSERT INTO kept VALUES ($1)", (object(),), "Testing")
        await session.rollback()
        await session.begin_soon()
        await session.commit()
        await session.begin_soon()
        await session.run(insert, (), "Testing")
        await session.commit()
        assert stored() == 1
        session.drop()

    asyncio.run(play())


def test_a_connection_that_was_lost_just_now_fails_the_first_statement_and_nothing_else(postgres_url: str) -> None:
    async def play() -> None:
        connections = Connections(Address.read(f"{postgres_url}?pool_size=1"))
        async with connections.transaction() as session:
            await session.script("CREATE TABLE kept (n integer)", "Testing")
        session = await connections.begin_soon()
        end_all_others(postgres_url)
        with pytest.raises(StoreUnreachableError):
            await session.run("INSERT INTO kept VALUES (1)", (), "Testing")
        await connections.end(session)
        session = await connections.begin_soon()
        await session.run("INSERT INTO kept VALUES (2)", (), "Testing")
        await session.commit()
        await connections.end(session)
        connections.close()

    asyncio.run(play())
    with psycopg.connect(postgres_url) as other:
        assert other.execute("SELECT n FROM kept").fetchall() == [(2,)]


def test_a_connection_whose_end_has_been_told_is_replaced_before_anything_is_said_on_it(postgres_url: str) -> None:
    """A whole transaction goes by it at once: without an answer nobody could tell whether it was stored."""

    async def play() -> None:
        connections = Connections(Address.read(f"{postgres_url}?pool_size=1"))
        async with connections.transaction() as first:
            await first.script("CREATE TABLE kept (n integer)", "Testing")
        end_all_others(postgres_url)
        assert select([first._connection.pgconn.socket], [], [], 10)[0]
        session = await connections.begin_soon()
        assert session is not first
        await session.commit([Command("INSERT INTO kept VALUES (1)")])
        await connections.end(session)
        connections.close()

    asyncio.run(play())
    with psycopg.connect(postgres_url) as other:
        assert other.execute("SELECT n FROM kept").fetchall() == [(1,)]


@pytest.mark.parametrize("apart", [False, True])
def test_a_connection_that_was_lost_while_it_lay_free_is_replaced_however_long_it_lay(
    postgres_url: str, apart: bool
) -> None:
    """Longer than a transaction may stand idle: nobody's transaction did."""

    async def play() -> None:
        connections = Connections(Address.read(f"{postgres_url}?pool_size=1&idle_s=0.1"))
        one = Command("SELECT 1")
        await connections.apart(one, "Testing")
        await asyncio.sleep(0.2)
        end_all_others(postgres_url)
        if apart:
            assert (await connections.apart(one, "Testing")).scalar() == 1
        else:
            await connections.end(await connections.begin())
        connections.close()

    asyncio.run(play())
