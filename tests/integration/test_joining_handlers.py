"""A handler that joins a subscription others share: what it is owed, what it is past, and who may go on."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from onward import App, Event, Topic, Transaction
from onward.errors import RegistrationError
from onward.sqlite.audit import audit
from onward.sqlite.database import Database
from onward.sqlite.registrations import retire
from tests.integration.services import PATIENCE_S, change, handle, park, running, until_handled

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (handler TEXT, n INTEGER)"
INSERT = "INSERT INTO effect (handler, n) VALUES (:handler, :n)"


class Made(Event, type="joining.made", topic="joining"):
    n: int


class Cancelled(Event, type="joining.cancelled", topic="joining"):
    n: int


class Noise(Event, type="joining.noise", topic="joining"):
    n: int


def shop(path: Path, *names: str) -> App:
    """`pay` takes what was made, `note` both kinds, `thank` what was made, `mourn` what was cancelled."""
    app = App("shop", store=f"sqlite:///{path}", schema=SCHEMA, topics=[Topic("joining", partitions=1)])
    kinds: dict[str, tuple[type, ...]] = {
        "pay": (Made,),
        "note": (Made, Cancelled),
        "thank": (Made,),
        "mourn": (Cancelled,),
    }
    for name in names:
        _declare(app, name, kinds[name])
    return app


def _declare(app: App, name: str, kinds: tuple[type, ...]) -> None:
    @app.on(*kinds, name=name, start="now" if name in ("thank", "mourn") else "earliest")
    async def note(event: Made | Cancelled, tx: Transaction) -> None:
        await tx.execute(INSERT, handler=name, n=event.n)


def events(*numbers: int) -> list[Event]:
    return [kind(n=n) for n in numbers for kind in (Made, Cancelled, Noise)]


def effects(app: App, handler: str) -> list[int]:
    async def look() -> list[int]:
        found = await app.read("SELECT n FROM effect WHERE handler = :handler ORDER BY n", handler=handler)
        await app.close()
        return [row[0] for row in found.rows]

    return asyncio.run(look())


@pytest.mark.parametrize(
    ("before", "joining", "owed"),
    [
        (("pay",), "thank", [3]),
        (("pay",), "mourn", [3]),
        (("pay", "note"), "thank", [3]),
        (("note",), "thank", [3]),
        (("note",), "mourn", [3]),
    ],
)
def test_what_passed_before_a_handler_joined_is_skipped_for_it_and_every_sum_is_exact(
    database_path: Path, before: tuple[str, ...], joining: str, owed: list[int]
) -> None:
    async def history() -> None:
        app = shop(database_path, *before)
        async with running(app) as service:
            await app.publish(*events(1))
            await until_handled(service)
        await app.publish(*events(2))  # published before it joins, handled after: it is not owed this one either
        await app.close()

    async def later() -> None:
        app = shop(database_path, *before, joining)
        async with running(app) as service:
            await app.publish(*events(3))
            await until_handled(service)

    asyncio.run(history())
    asyncio.run(later())
    app = shop(database_path, *before, joining)
    assert effects(app, joining) == owed
    report = audit(database_path)
    assert report.problems == ()
    (tally,) = report.tallies
    assert (tally.published, tally.done + tally.skipped) == (9, 9)
    assert tally.handlers[joining].done == len(owed)


@pytest.mark.parametrize("forgotten", ["retired", "deleted by hand"])
def test_what_is_parked_is_not_skipped_for_a_handler_that_joins_again(database_path: Path, forgotten: str) -> None:
    app = shop(database_path, "pay", "thank")
    asyncio.run(handle(app, *events(1, 2, 3)))
    park(database_path, "thank")
    if forgotten == "retired":
        with closing(Database.open(database_path)) as database, database.transaction_sync() as connection:
            retire(connection, "shop", "thank")
            assert connection.execute("SELECT 1 FROM onward_parked, onward_blocked").fetchall() == []
    else:
        change(database_path, "DELETE FROM onward_handler WHERE name = 'thank'")
    asyncio.run(handle(shop(database_path, "pay", "thank")))
    report = audit(database_path)
    assert report.problems == ()
    (tally,) = report.tallies
    thank = tally.handlers["thank"]
    assert (thank.succeeded, thank.dead, thank.parked) == (1, 1, 0 if forgotten == "retired" else 1)


def test_a_process_that_lacks_a_handler_which_has_joined_handles_nothing_more(database_path: Path) -> None:
    async def scene() -> None:
        old, new = shop(database_path, "pay"), shop(database_path, "pay", "thank")
        async with running(old) as former:
            await old.publish(Made(n=1))
            await until_handled(former)
            await new.publish(Noise(n=0))
            async with running(new) as latter:
                await new.publish(Made(n=2))
                async with asyncio.timeout(PATIENCE_S):
                    with pytest.raises(RegistrationError, match="'thank' has joined"):
                        await asyncio.shield(former.failure)
                assert any("'thank'" in reason for reason in former.unready())
                await former.stop()
                await until_handled(latter)

    asyncio.run(scene())
    app = shop(database_path, "pay", "thank")
    assert (effects(app, "pay"), effects(app, "thank")) == ([1, 2], [2])
    assert audit(database_path).problems == ()
