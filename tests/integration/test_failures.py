"""What fails stands alone: its neighbours take effect, its bytes are kept, its outputs are not published."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from onward import App, Event, FatalError, Retry, Transaction
from onward.errors import StoreError
from onward.pipeline import transactional
from onward.ports import Outgoing
from onward.runtime.service import Service
from tests.integration.services import database_of, running

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (place INTEGER PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL)"
QUICK = Retry(max_attempts=3, first_s=0.01, jitter=0.0)


class Measured(Event, type="failures.measured", topic="measurements", key="sensor"):
    sensor: str
    n: int


class Alarmed(Event, type="failures.alarmed", topic="alarms", key="sensor"):
    sensor: str
    n: int


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def rows(service: Service, sql: str) -> list[tuple[Any, ...]]:
    return database_of(service).read(sql)


def effects(service: Service) -> list[int]:
    return [n for (n,) in rows(service, "SELECT n FROM effect ORDER BY place")]


def letters(service: Service) -> list[tuple[Any, ...]]:
    return rows(service, "SELECT offset, cause, attempts, value FROM onward_dead_letter ORDER BY offset")


@pytest.fixture
def app(database_path: Path) -> App:
    return App("station", store=f"sqlite:///{database_path}", schema=SCHEMA)


def failing_on(app: App, bad: int, error: Exception, retry: Retry = QUICK) -> list[int]:
    """A handler that inserts and publishes, and raises for one number; what it was called with."""
    calls: list[int] = []

    @app.on(Measured, retry=retry)
    async def store(measured: Measured, tx: Transaction) -> Alarmed:
        calls.append(measured.n)
        await tx.execute("INSERT INTO effect (key, n) VALUES (:key, :n)", key=measured.sensor, n=measured.n)
        if measured.n == bad:
            await tx.publish(Alarmed(sensor="never", n=measured.n))
            raise error
        return Alarmed(sensor=measured.sensor, n=measured.n)

    return calls


def test_a_failing_event_stands_alone_and_its_neighbours_take_effect_once(app: App) -> None:
    calls = failing_on(app, 5, ValueError("no"))

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*[Measured(sensor="a", n=n) for n in range(10)])
            await until(lambda: len(effects(service)) == 9)
            assert effects(service) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
            ((offset, cause, attempts, value),) = letters(service)
            assert (offset, cause, attempts, value) == (5, "attempts_spent", 3, b'{"sensor":"a","n":5}')

    asyncio.run(run())
    # Once together with its neighbours, which found that something fails, then three counted attempts.
    assert calls.count(5) == 4


def test_what_a_failed_handler_published_is_not_published(app: App) -> None:
    failing_on(app, 5, FatalError("no"))

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*[Measured(sensor="a", n=n) for n in range(10)])
            await until(lambda: len(effects(service)) == 9)
            published = rows(
                service,
                "SELECT value FROM onward_log"
                " WHERE kind = (SELECT id FROM onward_kind WHERE type = 'failures.alarmed')",
            )
            expected = [f'{{"sensor":"a","n":{n}}}'.encode() for n in (0, 1, 2, 3, 4, 6, 7, 8, 9)]
            assert sorted(value for (value,) in published) == sorted(expected)

    asyncio.run(run())


def test_a_batch_with_a_failure_and_slow_handlers_commits_what_it_has_in_time(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactional, "HOLD_S", 0.0)
    failing_on(app, 5, FatalError("no"))

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*[Measured(sensor="a", n=n) for n in range(10)])
            await until(lambda: len(effects(service)) == 9)
            assert effects(service) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
            # A claim, and a commit for each event, whether it runs carefully or not.
            assert rows(service, "SELECT max(revision) FROM onward_account") == [(1 + 10,)]

    asyncio.run(run())


def test_a_fatal_error_is_a_dead_letter_at_once(app: App) -> None:
    failing_on(app, 5, FatalError("never"))

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*[Measured(sensor="a", n=n) for n in range(10)])
            await until(lambda: len(effects(service)) == 9)
            assert [letter[1:3] for letter in letters(service)] == [("fatal", 1)]

    asyncio.run(run())


def test_after_a_dead_letter_later_events_of_its_key_overtake_it(app: App) -> None:
    failing_on(app, 1, FatalError("never"))

    async def run() -> None:
        async with running(app) as service:
            await app.publish(Measured(sensor="a", n=1), Measured(sensor="a", n=2))
            await until(lambda: effects(service) == [2])
            assert [letter[0] for letter in letters(service)] == [0]

    asyncio.run(run())


def test_bytes_that_do_not_decode_are_kept_and_the_next_event_is_handled(app: App) -> None:
    failing_on(app, -1, ValueError())
    broken = b'{"sensor": "a", "n": "\xff'

    async def run() -> None:
        async with running(app) as service:
            assert service.engine is not None
            raw = [
                Outgoing("measurements", "failures.measured", 1, broken, "a"),
                Outgoing("measurements", "failures.measured", 1, None, "a"),
            ]
            await service.engine.broker.publish(raw, "somebody")
            await app.publish(Measured(sensor="a", n=1))
            await until(lambda: effects(service) == [1])
            assert letters(service) == [(0, "decode", 1, broken), (1, "decode", 1, None)]

    asyncio.run(run())


def test_a_plain_json_record_without_key_and_type_is_handled(database_path: Path) -> None:
    app = App("orders", store=f"sqlite:///{database_path}", schema=SCHEMA)

    @app.on(Measured)
    async def store(measured: Measured, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect (key, n) VALUES (:key, :n)", key=measured.sensor, n=measured.n)

    async def run() -> None:
        async with running(app) as service:
            assert service.engine is not None
            await service.engine.broker.publish([Outgoing("measurements", "", 1, b'{"sensor":"b","n":7}', None)], "x")
            await until(lambda: effects(service) == [7])

    asyncio.run(run())


def test_an_event_of_a_type_that_nobody_handles_is_skipped_and_counted(app: App) -> None:
    failing_on(app, -1, ValueError())

    async def run() -> None:
        async with running(app) as service:
            assert service.engine is not None
            await service.engine.broker.publish([Outgoing("measurements", "failures.other", 1, b"{}", "a")], "x")
            await app.publish(Measured(sensor="a", n=1))
            await until(lambda: effects(service) == [1])
            assert rows(service, "SELECT sum(skipped) FROM onward_tally WHERE handler = ''") == [(1,)]

    asyncio.run(run())


def test_a_failed_statement_that_is_caught_without_a_savepoint_fails_the_event(app: App) -> None:
    @app.on(Measured, retry=Retry(max_attempts=1))
    async def store(measured: Measured, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect (place, key, n) VALUES (1, :key, :n)", key=measured.sensor, n=measured.n)
        with suppress(StoreError):
            await tx.execute("INSERT INTO effect (place, key, n) VALUES (1, :key, :n)", key=measured.sensor, n=0)

    async def run() -> None:
        async with running(app) as service:
            await app.publish(Measured(sensor="a", n=1))
            await until(lambda: len(letters(service)) == 1)
            assert effects(service) == []

    asyncio.run(run())


def test_a_handler_that_tries_to_commit_is_refused_and_nothing_is_stored(app: App) -> None:
    @app.on(Measured, retry=Retry(max_attempts=1))
    async def store(measured: Measured, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect (key, n) VALUES (:key, :n)", key=measured.sensor, n=measured.n)
        await tx.execute("COMMIT")

    async def run() -> None:
        async with running(app) as service:
            await app.publish(Measured(sensor="a", n=1))
            await until(lambda: len(letters(service)) == 1)
            assert effects(service) == []
            assert "commit" in rows(service, "SELECT error FROM onward_dead_letter")[0][0]

    asyncio.run(run())
