"""A time-out that a handler catches: of its statements, all take effect or none, wherever it cut them short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
import pytest

from onward.errors import TransactionError
from onward.ports import ServiceEntry
from onward.stores.postgres import statements
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.speaker import Speaker
from onward.stores.postgres.store import PostgresStore
from onward.stores.postgres.transaction import PostgresTransaction

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (n INTEGER NOT NULL)"
COUNT = 30
PATIENCE_S = 30.0
ONE = "INSERT INTO effect VALUES (:n)"
LOCK = "SELECT pg_advisory_xact_lock(1)"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
ANOTHER = "INSERT INTO effect SELECT :n ::int"  # not the same text: each of them is sent by itself


class Deadline:
    """Lets a time-out pass when the server waits inside of LOCK."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit: asyncio.Timeout | None = None
        self.passed = False
        self._url = url
        said = Speaker._together

        async def together(speaker: Speaker, commands: Sequence[Command], **how: Any) -> Any:
            if any(command.sql == LOCK for command in commands):
                self._passing = asyncio.create_task(self._pass())
            return await said(speaker, commands, **how)

        monkeypatch.setattr(Speaker, "_together", together)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with psycopg.connect(self._url) as self._other:
            self._other.execute("SELECT pg_advisory_xact_lock(1)")
            yield

    async def _pass(self) -> None:
        while self._other.execute(WAITING).fetchall() == [(0,)]:
            await asyncio.sleep(0.001)
        assert self.limit is not None
        self.passed = True
        self.limit.reschedule(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.timeout(PATIENCE_S) as self.limit:
            self.passed = False
            yield


async def by_a_query(tx: PostgresTransaction) -> None:
    await tx.execute("SELECT 1")


async def by_one_submitted(tx: PostgresTransaction) -> None:
    await tx.submit(ONE, n=COUNT)


async def by_a_savepoint(tx: PostgresTransaction) -> None:
    async with tx.savepoint():
        pass


async def by_a_session(tx: PostgresTransaction) -> None:
    await tx.statements.drive("SELECT 1", None, many=False)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(Address.read(url, "shop"), "shop")
    try:
        await store.open(ServiceEntry("shop", (SCHEMA,), {}, ()))
        yield store
    finally:
        await store.close()


async def stored(store: PostgresStore) -> int:
    return int((await store.read("SELECT count(*) FROM effect", {})).scalar())


async def say(tx: PostgresTransaction, place: int) -> None:
    for n in range(COUNT):
        if n == place:
            await tx.submit(LOCK)
        else:
            await tx.submit(ONE if n % 2 else ANOTHER, n=n)


@pytest.mark.parametrize("sent_by", [by_a_query, by_one_submitted, by_a_savepoint, by_a_session])
def test_an_event_whose_statements_were_cut_short_stores_nothing_though_the_time_out_is_caught(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, sent_by: Callable[[PostgresTransaction], Awaitable[None]]
) -> None:
    if sent_by is by_one_submitted:
        monkeypatch.setattr(statements, "MAX_WAITING", COUNT)
    deadline = Deadline(postgres_url, monkeypatch)

    async def play() -> None:
        async with opened(postgres_url) as store:
            for sent in range(COUNT):
                async with store.unit() as unit:
                    await say(unit.tx, sent)
                    with pytest.raises(TimeoutError):
                        async with deadline.running():
                            await sent_by(unit.tx)
                    with pytest.raises(TransactionError, match="was cut short"):
                        await unit.commit(None, None)
                assert await stored(store) == 0, sent

    with deadline.locked():
        asyncio.run(play())


def test_a_savepoint_inside_the_time_out_undoes_what_was_cut_short_and_the_rest_is_stored(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = Deadline(postgres_url, monkeypatch)

    async def play() -> None:
        async with opened(postgres_url) as store:
            for sent in range(COUNT):
                async with store.unit() as unit:
                    await unit.tx.execute(ONE, n=-1)
                    with suppress(TimeoutError):
                        async with deadline.running(), unit.tx.savepoint():
                            await say(unit.tx, sent)
                            await unit.tx.execute("SELECT 1")
                    assert deadline.passed
                    await unit.tx.submit(ONE, n=-2)
                    await unit.commit(None, None)
                assert await stored(store) == 2 * (sent + 1)

    with deadline.locked():
        asyncio.run(play())
