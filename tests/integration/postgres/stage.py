"""Services on a real PostgreSQL beside the broker in memory; effects are counted by a connection of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from onward import App, Event
from onward.outgoing import encode
from onward.runtime.clock import SystemClock
from onward.runtime.service import Service
from onward.settings import Settings, resolve
from onward.stores.postgres.address import Address
from onward.stores.postgres.store import PostgresStore
from onward.testing.parts import MemoryEngine, MemoryParts

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (n INTEGER NOT NULL, by TEXT NOT NULL)"
PATIENCE_S = 60.0


class Numbered(Event, type="postgres.numbered", topic="numbers", key="key"):
    key: str
    n: int


class Stage:
    """One service's parts. A test publishes, waits for what it names, and looks at the database."""

    def __init__(self, url: str) -> None:
        self.url = url  # of the service: may have options of onward's own
        self.parts = MemoryParts(SystemClock())
        self.stores: list[PostgresStore] = []

    async def publish(self, *events: Event) -> None:
        await self.parts.broker.publish([encode(event) for event in events], "test")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url.partition("?")[0]) as connection:
            return connection.execute(sql.encode()).fetchall()

    def effects(self) -> list[int]:
        """What handlers wrote, each as often as it is there."""
        return [n for (n,) in self.rows("SELECT n FROM effect ORDER BY n")]

    def dead_letters(self) -> list[tuple[Any, ...]]:
        """(handler, offset, attempts), in their order."""
        return self.rows('SELECT handler, "offset", attempts FROM onward.dead_letter ORDER BY id')

    async def until(self, reached: Callable[[], bool]) -> None:
        """Look until it holds; what is looked at is in the database, which tells nobody of its changes."""
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """Until all that was published is done, of every subscription."""

        def done() -> bool:
            ends = {topic: [len(lane) for lane in lanes] for topic, lanes in self.parts.broker.log.lanes.items()}
            accounts = self.rows(
                "SELECT s.topic, a.partition, a.next_offset FROM onward.account a"
                " JOIN onward.subscription s ON s.id = a.subscription WHERE s.retired_at IS NULL"
            )
            return all(next_offset >= ends[topic][partition] for topic, partition, next_offset in accounts)

        await self.until(done)

    def open_engine(self, service: str, settings: Settings) -> MemoryEngine:
        engine = self.parts.open_engine(service, settings)
        store = PostgresStore(Address.read(self.url, service), service)
        self.stores.append(store)
        engine.store = store
        return engine

    @asynccontextmanager
    async def running(self, app: App) -> AsyncIterator[Service]:
        service = Service(app.plan, resolve(app.name, environment={}), open_engine=self.open_engine)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()

    async def close(self) -> None:
        await self.parts.close()
        for store in self.stores:
            await store.close()


def on_stage(url: str, scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Play a scene in an event loop of its own, in bounded time."""

    async def play() -> None:
        stage = Stage(url)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await scene(stage)
        finally:
            await stage.close()

    asyncio.run(play())
