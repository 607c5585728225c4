"""Interval sets: set arithmetic against plain sets, and one encoding for each set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.ledger import LARGEST, MAX_ENCODED_BYTES, IntervalSet

small = st.integers(min_value=0, max_value=40)
small_sets = st.sets(small)
number_sets = st.sets(st.one_of(small, st.integers(min_value=0, max_value=LARGEST)), max_size=30)


def members(intervals: IntervalSet) -> set[int]:
    return {number for interval in intervals.intervals() for number in interval}


@given(st.lists(small))
def test_adding_one_at_a_time_in_any_order_equals_a_plain_set(numbers: list[int]) -> None:
    built = IntervalSet()
    for number in numbers:
        built = built.add(number)
    assert members(built) == set(numbers)
    assert built == IntervalSet.of(numbers)
    assert hash(built) == hash(IntervalSet.of(numbers))
    assert built.count == len(set(numbers))
    assert bool(built) == bool(numbers)


@given(small_sets, small, small)
def test_adding_a_range_equals_a_plain_set(numbers: set[int], one: int, other: int) -> None:
    start, end = sorted((one, other))
    added = IntervalSet.of(numbers).add_range(start, end)
    assert added == IntervalSet.of(numbers | set(range(start, end)))


@given(small_sets, small)
def test_contains_what_was_added_and_nothing_else(numbers: set[int], number: int) -> None:
    assert (number in IntervalSet.of(numbers)) == (number in numbers)


@given(small_sets, small, small)
def test_missing_is_what_a_plain_set_lacks_between_base_and_end(numbers: set[int], base: int, upto: int) -> None:
    gaps = list(IntervalSet.of(numbers).missing(upto, base))
    assert [number for gap in gaps for number in gap] == sorted(set(range(base, upto)) - numbers)
    assert all(gaps)


@given(small_sets, small)
def test_the_mark_is_the_lowest_number_from_the_base_on_that_is_not_in_the_set(numbers: set[int], base: int) -> None:
    expected = base
    while expected in numbers:
        expected += 1
    assert IntervalSet.of(numbers).mark(base) == expected


@given(small_sets, small_sets)
def test_union_and_first_common_number_equal_those_of_plain_sets(left: set[int], right: set[int]) -> None:
    one, other = IntervalSet.of(left), IntervalSet.of(right)
    assert one.union(other) == IntervalSet.of(left | right)
    assert one.first_common(other) == min(left & right, default=None)


@given(number_sets)
def test_bytes_read_back_as_the_set_that_was_written(numbers: set[int]) -> None:
    written = IntervalSet.of(numbers)
    assert IntervalSet.from_bytes(written.to_bytes()) == written


@given(st.one_of(st.binary(), st.binary(max_size=24).map(lambda tail: b"\x01" + tail)))
def test_any_bytes_are_the_one_encoding_of_a_set_or_a_value_error(encoded: bytes) -> None:
    try:
        read = IntervalSet.from_bytes(encoded)
    except ValueError:
        return
    assert read.to_bytes() == encoded


@given(number_sets, st.data())
def test_a_changed_encoding_is_another_set_or_a_value_error(numbers: set[int], data: st.DataObject) -> None:
    written = IntervalSet.of(numbers)
    encoded = bytearray(written.to_bytes())
    at = data.draw(st.integers(min_value=0, max_value=len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(min_value=1, max_value=255))
    try:
        read = IntervalSet.from_bytes(bytes(encoded))
    except ValueError:
        return
    assert read != written


def test_the_encoding_stays_what_stored_accounts_hold() -> None:
    assert IntervalSet().to_bytes().hex() == "01"
    assert IntervalSet((0, 1)).to_bytes().hex() == "010000"
    assert IntervalSet((1, 1001, 1003, 1004)).to_bytes().hex() == "0101e7070100"
    assert len(IntervalSet((0, LARGEST + 1)).to_bytes()) == 11


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "nothing at all"),
        ("02", "another format"),
        ("0105", "a start without an end"),
        ("010180", "an end cut short"),
        ("01058000", "a padded number"),
        ("0100" + "ff" * 9, "a number over 63 bits"),
        ("0100" + "ff" * 8 + "7f", "an end over the largest"),
    ],
)
def test_malformed_bytes_are_refused(encoded: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"interval set|Bounds|Numbers"):
        IntervalSet.from_bytes(bytes.fromhex(encoded))


def test_bytes_beyond_the_limit_are_neither_written_nor_read() -> None:
    at_limit = IntervalSet(tuple(range((MAX_ENCODED_BYTES - 1) // 2 * 2)))
    assert IntervalSet.from_bytes(at_limit.to_bytes()) == at_limit
    with pytest.raises(ValueError, match="Wait for gaps to close"):
        IntervalSet(tuple(range(MAX_ENCODED_BYTES))).to_bytes()
    with pytest.raises(ValueError, match="at most 65536 bytes"):
        IntervalSet.from_bytes(b"\x01" + b"\x00" * MAX_ENCODED_BYTES)


@pytest.mark.parametrize("bounds", [(1,), (2, 2), (3, 1), (0, 2, 2, 4), (0, 4, 2, 6)])
def test_bounds_that_do_not_rise_in_pairs_are_refused(bounds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rise strictly"):
        IntervalSet(bounds)


@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_numbers_out_of_range_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="Numbers go from 0"):
        IntervalSet().add(number)


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[5, 4\)"):
        IntervalSet().add_range(5, 4)


def test_ranges_make_the_set_of_their_numbers() -> None:
    assert IntervalSet.of(range(3, 7)) == IntervalSet((3, 7))
    assert IntervalSet.of(range(7, 3)) == IntervalSet()
    assert IntervalSet.of(range(0, 5, 2)) == IntervalSet((0, 1, 2, 3, 4, 5))
    assert IntervalSet.of_ranges([range(1, 3), range(4, 5)]) == IntervalSet((1, 3, 4, 5))


def test_ranges_that_touch_are_refused() -> None:
    with pytest.raises(ValueError, match="rise strictly"):
        IntervalSet.of_ranges([range(1, 3), range(3, 5)])
