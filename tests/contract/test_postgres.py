"""The store on PostgreSQL is what the contracts say."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest

from onward.brokers.memory import MemoryBroker
from onward.delays import micros_of, moment_of
from onward.inspection.schema import Phase
from onward.ports import Outgoing
from onward.relay.rows import opened
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.migration import migrate, migrations
from onward.stores.postgres.outbox import PostgresOutbox, append
from onward.stores.postgres.store import PostgresStore
from onward.stores.postgres.view import DatabaseView
from onward.testing.clock import FakeClock
from onward.testing.contracts import (
    AccountContract,
    DeadLetterContract,
    LogElsewhereContract,
    OpenOutbox,
    OpenStore,
    OpenView,
    OutboxBench,
    OutboxContract,
    ParkingContract,
    Published,
    ReadingContract,
    RegistrationContract,
    StoreBench,
    ToldLogs,
    TransactionContract,
    ViewBench,
    ViewContract,
)


class DatabaseInspection:
    """`StoreInspection` of a database."""

    def __init__(self, url: str) -> None:
        self._url = url

    def tallies(self, subscription: int) -> Mapping[str, tuple[int, int, int]]:
        with psycopg.connect(self._url) as connection:
            rows = connection.execute(
                "SELECT handler, sum(succeeded), sum(dead), sum(skipped) FROM onward.tally WHERE subscription = %s"
                " GROUP BY handler",
                (subscription,),
            ).fetchall()
        return {handler: (int(succeeded), int(dead), int(skipped)) for handler, succeeded, dead, skipped in rows}

    async def retry_dead_letters(self) -> int:
        with psycopg.connect(self._url) as connection:
            changed = connection.execute("UPDATE onward.dead_letter SET state = 'retrying' WHERE state = 'dead'")
            return changed.rowcount

    async def published(self) -> list[Published]:
        with psycopg.connect(self._url) as connection:
            rows = connection.execute(
                "SELECT id, 0, body, NULL, 0, '', '' FROM onward.outbox ORDER BY id", binary=True
            ).fetchall()
        events = [event for row in opened(rows) for event in row.events]
        return [Published(event.topic, event.value, event.source or "") for event in events]


class TestPostgresStore(
    AccountContract,
    DeadLetterContract,
    ParkingContract,
    LogElsewhereContract,
    ReadingContract,
    RegistrationContract,
    TransactionContract,
):
    @pytest.fixture
    def open_store(self, postgres_url: str) -> OpenStore:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[StoreBench]:
            broker = MemoryBroker()
            store = PostgresStore(Address.read(postgres_url), "shop")
            yield StoreBench(store, broker, DatabaseInspection(postgres_url))
            await store.close()
            await broker.close()

        return open_it


class TestDatabaseView(ViewContract):
    @pytest.fixture
    def open_view(self, postgres_url: str) -> OpenView:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[ViewBench]:
            broker, logs = MemoryBroker(), ToldLogs()
            store = PostgresStore(Address.read(postgres_url), "shop")
            bench = StoreBench(store, broker, DatabaseInspection(postgres_url))
            outbox = PostgresOutbox(Address.read(postgres_url), "shop")
            yield ViewBench(bench, DatabaseView(postgres_url, logs), logs, outbox)
            outbox.close()
            await store.close()
            await broker.close()

        return open_it


class TestPostgresOutbox(OutboxContract):
    @pytest.fixture
    def open_outbox(self, postgres_url: str) -> OpenOutbox:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[OutboxBench]:
            clock = FakeClock()
            connections = Connections(Address.read(postgres_url))
            await migrate(connections, migrations(), Phase.BEFORE)

            async def publish(outputs: Sequence[Outgoing]) -> None:
                async with connections.transaction() as session:
                    await session.send(append(outputs, "shop", moment_of(micros_of(clock.time()))), "Publishing")

            outbox = PostgresOutbox(Address.read(postgres_url), "shop", now=clock.time)

            async def refused() -> list[tuple[bytes | None, str]]:
                async with connections.transaction() as session:
                    found = await session.run("SELECT value, why FROM onward.refused ORDER BY id", (), "Looking")
                return found.rows

            yield OutboxBench(outbox, publish, clock, refused)
            outbox.close()
            connections.close()

        return open_it
