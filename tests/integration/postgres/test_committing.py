"""What a transaction says last travels with its COMMIT, and keeps it from committing where it must not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from onward import Event
from onward.errors import ClaimLostError, CommitUncertainError, StoreError, TransactionError
from onward.ports import Claim, Settlement
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.names import OFTEN
from onward.stores.postgres.news import CHANNEL
from onward.stores.postgres.session import Session
from onward.stores.postgres.store import PostgresStore
from onward.stores.postgres.unit import PostgresUnit
from onward.testing.contracts.scenes import ORDERS, service
from scripts.servers.postgres import Postgres
from tests.integration.postgres.proxy import Proxy

INSERT = "INSERT INTO effect VALUES (1)"
SERVICE = service(schema="CREATE TABLE IF NOT EXISTS effect (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
STORED = "SELECT (SELECT count(*) FROM effect), (SELECT count(*) FROM onward.outbox)"


class Noted(Event, type="committing.noted", topic="noted"):
    n: int


def stored(url: str) -> tuple[int, int]:
    """Effects and events."""
    with psycopg.connect(url) as connection:
        found = connection.execute(STORED).fetchone()
        assert found is not None
        return found[0], found[1]


def on_store(url: str, play: Callable[[PostgresStore], Awaitable[None]]) -> None:
    async def opened() -> None:
        store = PostgresStore(Address.read(url, "shop"), "shop")
        await store.open(SERVICE)
        await play(store)
        await store.close()

    asyncio.run(opened())


async def claimed(store: PostgresStore) -> Claim:
    (subscription,) = await store.open(SERVICE)
    (claim,) = await store.claim(subscription, ORDERS.name, [0], "member")
    return claim


def turns(trace: Path) -> int:
    """How often it was the server's turn to speak after ours."""
    speakers = [line.split("\t")[1] for line in trace.read_text().splitlines()]
    return sum(before == "F" and after == "B" for before, after in pairwise(speakers))


async def traced(session: Session, work: Awaitable[None], trace: Path) -> None:
    with trace.open("w") as file:
        session._connection.pgconn.trace(file.fileno())
        await work
        session._connection.pgconn.untrace()


def session_of(unit: PostgresUnit) -> Session:
    assert unit._session is not None
    return unit._session


def test_what_is_published_by_itself_is_one_round_trip(postgres_url: str, tmp_path: Path) -> None:
    async def play(store: PostgresStore) -> None:
        async with store.unit() as unit:
            await unit.tx.publish(Noted(n=1))
            await traced(session_of(unit), unit.commit(None, None), tmp_path / "trace")

    on_store(postgres_url, play)
    assert turns(tmp_path / "trace") == 1
    assert stored(postgres_url) == (0, 1)


@pytest.mark.parametrize("pooled", [False, True], indirect=True)
def test_what_a_batch_did_is_one_round_trip_with_its_commit_however_often_it_said_it(
    postgres_url: str, tmp_path: Path, pooled: bool
) -> None:
    async def play(store: PostgresStore) -> None:
        claim = await claimed(store)
        async with store.unit() as unit:
            for n in range(10):
                await unit.tx.execute("INSERT INTO effect VALUES (:n)", n=n)
            await unit.tx.submit(INSERT.replace("1", "10"))
            settlement = Settlement(claim.position.finish_through(10), {"pay": 10})
            await traced(session_of(unit), unit.commit(claim, settlement), tmp_path / "trace")
        kept = await store.read("SELECT count(*) FROM pg_prepared_statements", {})
        if pooled:
            assert kept.scalar() == 0, "a pooler would give them to others"

    on_store(postgres_url, play)
    assert turns(tmp_path / "trace") == 1
    assert stored(postgres_url) == (11, 0)


@pytest.mark.parametrize(
    ("statement", "said"),
    [("SELECT 1 / 0", "division by zero"), ("INSERT INTO effect VALUES (1), (1)", "duplicate key")],
)
def test_what_fails_beside_the_account_is_not_taken_for_a_lost_claim(
    postgres_url: str, statement: str, said: str
) -> None:
    async def play(store: PostgresStore) -> None:
        claim = await claimed(store)
        async with store.unit() as unit:
            await unit.tx.submit(statement)
            await unit.tx.publish(Noted(n=1))
            with pytest.raises(StoreError, match=said) as raised:
                await unit.commit(claim, Settlement(claim.position.finish_through(1), {"pay": 1}))
            assert not isinstance(raised.value, ClaimLostError | CommitUncertainError)
        async with store.unit() as unit:
            await unit.tx.execute("SELECT 1")
            await unit.commit(claim, Settlement(claim.position.finish_through(1), {"pay": 1}))

    on_store(postgres_url, play)
    assert stored(postgres_url) == (0, 0)


