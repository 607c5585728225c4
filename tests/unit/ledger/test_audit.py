"""The audit: sums that come out even say nothing, every other one says where and by how much."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from onward.ledger import (
    Discrepancy,
    HandlerTally,
    IntervalSet,
    Position,
    ProducerLedger,
    Tally,
    check,
    lost_of_producer,
    lost_on_log,
)

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVEN = Tally(
    subscription="inventory/orders",
    partition=3,
    published=21,
    done=10,
    skipped=5,
    void=1,
    in_flight=3,
    lost=2,
    handlers={"reserve_stock": HandlerTally(done=10, succeeded=6, parked=1, dead=2, discarded=1)},
)


def test_sums_that_come_out_even_have_no_discrepancy() -> None:
    assert check([EVEN, replace(EVEN, partition=4)]) == []
    assert check([]) == []


def test_an_account_with_more_than_was_published_is_named() -> None:
    assert check([EVEN, replace(EVEN, partition=4, published=18)]) == [
        Discrepancy(
            subscription="inventory/orders",
            partition=4,
            handler=None,
            excess=3,
            sentence="Subscription inventory/orders, partition 4: published is 18, but "
            "done + skipped + void + in flight + lost is 21, 3 too many: "
            "counted twice, or published was cut back.",
        )
    ]


def test_an_account_with_less_than_was_published_is_named() -> None:
    [found] = check([replace(EVEN, in_flight=2)])
    assert found.excess == -1
    assert found.sentence == (
        "Subscription inventory/orders, partition 3: published is 21, but "
        "done + skipped + void + in flight + lost is 20, 1 too few: what became of them is not on record."
    )


def test_a_handler_whose_outcomes_do_not_add_up_is_named() -> None:
    handlers = {
        "reserve_stock": EVEN.handlers["reserve_stock"],
        "count_orders": HandlerTally(done=10, succeeded=11),
    }
    [found] = check([replace(EVEN, handlers=handlers)])
    assert (found.handler, found.excess) == ("count_orders", 1)
    assert found.sentence == (
        "Subscription inventory/orders, partition 3, handler count_orders: done is 10, but "
        "succeeded + parked + dead + discarded is 11, 1 too many: counted twice, or done was cut back."
    )


def test_a_negative_count_is_named_though_the_sum_comes_out_even() -> None:
    [found] = check([replace(EVEN, skipped=-1, in_flight=9)])
    assert found.excess == -1
    assert found.sentence == (
        "Subscription inventory/orders, partition 3: skipped is -1, and no count is below 0: "
        "something else wrote to the account."
    )


def test_a_deleted_log_row_that_was_not_done_is_lost_by_name() -> None:
    position = Position(0, 10, IntervalSet((12, 13)))
    lost = lost_on_log("orders", 3, position, IntervalSet((4, 11, 13, 15)), 17)
    assert lost.count == 3
    assert list(lost.names()) == [
        "orders, partition 3, offset 11",
        "orders, partition 3, offset 15",
        "orders, partition 3, offset 16",
    ]


def test_a_row_pruned_after_it_was_done_is_not_lost() -> None:
    assert lost_on_log("orders", 3, Position(0, 10), IntervalSet(), 10).count == 0


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.integers(0, 22))
def test_lost_on_a_log_is_what_plain_sets_say_is_neither_done_nor_stored(
    done: set[int], stored: set[int], end: int
) -> None:
    lost = lost_on_log("orders", 0, Position(0, 0).finish(done), IntervalSet.of(stored), end)
    assert lost.numbers == IntervalSet.of(set(range(end)) - done - stored)


def test_a_missing_number_of_a_producer_is_lost_by_name() -> None:
    ledger = ProducerLedger(CREATED).open("8f2a", CREATED + timedelta(seconds=1)).record("8f2a", [1, 3])
    lost = lost_of_producer("orders", 3, ledger, "8f2a", 5)
    assert lost.count == 3
    assert list(lost.names(limit=2)) == [
        "orders, partition 3, number 2 of incarnation 8f2a",
        "orders, partition 3, number 4 of incarnation 8f2a",
    ]


def test_a_great_loss_is_counted_whole_and_named_up_to_the_limit() -> None:
    lost = lost_on_log("orders", 0, Position(0, 0), IntervalSet(), 10**12)
    assert lost.count == 10**12
    assert len(list(lost.names())) == 100
