"""What was once lost, stuck or blamed wrongly, and is not any more."""

import asyncio
from pathlib import Path

import pytest

from onward import App, Event, Transaction
from tests.integration.test_failures import QUICK, SCHEMA, effects, letters, running, until


class Seen(Event, type="review.seen", topic="review", key="sensor"):
    sensor: str
    n: int


@pytest.fixture
def app(database_path: Path) -> App:
    return App("station", store=f"sqlite:///{database_path}", schema=SCHEMA)


async def insert(tx: Transaction, seen: Seen) -> None:
    await tx.execute("INSERT INTO effect (key, n) VALUES (:key, :n)", key=seen.sensor, n=seen.n)


def events(count: int) -> list[Seen]:
    return [Seen(sensor="a", n=n) for n in range(count)]


async def cancelled_elsewhere() -> None:
    """Await a task that somebody cancelled, as a client library's pool does when it is closed."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


def test_a_handler_that_raises_a_cancellation_of_its_own_is_judged_like_any_failure(app: App) -> None:
    @app.on(Seen, retry=QUICK)
    async def store(seen: Seen, tx: Transaction) -> None:
        await insert(tx, seen)
        if seen.n == 1:
            await cancelled_elsewhere()

    async def run() -> None:
        async with running(app) as service:
            assert service is not None
            await app.publish(*events(3))
            await until(lambda: effects(service) == [0, 2])
            assert [letter[:3] for letter in letters(service)] == [(1, "attempts_spent", 3)]

    asyncio.run(run())
