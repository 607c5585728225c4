"""The broker and the store in memory are what the contracts say."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from onward.brokers.memory import MemoryBroker
from onward.ports import Broker
from onward.stores.memory import MemoryStore, memory_database
from onward.testing import FakeClock
from onward.testing.contracts import (
    AccountContract,
    BacklogContract,
    DeadLetterContract,
    DelayBench,
    DelayContract,
    DeliveryContract,
    GroupContract,
    LogContract,
    LogElsewhereContract,
    OpenBroker,
    OpenDelays,
    OpenStore,
    ParkingContract,
    Published,
    ReadingContract,
    RegistrationContract,
    StoreBench,
    TransactionContract,
    TurnContract,
    logged,
)


class MemoryInspection:
    """`StoreInspection` of a store in memory."""

    def __init__(self, store: MemoryStore, broker: MemoryBroker) -> None:
        self._store = store
        self._broker = broker

    def tallies(self, subscription: int) -> Mapping[str, tuple[int, int, int]]:
        found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for (owner, _, handler), tally in self._store.tallies.items():
            if owner == subscription:
                found[handler].append(tally)
        return {handler: (sum(s), sum(d), sum(k)) for handler, (s, d, k) in _columns(found).items()}

    async def retry_dead_letters(self) -> int:
        return self._store.retry()

    async def published(self) -> list[Published]:
        return await logged(self._broker.log)


def _columns(found: Mapping[str, list[tuple[int, int, int]]]) -> dict[str, tuple[list[int], list[int], list[int]]]:
    return {
        name: ([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
        for name, rows in found.items()
    }


@asynccontextmanager
async def open_memory_broker() -> AsyncIterator[Broker]:
    broker = MemoryBroker()
    yield broker
    await broker.close()


@asynccontextmanager
async def open_memory_store() -> AsyncIterator[StoreBench]:
    broker, database = MemoryBroker(), memory_database()
    store = MemoryStore(database, broker.prepare, "shop")
    yield StoreBench(store, broker, MemoryInspection(store, broker))
    await store.close()
    database.close()


class TestMemoryBroker(BacklogContract, DeliveryContract, GroupContract, LogContract):
    @pytest.fixture
    def open_broker(self) -> OpenBroker:
        return open_memory_broker


@asynccontextmanager
async def open_memory_delays() -> AsyncIterator[DelayBench]:
    clock = FakeClock()
    broker = MemoryBroker(now=clock.time)
    yield DelayBench(broker, broker, clock)
    await broker.close()


class TestMemoryDelays(DelayContract):
    @pytest.fixture
    def open_delays(self) -> OpenDelays:
        return open_memory_delays


class TestMemoryStore(
    AccountContract,
    DeadLetterContract,
    ParkingContract,
    LogElsewhereContract,
    ReadingContract,
    RegistrationContract,
    TransactionContract,
    TurnContract,
):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return open_memory_store
