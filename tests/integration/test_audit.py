"""The audit finds nothing wrong where nothing is, and names each damage done behind its back."""

import asyncio
from pathlib import Path

import apsw
import pytest

from onward import App, Event, FatalError, Retention, Topic, Transaction
from onward.inspection.report import Report, Wrong
from onward.ledger import IntervalSet
from onward.sqlite.audit import audit
from onward.sqlite.database import Database
from onward.sqlite.letters import discard
from onward.sqlite.retention import prune
from tests.integration.services import change, database_of, handle, park, running

SCHEMA = "CREATE TABLE IF NOT EXISTS payment (place INTEGER PRIMARY KEY, order_id TEXT, cents INTEGER)"
PAID_TWICE = "SELECT order_id, count(*) AS payments FROM payment GROUP BY order_id HAVING count(*) > 1"
DELETE_OFFSET = "DELETE FROM onward_log WHERE pos = 1 << 40 | ?"
ORDERS = 6


class Ordered(Event, type="audit.ordered", topic="audit.orders", key="order_id"):
    order_id: str
    cents: int


class Cancelled(Event, type="audit.cancelled", topic="audit.orders", key="order_id"):
    order_id: str


class Paid(Event, type="audit.paid", topic="audit.payments", key="order_id"):
    order_id: str


def payment(path: Path) -> App:
    app = App(
        "payment",
        store=f"sqlite:///{path}",
        schema=SCHEMA,
        topics=[Topic("audit.orders", partitions=1, retention=Retention(age_s=0, bytes=0))],
    )
    app.invariant("paid once", PAID_TWICE)

    @app.on(Ordered)
    async def take_payment(order: Ordered, tx: Transaction) -> Paid:
        if order.cents < 0:
            raise FatalError("nobody pays less than nothing")
        await tx.execute("INSERT INTO payment (order_id, cents) VALUES (:o, :c)", o=order.order_id, c=order.cents)
        return Paid(order_id=order.order_id)

    @app.on(Cancelled)
    async def note_cancellation(order: Cancelled, tx: Transaction) -> None:
        await tx.execute("SELECT 1")

    return app


