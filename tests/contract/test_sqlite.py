"""The broker and the store on one SQLite file are what the contracts say."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from onward.brokers.memory import MemoryBroker
from onward.brokers.sqlite import SqliteBroker, SqliteConsumer
from onward.ports import Broker, Group, Log, Outgoing
from onward.sqlite.database import Database
from onward.sqlite.delivery import DelayedEvents
from onward.sqlite.log import FileLog
from onward.sqlite.outbox import FileOutbox
from onward.sqlite.view import FileView
from onward.stores.sqlite import SqliteStore
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
    TurnContract,
    ViewBench,
    ViewContract,
    logged,
)


class SharedBroker(SqliteBroker):
    """Members that would be processes of their own live in this one: whoever has joined is alive until it closes."""

    def __init__(self, log: FileLog) -> None:
        super().__init__(log, lambda group: sorted(self._living[group]))
        self._living: dict[str, set[str]] = defaultdict(set)
        self._names: dict[SqliteConsumer, Group] = {}

    async def consume(self, group: Group) -> SqliteConsumer:
        self._living[group.name].add(group.member)
        consumer = await super().consume(group)
        self._names[consumer] = group
        return consumer

    def left(self, consumer: SqliteConsumer) -> None:
        super().left(consumer)
        group = self._names[consumer]
        self._living[group.name].discard(group.member)


class FileInspection:
    """`StoreInspection` of a store on a file."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log

    def tallies(self, subscription: int) -> Mapping[str, tuple[int, int, int]]:
        rows = self._database.read(
            "SELECT handler, sum(succeeded), sum(dead), sum(skipped) FROM onward_tally"
            " WHERE subscription = ? GROUP BY handler",
            (subscription,),
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    async def retry_dead_letters(self) -> int:
        async with self._database.transaction() as connection:
            connection.execute("UPDATE onward_dead_letter SET state = 'retrying' WHERE state = 'dead'")
            return connection.changes()

    async def published(self) -> list[Published]:
        return await logged(self._log)


class TestSqliteBroker(BacklogContract, DeliveryContract, GroupContract, LogContract):
    @pytest.fixture
    def open_broker(self, database_path: Path) -> OpenBroker:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[Broker]:
            database = Database.open(database_path)
            broker = SharedBroker(FileLog(database))
            yield broker
            await broker.close()
            database.close()

        return open_it


class TestSqliteDelays(DelayContract):
    @pytest.fixture
    def open_delays(self, database_path: Path) -> OpenDelays:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[DelayBench]:
            clock = FakeClock()
            database = Database.open(database_path)
            log = FileLog(database, now=clock.time)
            broker = SharedBroker(log)
            yield DelayBench(broker, DelayedEvents(log), clock)
            await broker.close()
            database.close()

        return open_it


class TestSqliteStore(
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
    def open_store(self, database_path: Path) -> OpenStore:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[StoreBench]:
            database = Database.open(database_path)
            log = FileLog(database)
            broker = SharedBroker(log)
            yield StoreBench(SqliteStore(log, "shop"), broker, FileInspection(database, broker.log))
            await broker.close()
            database.close()

        return open_it


class TestFileView(ViewContract):
    @pytest.fixture
    def open_view(self, database_path: Path) -> OpenView:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[ViewBench]:
            database = Database.open(database_path)
            broker, logs = MemoryBroker(), ToldLogs()
            outbox = FileOutbox(database, "shop")
            store = SqliteStore(FileLog(database), "shop", broker="Elsewhere", outbox=outbox)
            bench = StoreBench(store, broker, FileInspection(database, broker.log))
            yield ViewBench(bench, FileView(database_path, logs), logs, outbox)
            await broker.close()
            database.close()

        return open_it


class TestSqliteOutbox(OutboxContract):
    @pytest.fixture
    def open_outbox(self, database_path: Path) -> OpenOutbox:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[OutboxBench]:
            clock = FakeClock()
            database = Database.open(database_path)
            outbox = FileOutbox(database, "shop", now=clock.time)

            async def publish(outputs: Sequence[Outgoing]) -> None:
                async with database.transaction():
                    outbox.append(outputs)

            async def refused() -> list[tuple[bytes | None, str]]:
                return database.read("SELECT value, why FROM onward_refused ORDER BY id")

            yield OutboxBench(outbox, publish, clock, refused)
            database.close()

        return open_it
