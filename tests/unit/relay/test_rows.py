"""Rows of an outbox: completed once, cut into bounded parts, opened up to a bound."""

from __future__ import annotations

import pytest

from onward.ports import DELIVERY_BYTES, Outgoing
from onward.relay import OutboxRow, Stamp
from onward.relay.rows import ROW_BYTES, ROW_EVENTS, Found, body, completed, opened, parts, places

EVENT = Outgoing("orders", "test.event", 1, b"{}", "k")
STAMP = Stamp(7, 3, b"incarnation", ((0, 1), (11, 1 << 62)))


def found(row_id: int, events: list[Outgoing]) -> Found:
    return row_id, 5, body(events), STAMP.epoch, STAMP.turn, STAMP.incarnation, places(STAMP)


def test_a_row_opens_as_it_was_written() -> None:
    event = Outgoing("t", "a", 2, None, "ä\0", b'{"a":"b"}', b"id", "elsewhere", -1)
    assert list(opened([found(1, [EVENT, event])])) == [OutboxRow(1, 5, [EVENT, event], STAMP)]


def test_a_row_without_numbers_has_no_stamp() -> None:
    (row,) = opened([(1, 5, body([EVENT]), None, 0, b"", b"")])
    assert row.stamp is None


def test_an_event_is_given_what_it_lacks_and_keeps_what_it_has() -> None:
    own = EVENT._replace(id=b"mine", source="elsewhere")
    new, kept = completed([EVENT, own], "shop")
    assert kept == own
    assert (new, len(new.id or b"")) == (EVENT._replace(id=new.id, source="shop"), 16)


def test_a_delayed_event_tells_its_time_beside_what_it_told() -> None:
    (delayed,) = completed([EVENT._replace(due=1_000_000, extra=b'{"a":"b"}')], "shop")
    assert delayed.extra == b'{"a":"b","delayeduntil":"1970-01-01T00:00:01+00:00"}'


@pytest.mark.parametrize(
    ("events", "lengths"),
    [
        ([], []),
        ([EVENT] * (2 * ROW_EVENTS + 1), [ROW_EVENTS, ROW_EVENTS, 1]),
        ([EVENT._replace(value=bytes(ROW_BYTES // 2))] * 3, [2, 1]),
        ([EVENT._replace(value=bytes(ROW_BYTES + 1))] * 2, [1, 1]),
        ([EVENT, EVENT._replace(due=2), EVENT._replace(due=2), EVENT._replace(due=3), EVENT], [1, 2, 1, 1]),
    ],
)
def test_a_row_ends_at_its_bounds_and_where_another_time_begins(events: list[Outgoing], lengths: list[int]) -> None:
    cut = list(parts(events))
    assert [len(part) for part in cut] == lengths
    assert [event for part in cut for event in part] == events


def test_rows_are_opened_up_to_a_bound_and_one_beyond_it_alone() -> None:
    half, whole = (
        [EVENT._replace(value=bytes(DELIVERY_BYTES // 2 - 100))],
        [EVENT._replace(value=bytes(DELIVERY_BYTES))],
    )
    assert [row.id for row in opened([found(1, half), found(2, half), found(3, half)])] == [1, 2]
    assert [row.id for row in opened([found(1, whole), found(2, half)])] == [1]
    assert [row.id for row in opened([found(1, half), found(2, whole)])] == [1]
