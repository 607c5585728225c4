"""What one App holds open in a process: the file, its broker and store, its place among the neighbours."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Protocol

from onward.brokers.sqlite import SqliteBroker
from onward.delays import DELAYED
from onward.errors import MissingExtraError, SettingError
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
        """Raises the StoreError that says why the file can't be used, SettingError and MissingExtraError."""
        kafka = None if settings.is_one_file else _kafka(settings.broker, service)
        database = Database.open(settings.database)
        clock = SystemClock()
        log = FileLog(database, now=clock.time)
        neighbours = Neighbours(database, service)
        broker = kafka or SqliteBroker(log, neighbours.alive)
        timers = Timers(DelayedEvents(log), clock, look_every_s=LOOK_EVERY_S)
        log.appended += [neighbours.notify, timers.told]
        store = SqliteStore(log, service, "" if kafka is None else "Kafka")
        return cls(database, broker, store, neighbours, clock, timers)

    async def prepare(self, service: ServiceEntry) -> list[int]:
        """Tables, invariants and subscriptions of a service; the ids of the latter. Timers run from here on."""
        ids = await self.store.open(service)
        self.timers.start()
        return ids

    def refuse_without_outbox(self, what: str) -> None:
        """Raises SettingError where events can't leave with a transaction of the store."""
        if not self.store.capabilities.atomic_publish:
            raise SettingError(
                f"{what} publishes with a transaction of the store, and this service's broker does not keep its log in"
                " the store's file: this version of onward has no outbox for that. Nothing was published. Send events"
                " with `await app.send(…)`, or run broker and store on one SQLite file."
            )

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


def _kafka(url: str, service: str) -> WokenBroker:
    try:
        broker = importlib.import_module("onward.brokers.kafka.broker")
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise MissingExtraError(
            "A broker on Kafka needs the extra `kafka`: pip install 'onward[kafka]'. Nothing was opened."
        ) from error
    found: WokenBroker = broker.KafkaBroker(url, service)
    return found
