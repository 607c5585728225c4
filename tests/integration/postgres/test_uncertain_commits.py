"""A COMMIT that had no answer: who called for it is told that it may hold, and it does as a whole or not at all."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from onward import Event
from onward.errors import CommitUncertainError
from onward.ports import ServiceEntry
from onward.stores.postgres.address import Address
from onward.stores.postgres.store import PostgresStore
from scripts.servers.postgres import Postgres
from tests.integration.postgres.proxy import Proxy

INSERT = "INSERT INTO effect VALUES (1)"

COUNTS = "SELECT (SELECT count(*) FROM effect), (SELECT count(*) FROM onward.outbox)"


class Noted(Event, type="uncertain.noted", topic="noted"):
    n: int


@pytest.mark.parametrize("kept", [False, True])
def test_a_commit_without_an_answer_is_told_apart_and_holds_as_a_whole_or_not_at_all(
    postgres_url: str, postgres: Postgres, kept: bool
) -> None:
    async def play() -> None:
        async with Proxy(postgres.port).running() as proxy:
            url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/") + "?sslmode=disable"
            store = PostgresStore(Address.read(url, "shop"), "shop")
            await store.open(ServiceEntry("shop", ("CREATE TABLE IF NOT EXISTS effect (n INTEGER)",), {}, ()))
            proxy.lose(INSERT, kept=kept)
            async with store.unit() as unit:
                await unit.tx.execute(INSERT)
                await unit.tx.publish(Noted(n=1))
                with pytest.raises(CommitUncertainError, match="all of the transaction was stored or nothing"):
                    await unit.commit(None, None)
            await store.close()

    asyncio.run(play())
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(COUNTS).fetchall() == [(kept, kept)]


def test_who_is_cancelled_while_the_commit_is_on_its_way_is_cancelled_and_it_may_hold(
    postgres_url: str, postgres: Postgres
) -> None:
    """As a whole, and what comes next on the same store is a transaction of its own."""

    async def play() -> None:
        async with Proxy(postgres.port).running() as proxy:
            url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/") + "?sslmode=disable"
            store = PostgresStore(Address.read(url, "shop"), "shop")
            await store.open(ServiceEntry("shop", ("CREATE TABLE IF NOT EXISTS effect (n INTEGER)",), {}, ()))

            async def publish() -> None:
                async with store.unit() as unit:
                    await unit.tx.execute(INSERT)
                    await unit.tx.publish(Noted(n=1))
                    await unit.commit(None, None)

            proxy.hold_back(INSERT)
            publishing = asyncio.create_task(publish())
            await proxy.held_back.wait()
            publishing.cancel()
            await asyncio.sleep(0)
            proxy.go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            await publish()
            await store.close()

    asyncio.run(play())
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(COUNTS).fetchall() == [(2, 2)]
