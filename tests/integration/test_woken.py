"""Another process's event is handled because that process says so: nothing here looks by itself for an hour."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from onward import App, Event, Transaction
from onward.brokers import sqlite
from onward.runtime import opening, subscription
from onward.runtime.service import Service
from tests.integration.children import Child, child

HOUR_S = 3600.0
PATIENCE_S = 10.0
PUBLISHES = """
import asyncio
from tests.integration.test_woken import Rung, publisher
async def main():
    app = publisher(sys.argv[1])
    for line in sys.stdin:
        await app.publish(Rung(n=int(line)), delay=float(sys.argv[2]) or None)
        print("published", flush=True)
    await app.close()
asyncio.run(main())
"""


class Rung(Event, type="woken.rung", topic="woken"):
    n: int


def publisher(path: Path | str) -> App:
    return App("publisher", store=f"sqlite:///{path}")


@pytest.fixture(autouse=True)
def nothing_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "POLL_S", HOUR_S)
    monkeypatch.setattr(subscription, "WAIT_S", HOUR_S)
    monkeypatch.setattr(opening, "LOOK_EVERY_S", HOUR_S)


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[asyncio.Queue[int]]:
    """What a service here has handled."""
    app, handled = App("listener", store=f"sqlite:///{path}"), asyncio.Queue[int]()

    @app.on(Rung)
    async def hear(rung: Rung, tx: Transaction) -> None:
        handled.put_nowait(rung.n)

    service = Service(app.plan, app.settings)
    await service.start()
    try:
        yield handled
    finally:
        await service.stop(0.05)  # its loops look for a stop once an hour


async def publish(other: Child, n: int) -> None:
    other.tell(str(n))
    await asyncio.to_thread(other.says, "published")


def test_what_another_process_publishes_is_handled_without_polling(database_path: Path) -> None:
    async def scenario() -> None:
        async with listening(database_path) as handled:
            with child(PUBLISHES, database_path, 0) as other:
                for n in range(3):
                    await publish(other, n)
                    assert await asyncio.wait_for(handled.get(), PATIENCE_S) == n

    asyncio.run(scenario())


def test_what_a_process_that_has_ended_put_off_comes_when_it_is_due_without_polling(database_path: Path) -> None:
    async def scenario() -> None:
        async with listening(database_path) as handled:
            with child(PUBLISHES, database_path, 0.5) as other:
                await publish(other, 7)
                assert other.process.stdin is not None
                other.process.stdin.close()
                await asyncio.to_thread(other.ends)
            assert await asyncio.wait_for(handled.get(), PATIENCE_S) == 7

    asyncio.run(scenario())
