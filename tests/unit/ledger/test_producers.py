"""Producers' numbers: what is new, what is owed from where, and what is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.ledger import IntervalSet, Numbers, ProducerLedger

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE = CREATED - timedelta(seconds=1)
AFTER = CREATED + timedelta(microseconds=1)


def gaps(ledger: ProducerLedger, highest: int) -> list[range]:
    return list(ledger.missing("a", highest))


@given(st.lists(st.integers(min_value=1, max_value=30), unique=True), st.booleans(), st.integers(0, 32))
def test_the_ledger_equals_a_plain_set_with_a_baseline(numbers: list[int], later: bool, highest: int) -> None:
    ledger = ProducerLedger(CREATED).open("a", AFTER if later else BEFORE)
    for number in numbers:
        assert ledger.is_new("a", number)
        ledger = ledger.record("a", [number])
    assert {number for number in range(32) if not ledger.is_new("a", number)} == set(numbers)

    owed_from = 1 if later else next(iter(numbers), highest + 1)
    expected = sorted(set(range(owed_from, highest + 1)) - set(numbers))
    assert [number for gap in gaps(ledger, highest) for number in gap] == expected


def test_an_incarnation_opened_after_the_subscription_is_owed_from_its_first_number() -> None:
    ledger = ProducerLedger(CREATED).open("a", AFTER)
    assert gaps(ledger, 3) == [range(1, 4)]
    assert gaps(ledger.record("a", [3]), 3) == [range(1, 3)]


@pytest.mark.parametrize("opened", [BEFORE, CREATED])
def test_an_older_incarnation_is_owed_from_the_first_number_seen(opened: datetime) -> None:
    ledger = ProducerLedger(CREATED).open("a", opened)
    assert gaps(ledger, 9) == []
    assert gaps(ledger.record("a", [7, 5]), 9) == [range(8, 10)]


def test_a_number_below_the_baseline_is_new_because_it_was_delivered() -> None:
    ledger = ProducerLedger(CREATED).open("a", BEFORE).record("a", [7])
    assert ledger.is_new("a", 5)
    recorded = ledger.record("a", [5])
    assert not recorded.is_new("a", 5)
    assert gaps(recorded, 7) == []


def test_incarnations_are_kept_apart() -> None:
    ledger = ProducerLedger(CREATED).open("a", AFTER).open("b", AFTER).record("a", [1, 2])
    assert not ledger.is_new("a", 1)
    assert ledger.is_new("b", 1)
    assert ledger.incarnations == {"a": Numbers(1, IntervalSet((1, 3))), "b": Numbers(1)}


def test_everything_of_an_unknown_incarnation_is_new() -> None:
    assert ProducerLedger(CREATED).is_new("never seen", 1)


def test_opening_again_keeps_what_is_done_and_owed() -> None:
    ledger = ProducerLedger(CREATED).open("a", BEFORE).record("a", [7])
    assert ledger.open("a", AFTER) is ledger


def test_recording_leaves_the_earlier_ledger_as_it_was() -> None:
    ledger = ProducerLedger(CREATED).open("a", AFTER)
    ledger.record("a", [1])
    assert ledger.is_new("a", 1)


def test_recording_nothing_sets_no_baseline() -> None:
    ledger = ProducerLedger(CREATED).open("a", BEFORE)
    assert ledger.record("a", []) == ledger


@pytest.mark.parametrize(("numbers", "again"), [([9, 4], 4), ([8, 9, 8], 8)])
def test_a_number_recorded_twice_is_refused_by_name(numbers: list[int], again: int) -> None:
    ledger = ProducerLedger(CREATED).open("a", AFTER).record("a", [4])
    with pytest.raises(ValueError, match=f"Number {again} of incarnation a is done already"):
        ledger.record("a", numbers)


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="Numbers begin at 1; incarnation a has 0"):
        ProducerLedger(CREATED).open("a", AFTER).record("a", [0])


def test_an_incarnation_must_be_opened_before_it_is_recorded_or_asked_for() -> None:
    ledger = ProducerLedger(CREATED)
    with pytest.raises(KeyError, match="a"):
        ledger.record("a", [1])
    with pytest.raises(KeyError, match="a"):
        ledger.missing("a", 1)
