"""The store on PostgreSQL is what the contracts say."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg
import pytest

from onward.brokers.memory import MemoryBroker
from onward.relay.rows import opened
from onward.stores.postgres.address import Address
from onward.stores.postgres.store import PostgresStore
from onward.testing.contracts import (
    AccountContract,
    DeadLetterContract,
    LogElsewhereContract,
    OpenStore,
    Published,
    ReadingContract,
    RegistrationContract,
    StoreBench,
    TransactionContract,
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
