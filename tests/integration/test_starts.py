"""Where a new handler begins, as its declaration says, on the events that are there already."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from onward import App, Context, Event, Transaction
from onward.runtime import subscription
from onward.sqlite.audit import audit
from tests.integration.services import change, handle

FIRST = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
HOURS = 6
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (n INTEGER NOT NULL)"
AN_HOUR_EACH = "UPDATE onward_log SET time = ? + json_extract(value, '$.n') * 3600000000"
INSERT = "INSERT INTO effect VALUES (:n)"


class Struck(Event, type="starts.struck", topic="starts", key="bell"):
    """One an hour and bell, from FIRST on; `n` counts the hours."""

    bell: str
    n: int


@pytest.fixture
def struck(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(subscription, "WAIT_S", 0.01)  # an idle loop sees soon that it is to stop

    async def publish() -> None:
        tower = App("tower", store=f"sqlite:///{database_path}")
        for n in range(HOURS):
            await tower.publish(*(Struck(bell=bell, n=n) for bell in "abc"))
        await tower.close()

    asyncio.run(publish())
    change(database_path, AN_HOUR_EACH, int(FIRST.timestamp() * 1e6))
    return database_path


@pytest.mark.parametrize(
    ("start", "hours"),
    [
        (FIRST - timedelta(days=1), [0, 1, 2, 3, 4, 5]),
        (FIRST + timedelta(hours=3), [3, 4, 5]),
        (FIRST + timedelta(hours=3, microseconds=1), [4, 5]),
        ((FIRST + timedelta(hours=3)).astimezone(timezone(timedelta(hours=-7))), [3, 4, 5]),
        (FIRST + timedelta(days=1), []),
    ],
    ids=["before all", "at one", "just after it", "in another zone", "after all"],
)
@pytest.mark.parametrize("plain", [False, True], ids=["with the transaction", "without"])
def test_a_handler_declared_from_a_time_on_is_given_what_was_published_since(
    struck: Path, start: datetime, hours: list[int], plain: bool
) -> None:
    app = App("listener", store=f"sqlite:///{struck}", schema=SCHEMA)

    async def hear(event: Struck, tx: Transaction) -> None:
        await tx.execute(INSERT, n=event.n)

    async def hear_plainly(event: Struck, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.execute(INSERT, n=event.n)

    app.on(Struck, name="hear", start=start)(hear_plainly if plain else hear)

    async def scenario() -> list[int]:
        await handle(app)
        await handle(app, Struck(bell="a", n=HOURS))  # a second start goes on where the first ended
        found = [int(str(row[0])) for row in (await app.read("SELECT n FROM effect ORDER BY n")).rows]
        await app.close()
        return found

    assert asyncio.run(scenario()) == [*sorted(hours * 3), HOURS]
    assert audit(struck, deep=True).problems == ()
