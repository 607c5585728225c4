"""A statement that runs for many rows is read by the server once, and leaves nothing behind on the connection."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from onward.errors import StoreError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import Session

INSERT = "INSERT INTO found (n, word) VALUES ($1, $2)"


async def opened(url: str) -> Session:
    session = await Session.open(Address.read(url))
    await session.begin()
    await session.script("CREATE TABLE found (n numeric, word text)", "Testing")
    return session


def test_the_server_reads_a_statement_once_for_all_rows(postgres_url: str, tmp_path: Path) -> None:
    async def play() -> str:
        session = await opened(postgres_url)
        with (tmp_path / "trace").open("w") as trace:
            session._connection.pgconn.trace(trace.fileno())
            await session.send([Command(INSERT, [(n, "word") for n in range(100)])], "Testing")
            session._connection.pgconn.untrace()
        session.drop()
        return (tmp_path / "trace").read_text()

    said = asyncio.run(play())
    assert len(re.findall(r"\tParse\t", said)) == 1
    assert len(re.findall(r"\tBind\t", said)) == 100


def test_rows_whose_types_differ_are_all_run(postgres_url: str) -> None:
    rows: list[tuple[Any, str]] = [(1, "a"), (None, "b"), (1 << 20, "c"), (1 << 40, "d"), (1 << 80, "e"), (2, "f")]

    async def play() -> list[tuple[Any, ...]]:
        session = await opened(postgres_url)
        await session.send([Command(INSERT, rows), Command(INSERT, [(3, "g")]), Command(INSERT, rows[:2])], "Testing")
        found = await session.run("SELECT n::text, word FROM found ORDER BY ctid", (), "Testing")
        session.drop()
        return found.rows

    expected = [(None if n is None else str(n), word) for n, word in [*rows, (3, "g"), *rows[:2]]]
    assert asyncio.run(play()) == expected


def test_nothing_stays_prepared_on_the_connection(postgres_url: str) -> None:
    async def play() -> Any:
        session = await opened(postgres_url)
        await session.send([Command(INSERT, [(1, "a"), (2, "b")])], "Testing")
        await session.commit()
        await session.begin()
        found = await session.run("SELECT count(*) FROM pg_prepared_statements", (), "Testing")
        session.drop()
        return found.scalar()

    assert asyncio.run(play()) == 0


def test_a_statement_that_the_server_can_not_read_is_told(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        with pytest.raises(StoreError, match="absent"):
            await session.send([Command("INSERT INTO absent VALUES ($1)", [(1,), (2,)])], "Testing")
        await session.rollback()
        assert session.usable
        session.drop()

    asyncio.run(play())
