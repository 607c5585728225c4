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
    command_line,
    handle,
    park,
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


KEYS = "SELECT s.name, k.handler, k.waiting FROM onward.blocked k JOIN onward.subscription s ON s.id = k.subscription"


def test_what_is_parked_for_a_renamed_handler_goes_on_under_its_new_name(handled: str, onward: Onward) -> None:
    park(handled, "take_payment")
    assert onward("handlers", "rename", "payment", "take_payment", "charge").exit_code == 0
    assert rows(handled, KEYS) == [("transactional", "charge", 1)]
    assert onward("audit").exit_code == 0


def test_what_is_parked_goes_with_its_handler_and_is_not_taken_for_skipped(handled: str, onward: Onward) -> None:
    park(handled, "take_payment")
    for back, position in (((), "take_payment"), (("--back",), "transactional")):
        assert onward("handlers", "move", "payment", "take_payment", *back).exit_code == 0
        assert rows(handled, KEYS) == [(position, "take_payment", 1)]
        assert onward("audit").exit_code == 0


@pytest.mark.parametrize("arguments", [("take_payment",), ("transactional", "--topic", "looking.orders")])
def test_what_is_parked_for_a_retired_handler_is_owed_to_nobody(
    handled: str, onward: Onward, arguments: tuple[str, ...]
) -> None:
    park(handled, "take_payment")
    assert onward("handlers", "retire", "payment", *arguments).exit_code == 0
    assert rows(handled, KEYS) == []
    assert rows(handled, "SELECT 1 FROM onward.parked") == []
    assert onward("audit").exit_code == 0


def test_retiring_a_handler_leaves_what_is_parked_for_another(handled: str, onward: Onward) -> None:
    park(handled, "take_payment")
    assert onward("handlers", "retire", "payment", "note_cancellation").exit_code == 0
    assert rows(handled, KEYS) == [("transactional", "take_payment", 1)]
    assert onward("audit").exit_code == 0


def later() -> App:
    """The payment service, in which the handler that takes payments joins from now on."""
    app = App("payment", schema=SCHEMA, topics=[Topic("looking.orders", partitions=2)])

    @app.on(Ordered, start="now")
    async def take_payment(order: Ordered, tx: Transaction) -> None:
        raise NotImplementedError

    @app.on(Cancelled)
    async def note_cancellation(order: Cancelled, tx: Transaction) -> None:
        await tx.execute("SELECT 1")

    return app


@pytest.mark.parametrize("forgotten", ["retired", "deleted by hand"])
def test_what_is_parked_is_not_skipped_for_a_handler_that_joins_again(
    handled: str, onward: Onward, forgotten: str
) -> None:
    park(handled, "take_payment")
    if forgotten == "retired":
        assert onward("handlers", "retire", "payment", "take_payment").exit_code == 0
    else:
        change(handled, "DELETE FROM onward.handler WHERE name = 'take_payment'")
    handle(handled, later())
    skipped = rows(handled, "SELECT sum(skipped)::integer FROM onward.tally WHERE handler = 'take_payment'")
    assert skipped == [(2,) if forgotten == "retired" else (1,)]
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


def apart() -> App:
    """The payment service with a position of its own for the handler that takes payments."""
    app = App("payment", schema=SCHEMA, topics=[Topic("looking.orders", partitions=2)])

    @app.on(Ordered, alone=True)
    async def take_payment(order: Ordered, tx: Transaction) -> None:
        await tx.execute("INSERT INTO payment (order_id, cents) VALUES (:o, :c)", o=order.order_id, c=order.cents)

    @app.on(Cancelled)
    async def note_cancellation(order: Cancelled, tx: Transaction) -> None:
        await tx.execute("SELECT 1")

    return app


