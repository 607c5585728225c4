"""The audit of a database finds nothing wrong where nothing is, and names each damage done behind its back."""

import json

import pytest

from onward.ledger import IntervalSet
from tests.integration.postgres.looking import (
    ORDERS,
    Onward,
    change,
    command_line,
    park,
    rows,
)

WITHOUT_BROKER = "The ends of logs are not known: name the broker with --broker or ONWARD_BROKER."


def found(onward: Onward) -> list[tuple[str, str]]:
    """(kind, sentence) of each problem; the exit code says that there is one."""
    result = onward("audit", "--json")
    told = json.loads(result.stdout)
    problems = [(each["kind"], each["sentence"]) for each in told["report"]["problems"]]
    assert result.exit_code == (3 if problems else 0)
    assert told["balanced"] is not bool(problems)
    return problems


def test_a_database_that_nothing_happened_to_balances(seen: Onward) -> None:
    result = seen("audit")
    assert result.exit_code == 0, result.stdout
    assert "2 accounts and 1 invariants hold." in result.stdout
    assert WITHOUT_BROKER in result.stdout
    report = json.loads(seen("audit", "--json").stdout)["report"]
    assert sum(each["done"] for each in report["tallies"]) == ORDERS
    assert sum(each["handlers"]["take_payment"]["succeeded"] for each in report["tallies"]) == 4
    assert sum(each["handlers"]["take_payment"]["dead"] for each in report["tallies"]) == 1
    assert sum(each["handlers"]["note_cancellation"]["succeeded"] for each in report["tallies"]) == 1


@pytest.mark.parametrize(("move", "verdict"), [(-1, "1 too many"), (1, "1 too few")])
def test_an_account_moved_behind_its_back_is_told_from_the_sums(
    handled: str, onward: Onward, move: int, verdict: str
) -> None:
    change(handled, "UPDATE onward.account SET next_offset = next_offset + %s WHERE partition = 0", move)
    ((kind, sentence),) = found(onward)
    assert kind == "unbalanced"
    assert "payment/transactional on looking.orders, partition 0" in sentence
    assert verdict in sentence


def test_an_account_that_no_commits_lead_to_is_damage(handled: str, onward: Onward) -> None:
    change(handled, "UPDATE onward.account SET start_offset = 99 WHERE partition = 0")
    ((kind, sentence),) = found(onward)
    assert kind == "damaged"
    assert "payment/transactional on looking.orders, partition 0" in sentence


def test_a_dead_letter_that_was_deleted_is_lost(handled: str, onward: Onward) -> None:
    change(handled, "DELETE FROM onward.dead_letter")
    ((kind, sentence),) = found(onward)
    assert kind == "lost"
    assert sentence.startswith("Lost dead letters: payment/transactional, partition ")
    assert sentence.endswith(", handler take_payment counts 1 and 0 are there.")


def test_what_is_parked_is_accounted_for_and_an_event_that_vanished_from_there_is_lost(
    handled: str, onward: Onward
) -> None:
    park(handled, "take_payment")
    assert found(onward) == []
    tallies = json.loads(onward("audit", "--json").stdout)["report"]["tallies"]
    pay = [each["handlers"]["take_payment"] for each in tallies]
    assert [sum(each[part] for each in pay) for part in ("done", "succeeded", "parked", "dead")] == [5, 2, 1, 2]
    change(handled, "DELETE FROM onward.parked")
    (unbalanced, _), lost = found(onward)
    assert unbalanced == "unbalanced"
    assert lost == (
        "lost",
        "Lost parked events: payment/transactional, handler take_payment, key 'parked' counts 1 and 0 are there.",
    )


def test_a_key_that_counts_fewer_events_than_are_parked_behind_it_is_damage(handled: str, onward: Onward) -> None:
    park(handled, "take_payment")
    change(handled, "UPDATE onward.blocked SET waiting = 0")
    ((kind, sentence),) = found(onward)
    assert kind == "damaged"
    assert "key 'parked' counts 0 parked events and 1 are there" in sentence


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE onward.blocked SET letter = 99", "dead letter 99, which this handler does not have"),
        ("UPDATE onward.blocked SET handler = 'note_cancellation'", "which this handler does not have"),
        ("UPDATE onward.dead_letter SET state = 'recovered' WHERE event_key = 'parked'", "which is recovered"),
    ],
)
def test_a_key_that_waits_for_a_letter_that_nobody_can_decide_any_more_is_damage(
    handled: str, onward: Onward, sql: str, said: str
) -> None:
    park(handled, "take_payment")
    change(handled, sql)
    named = [sentence for kind, sentence in found(onward) if kind == "damaged"]
    assert len(named) == 1
    assert f"{said}: nobody decides it any more" in named[0]


def test_a_tally_that_was_changed_is_named_with_its_handler(handled: str, onward: Onward) -> None:
    change(
        handled, "UPDATE onward.tally SET succeeded = succeeded + 3 WHERE handler = 'take_payment' AND partition = 0"
    )
    ((kind, sentence),) = found(onward)
    assert kind == "unbalanced"
    assert "partition 0, handler take_payment" in sentence
    assert "3 too many" in sentence


def test_an_effect_doubled_behind_its_back_violates_its_invariant(handled: str, onward: Onward) -> None:
    change(handled, "INSERT INTO payment (order_id, cents) SELECT order_id, cents FROM payment WHERE order_id = 'o3'")
    assert found(onward) == [("violated", "Invariant 'paid once' of payment does not hold: order_id='o3', payments=2.")]