@pytest.fixture
def handled(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which six orders were handled: one of them a dead letter, one cancelled. Audited two events a step."""
    monkeypatch.setattr("onward.sqlite.audit_log.STEP_ROWS", 2)
    orders = [Ordered(order_id=f"o{n}", cents=100 * n) for n in range(4)]
    asyncio.run(handle(payment(database_path), *orders, Ordered(order_id="bad", cents=-1), Cancelled(order_id="o1")))
    return database_path


def kinds(report: Report) -> list[str]:
    return [problem.kind.value for problem in report.problems]


def test_a_file_that_nothing_happened_to_balances(handled: Path) -> None:
    report = audit(handled, deep=True)
    assert report.problems == ()
    assert report.events == ORDERS + 4
    assert report.invariants == 1
    (tally,) = [each for each in report.tallies if each.published]
    assert (tally.subscription, tally.published, tally.done) == ("payment/transactional on audit.orders", 6, 6)
    assert {name: (each.succeeded, each.dead) for name, each in tally.handlers.items()} == {
        "take_payment": (4, 1),
        "note_cancellation": (1, 0),
    }


def test_waiting_events_are_in_flight_and_not_lost(handled: Path) -> None:
    async def publish_only() -> None:
        app = payment(handled)
        await app.publish(Ordered(order_id="later", cents=1))
        await app.close()

    asyncio.run(publish_only())
    report = audit(handled)
    assert report.problems == ()
    assert [each.in_flight for each in report.tallies if each.published] == [1]


def test_pruned_events_are_not_lost(handled: Path) -> None:
    async def prune_all() -> int:
        database = Database.open(handled)
        pruned = await prune(database, 4_000_000_000.0)
        database.close()
        return pruned.rows

    assert asyncio.run(prune_all()) == ORDERS + 4
    assert audit(handled, deep=True).problems == ()


def test_dead_letters_that_were_pruned_are_not_lost(handled: Path) -> None:
    async def end_and_prune() -> None:
        async with running(payment(handled)) as service:
            assert service.engine is not None
            database = database_of(service)
            async with database.transaction() as connection:
                assert discard(connection, [1])[0] == 1
            await service.engine.prune()
            assert database.read("SELECT * FROM onward_dead_letter") == []

    asyncio.run(end_and_prune())
    report = audit(handled)
    assert report.problems == ()
    assert [each.handlers["take_payment"].discarded for each in report.tallies if each.published] == [1]


def test_a_log_row_deleted_behind_its_back_is_named_as_lost(handled: Path) -> None:
    change(handled, DELETE_OFFSET, 2)
    report = audit(handled)
    assert kinds(report) == ["lost"]
    assert "audit.orders, partition 0, offset 2:" in report.problems[0].sentence


def test_an_event_deleted_before_it_was_handled_names_who_misses_it(handled: Path) -> None:
    asyncio.run(_publish(handled, Ordered(order_id="later", cents=1)))
    change(handled, DELETE_OFFSET, ORDERS)
    report = audit(handled)
    assert kinds(report) == ["lost"]
    assert "not yet handled by payment/transactional on audit.orders" in report.problems[0].sentence
    assert [each.lost for each in report.tallies if each.published] == [1]


def test_events_cut_off_before_a_subscription_handled_them_are_named(handled: Path) -> None:
    asyncio.run(_publish(handled, Ordered(order_id="later", cents=1)))
    change(handled, DELETE_OFFSET, ORDERS)
    change(handled, "UPDATE onward_lane SET first_offset = ? WHERE id = 1", ORDERS + 1)
    change(handled, "DELETE FROM onward_log WHERE pos < (2 << 40)")
    report = audit(handled)
    assert kinds(report) == ["lost"]
    assert f"audit.orders, partition 0, offset {ORDERS}: it left the log before" in report.problems[0].sentence


def test_an_effect_that_ran_twice_after_a_position_was_set_back_is_counted(handled: Path) -> None:
    change(handled, "UPDATE onward_account SET next_offset = next_offset - 6 WHERE next_offset = 6")
    change(handled, "DELETE FROM onward_dead_letter")
    asyncio.run(handle(payment(handled)))
    report = audit(handled)
    assert "unbalanced" in kinds(report)
    assert "violated" in kinds(report)
    (sum_,) = [each for each in report.problems if each.kind is Wrong.UNBALANCED]
    assert sum_.count == ORDERS
    assert "payment/transactional on audit.orders, partition 0" in sum_.sentence
    assert "6 too many" in sum_.sentence


@pytest.mark.parametrize(("move", "verdict"), [(-1, "1 too many"), (1, "1 too few")])
def test_a_position_moved_by_hand_is_told_from_the_sums(handled: Path, move: int, verdict: str) -> None:
    asyncio.run(_publish(handled, Ordered(order_id="later", cents=1)))
    change(handled, "UPDATE onward_account SET next_offset = next_offset + ? WHERE next_offset = ?", move, ORDERS)
    report = audit(handled)
    assert kinds(report) == ["unbalanced"]
    assert verdict in report.problems[0].sentence


def test_a_position_beyond_the_log_is_damage(handled: Path) -> None:
    change(handled, "UPDATE onward_account SET next_offset = 99 WHERE next_offset = 6")
    assert "the log of this partition ends at 6" in audit(handled).problems[0].sentence


def test_an_account_that_no_commits_lead_to_is_damage(handled: Path) -> None:
    change(handled, "UPDATE onward_account SET start_offset = 99 WHERE next_offset = 6")
    report = audit(handled)
    assert kinds(report) == ["damaged"]


def test_an_effect_doubled_behind_its_back_violates_its_invariant(handled: Path) -> None:
    change(handled, "INSERT INTO payment (order_id, cents) SELECT order_id, cents FROM payment WHERE order_id = 'o3'")
    report = audit(handled)
    assert kinds(report) == ["violated"]
    assert report.problems[0].sentence == ("Invariant 'paid once' of payment does not hold: order_id='o3', payments=2.")


@pytest.mark.parametrize("deep", [False, True])
def test_an_event_doubled_in_the_log_is_named_with_both_places(handled: Path, deep: bool) -> None:
    change(
        handled,
        "INSERT INTO onward_log SELECT 1 << 40 | ?, kind, value, key, id, source, time, extra FROM onward_log"
        " WHERE pos = 1 << 40 | 3",
        ORDERS,
    )
    change(handled, "UPDATE onward_lane SET next_offset = next_offset + 1 WHERE id = 1")
    report = audit(handled, deep=deep)
    assert kinds(report) == ["doubled"]
    assert "audit.orders, partition 0, offset 3 and at audit.orders, partition 0, offset 6" in (
        report.problems[0].sentence
    )


def test_rows_beyond_the_counter_are_damage(handled: Path) -> None:
    change(handled, "UPDATE onward_lane SET next_offset = 5 WHERE id = 1")
    assert "damaged" in kinds(audit(handled))


def test_an_event_that_did_not_come_though_later_ones_of_its_producer_did_is_lost_and_has_a_name(handled: Path) -> None:
    change(
        handled,
        "INSERT INTO onward_producer SELECT subscription, partition, 'x', 1, ? FROM onward_account"
        " WHERE next_offset = 6",
        IntervalSet.of([1, 2, 4]).to_bytes(),
    )
    (problem,) = audit(handled).problems
    assert problem.kind is Wrong.LOST
    assert problem.sentence.startswith("Lost event: audit.orders, partition 0, number 3 of incarnation x: it did not")


def test_a_dead_letter_that_vanished_is_lost(handled: Path) -> None:
    change(handled, "DELETE FROM onward_dead_letter")
    report = audit(handled)
    assert kinds(report) == ["lost"]
    assert "handler take_payment counts 1 and 0 are there" in report.problems[0].sentence


def test_what_is_parked_is_accounted_for_and_an_event_that_vanished_from_there_is_lost(handled: Path) -> None:
    park(handled, "take_payment")
    report = audit(handled)
    assert report.problems == ()
    (tally,) = [each for each in report.tallies if each.published]
    pay = tally.handlers["take_payment"]
    assert (pay.done, pay.succeeded, pay.parked, pay.dead) == (5, 2, 1, 2)
    change(handled, "DELETE FROM onward_parked")
    report = audit(handled)
    assert kinds(report) == ["unbalanced", "lost"]
    assert report.problems[1].sentence == (
        "Lost parked events: payment/transactional, handler take_payment, key 'parked' counts 1 and 0 are there."
    )


def test_a_key_that_counts_fewer_events_than_are_parked_behind_it_is_damage(handled: Path) -> None:
    park(handled, "take_payment")
    change(handled, "UPDATE onward_blocked SET waiting = 0")
    report = audit(handled)
    assert kinds(report) == ["damaged"]
    assert "key 'parked' counts 0 parked events and 1 are there" in report.problems[0].sentence


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE onward_blocked SET letter = 99", "dead letter 99, which this handler does not have"),
        ("UPDATE onward_blocked SET handler = 'note_cancellation'", "which this handler does not have"),
        ("UPDATE onward_dead_letter SET state = 'recovered' WHERE event_key = 'parked'", "which is recovered"),
    ],
)
def test_a_key_that_waits_for_a_letter_that_nobody_can_decide_any_more_is_damage(
    handled: Path, sql: str, said: str
) -> None:
    park(handled, "take_payment")
    change(handled, sql)
    named = [each.sentence for each in audit(handled).problems if each.kind is Wrong.DAMAGED]
    assert len(named) == 1
    assert f"{said}: nobody decides it any more" in named[0]


@pytest.mark.parametrize("state", ["dead", "retrying"])
def test_a_key_may_wait_for_a_letter_that_is_dead_or_runs_again(handled: Path, state: str) -> None:
    park(handled, "take_payment")
    change(handled, "UPDATE onward_dead_letter SET state = ?", state)
    assert audit(handled).problems == ()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM no_such_table", "no such table"),
        ("DELETE FROM payment RETURNING 1", "can't be written"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0", "stopped"),
    ],
)
def test_an_invariant_that_cannot_be_checked_fails_the_audit(
    handled: Path, monkeypatch: pytest.MonkeyPatch, sql: str, said: str
) -> None:
    monkeypatch.setattr("onward.sqlite.audit.INVARIANT_TICKS", 50)
    change(handled, "UPDATE onward_invariant SET sql = ?", sql)
    report = audit(handled)
    assert kinds(report) == ["violated"]
    assert said in report.problems[0].sentence
    assert apsw.Connection(str(handled)).execute("SELECT count(*) FROM payment").get == 4


def test_the_audit_changes_nothing(handled: Path, database_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in database_path.parent.glob("*.db")}
    audit(handled)
    assert {path.name: path.stat().st_mtime_ns for path in database_path.parent.glob("*.db")} == before


async def _publish(path: Path, *events: Event) -> None:
    app = payment(path)
    await app.publish(*events)
    await app.close()
