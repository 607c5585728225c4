"""Sums beside logs of which less is known than the accounts say."""

import pytest

from onward.inspection.accounts import Account, Registered, Subscribed
from onward.inspection.report import of_accounts
from onward.inspection.sums import Accounts, Came, Counts, Kept, Moved, sums_of
from onward.ledger import IntervalSet, Tally

PAY = Registered("pay", "transactional", "earliest", ("made",), (0,))


def account(next_offset: int, beyond: IntervalSet | None = None, *, start: int = 0) -> Subscribed:
    row = Account(0, start, next_offset, beyond.to_bytes() if beyond else None, None, None)
    return Subscribed(1, "shop", "transactional", "orders", (PAY,), [row], elsewhere=True)


def summed(said: Accounts, kept: Kept | None = None) -> tuple[Tally, list[str]]:
    (tally,), problems = of_accounts(said, lambda _subscription, _partition: kept)
    return tally, [problem.sentence for problem in problems]


def test_without_an_end_what_the_account_has_reached_is_what_was_published() -> None:
    said = Accounts([account(4, IntervalSet.of([6, 7]))], {(1, 0): {"pay": Counts(succeeded=6)}})
    tally, problems = summed(said)
    assert problems == []
    assert (tally.published, tally.done, tally.in_flight, tally.lost) == (8, 6, 2, 0)


def test_parked_events_are_done_by_the_position_and_counted_apart_for_their_handler() -> None:
    sums = sums_of([(1, 0, "pay", 2, 1, 0, 1)], [(1, 0, "pay", 3)])
    tally, problems = summed(Accounts([account(7)], sums))
    assert problems == []
    pay = tally.handlers["pay"]
    assert (pay.done, pay.succeeded, pay.dead, pay.parked) == (6, 2, 1, 3)


def test_a_handler_may_have_parked_events_and_no_tally() -> None:
    tally, problems = summed(Accounts([account(3)], sums_of([], [(1, 0, "pay", 3)])))
    assert problems == []
    assert tally.handlers["pay"].parked == 3


def test_an_event_that_was_parked_and_done_too_is_counted_twice() -> None:
    sums = sums_of([(1, 0, "pay", 3, 0, 0, 0)], [(1, 0, "pay", 1)])
    assert "1 too many" in summed(Accounts([account(3)], sums))[1][0]


def test_what_a_log_lost_counts_as_lost_and_not_as_skipped() -> None:
    moved = Moved("shop/transactional on orders", 0, 4, 7, False, 3, "retention took them", "2026-03-01 12:00:00", 1)
    sums = {(1, 0): {"pay": Counts(succeeded=6), "": Counts(skipped=4)}}
    tally, problems = summed(Accounts([account(10)], sums, moved={(1, 0): [moved]}))
    assert (tally.published, tally.done, tally.skipped, tally.lost) == (10, 6, 1, 3)
    assert len(problems) == 1
    assert problems[0].startswith("3 events are lost: shop/transactional on orders, partition 0, went on at offset 7")


def test_a_move_that_lost_nothing_is_no_finding() -> None:
    moved = Moved("shop/transactional on orders", 0, 4, 4, False, 0, "it was cut back", "2026-03-01 12:00:00", 1)
    said = Accounts([account(4)], {(1, 0): {"pay": Counts(succeeded=4)}}, moved={(1, 0): [moved]})
    assert summed(said)[1] == []


def test_what_was_handled_in_an_earlier_log_of_the_name_stays_counted() -> None:
    said = Accounts([account(2, start=-5)], {(1, 0): {"pay": Counts(succeeded=7)}})
    tally, problems = summed(said, Kept(0, 3, IntervalSet.of(range(3))))
    assert problems == []
    assert (tally.published, tally.done, tally.in_flight) == (8, 7, 1)


@pytest.mark.parametrize(
    ("owed_from", "came", "missing"),
    [
        (1, [1, 2, 3], []),
        (1, [], []),
        (4, [4, 5], []),
        (1, [2, 5], [1, 3, 4]),
    ],
)
def test_numbers_that_lack_below_one_that_came_are_lost(owed_from: int, came: list[int], missing: list[int]) -> None:
    row = Came("i", owed_from, IntervalSet.of(came).to_bytes())
    said = Accounts([account(4)], {(1, 0): {"pay": Counts(succeeded=4)}}, came={(1, 0): [row]})
    assert summed(said)[1] == [
        f"Lost event: orders, partition 0, number {number} of incarnation i: it did not come to shop/transactional on"
        " orders, and what was sent after it did."
        for number in missing
    ]


def test_numbers_that_lack_while_something_is_done_beyond_the_position_may_be_under_way() -> None:
    row = Came("i", 1, IntervalSet.of([1, 2, 4]).to_bytes())
    said = Accounts([account(2, IntervalSet.of([3]))], {(1, 0): {"pay": Counts(succeeded=3)}}, came={(1, 0): [row]})
    assert summed(said)[1] == []
