"""A handler that gets a position of its own, or the shared one back, misses no event and runs none twice."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

from onward import App, Context, Event, FatalError, Transaction
from onward.cli import main
from onward.errors import RegistrationError
from onward.pipeline.handlers import Start
from onward.ports import Outgoing
from onward.runtime import subscription
from onward.sqlite.audit import audit
from tests.integration.services import change, handle, park

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (handler TEXT NOT NULL, n INTEGER NOT NULL)"
INSERT = "INSERT INTO effect VALUES (:handler, :n)"
GIVEN_UP = (
    "SELECT s.name, d.state FROM onward_dead_letter d JOIN onward_subscription s ON s.id = d.subscription"
    " WHERE d.handler = '' ORDER BY s.name"
)
UNREADABLE = 1
NOBODY_TAKES = 3

Onward = Callable[..., Result]


class Ordered(Event, type="moving.ordered", topic="moving.orders", key="customer"):
    customer: str
    n: int


def orders(*numbers: int) -> list[Ordered]:
    return [Ordered(customer=f"c{n % 5}", n=n) for n in numbers]


def shop(path: Path, *, alone: bool, notes: bool = True, notes_from: Start = "earliest") -> App:
    app = App("shop", store=f"sqlite:///{path}", schema=SCHEMA)

    @app.on(Ordered, alone=alone)
    async def take(order: Ordered, tx: Transaction) -> None:
        await tx.execute(INSERT, handler="take", n=order.n)
        if order.n == NOBODY_TAKES:
            raise FatalError("not this one")

    async def note(order: Ordered, tx: Transaction) -> None:
        await tx.execute(INSERT, handler="note", n=order.n)

    @app.on(Ordered)
    async def mail(order: Ordered, ctx: Context) -> None:
        """Runs without the transaction."""

    if notes:
        app.on(Ordered, start=notes_from)(note)
    return app


@pytest.fixture
def onward(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Onward:
    monkeypatch.setattr(subscription, "WAIT_S", 0.01)  # an idle loop sees soon that it is to stop

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--database", str(database_path)])

    return invoke


def published(path: Path, *events: Ordered) -> None:
    async def publish() -> None:
        app = shop(path, alone=False)
        await app.publish(*events)
        assert app._engine is not None
        unreadable = [Outgoing("moving.orders", "moving.ordered", 1, b"{", f"c{n}") for n in range(UNREADABLE)]
        await app._engine.broker.publish(unreadable, "elsewhere")
        await app.close()

    asyncio.run(publish())


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(apsw.Connection(str(path))) as connection:
        return [tuple(row) for row in connection.execute(sql)]


def effects(path: Path, handler: str) -> list[object]:
    return sorted(n for name, n in rows(path, "SELECT handler, n FROM effect") if name == handler)  # type: ignore[type-var]


def subscriptions(path: Path) -> set[object]:
    return {name for (name,) in rows(path, "SELECT name FROM onward_subscription WHERE retired_at IS NULL")}


def test_a_handler_goes_on_where_it_stands_alone_and_back_again(database_path: Path, onward: Onward) -> None:
    asyncio.run(handle(shop(database_path, alone=False), *orders(0, 1, 2, 3, 4)))
    published(database_path, *orders(5, 6, 7))
    with pytest.raises(RegistrationError, match="onward handlers move shop HANDLER"):
        asyncio.run(handle(shop(database_path, alone=True)))
    moved = onward("handlers", "move", "shop", "take")
    assert (moved.exit_code, moved.stdout) == (0, "Handler take of shop has a position of its own, on moving.orders.\n")
    assert audit(database_path, deep=True).problems == ()
    asyncio.run(handle(shop(database_path, alone=True), *orders(8, 9)))
    assert subscriptions(database_path) == {"transactional", "take", "mail"}
    assert audit(database_path, deep=True).problems == ()

    published(database_path, *orders(10))
    assert onward("handlers", "move", "shop", "take", "--back").exit_code == 0
    assert audit(database_path, deep=True).problems == ()
    asyncio.run(handle(shop(database_path, alone=False), *orders(11)))
    assert subscriptions(database_path) == {"transactional", "mail"}
    assert effects(database_path, "take") == [n for n in range(12) if n != NOBODY_TAKES]
    assert effects(database_path, "note") == list(range(12))
    assert audit(database_path, deep=True).problems == ()


def test_the_only_handler_of_a_position_takes_it_along(database_path: Path, onward: Onward) -> None:
    asyncio.run(handle(shop(database_path, alone=False, notes=False), *orders(1, 2)))
    assert onward("handlers", "move", "shop", "take").exit_code == 0
    asyncio.run(handle(shop(database_path, alone=True, notes=False), *orders(4)))
    assert subscriptions(database_path) == {"take", "mail"}
    assert onward("handlers", "move", "shop", "take", "--back").exit_code == 0
    asyncio.run(handle(shop(database_path, alone=False, notes=False), *orders(5)))
    assert subscriptions(database_path) == {"transactional", "mail"}
    assert effects(database_path, "take") == [1, 2, 4, 5]
    assert audit(database_path, deep=True).problems == ()


def test_back_to_a_position_that_began_later_the_sums_stay_even(database_path: Path, onward: Onward) -> None:
    asyncio.run(handle(shop(database_path, alone=True, notes=False), *orders(0, 1, 2)))
    asyncio.run(handle(shop(database_path, alone=True, notes_from="now"), *orders(4, 5)))
    assert onward("handlers", "move", "shop", "take", "--back").exit_code == 0
    assert audit(database_path, deep=True).problems == ()
    asyncio.run(handle(shop(database_path, alone=False, notes_from="now"), *orders(6)))
    assert effects(database_path, "take") == [0, 1, 2, 4, 5, 6]
    assert effects(database_path, "note") == [4, 5, 6]
    assert audit(database_path, deep=True).problems == ()


def test_back_to_a_position_that_stands_elsewhere_is_refused(database_path: Path, onward: Onward) -> None:
    asyncio.run(handle(shop(database_path, alone=True), *orders(0, 1, 2)))
    change(
        database_path,
        "UPDATE onward_account SET next_offset = next_offset - 1 WHERE next_offset > 0 AND subscription ="
        " (SELECT id FROM onward_subscription WHERE name = 'take')",
    )
    before = rows(database_path, "SELECT * FROM onward_handler")
    refused = onward("handlers", "move", "shop", "take", "--back")
    assert refused.exit_code == 1
    assert "events apart, and it would miss those or run them twice. Nothing was changed" in refused.stderr
    assert rows(database_path, "SELECT * FROM onward_handler") == before


def test_what_was_given_up_before_a_handler_was_chosen_is_owed_to_the_one_that_moves_too(
    database_path: Path, onward: Onward
) -> None:
    asyncio.run(handle(shop(database_path, alone=False), *orders(0)))
    published(database_path, *orders(1))
    asyncio.run(handle(shop(database_path, alone=False)))
    assert onward("handlers", "move", "shop", "take").exit_code == 0
    assert rows(database_path, GIVEN_UP) == [("mail", "dead"), ("take", "dead"), ("transactional", "dead")]
    assert audit(database_path, deep=True).problems == ()
    assert onward("handlers", "move", "shop", "take", "--back").exit_code == 0
    assert rows(database_path, GIVEN_UP) == [("mail", "dead"), ("transactional", "dead")]
    assert audit(database_path, deep=True).problems == ()


def test_what_is_parked_goes_with_its_handler_and_is_not_taken_for_skipped(database_path: Path, onward: Onward) -> None:
    asyncio.run(handle(shop(database_path, alone=False), *orders(0, 5, 10)))
    park(database_path, "take")
    for back, position in (((), "take"), (("--back",), "transactional")):
        assert onward("handlers", "move", "shop", "take", *back).exit_code == 0
        assert rows(
            database_path,
            "SELECT s.name, k.handler, k.waiting FROM onward_blocked k JOIN onward_subscription s"
            " ON s.id = k.subscription",
        ) == [(position, "take", 1)]
        report = audit(database_path, deep=True)
        assert report.problems == ()
        (take,) = [each.handlers["take"] for each in report.tallies if each.handlers.get("take") and each.published]
        assert (take.succeeded, take.parked, take.dead) == (1, 1, 1)


@pytest.mark.parametrize("done_by", ["take", "transactional"])
def test_back_where_one_position_gave_up_an_event_that_the_other_did_is_refused(
    database_path: Path, onward: Onward, done_by: str
) -> None:
    asyncio.run(handle(shop(database_path, alone=True), *orders(0)))
    published(database_path, *orders(1))
    asyncio.run(handle(shop(database_path, alone=True)))
    its_own = f"subscription = (SELECT id FROM onward_subscription WHERE name = '{done_by}') AND handler = ''"  # noqa: S608 - ours
    change(database_path, f"UPDATE onward_dead_letter SET state = 'recovered' WHERE {its_own}")  # noqa: S608 - ours
    before = rows(database_path, "SELECT * FROM onward_handler")
    refused = onward("handlers", "move", "shop", "take", "--back")
    assert refused.exit_code == 1
    assert "1 events were given up before a handler was chosen" in refused.stderr
    assert rows(database_path, "SELECT * FROM onward_handler") == before
    change(database_path, "UPDATE onward_dead_letter SET state = 'recovered' WHERE handler = ''")
    assert onward("handlers", "move", "shop", "take", "--back").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("mail",), "it runs without the transaction"),
        (("take", "--back"), "it shares its service's position already"),
        (("nobody",), "has no handler 'nobody' on record"),
    ],
)
def test_a_move_that_changes_nothing_is_refused(
    database_path: Path, onward: Onward, arguments: tuple[str, ...], why: str
) -> None:
    asyncio.run(handle(shop(database_path, alone=False)))
    refused = onward("handlers", "move", "shop", *arguments)
    assert refused.exit_code == 1
    assert why in refused.stderr
