"""What one App holds open in a process: the file, its broker and store, its place among the neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Protocol

from onward.brokers.sqlite import SqliteBroker
from onward.delays import DELAYED
from onward.ports import Broker, Clock, ServiceEntry, Store
from onward.runtime.clock import SystemClock
from onward.settings import Settings
from onward.sqlite.database import Database
from onward.sqlite.delivery import DelayedEvents
from onward.sqlite.log import FileLog
from onward.sqlite.neighbours import Neighbours
from onward.sqlite.retention import prune, prune_letters
from onward.stores.sqlite import SqliteStore
from onward.timers import Timers

LOOK_EVERY_S = 1.0  # the net under wake-ups, at what other processes have put off


class WokenBroker(Broker, Protocol):
    """A broker whose waiting consumers can be told that topics grew, by whoever hears of it first."""

    def wake(self, topics: Iterable[str]) -> None: ...


@dataclass(slots=True)
class Engine:
    """Open broker and store of one service; `close` gives everything back. Belongs to one event loop."""

    database: Database
    broker: WokenBroker
    store: Store
    neighbours: Neighbours
    clock: Clock
    timers: Timers

    @classmethod
    def open(cls, service: str, settings: Settings) -> Engine:
        """Raises the StoreError that says why the file can't be used."""
        database = Database.open(settings.database)
        clock = SystemClock()
        log = FileLog(database, now=clock.time)
        neighbours = Neighbours(database, service)
        broker = SqliteBroker(log, neighbours.alive)
        timers = Timers(DelayedEvents(log), clock, look_every_s=LOOK_EVERY_S)
        log.appended += [neighbours.notify, timers.told]
        return cls(database, broker, SqliteStore(log, service), neighbours, clock, timers)

    async def prepare(self, service: ServiceEntry) -> list[int]:
        """Tables, invariants and subscriptions of a service; the ids of the latter. Timers run from here on."""
        ids = await self.store.open(service)
        self.timers.start()
        return ids

    async def prune(self) -> None:
        """Take one bounded step of retention after the other, until nothing is left that may go."""
        more = True
        while more:
            more = (await prune(self.database, time())).more
        while await prune_letters(self.database, time()):
            continue

    def join(self, groups: Sequence[str], topics: Sequence[str]) -> str:
        """Become a member of these groups, woken when these topics grow; returns the member's id."""
        return self.neighbours.join(groups, [*topics, DELAYED], self._told)

    def _told(self, topics: Iterable[str]) -> None:
        names = set(topics)
        self.broker.wake(names)
        self.timers.told(names)

    async def close(self) -> None:
        try:
            await self.timers.stop()
            await self.broker.close()
        finally:
            self.neighbours.leave()
            self.database.close()
