"""Delayed events on a file: delivered by whichever process lives, kept through restarts, in files of every age."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onward import App, Event, Retention, Topic, Transaction
from onward.runtime import opening
from onward.runtime.backlog import backlog
from onward.sqlite import delayed
from onward.sqlite.database import Database
from onward.sqlite.delivery import DelayedEvents
from onward.sqlite.inspection import inspecting
from onward.sqlite.schema import migrations
from onward.sqlite.status import status
from tests.integration.services import database_of, timers_of

PATIENCE_S = 20.0
FAR = timedelta(days=30)


class Reminded(Event, type="delayed.reminded", topic="reminders", key="who"):
    who: str
    n: int = 0


def diary(path: Path, name: str = "diary") -> App:
    return App(name, store=f"sqlite:///{path}")


@asynccontextmanager
async def opened(*apps: App) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for app in apps:
            await app.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def logged(app: App) -> list[int]:
    found = await app.read("SELECT value ->> 'n' FROM onward_log ORDER BY pos")
    return [n for (n,) in found.rows]


async def waiting(app: App) -> list[int]:
    found = await app.read("SELECT value ->> 'n' FROM onward_delayed ORDER BY due, id")
    return [n for (n,) in found.rows]


async def make_due(app: App) -> None:
    """As if the time of all that waits had come."""
    async with database_of(app).transaction() as connection:
        connection.execute("UPDATE onward_delayed SET due = ?", (int((time.time() - 1) * 1e6),))


def test_a_delayed_event_is_handled_once_when_its_time_has_come(database_path: Path) -> None:
    app = diary(database_path)
    seen: list[tuple[int, float]] = []

    @app.on(Reminded)
    async def note(reminded: Reminded, tx: Transaction) -> None:
        seen.append((reminded.n, time.time()))

    async def scene() -> None:
        async with app.lifespan():
            due = datetime.now(UTC) + timedelta(seconds=0.3)
            await app.publish(Reminded(who="ann", n=1), at=due)
            await app.publish(Reminded(who="ann", n=2), delay=FAR)
            await app.publish(Reminded(who="ann", n=3))
            await until(lambda: len(seen) == 2)
            assert [n for n, _ in seen] == [3, 1]
            assert seen[1][1] >= due.timestamp()
            assert await waiting(app) == [2]

    asyncio.run(scene())


def test_another_process_that_puts_an_earlier_event_off_is_heard(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LOOK_EVERY_S", 3600.0)
    app, other = diary(database_path), diary(database_path, "other")
    seen: list[int] = []

    @app.on(Reminded)
    async def note(reminded: Reminded, tx: Transaction) -> None:
        seen.append(reminded.n)

    async def scene() -> None:
        async with app.lifespan(), opened(other):
            await app.publish(Reminded(who="ann", n=1), delay=FAR)
            await other.publish(Reminded(who="ann"), delay=FAR)  # later than the one that waits: nobody is told
            await timers_of(other).stop()  # only the one that has to be told delivers
            await other.publish(Reminded(who="ann", n=2), delay=0.1)
            await until(lambda: seen == [2])

    asyncio.run(scene())


def test_what_waited_while_nobody_lived_is_delivered_by_the_first_who_does(database_path: Path) -> None:
    async def put_off() -> None:
        app = diary(database_path)
        async with opened(app):
            await app.publish(*(Reminded(who="ann", n=n) for n in range(3)), delay=FAR)
            await make_due(app)
            await timers_of(app).stop()

    async def come_back() -> None:
        app = diary(database_path, "other")  # it handles nothing, and publishes nothing
        async with opened(app):
            async with app.transaction():
                pass
            async with asyncio.timeout(PATIENCE_S):
                while await waiting(app):
                    await asyncio.sleep(0.005)
            assert await logged(app) == [0, 1, 2]

    asyncio.run(put_off())
    asyncio.run(come_back())


def test_many_that_are_due_at_once_come_in_steps_and_in_order(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delayed, "MOVED_BYTES", 100)
    app = diary(database_path)
    app.topics = (Topic("reminders", partitions=1, retention=Retention()),)

    async def scene() -> None:
        async with opened(app):
            await app.publish(*(Reminded(who="ann", n=n) for n in range(1000, 1040)), delay=FAR)
            commits: list[int] = []
            database_of(app).after_commit.append(lambda: commits.append(1))
            await make_due(app)
            timers_of(app).told({"(delayed)"})
            async with asyncio.timeout(PATIENCE_S):
                while await waiting(app):
                    await asyncio.sleep(0.005)
            assert await logged(app) == list(range(1000, 1040))
            assert len(commits) >= 8, "five of them reach 100 bytes"

    asyncio.run(scene())


def test_what_waits_is_counted_until_it_is_delivered(database_path: Path) -> None:
    app = diary(database_path)

    @app.on(Reminded)
    async def note(reminded: Reminded, tx: Transaction) -> None:
        pass

    def seen_from_outside() -> tuple[int, dict[str, int]]:
        with inspecting(database_path) as inspection:
            (topic,) = status(inspection).topics
        return topic.delayed, backlog(str(database_path))["diary"].delayed

    async def counts() -> list[tuple[int, int]]:
        found = await app.read("SELECT delayed, delayed_bytes FROM onward_topic WHERE name = 'reminders'")
        return [(events, size) for events, size in found.rows]

    async def scene() -> None:
        async with app.lifespan():
            await app.publish(Reminded(who="ann", n=1), Reminded(who="bob", n=2), delay=FAR)
            assert seen_from_outside() == (2, {"reminders": 2})
            assert await counts() == [(2, 2 * len(b'{"who":"ann","n":1}'))]
            await make_due(app)
            timers_of(app).told({"(delayed)"})
            async with asyncio.timeout(PATIENCE_S):
                while await waiting(app):
                    await asyncio.sleep(0.005)
            assert await counts() == [(0, 0)]
            assert seen_from_outside() == (0, {"reminders": 0})

    asyncio.run(scene())


def test_a_service_whose_timers_end_says_so(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = diary(database_path)

    async def fail(_self: DelayedEvents) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(DelayedEvents, "deliver", fail)

    async def scene() -> None:
        async with app.lifespan() as service:
            assert service is not None
            await app.publish(Reminded(who="ann"), delay=0.01)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait([service.failure])
            assert "ZeroDivisionError" in "".join(service.unready())

    asyncio.run(scene())


def test_a_file_from_before_there_were_delays_takes_them(database_path: Path) -> None:
    before = [step for step in migrations() if step.version < _version_of("delayed")]
    with closing(Database.open(database_path, known=before)) as database, database.transaction_sync() as writer:
        writer.execute(
            "INSERT INTO onward_topic (name, partitions, keep_age_s, keep_bytes, backlog_bytes, created_at)"
            " VALUES ('reminders', 1, 0, 0, 1000000, 0)"
        )
        writer.execute("INSERT INTO onward_lane (topic, partition) VALUES (1, 0)")

    async def scene() -> None:
        app = diary(database_path)
        async with opened(app):
            await app.publish(Reminded(who="ann", n=1), delay=FAR)
            assert await waiting(app) == [1]

    asyncio.run(scene())


def _version_of(name: str) -> int:
    return next(step.version for step in migrations() if step.name == name)
