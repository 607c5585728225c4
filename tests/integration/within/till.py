"""A service whose store is on a real PostgreSQL, of which nothing runs: it only publishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest

from onward import App, Event
from onward.ports import ServiceEntry
from onward.stores.postgres.address import Address
from onward.stores.postgres.outbox import PostgresOutbox
from onward.stores.postgres.store import PostgresStore


class Undone(Exception):
    """Raised by a test inside a transaction, for it to be rolled back."""


class Paid(Event, type="within.paid", topic="within.payments"):
    n: int


class Till:
    """The service "till" with its database; `app` is open nowhere."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        monkeypatch.setenv("ONWARD_TILL_BROKER", "kafka://127.0.0.1:9")
        monkeypatch.setenv("ONWARD_TILL_STORE", url)
        self.app = App("till")
        prepare(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE public.written (n INTEGER NOT NULL)")

    @asynccontextmanager
    async def store(self) -> AsyncIterator[PostgresStore]:
        store = PostgresStore(Address.read(self.url), "till")
        try:
            yield store
        finally:
            await store.close()

    def written(self) -> int:
        with psycopg.connect(self.url) as connection:
            return len(connection.execute("SELECT n FROM written").fetchall())

    def waiting(self) -> list[list[int]]:
        """The events of each row of the outbox, in the order in which a relay finds them."""

        async def read() -> list[list[int]]:
            outbox = PostgresOutbox(Address.read(self.url), "till")
            try:
                rows = await outbox.read(1_000)
            finally:
                outbox.close()
            return [[msgspec.json.decode(event.value or b"")["n"] for event in row.events] for row in rows]

        return asyncio.run(read())


def prepare(url: str) -> None:
    """Makes the database a store, as a service's first start does."""

    async def opened() -> None:
        store = PostgresStore(Address.read(url), "till")
        try:
            await store.open(ServiceEntry("till", (), {}, ()))
        finally:
            await store.close()

    asyncio.run(opened())


@pytest.fixture
def till(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Till:
    return Till(postgres_url, monkeypatch)
