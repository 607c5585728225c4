"""Waiting for PostgreSQL: a quick answer costs no turn of the event loop, and nothing keeps the loop for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from onward.errors import StoreUnreachableError
from onward.ports import ServiceEntry
from onward.stores.postgres import waiting
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import Session
from onward.stores.postgres.store import PostgresStore

PATIENCE_S = 30.0
MOST = 100_000
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (n INTEGER NOT NULL)"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is in time, however busy the machine is."""
    monkeypatch.setattr(waiting, "PATIENCE_S", PATIENCE_S)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Session]:
    session = await Session.open(Address.read(url))
    try:
        await session.begin()
        yield session
    finally:
        session.drop()


async def one(session: Session) -> None:
    assert (await session.run("SELECT $1::int", (1,), "Testing")).scalar() == 1


def test_the_loop_turns_while_a_statement_waits_for_a_lock(postgres_url: str) -> None:
    async def play() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("SELECT pg_advisory_lock(1)")
            async with opened(postgres_url) as session, asyncio.timeout(PATIENCE_S):
                waits = asyncio.create_task(session.run("SELECT pg_advisory_xact_lock(1)", (), "Testing"))
                await asyncio.sleep(0)  # it has begun, and will not end before the loop comes here again
                assert not waits.done()
                other.execute("SELECT pg_advisory_unlock(1)")
                await waits

    asyncio.run(play())


@pytest.mark.usefixtures("patient")
def test_the_loop_turns_in_a_long_run_of_quick_statements(postgres_url: str) -> None:
    async def play() -> bool:
        async with opened(postgres_url) as session:
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, turned.set)
            for _ in range(MOST):
                await one(session)
                if turned.is_set():
                    return True
        return False

    assert asyncio.run(play())


@pytest.mark.usefixtures("patient")
def test_a_quick_answer_costs_no_turn(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> bool:
        async with opened(postgres_url) as session:
            await one(session)
            monkeypatch.setattr(waiting, "TURN_S", PATIENCE_S)
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(turned.set)
            for _ in range(100):
                await one(session)
            return turned.is_set()

    assert asyncio.run(play()) is False


@pytest.mark.parametrize("name", ["MAX_SOCKET", "PATIENCE_S", "TURN_S"])
def test_without_a_moment_to_wait_the_loop_does_it_all(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(waiting, name, 0)

    async def play() -> None:
        async with opened(postgres_url) as session:
            for _ in range(10):
                await one(session)
            found = await session.run("SELECT repeat('x', 100) FROM generate_series(1, 100000)", (), "Testing")
            assert len(found.rows) == 100_000

    asyncio.run(play())


@pytest.mark.usefixtures("patient")
def test_a_handler_that_is_cancelled_amid_quick_statements_leaves_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "TURN_S", PATIENCE_S)

    async def handler(store: PostgresStore) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with store.unit() as unit:
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            task.cancel()
            await unit.tx.submit("INSERT INTO effect VALUES (2)")
            await unit.tx.execute("SELECT 1")
            await asyncio.sleep(0)
            await unit.commit(None, None)

    async def play() -> None:
        store = PostgresStore(Address.read(f"{postgres_url}?pool_size=1", "shop"), "shop")
        try:
            await store.open(ServiceEntry("shop", (SCHEMA,), {}, ()))
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(handler(store))
            async with store.unit() as unit:
                assert (await unit.tx.execute("SELECT count(*) FROM effect")).scalar() == 0
                await unit.tx.submit("INSERT INTO effect VALUES (3)")
                await unit.commit(None, None)
            assert (await store.read("SELECT n FROM effect", {})).rows == [(3,)]
        finally:
            await store.close()

    asyncio.run(play())


def test_text_travels_in_the_encoding_that_a_handler_has_set(postgres_url: str) -> None:
    async def play() -> None:
        async with opened(postgres_url) as session:
            await session.script("CREATE TABLE found (word text)", "Testing")
            await session.run("INSERT INTO found VALUES ($1)", ("è",), "Testing")
            await session.run("SET LOCAL client_encoding = latin1", (), "Testing")
            found = await session.run("SELECT word, word = 'è', word = $1 FROM found", ("è",), "Testing")
            assert found.rows == [("è", True, True)]

    asyncio.run(play())


def test_a_connection_that_the_server_ends_amid_the_answers_is_told(postgres_url: str) -> None:
    async def play() -> None:
        async with opened(postgres_url) as session:
            end = Command("SELECT pg_terminate_backend(pg_backend_pid())")
            with pytest.raises(StoreUnreachableError):
                await session.send([Command("SELECT 1"), end, Command("SELECT 2")], "Testing")
            assert session.lost

    asyncio.run(play())
