"""One statement in a transaction of its own, and statements that travel with a transaction's beginning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from onward.errors import StoreError, StoreReadOnlyError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections

PREPARED = Command("SELECT count(*) FROM pg_prepared_statements WHERE $1", [(True,)])


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Connections]:
    connections = Connections(Address.read(f"{url}?pool_size=1&wait_s=1"), ("jit",))
    try:
        yield connections
    finally:
        connections.close()


def end_all_others(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_it_is_one_round_trip_with_the_settings_of_a_transaction(postgres_url: str, tmp_path: Path) -> None:
    async def play() -> str:
        async with opened(postgres_url) as connections:
            await connections.apart(PREPARED, "Testing")
            pgconn = connections._free[0]._connection.pgconn
            with (tmp_path / "trace").open("w") as trace:
                pgconn.trace(trace.fileno())
                found = await connections.apart(Command("SELECT current_setting($1)", [("jit",)]), "Testing")
                pgconn.untrace()
            assert found.rows == [("off",)]
        return (tmp_path / "trace").read_text()

    assert asyncio.run(play()).count("\tReadyForQuery\t") == 1


@pytest.mark.usefixtures("pooled")
def test_however_often_it_runs_nothing_is_prepared(postgres_url: str) -> None:
    async def play() -> None:
        async with opened(postgres_url) as connections:
            for _ in range(10):
                assert (await connections.apart(PREPARED, "Testing")).scalar() == 0
                async with connections.transaction(PREPARED) as session:
                    await session.run("SELECT 1", (), "Testing")

    asyncio.run(play())


def test_it_changes_nothing_where_it_only_reads(postgres_url: str) -> None:
    async def play() -> None:
        async with opened(postgres_url) as connections:
            with pytest.raises(StoreReadOnlyError, match="Testing"):
                await connections.apart(Command("CREATE TABLE found (n int)"), "Testing")
            assert (await connections.apart(Command("SELECT to_regclass('found')"), "Testing")).scalar() is None
            await connections.apart(Command("CREATE TABLE found (n int)"), "Testing", read_only=False)
            assert (await connections.apart(Command("SELECT count(*) FROM found"), "Testing")).scalar() == 0

    asyncio.run(play())


def test_a_connection_that_ended_while_it_lay_idle_costs_nothing(postgres_url: str) -> None:
    async def play() -> None:
        async with opened(postgres_url) as connections:
            await connections.apart(PREPARED, "Testing")
            end_all_others(postgres_url)
            assert (await connections.apart(PREPARED, "Testing")).scalar() == 0
            end_all_others(postgres_url)
            async with connections.transaction(Command("CREATE TABLE found (n int)"), doing="Testing"):
                pass
            assert (await connections.apart(Command("SELECT count(*) FROM found"), "Testing")).scalar() == 0

    asyncio.run(play())


def test_what_travels_with_the_beginning_and_fails_undoes_it_and_keeps_no_place(postgres_url: str) -> None:
    async def play() -> None:
        async with opened(postgres_url) as connections:
            for _ in range(3):
                table, wrong = Command("CREATE TABLE found (n int)"), Command("SELECT 1 / $1::int", [(0,)])
                with pytest.raises(StoreError, match=r"Testing: .*division by zero"):
                    async with connections.transaction(table, wrong, doing="Testing"):
                        raise AssertionError
                none = Command("SELECT 1 WHERE $1", [(False,)], StoreError("as it should"))
                with pytest.raises(StoreError, match="as it should"):
                    async with connections.transaction(table, none):
                        raise AssertionError
            assert (await connections.apart(Command("SELECT to_regclass('found')"), "Testing")).scalar() is None

    asyncio.run(play())