def test_of_many_violations_the_first_are_shown(handled: str, onward: Onward) -> None:
    change(handled, "UPDATE onward.invariant SET sql = 'SELECT n FROM generate_series(1, 1000) n; '")
    problems = found(onward)
    assert len(problems) == 21
    assert problems[-1][1] == "Invariant 'paid once' of payment is violated by more rows than are shown."


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM no_such_table", "no_such_table"),
        ("WITH gone AS (DELETE FROM payment RETURNING 1) SELECT 1 FROM gone", "data-modifying"),
        ("SELECT 1; DELETE FROM payment", "syntax error"),
        ("SELECT pg_sleep(60)", "An audit gives an invariant 0.2 s."),
    ],
)
def test_an_invariant_that_cannot_be_checked_fails_the_audit_and_changes_nothing(
    handled: str, onward: Onward, monkeypatch: pytest.MonkeyPatch, sql: str, said: str
) -> None:
    monkeypatch.setattr("onward.stores.postgres.audit.INVARIANT_S", 0.2)
    change(handled, "UPDATE onward.invariant SET sql = %s", sql)
    ((kind, sentence),) = found(onward)
    assert kind == "violated"
    assert "could not be checked" in sentence
    assert said in sentence
    assert rows(handled, "SELECT count(*) FROM payment") == [(4,)]


@pytest.mark.parametrize(
    ("lost", "said"), [(3, "3 events are lost"), (None, "Events may be lost, and can't be counted")]
)
def test_events_that_a_log_lost_before_they_were_handled_are_named(
    handled: str, onward: Onward, lost: int | None, said: str
) -> None:
    counted = lost or 0
    change(handled, "UPDATE onward.account SET next_offset = next_offset + %s WHERE partition = 1", counted)
    change(
        handled,
        "INSERT INTO onward.tally AS t (subscription, partition, handler, skipped) VALUES (1, 1, '', %s)"
        " ON CONFLICT (subscription, partition, handler) DO UPDATE SET skipped = t.skipped + excluded.skipped",
        counted,
    )
    change(
        handled,
        "INSERT INTO onward.shift (subscription, partition, from_offset, to_offset, anew, lost, why, at)"
        " VALUES (1, 1, 5, 8, %s, %s, 'retention took them', '2026-03-01T12:00:00Z')",
        lost is None,
        lost,
    )
    ((kind, sentence),) = found(onward)
    assert kind == "lost"
    assert sentence == (
        f"{said}: payment/transactional on looking.orders, partition 1, went on at offset 8 instead of 5 on"
        " 2026-03-01 12:00:00, since retention took them."
    )
    tallies = json.loads(onward("audit", "--json").stdout)["report"]["tallies"]
    assert sum(each["lost"] for each in tallies) == counted
    assert sum(each["skipped"] for each in tallies) == 0

    assert f"lost: {sentence} Once seen to: `onward audit --accept 1`." in onward("audit").stdout
    assert onward("audit", "--accept", "2").exit_code == 1
    accepting = onward("audit", "--accept", "1")
    assert (accepting.exit_code, onward("audit").exit_code) == (0, 0)
    assert f"lost: {sentence}\n" in accepting.stdout
    assert "accepted on 20" in accepting.stdout


NUMBERS = "INSERT INTO onward.producer VALUES (1, 0, %s, %s, %s)"


def test_an_event_that_did_not_come_though_later_ones_of_its_producer_did_is_lost_and_has_a_name(
    handled: str, onward: Onward
) -> None:
    change(handled, NUMBERS, "whole", 1, IntervalSet.of(range(1, 9)).to_bytes())
    change(handled, NUMBERS, "older", 7, IntervalSet.of(range(7, 9)).to_bytes())
    assert found(onward) == []
    change(handled, NUMBERS, "broken", 1, IntervalSet.of([1, 2, 4, 5]).to_bytes())
    assert found(onward) == [
        (
            "lost",
            "Lost event: looking.orders, partition 0, number 3 of incarnation broken: it did not come to"
            " payment/transactional on looking.orders, and what was sent after it did.",
        )
    ]


def test_numbers_that_no_commit_leads_to_are_damage(handled: str, onward: Onward) -> None:
    change(handled, NUMBERS, "odd", 1, b"\xff")
    ((kind, sentence),) = found(onward)
    assert kind == "damaged"
    assert "partition 0, incarnation odd: the numbers that came are damaged" in sentence


def test_the_audit_ends_with_1_where_there_is_nothing_to_audit(postgres_url: str) -> None:
    result = command_line(postgres_url)("audit")
    assert result.exit_code == 1
    assert result.stderr.startswith("onward: There is nothing of onward at postgresql://")
    assert rows(postgres_url, "SELECT 1 FROM pg_namespace WHERE nspname = 'onward'") == []


def test_a_password_is_never_printed(postgres_url: str) -> None:
    password = postgres_url.partition("@")[0].rpartition(":")[2]
    for arguments in (("audit",), ("status",), ("doctor", "--json"), ("migrate", "--check"), ("dead-letters", "list")):
        for url in (postgres_url, postgres_url.replace("/test_", "/absent_"), postgres_url + "?nonsense=1"):
            result = command_line(url)(*arguments)
            assert password not in result.output, (arguments, url)
            assert password not in result.stderr
