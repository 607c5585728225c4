"""A relay hears at once of what another process has put into its outbox, and does without where it can't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from onward.errors import StoreError
from onward.ports import ServiceEntry
from onward.relay import Term
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.store import PostgresStore
from tests.integration.postgres.pooler import pooler

PATIENCE_S = 30.0
LEASE_S = 600.0
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname = current_database()"


class Leader:
    """A store whose outbox has the lease, and what it heard."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.heard = asyncio.Event()
        self.term: Term | None = None
        store.outbox.heard.append(lambda _topics: self.heard.set())

    async def lead(self, for_s: float = LEASE_S) -> None:
        self.term = await self.store.outbox.lease(for_s, self.term)

    async def hears(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.heard.wait()
        self.heard.clear()


@asynccontextmanager
async def opened(url: str, service: str = "shop") -> AsyncIterator[PostgresStore]:
    store = PostgresStore(Address.read(url, service), service)
    try:
        await store.open(ServiceEntry(service, (), {}, ()))
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def leading(url: str) -> AsyncIterator[Leader]:
    async with opened(url) as store:
        leader = Leader(store)
        await leader.lead()
        yield leader


def listeners(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [pid for (pid,) in connection.execute(LISTENERS).fetchall()]


def test_the_leader_hears_of_a_commit_in_another_process(postgres_url: str) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader, opened(postgres_url) as other:
            await leader.hears()  # as it begins to listen: of what may have come before
            for _ in range(3):
                other._told()
                await leader.hears()

    asyncio.run(play())


def test_it_hears_nothing_of_another_service(postgres_url: str) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader, opened(postgres_url, "billing") as other:
            await leader.hears()
            other._told()
            await other.outbox.end()
            async with opened(postgres_url) as own:  # what it says comes after what the other said
                heard: list[set[str]] = []
                leader.store.outbox.heard.append(heard.append)
                own._told()
                await leader.hears()
                assert len(heard) == 1

    asyncio.run(play())


def test_whoever_leads_announces_nothing(postgres_url: str) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader:
            await leader.hears()
            leader.store._told()
            await leader.store.outbox.end()
            assert not leader.heard.is_set()

    asyncio.run(play())


def test_with_its_term_its_listening_ends(postgres_url: str) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader:
            assert len(listeners(postgres_url)) == 1
            await leader.lead(0)
            assert not leader.store.outbox._ears.open

    asyncio.run(play())


def test_a_connection_that_has_ended_is_opened_again_when_the_lease_is_prolonged(postgres_url: str) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader:
            await leader.hears()
            (pid,) = listeners(postgres_url)
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            async with asyncio.timeout(PATIENCE_S):
                while leader.store.outbox._ears.open:
                    await asyncio.sleep(0.01)
            await leader.lead()
            await leader.hears()

    asyncio.run(play())


def test_behind_a_pooler_nothing_listens(postgres_url: str) -> None:
    async def play() -> None:
        port = int(postgres_url.rpartition("/")[0].rpartition(":")[2])
        async with pooler(port) as behind, leading(postgres_url.replace(f":{port}/", f":{behind}/")) as leader:
            assert not leader.store.outbox._ears.open
            assert listeners(postgres_url) == []

    asyncio.run(play())


def test_an_event_is_heard_of_that_was_committed_just_before_the_end(postgres_url: str) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader:
            await leader.hears()
            async with opened(postgres_url) as other:
                other._told()
            await leader.hears()

    asyncio.run(play())


@pytest.mark.parametrize("repeat", [1, 2])
def test_closing_is_safe_to_repeat(postgres_url: str, repeat: int) -> None:
    async def play() -> None:
        async with leading(postgres_url) as leader:
            for _ in range(repeat):
                await leader.store.outbox.end()

    asyncio.run(play())


@pytest.mark.parametrize("commits", [True, False])
def test_news_that_fail_behind_a_commit_change_nothing_about_it(postgres_url: str, commits: bool) -> None:
    """Whether it holds or not, and for what comes next on its connection."""
    too_long = Command("SELECT pg_notify('onward_outbox', repeat('x', 9000))")

    async def play() -> None:
        connections = Connections(Address.read(postgres_url, "shop"))
        async with connections.transaction() as session:
            await session.script("CREATE TABLE one (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)", "Making")
        session = await connections.begin()
        for _ in range(1 if commits else 2):
            await session.send([Command("INSERT INTO one VALUES (1)")], "Adding")
        if commits:
            await session.commit(then=too_long)
        else:
            with pytest.raises(StoreError, match="unique"):
                await session.commit(then=too_long)
        await connections.end(session)
        assert session.usable
        async with connections.transaction() as again:
            assert again is session
            assert (await again.run("SELECT count(*) FROM one", (), "Counting")).scalar() == commits
        connections.close()

    asyncio.run(play())
