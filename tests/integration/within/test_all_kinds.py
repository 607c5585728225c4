"""What is published within a transaction of the user's own leaves by its commit, and not at all if that fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from onward import App
from onward.errors import EncodeError, StoreError, TransactionError
from scripts.servers.postgres import Postgres
from tests.integration.within.sessions import KINDS, Kind, sqlalchemy_url
from tests.integration.within.till import Paid, Till, Undone, prepare

AUTOCOMMIT: Any = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_commit_publishes_and_a_rollback_does_not(kind: Kind, till: Till) -> None:
    async def scene() -> None:
        async with kind(till.url) as opened:
            await opened.write()
            await till.app.publish(Paid(n=1), Paid(n=2), within=opened.session)
            assert till.written() == 0
        with suppress(Undone):
            async with kind(till.url) as opened:
                await opened.write()
                await till.app.publish(Paid(n=3), within=opened.session)
                raise Undone
        async with kind(till.url) as opened:
            await till.app.publish(Paid(n=4), within=opened.session)

    asyncio.run(scene())
    assert till.written() == 1
    assert till.waiting() == [[1, 2], [4]]


def test_synchronous_code_adds_to_the_outbox_of_what_need_not_be_awaited(till: Till) -> None:
    async def add(kind: Kind, n: int) -> None:
        async with kind(till.url) as opened:
            outbox = till.app.outbox(opened.session)
            if opened.is_async:
                with pytest.raises(TransactionError, match=r"has to be awaited.* `await app\.publish\(event, within="):
                    outbox.add(Paid(n=n))
                return
            outbox.add(Paid(n=n))
            outbox.add()
            with pytest.raises(EncodeError):
                outbox.add(Paid(n=n), Paid(n=float("nan")))  # type: ignore[arg-type]

    for n, kind in enumerate(KINDS.values()):
        asyncio.run(add(kind, n))
    awaited = ("psycopg_async_connection", "sqlalchemy_async_connection")
    assert till.waiting() == [[n] for n, name in enumerate(KINDS) if name not in awaited]


def test_what_is_put_off_waits_in_the_outbox_for_its_time(till: Till) -> None:
    with psycopg.connect(till.url) as connection:
        outbox = till.app.outbox(connection)
        outbox.add(Paid(n=1), delay=timedelta(days=1))
        outbox.add(Paid(n=2))
    assert till.waiting() == [[2]]
    with psycopg.connect(till.url) as connection:
        delayed = connection.execute("SELECT count(*) FROM onward.outbox WHERE due_at > now() + '23 hours'").fetchall()
    assert delayed == [(1,)]


def test_another_database_than_the_services_store_is_refused(till: Till, postgres: Postgres) -> None:
    others = ("within_other_store", "within_no_store")

    async def attempt(kind: Kind, url: str) -> None:
        with pytest.raises(TransactionError, match=r"leave from the database that is its store.*Nothing was published"):
            async with kind(url) as opened:
                await till.app.publish(Paid(n=1), within=opened.session)

    for name in others:
        postgres.create_database(name)
    try:
        prepare(postgres.url_of(others[0]))
        for kind in KINDS.values():
            for name in others:
                asyncio.run(attempt(kind, postgres.url_of(name)))
        with psycopg.connect(postgres.url_of(others[0])) as connection:
            assert connection.execute("SELECT 1 FROM onward.outbox").fetchall() == []
    finally:
        for name in others:
            postgres.drop_database(name)
    assert till.waiting() == []


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def asynchronous(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def core(url: str) -> AsyncIterator[Any]:
    with create_engine(sqlalchemy_url(url), **AUTOCOMMIT).connect() as connection:
        yield connection


@asynccontextmanager
async def orm(url: str) -> AsyncIterator[Any]:
    with Session(create_engine(sqlalchemy_url(url), **AUTOCOMMIT)) as session:
        yield session
        session.commit()


@asynccontextmanager
async def asynchronous_orm(url: str) -> AsyncIterator[Any]:
    async with AsyncSession(create_async_engine(sqlalchemy_url(url), **AUTOCOMMIT)) as session:
        yield session
        await session.commit()


def test_a_connection_that_commits_each_statement_by_itself_is_refused(till: Till) -> None:
    async def attempt(kind: Callable[[str], AbstractAsyncContextManager[Any]]) -> None:
        with pytest.raises(TransactionError, match=r"no transaction to publish in.*autocommit.*Nothing was published"):
            async with kind(till.url) as session:
                await till.app.publish(Paid(n=1), within=session)

    for kind in (plain, asynchronous, core, orm, asynchronous_orm):
        asyncio.run(attempt(kind))
    assert till.waiting() == []


def test_a_block_on_a_connection_that_commits_by_itself_is_a_transaction(till: Till) -> None:
    async def scene() -> None:
        async with plain(till.url) as connection:
            with connection.transaction():
                await till.app.publish(Paid(n=1), within=connection)
            with suppress(Undone), connection.transaction():
                await till.app.publish(Paid(n=2), within=connection)
                raise Undone
        async with asynchronous(till.url) as connection, connection.transaction(), connection.pipeline():
            await till.app.publish(Paid(n=3), within=connection)

    asyncio.run(scene())
    assert till.waiting() == [[1], [3]]


def test_a_service_on_a_file_publishes_in_transactions_of_its_own(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_CLERK_STORE", "sqlite:///./clerk.db")
    clerk = App("clerk")

    async def attempt(kind: Kind) -> None:
        async with kind(till.url) as opened:
            with pytest.raises(TransactionError, match=r"store is a SQLite file.*`async with app\.session\(\)"):
                await clerk.publish(Paid(n=1), within=opened.session)

    for kind in KINDS.values():
        asyncio.run(attempt(kind))


def test_a_transaction_of_onwards_own_is_published_in_on_postgresql_too(till: Till) -> None:
    async def scene() -> None:
        async with till.store() as store, store.unit() as unit:
            await unit.tx.execute("INSERT INTO written (n) VALUES (:n)", n=1)
            await till.app.publish(Paid(n=1), within=unit.tx)
            till.app.outbox(unit.tx).add(Paid(n=2))
            with pytest.raises(TransactionError, match="is one of service 'till'"):
                await App("clerk").publish(Paid(n=3), within=unit.tx)
            await unit.commit(None, None)

    asyncio.run(scene())
    assert till.written() == 1
    assert till.waiting() == [[1, 2]]


def test_a_failure_of_the_database_says_that_nothing_was_published(till: Till) -> None:
    with psycopg.connect(till.url) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT FROM nowhere")
        with pytest.raises(StoreError, match=r"Publishing in a transaction of yours: .*is aborted"):
            till.app.outbox(connection).add(Paid(n=1))
        connection.rollback()
    with create_engine(sqlalchemy_url(till.url), poolclass=NullPool).connect() as core_connection:
        with pytest.raises(ProgrammingError):
            core_connection.execute(text("SELECT FROM nowhere"))
        with pytest.raises(StoreError, match=r"of SQLAlchemy failed .*is aborted.*Nothing was published"):
            till.app.outbox(core_connection).add(Paid(n=1))
    assert till.waiting() == []


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ("DROP SCHEMA onward CASCADE", TransactionError, "has no tables of onward yet.*Start the service once"),
        ("DELETE FROM onward.identity", StoreError, "does not say which store it is"),
    ],
)
def test_a_store_that_can_t_say_which_it_is_is_no_place_to_publish(
    change: str, error: type[Exception], sentence: str, till: Till
) -> None:
    with psycopg.connect(till.url) as connection:
        connection.execute(change.encode())
    with psycopg.connect(till.url) as connection, pytest.raises(error, match=sentence):
        till.app.outbox(connection).add(Paid(n=1))
