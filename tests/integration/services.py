"""An app run in this process until it has come so far, and its file in the hands of another program."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw

from onward import App, Event
from onward.runtime.engine import File
from onward.runtime.service import Service
from onward.sqlite.database import Database
from onward.timers import Timers

PATIENCE_S = 20.0
BEHIND = (
    "SELECT 1 FROM onward_account a, onward_lane l, onward_subscription s WHERE s.id = a.subscription"
    " AND l.topic = s.topic AND l.partition = a.partition AND a.next_offset < l.next_offset AND s.retired_at IS NULL"
)
RETRYING = "SELECT 1 FROM onward_dead_letter WHERE state = 'retrying'"


@asynccontextmanager
async def running(app: App) -> AsyncIterator[Service]:
    async with app.lifespan() as service:
        assert service is not None
        yield service


def file_of(running: Service | App) -> File:
    """What an open service or App has on its file."""
    engine = running.engine if isinstance(running, Service) else running._engine
    assert engine is not None
    assert engine.file is not None
    return engine.file


def database_of(running: Service | App) -> Database:
    return file_of(running).database


def timers_of(app: App) -> Timers:
    timers = file_of(app).timers
    assert timers is not None
    return timers


async def until_some(service: Service, sql: str, *, rows: int = 1) -> None:
    """Wait for a query to find so many rows: commits of other tasks have no event to wait for."""
    async with asyncio.timeout(PATIENCE_S):
        while len(database_of(service).read(sql)) < rows:
            await asyncio.sleep(0.005)


async def until_none(service: Service, sql: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while database_of(service).read(sql):
            await asyncio.sleep(0.005)


async def until_handled(service: Service) -> None:
    """Nothing waits, and no dead letter is to be tried again."""
    await until_none(service, BEHIND)
    await until_none(service, RETRYING)


async def handle(app: App, *events: Event) -> None:
    """Publish, and handle everything there is."""
    async with running(app) as service:
        if events:
            await app.publish(*events)
        await until_handled(service)


def park(path: Path, handler: str) -> None:
    """Of two events that it did, make the first a dead letter and park the second behind it."""
    change(
        path,
        "INSERT INTO onward_dead_letter (subscription, partition, offset, handler, state, cause, error, detail,"
        " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
        " event_key) SELECT subscription, partition, 1000, handler, 'dead', 'fatal', 'no', '', '', 1, 0, 0, 'e', 'x',"
        " 1, '', 0, 'parked' FROM onward_tally WHERE handler = ? AND succeeded >= 2 LIMIT 1",
        handler,
    )
    change(
        path,
        "INSERT INTO onward_blocked (subscription, handler, key, partition, letter, waiting)"
        " SELECT subscription, handler, event_key, partition, id, 1 FROM onward_dead_letter WHERE event_key = 'parked'",
    )
    change(
        path,
        "INSERT INTO onward_parked (blocked, partition, offset, event_id, event_type, event_version, event_source,"
        " event_time) SELECT id, partition, 1001, 'f', 'x', 1, '', 0 FROM onward_blocked",
    )
    change(
        path,
        "UPDATE onward_tally SET succeeded = succeeded - 2, dead = dead + 1 WHERE (subscription, partition, handler) ="
        " (SELECT subscription, partition, handler FROM onward_blocked)",
    )


def change(path: Path, sql: str, *parameters: int | str | bytes) -> None:
    """What another program does to the file."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(sql, parameters)
        assert connection.changes() >= 1, "the damage must have been done"
