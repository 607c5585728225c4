"""Relays' numbers in a delivery: as runs, and only those for this place."""

from __future__ import annotations

from datetime import datetime

import pytest

from onward.brokers.kafka.numbers import runs
from onward.ids import time_of, uuid7_bytes
from onward.ledger import Run
from onward.ports import Record

(FIRST, SECOND) = (each.hex() for each in uuid7_bytes(2))


def opened(incarnation: str) -> datetime:
    return time_of(bytes.fromhex(incarnation))


def run(incarnation: str, number: int, offset: int, events: int) -> Run:
    return Run(incarnation, opened(incarnation), number, offset, events)


def record(offset: int, number: bytes | None) -> Record:
    return (offset, b"shop.placed", b"{}", None, None, number)


def written(incarnation: str, number: int, *, topic: str = "orders", partition: int = 3) -> bytes:
    return f"{incarnation} {topic} {partition} {number}".encode()


def test_numbers_that_follow_each_other_are_one_run() -> None:
    records = [record(100 + each, written(FIRST, 7 + each)) for each in range(1000)]
    assert runs(records, "orders", 3) == [run(FIRST, 7, 100, 1000)]


def test_a_gap_in_numbers_or_offsets_begins_another_run() -> None:
    records = [
        record(10, written(FIRST, 1)),
        record(11, written(FIRST, 2)),
        record(13, written(FIRST, 3)),
        record(14, written(FIRST, 3)),
        record(15, written(SECOND, 4)),
    ]
    assert runs(records, "orders", 3) == [
        run(FIRST, 1, 10, 2),
        run(FIRST, 3, 13, 1),
        run(FIRST, 3, 14, 1),
        run(SECOND, 4, 15, 1),
    ]


def test_records_without_a_number_are_in_no_run() -> None:
    assert runs([record(0, None), record(1, None)], "orders", 3) == []
    mixed = [record(0, None), record(1, written(FIRST, 1)), record(2, None), record(3, written(FIRST, 2))]
    assert runs(mixed, "orders", 3) == [run(FIRST, 1, 1, 1), run(FIRST, 2, 3, 1)]


def test_a_copy_in_another_topic_or_partition_has_no_number_there() -> None:
    records = [record(0, written(FIRST, 1, topic="orders-copy")), record(1, written(FIRST, 1, partition=4))]
    assert runs(records, "orders", 3) == []


@pytest.mark.parametrize(
    "number",
    [
        b"",
        b"1",
        b" orders 3 1",
        b"zz orders 3 1",
        bytes(16).hex().encode() + b" orders 3 1",
        written(FIRST, 0),
        written(FIRST, 1) + b"x",
        written(FIRST, 1) + b"0" * 30,
        b"\xff\xfe orders 3 1",
        FIRST.encode() + b" orders 3 ",
        FIRST.encode() + b" orders 3 -1",
        FIRST.encode() + " orders 3 ٣".encode(),
    ],
)
def test_what_no_relay_writes_is_no_number(number: bytes) -> None:
    assert runs([record(5, number)], "orders", 3) == []
    assert runs([record(4, written(FIRST, 1)), record(5, number)], "orders", 3) == [run(FIRST, 1, 4, 1)]
