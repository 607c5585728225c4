"""Broker, database and stores in memory, shared by the Apps of one harness as one file would be."""

from __future__ import annotations

from dataclasses import dataclass, field

from onward.brokers.memory import MemoryBroker
from onward.ports import Clock
from onward.runtime.engine import Engine, File
from onward.settings import Settings
from onward.sqlite.database import Database
from onward.sqlite.neighbours import Neighbours
from onward.stores.memory import MemoryStore, memory_database
from onward.timers import Timers


class MemoryEngine(Engine):
    """An engine whose parts are closed by who made them, since other services use them too."""

    async def prune(self) -> None:
        """Nothing is kept, so nothing is pruned."""

    async def close(self) -> None:
        """`MemoryParts.close` does it."""


@dataclass(slots=True)
class MemoryParts:
    """What the services of one harness share, and each one's own store by its name."""

    clock: Clock
    broker: MemoryBroker = field(init=False)
    timers: Timers = field(init=False)
    database: Database = field(default_factory=memory_database)
    stores: dict[str, MemoryStore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(now=self.clock.time)
        self.timers = Timers(self.broker, self.clock)
        self.broker.appended.append(self.timers.told)

    def store(self, service: str) -> MemoryStore:
        if service not in self.stores:
            self.stores[service] = MemoryStore(self.database, self.broker.prepare, service, now=self.clock.time)
        return self.stores[service]

    def open_engine(self, service: str, _settings: Settings) -> MemoryEngine:
        file = File(self.database, Neighbours(self.database, service), self.timers)
        return MemoryEngine(service, self.broker, self.store(service), self.clock, file)

    async def crash(self) -> None:
        """What is open commits no more, and who opens a store from now on is another process."""
        self.stores = {service: await store.successor() for service, store in self.stores.items()}

    async def close(self) -> None:
        await self.timers.stop()
        await self.broker.close()
        for store in self.stores.values():
            await store.close()
        self.database.close()
