"""Handlers on record in a database: listed, renamed and retired as in a file."""

import asyncio
import json

import pytest
from click.testing import Result

from onward import App, Topic, Transaction
from onward.errors import RegistrationError
from tests.integration.postgres.looking import (
    ORDERS,
    SCHEMA,
    Cancelled,
    Onward,
    Ordered,
    change,
    handle,
    payment,
    rows,
)
from tests.integration.postgres.stage import Stage, on_stage

TALLIES = "SELECT handler, sum(succeeded)::integer FROM onward.tally WHERE succeeded > 0 GROUP BY 1 ORDER BY 1"


def renamed() -> App:
    """The payment service with another name for a handler, whose events go on in their order."""
    app = App("payment", schema=SCHEMA, topics=[Topic("looking.orders", partitions=2)])

    @app.on(Ordered)
    async def charge(order: Ordered, tx: Transaction) -> None:
        await tx.execute("INSERT INTO payment (order_id, cents) VALUES (:o, :c)", o=order.order_id, c=order.cents)

    @app.on(Cancelled)
    async def note_cancellation(order: Cancelled, tx: Transaction) -> None:
        await tx.execute("SELECT 1")

    return app


def test_handlers_are_listed_with_what_they_take(seen: Onward) -> None:
    listed = json.loads(seen("handlers", "list", "--json").stdout)
    assert [(each["handler"], each["topic"], each["types"]) for each in listed] == [
        ("note_cancellation", "looking.orders", ["looking.cancelled"]),
        ("take_payment", "looking.orders", ["looking.ordered"]),
    ]
    assert "take_payment" in seen("handlers", "list").stdout


def test_a_renamed_handler_goes_on_under_its_new_name(handled: str, onward: Onward) -> None:
    with pytest.raises(RegistrationError, match="onward handlers rename payment take_payment NEW"):
        handle(handled, renamed())
    assert onward("handlers", "rename", "payment", "take_payment", "charge").exit_code == 0
    handle(handled, renamed())
    assert rows(handled, TALLIES) == [("charge", 4), ("note_cancellation", 1)]
    assert rows(handled, "SELECT handler FROM onward.dead_letter") == [("charge",)]
    assert onward("audit").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new"), [("take_payment", "transactional"), ("take_payment", "note_cancellation"), ("nobody", "somebody")]
)
def test_a_rename_that_would_lose_an_identity_is_refused(seen: Onward, old: str, new: str) -> None:
    result = seen("handlers", "rename", "payment", old, new)
    assert result.exit_code == 1
    assert "Nothing was changed" in result.stderr


def test_a_plain_handlers_subscription_is_renamed_with_it(handled: str, onward: Onward) -> None:
    change(handled, "DELETE FROM onward.handler WHERE name = 'note_cancellation'")
    change(handled, "UPDATE onward.handler SET kind = 'plain'")
    change(handled, "UPDATE onward.subscription SET name = 'take_payment', ordered_commit = false")
    assert onward("handlers", "rename", "payment", "take_payment", "charge").exit_code == 0
    assert rows(handled, "SELECT name FROM onward.subscription") == [("charge",)]


def test_a_retired_handler_is_owed_nothing_any_more_and_the_others_go_on(handled: str, onward: Onward) -> None:
    assert onward("handlers", "retire", "payment", "note_cancellation").exit_code == 0
    (left,) = json.loads(onward("handlers", "list", "--json").stdout)
    assert left["handler"] == "take_payment"
    assert onward("audit").exit_code == 0


def test_a_whole_subscription_is_retired_and_its_name_is_free(handled: str, onward: Onward) -> None:
    retire = ("handlers", "retire", "payment", "transactional")
    assert "name its topic too, with --topic" in onward(*retire).stderr
    assert onward(*retire, "--topic", "looking.orders").exit_code == 0
    assert onward("handlers", "list").stdout == "No handlers are on record.\n"
    assert onward("audit").exit_code == 0
    assert "its subscription is retired" in onward("dead-letters", "retry", "1").stderr
    handle(handled, payment(), *(Ordered(order_id=f"again{n}", cents=1) for n in range(ORDERS)))
    assert rows(handled, "SELECT count(*) FROM payment WHERE order_id LIKE 'again%'") == [(ORDERS,)]
    assert onward("audit").exit_code == 0


def test_a_running_service_keeps_its_handlers_names(handled: str, onward: Onward) -> None:
    async def scene(stage: Stage) -> None:
        async with stage.running(payment()):
            for command in (("rename", "payment", "take_payment", "charge"), ("retire", "payment", "take_payment")):
                result: Result = await asyncio.to_thread(onward, "handlers", *command)
                assert result.exit_code == 1
                assert "Service 'payment' is running (connected from " in result.stderr

    on_stage(handled, scene)
    assert onward("handlers", "rename", "payment", "take_payment", "charge").exit_code == 0


def test_what_a_killed_process_had_claimed_is_in_nobodys_way_and_its_start_stays_counted(
    handled: str, onward: Onward
) -> None:
    change(handled, "UPDATE onward.account SET token = 'x', owner = 'gone', unclean = 1")
    assert onward("handlers", "rename", "payment", "take_payment", "charge").exit_code == 0
    assert rows(handled, "SELECT DISTINCT token, owner, unclean FROM onward.account") == [(None, None, 1)]