def test_a_handler_goes_on_where_it_stands_alone_and_back_again(postgres_url: str) -> None:
    onward = command_line(postgres_url)

    async def scene(stage: Stage) -> None:
        async def handled(app: App, *numbers: int) -> None:
            async with stage.running(app):
                for n in numbers:
                    await stage.publish(Ordered(order_id=f"o{n}", cents=n), Cancelled(order_id=f"o{n}"))
                await stage.settled()

        async def moved(*options: str) -> None:
            await asyncio.gather(*(store.close() for store in stage.stores))  # as the end of their process would
            stage.stores.clear()
            for command in (("handlers", "move", "payment", "take_payment", *options), ("audit",)):
                result: Result = await asyncio.to_thread(onward, *command)
                assert result.exit_code == 0, result.output

        await handled(payment(), 1, 2, 3)
        with pytest.raises(RegistrationError, match="onward handlers move payment HANDLER"):
            await handled(apart())
        await moved()
        await handled(apart(), 4, 5)
        assert rows(postgres_url, "SELECT name FROM onward.subscription ORDER BY 1") == [
            ("take_payment",),
            ("transactional",),
        ]
        await moved("--back")
        await handled(payment(), 6)

    on_stage(postgres_url, scene)
    assert rows(postgres_url, "SELECT count(*), count(DISTINCT order_id) FROM payment") == [(6, 6)]
    assert rows(postgres_url, TALLIES) == [("note_cancellation", 6), ("take_payment", 6)]
    assert onward("audit").exit_code == 0


def test_the_only_handler_of_a_position_takes_it_along(handled: str, onward: Onward) -> None:
    assert onward("handlers", "retire", "payment", "note_cancellation").exit_code == 0
    assert onward("handlers", "move", "payment", "take_payment").exit_code == 0
    assert rows(handled, "SELECT name FROM onward.subscription") == [("take_payment",)]
    assert "has a position of its own already" in onward("handlers", "move", "payment", "take_payment").stderr
    assert onward("audit").exit_code == 0


def test_back_to_a_position_that_stands_elsewhere_or_began_later(handled: str, onward: Onward) -> None:
    own = "subscription = (SELECT id FROM onward.subscription WHERE name = 'take_payment')"
    shared = "subscription = (SELECT id FROM onward.subscription WHERE name = 'transactional')"
    assert onward("handlers", "move", "payment", "take_payment").exit_code == 0
    change(handled, f"UPDATE onward.account SET next_offset = next_offset + 1 WHERE {own}")  # noqa: S608 - ours
    assert "2 events apart" in onward("handlers", "move", "payment", "take_payment", "--back").stderr
    change(handled, f"UPDATE onward.account SET next_offset = next_offset - 1 WHERE {own}")  # noqa: S608 - ours
    change(handled, f"UPDATE onward.account SET start_offset = next_offset WHERE {shared}")  # noqa: S608 - ours
    change(handled, f"DELETE FROM onward.tally WHERE {shared}")  # noqa: S608 - ours
    assert onward("audit").exit_code == 0
    assert onward("handlers", "move", "payment", "take_payment", "--back").exit_code == 0
    assert onward("audit").exit_code == 0


@pytest.mark.parametrize("done_by", ["take_payment", "transactional"])
def test_back_where_one_position_gave_up_an_event_that_the_other_did_is_refused(
    handled: str, onward: Onward, done_by: str
) -> None:
    given_up = "SELECT count(*) FROM onward.dead_letter WHERE handler = ''"
    change(handled, "UPDATE onward.dead_letter SET handler = ''")
    assert onward("handlers", "move", "payment", "take_payment").exit_code == 0
    assert rows(handled, given_up) == [(2,)]
    its_own = f"subscription = (SELECT id FROM onward.subscription WHERE name = '{done_by}')"  # noqa: S608 - ours
    change(handled, f"UPDATE onward.dead_letter SET state = 'recovered' WHERE {its_own}")  # noqa: S608 - ours
    refused = onward("handlers", "move", "payment", "take_payment", "--back")
    assert refused.exit_code == 1
    assert "1 events were given up before a handler was chosen" in refused.stderr
    change(handled, f"UPDATE onward.dead_letter SET state = 'dead' WHERE {its_own}")  # noqa: S608 - ours
    assert onward("handlers", "move", "payment", "take_payment", "--back").exit_code == 0
    assert rows(handled, given_up) == [(1,)]


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