def test_whoever_lost_the_claim_stores_nothing_of_what_travels_with_its_commit(postgres_url: str) -> None:
    async def play(store: PostgresStore) -> None:
        claim = await claimed(store)
        await claimed(store)
        async with store.unit() as unit:
            await unit.tx.submit(INSERT)
            await unit.tx.publish(Noted(n=1))
            settlement = Settlement(claim.position.finish_through(1), {"pay": 1}, outputs=unit.outputs)
            with pytest.raises(ClaimLostError):
                await unit.commit(claim, settlement)

    on_store(postgres_url, play)
    assert stored(postgres_url) == (0, 0)


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_published_without_an_answer_may_hold(postgres_url: str, postgres: Postgres, kept: bool) -> None:
    async def play() -> None:
        async with Proxy(postgres.port).running() as proxy:
            url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/") + "?sslmode=disable"
            store = PostgresStore(Address.read(url, "shop"), "shop")
            await store.open(SERVICE)
            proxy.lose("onward.outbox", kept=kept)
            async with store.unit() as unit:
                await unit.tx.publish(Noted(n=1))
                with pytest.raises(CommitUncertainError, match="all of the transaction was stored or nothing"):
                    await unit.commit(None, None)
            await store.close()

    asyncio.run(play())
    assert stored(postgres_url) == (0, kept)


def test_a_transaction_that_somebody_else_ended_is_not_committed_statement_by_statement(postgres_url: str) -> None:
    async def play() -> None:
        connections = Connections(Address.read(postgres_url))
        async with connections.transaction() as session:
            await session.script("CREATE TABLE effect (n integer)", "Testing")
        session = await connections.begin()
        await session._connection.execute("ROLLBACK")
        with pytest.raises(TransactionError):
            await session.commit([Command(INSERT)])
        await connections.end(session)
        async with connections.transaction() as session:
            assert (await session.run("SELECT count(*) FROM effect", (), "Testing")).scalar() == 0
        connections.close()

    asyncio.run(play())


NAMED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.mark.usefixtures("pooled")
def test_how_often_a_statement_runs_is_counted_anew_in_each_transaction(postgres_url: str) -> None:
    async def play() -> None:
        connections = Connections(Address.read(f"{postgres_url}?pool_size=1"))
        for n in range(120):  # more of them than may have names
            async with connections.transaction() as session:
                await session.run(f"SELECT {n} + $1", (1,), "Testing")
        for _ in range(10):
            async with connections.transaction() as session:
                await session.run("SELECT $1", (1,), "Testing")
                assert (await session.run(NAMED, (), "Testing")).scalar() == 0
        async with connections.transaction() as session:
            for _ in range(10):
                await session.run("SELECT $1", (1,), "Testing")
            assert (await session.run(NAMED, (), "Testing")).scalar() == 1
        connections.close()

    asyncio.run(play())


@pytest.mark.usefixtures("pooled")
def test_a_commit_that_fails_keeps_its_connection_and_no_name_on_it(postgres_url: str) -> None:
    async def play(store: PostgresStore) -> None:
        connections = store._connections
        first = await connections.begin()
        for _ in range(10):
            await first.run("INSERT INTO effect VALUES ($1)", (1,), "Testing")
        with pytest.raises(StoreError, match="duplicate key"):
            await first.commit()
        await connections.end(first)
        async with connections.transaction() as session:
            assert session is first
            assert (await session.run(NAMED, (), "Testing")).scalar() == 0

    on_store(postgres_url, play)
    assert stored(postgres_url) == (0, 0)


def test_what_wakes_the_relay_behind_a_commit_is_heard_each_time_and_prepared_once(postgres_url: str) -> None:
    async def play(store: PostgresStore) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(f"LISTEN {CHANNEL}")
            for n in range(2 * OFTEN):
                async with store.unit() as unit:
                    await unit.tx.publish(Noted(n=n))
                    await unit.commit(None, None)
                assert [each.payload for each in other.notifies(timeout=10, stop_after=1)] == ["shop"]
        prepared = await store.read(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%pg_notify%'", {}
        )
        assert prepared.scalar() == 1

    on_store(postgres_url, play)
    assert stored(postgres_url) == (0, 2 * OFTEN)
