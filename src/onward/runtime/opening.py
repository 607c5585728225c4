"""Which broker and store a service runs on: the one place where adapters are chosen and put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from onward.brokers.sqlite import SqliteBroker
from onward.relay.leader import Relay
from onward.runtime.adapters import adapter
from onward.runtime.clock import SystemClock
from onward.runtime.engine import Engine, File, Outlets
from onward.settings import Settings
from onward.sqlite.database import Database
from onward.sqlite.delivery import DelayedEvents
from onward.sqlite.log import FileLog
from onward.sqlite.neighbours import Neighbours
from onward.sqlite.outbox import FileOutbox
from onward.stores.sqlite import SqliteStore
from onward.timers import Timers

LOOK_EVERY_S = 1.0  # the net under wake-ups, at what other processes have put off


def open_engine(service: str, settings: Settings) -> Engine:
    """Raises the StoreError that says why the store can't be used, SettingError and MissingExtraError."""
    if settings.is_one_file:
        return _one_file(service, settings)
    broker = adapter("onward.brokers.kafka.broker").KafkaBroker(settings.broker, service)
    if settings.database is None:
        return _on_postgres(service, settings, broker)
    return _on_file(service, settings, broker)


def _one_file(service: str, settings: Settings) -> Engine:
    assert settings.database is not None
    database = Database.open(settings.database)
    clock = SystemClock()
    log = FileLog(database, now=clock.time)
    neighbours = Neighbours(database, service)
    timers = Timers(DelayedEvents(log), clock, look_every_s=LOOK_EVERY_S)
    log.appended += [neighbours.notify, timers.told]
    broker = SqliteBroker(log, neighbours.alive)
    return Engine(service, broker, SqliteStore(log, service), clock, File(database, neighbours, timers))


def _on_file(service: str, settings: Settings, broker: Any) -> Engine:
    assert settings.database is not None
    database = Database.open(settings.database)
    clock = SystemClock()
    neighbours = Neighbours(database, service)
    outbox = FileOutbox(database, service, now=clock.time)
    relay = Relay(outbox, broker.outlet, service)
    outbox.appended += [neighbours.notify, relay.told]
    store = SqliteStore(FileLog(database, now=clock.time), service, broker="Kafka", outbox=outbox)
    return Engine(service, broker, store, clock, File(database, neighbours), Outlets(outbox, relay))


def _on_postgres(service: str, settings: Settings, broker: Any) -> Engine:
    postgres = adapter("onward.stores.postgres.store")
    store = postgres.PostgresStore(postgres.Address.read(settings.store, service), service)
    relay = Relay(store.outbox, broker.outlet, service)
    store.appended.append(relay.told)
    store.outbox.heard.append(relay.told)
    return Engine(service, broker, store, SystemClock(), None, Outlets(store.outbox, relay, store.told))


def place_of(settings: Settings) -> str:
    """Where transactions on this store say that they are. Raises SettingError and MissingExtraError."""
    return _address(settings.store) if settings.database is None else str(settings.database.resolve())


@lru_cache(64)
def _address(url: str) -> str:
    """As it is shown: read once, since each event that is published in a transaction is compared with it."""
    return str(adapter("onward.stores.postgres.address").Address.read(url))


def identity_of(settings: Settings) -> str:
    """Which store it is, on PostgreSQL. It is asked once, over a connection of its own. Raises StoreError."""
    identity: str = adapter("onward.stores.postgres.guests").identity_of(settings.store)
    return identity


def waker_of(settings: Settings, service: str) -> Callable[[], None]:
    """What wakes the service's relay, on PostgreSQL, in a process that has not opened the service."""
    wake: Callable[[], None] = adapter("onward.stores.postgres.crier").waker_of(settings.store, service)
    return wake
