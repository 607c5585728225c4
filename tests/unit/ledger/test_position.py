"""Positions: any order of finishing leads to the same place, and nothing is counted twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.ledger import IntervalSet, Position

offsets = st.integers(min_value=0, max_value=30)


@given(offsets, st.sets(offsets), st.data())
def test_finishing_in_any_order_and_grouping_equals_a_plain_set(
    start: int, chosen: set[int], data: st.DataObject
) -> None:
    finished = {offset for offset in chosen if offset >= start}
    order = data.draw(st.permutations(sorted(finished)))
    position = Position(start, start)
    while order:
        size = data.draw(st.integers(min_value=1, max_value=len(order)))
        position, order = position.finish(order[:size]), order[size:]

    expected_next = start
    while expected_next in finished:
        expected_next += 1
    assert position.next == expected_next
    assert position.beyond == IntervalSet.of(offset for offset in finished if offset > expected_next)
    assert position.handled_count == len(finished)
    assert {offset for offset in range(32) if position.done(offset)} == finished | set(range(start))


@given(offsets, st.sets(offsets), offsets)
def test_in_flight_is_what_a_plain_set_lacks_below_the_end(start: int, chosen: set[int], end: int) -> None:
    finished = {offset for offset in chosen if offset >= start}
    position = Position(start, start).finish(finished)
    owed = sorted(set(range(start, end)) - finished)
    assert position.in_flight(end) == len(owed)
    assert [offset for gap in position.unfinished(end) for offset in gap] == owed


@given(offsets, st.sets(offsets), st.integers(min_value=0, max_value=40))
def test_finishing_through_an_end_closes_every_gap_below_it(start: int, chosen: set[int], ahead: int) -> None:
    position = Position(start, start).finish(offset for offset in chosen if offset >= start)
    end = position.next + ahead
    expected = position.finish(offset for gap in position.unfinished(end) for offset in gap)
    assert position.finish_through(end) == expected


@given(offsets, st.sets(offsets, min_size=1), st.data())
def test_no_offset_is_ever_finished_twice(start: int, chosen: set[int], data: st.DataObject) -> None:
    finished = {start + offset for offset in chosen}
    position = Position(start, start).finish(finished)
    again = data.draw(st.sampled_from(sorted(finished)))
    with pytest.raises(ValueError, match=f"Offset {again} is finished already"):
        position.finish([*range(40 + start, 45 + start), again])


def test_a_whole_batch_moves_the_position_past_it() -> None:
    assert Position(5, 7).finish(range(7, 507)) == Position(5, 507)


def test_a_gap_that_closes_takes_what_was_done_beyond_it_along() -> None:
    waiting = Position(0, 10).finish([11, 12, 14])
    assert waiting == Position(0, 10, IntervalSet((11, 13, 14, 15)))
    assert waiting.finish([10]) == Position(0, 13, IntervalSet((14, 15)))


def test_finishing_nothing_changes_nothing() -> None:
    position = Position(0, 10, IntervalSet((12, 13)))
    assert position.finish([]) == position
    assert position.finish_through(10) == position


def test_an_offset_twice_in_one_call_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Offset 12 is finished already"):
        Position(0, 10).finish([14, 12, 11, 12])


def test_an_offset_before_the_start_is_done_and_not_handled() -> None:
    position = Position(5, 5)
    assert position.done(4)
    assert position.handled_count == 0
    with pytest.raises(ValueError, match="Offset 4 is finished already"):
        position.finish([4])


def test_a_position_never_goes_back() -> None:
    with pytest.raises(ValueError, match="Offset 9 is finished already: all below 10 are, and 1 more"):
        Position(0, 10, IntervalSet((12, 13))).finish_through(9)


def test_a_log_cut_back_below_the_position_has_nothing_in_flight() -> None:
    assert Position(0, 10, IntervalSet((12, 13))).in_flight(4) == 0


@pytest.mark.parametrize(("start", "following"), [(-2, -1), (5, 4)])
def test_a_position_before_its_start_is_refused(start: int, following: int) -> None:
    with pytest.raises(ValueError, match="before its start"):
        Position(start, following)


@pytest.mark.parametrize("bounds", [(3, 4), (5, 6)])
def test_offsets_beyond_that_are_not_beyond_are_refused(bounds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must lie above the next one"):
        Position(0, 5, IntervalSet(bounds))


@given(st.sets(offsets, min_size=1), st.data())
def test_what_is_void_is_done_like_what_was_handled(chosen: set[int], data: st.DataObject) -> None:
    void = data.draw(st.sets(st.sampled_from(sorted(chosen))))
    ranges = IntervalSet.of(void).intervals()
    assert Position(0, 0).finish(chosen - void, ranges) == Position(0, 0).finish(chosen)


def test_what_was_handled_can_not_be_void() -> None:
    with pytest.raises(ValueError, match="Offset 4"):
        Position(0, 0).finish([2, 4], [range(3, 5)])


def test_a_position_in_another_log_goes_on_there_and_keeps_its_count() -> None:
    before = Position(3, 10, IntervalSet((12, 14)))
    after = before.on_another_log(5)
    assert (after.next, after.handled_count, after.done(4), after.done(5)) == (5, 9, True, False)
    assert after.finish_through(7).done_since(after) == 2


def test_a_position_in_a_log_that_goes_on_as_another_keeps_what_is_done_before_that() -> None:
    before = Position(3, 10, IntervalSet((12, 14, 16, 19, 25, 26)))
    after = before.on_another_log(10, others=17)
    assert (after.next, after.handled_count) == (10, before.handled_count)
    assert [offset for offset in range(10, 30) if after.done(offset)] == [12, 13, 16]
