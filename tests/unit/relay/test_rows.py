"""Rows of an outbox: completed once, cut into bounded parts, opened up to a bound."""

from __future__ import annotations

import msgspec
import pytest

from onward.ports import DELIVERY_BYTES, Outgoing
from onward.relay import Stamp
from onward.relay.rows import ROW_BYTES, ROW_EVENTS, Found, opened, places, rows_of

EVENT = Outgoing("orders", "test.event", 1, b"{}", "k")
STAMP = Stamp(7, 3, b"incarnation", ((0, 1), (11, 1 << 62)))


def found(row_id: int, events: list[Outgoing]) -> Found:
    (row,) = rows_of(events, "shop")
    return row_id, 5, row.body, STAMP.epoch, STAMP.turn, STAMP.incarnation, places(STAMP)


def again(events: list[Outgoing]) -> list[list[Outgoing]]:
    """What is read of each row that they are written to."""
    rows = opened([(1, 5, row.body, None, 0, b"", b"") for row in rows_of(events, "shop")])
    return [list(row.events) for row in rows]


def test_a_row_opens_as_it_was_written() -> None:
    events = [
        EVENT._replace(id=b"mine", source="till"),
        Outgoing("t", "a", 2, None, "ä\0", b'{"a":"b"}', b"id", "elsewhere"),
        Outgoing("t", "", 1, b"{}", None, None, bytes(16), "till"),
    ]
    assert again(events) == [events]
    (row,) = opened([found(1, events)])
    assert (row.id, row.created, row.stamp) == (1, 5, STAMP)


def test_a_row_of_a_version_before_opens_with_what_its_events_said() -> None:
    events = [
        Outgoing("orders", "test.event", 1, b"{}", "k", None, bytes(16), "shop"),
        Outgoing("t", "a", 2, None, None, b'{"delayeduntil":"1970-01-01T00:00:01+00:00"}', b"id", "till", 1_000_000),
    ]
    (row,) = opened([(1, 5, msgspec.msgpack.encode(events), None, 0, b"", b"")])
    assert list(row.events) == [events[0], events[1]._replace(due=None)]


def test_a_body_that_is_none_is_not_taken_for_events() -> None:
    with pytest.raises(msgspec.ValidationError):
        list(opened([(1, 5, msgspec.msgpack.encode([1, 2, 3]), None, 0, b"", b"")]))


def test_a_row_without_numbers_has_no_stamp() -> None:
    (row,) = opened([(1, 5, rows_of([EVENT], "shop")[0].body, None, 0, b"", b"")])
    assert row.stamp is None


def test_an_event_is_given_what_it_lacks_and_keeps_what_it_has() -> None:
    own = EVENT._replace(id=b"mine", source="elsewhere")
    ((new, kept),) = again([EVENT, own])
    assert kept == own
    assert (new, len(new.id or b"")) == (EVENT._replace(id=new.id, source="shop"), 16)


def test_each_event_has_an_id_of_its_own_and_they_ascend() -> None:
    ids = [event.id or b"" for row in again([EVENT] * (ROW_EVENTS + 1)) for event in row]
    assert ids == sorted(set(ids))
    assert len(ids) == ROW_EVENTS + 1


def test_a_delayed_event_tells_its_time_beside_what_it_told() -> None:
    delayed = EVENT._replace(due=1_000_000, extra=b'{"a":"b"}')
    assert [row.due for row in rows_of([delayed], "shop")] == [1_000_000]
    ((event,),) = again([delayed])
    assert event.extra == b'{"a":"b","delayeduntil":"1970-01-01T00:00:01+00:00"}'


@pytest.mark.parametrize(
    ("events", "lengths"),
    [
        ([], []),
        ([EVENT] * (2 * ROW_EVENTS + 1), [ROW_EVENTS, ROW_EVENTS, 1]),
        ([EVENT._replace(value=bytes(ROW_BYTES // 2))] * 3, [2, 1]),
        ([EVENT._replace(value=bytes(ROW_BYTES + 1))] * 2, [1, 1]),
        ([EVENT._replace(value=None)] * 2, [2]),
        ([EVENT, EVENT._replace(due=2), EVENT._replace(due=2), EVENT._replace(due=3), EVENT], [1, 2, 1, 1]),
    ],
)
def test_a_row_ends_at_its_bounds_and_where_another_time_begins(events: list[Outgoing], lengths: list[int]) -> None:
    rows = rows_of(events, "shop")
    assert [row.events for row in rows] == [len(each) for each in again(events)] == lengths
    assert [event.value for each in again(events) for event in each] == [event.value for event in events]


def test_rows_are_opened_up_to_a_bound_and_one_beyond_it_alone() -> None:
    half, whole = (
        [EVENT._replace(value=bytes(DELIVERY_BYTES // 2 - 100))],
        [EVENT._replace(value=bytes(DELIVERY_BYTES))],
    )
    assert [row.id for row in opened([found(1, half), found(2, half), found(3, half)])] == [1, 2]
    assert [row.id for row in opened([found(1, whole), found(2, half)])] == [1]
    assert [row.id for row in opened([found(1, half), found(2, whole)])] == [1]
