"""After a commit of the user's own the relay is woken, which costs that commit nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import create_server
from time import monotonic

import psycopg
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from onward.runtime.opening import open_engine
from onward.stores.postgres import crier
from onward.stores.postgres.address import Address
from tests.integration.within.sessions import KINDS, Kind, sqlalchemy_url
from tests.integration.within.till import Paid, Till, Undone
from tests.integration.within.waking import PATIENCE_S, Listener, criers, join_criers

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
SESSIONS = {
    name: KINDS[name]
    for name in (
        "sqlalchemy_session",
        "sqlalchemy_scoped_session",
        "sqlalchemy_async_session",
        "sqlalchemy_async_scoped_session",
    )
}


def connections(url: str) -> int:
    """Those of anybody else to the database; what has ended is waited for, as the server takes its time."""
    deadline = monotonic() + PATIENCE_S
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            ((count,),) = connection.execute(query).fetchall()
            if count == 0 or monotonic() > deadline:
                return int(count)


@contextmanager
def engine_of(till: Till) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(till.url))
    try:
        yield engine
    finally:
        engine.dispose()


def publish(till: Till) -> None:
    with engine_of(till) as engine, Session(engine) as session:
        till.app.outbox(session).add(Paid(n=1))
        session.commit()


async def committed(kind: Kind, till: Till, n: int) -> None:
    async with kind(till.url) as opened:
        await till.app.publish(Paid(n=n), within=opened.session)


async def rolled_back(kind: Kind, till: Till, n: int) -> None:
    with suppress(Undone):
        async with kind(till.url) as opened:
            await till.app.publish(Paid(n=n), within=opened.session)
            raise Undone


@pytest.mark.parametrize("kind", SESSIONS.values(), ids=SESSIONS)
def test_the_relay_is_told_of_a_sessions_commit_and_of_no_rollback(kind: Kind, till: Till, listener: Listener) -> None:
    asyncio.run(rolled_back(kind, till, 1))
    assert criers() == []
    asyncio.run(committed(kind, till, 2))
    assert listener.hears() == "till"
    join_criers()


def test_it_is_told_behind_the_commit_and_not_by_a_savepoint(till: Till, listener: Listener) -> None:
    with engine_of(till) as engine, Session(engine) as session:
        with session.begin_nested():
            till.app.outbox(session).add(Paid(n=1))
        session.flush()
        assert criers() == []
        session.commit()
        assert listener.hears() == "till"
        assert till.waiting() == [[1]]
        session.begin()
        session.commit()  # in which nothing was published
    join_criers()
    assert listener.hears(0.1) == ""


def test_where_the_service_is_open_it_tells_by_its_own_connections(
    till: Till, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        engine = till.app._engine = open_engine("till", till.app.settings)
        assert engine.outlets is not None
        try:
            await engine.store.open(await till.app.plan.entry())
            engine.prepared = True  # but for its relay, which would need a broker
            told = asyncio.Event()
            monkeypatch.setattr(engine.outlets.relay, "_look_soon", told.set)
            await asyncio.to_thread(asyncio.run, committed(KINDS["sqlalchemy_session"], till, 1))
            async with asyncio.timeout(PATIENCE_S):
                await told.wait()
            assert await asyncio.to_thread(listener.hears) == "till"
            assert criers() == []
        finally:
            await till.app.close()

    asyncio.run(scene())


def test_many_commits_share_one_thread_and_one_connection_and_leave_neither(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(crier, "LINGER_S", PATIENCE_S)
        for _ in range(20):
            threads = [threading.Thread(target=publish, args=(till,)) for _ in range(4)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            assert len(criers()) == 1
    publish(till)
    join_criers()
    assert connections(till.url) == 0


def test_a_commit_waits_for_no_server_that_is_silent(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    with create_server(("127.0.0.1", 0)) as silent, engine_of(till) as engine, Session(engine) as session:
        nobody = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        monkeypatch.setattr(crier._crier_at(till.url), "_address", Address.read(nobody))
        for n in range(3):
            till.app.outbox(session).add(Paid(n=n))
            session.commit()
            assert len(criers()) == 1
    join_criers()  # the listening socket is closed, which ends it
    assert till.waiting() == [[0], [1], [2]]


def test_after_a_failure_it_tells_again(till: Till, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crier, "LINGER_S", 2.0)
    publish(till)
    assert listener.hears() == "till"
    with psycopg.connect(till.url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE '%pg_notify(%' AND pid <> pg_backend_pid() AND datname = current_database()"
        )
        assert ended.fetchall() == [(True,)]
    publish(till)  # which it can't tell of
    join_criers()
    assert listener.hears(0.1) == ""
    publish(till)
    assert listener.hears() == "till"
    join_criers()


def test_a_forked_process_tells_by_a_thread_of_its_own(till: Till, listener: Listener) -> None:
    with warnings.catch_warnings(action="ignore"), crier._crier_at(till.url)._changed:
        pid = os.fork()  # the lock is another's for good
        if pid == 0:
            try:
                crier.waker_of(till.url, "till")()
                for each in criers():
                    each.join(PATIENCE_S)
            finally:
                os._exit(0)
    assert listener.hears() == "till"
    assert os.waitpid(pid, 0)[1] == 0
