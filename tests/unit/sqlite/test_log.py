"""The log of a file: what one read gives, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from onward.ports import DELIVERY_BYTES, Outgoing
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog, read
from onward.topics import Topic

MIB = 1 << 20


@pytest.fixture
def log(database_path: Path) -> Iterator[FileLog]:
    with closing(Database.open(database_path)) as database:
        file = FileLog(database)
        with database.transaction_sync():
            file.names.create_topic(Topic("places", partitions=1))
        yield file


def sizes(log: FileLog, *value_bytes: int) -> list[int]:
    """Publish values of these sizes and read them back at once."""
    with log.database.transaction_sync():
        log.append([Outgoing("places", "place", 1, b"x" * size, None) for size in value_bytes], "atlas")
    return [len(record[2]) for record in read(log.database.reader, 1, 0, 1000)]


def test_a_read_ends_before_the_record_that_would_make_it_too_large(log: FileLog) -> None:
    assert sizes(log, *[MIB] * 20) == [MIB] * (DELIVERY_BYTES // MIB)


def test_a_record_too_large_for_any_delivery_is_read_alone(log: FileLog) -> None:
    assert sizes(log, DELIVERY_BYTES + 1, 1, 1) == [DELIVERY_BYTES + 1]


def test_small_records_fill_a_read_up_to_the_limit(log: FileLog) -> None:
    assert sizes(log, *[10] * 1001) == [10] * 1000


def test_of_large_records_few_more_are_read_than_given(log: FileLog) -> None:
    rows: list[object] = []

    def note(_cursor: apsw.Cursor, row: tuple[apsw.SQLiteValue, ...]) -> tuple[apsw.SQLiteValue, ...]:
        rows.append(row[0])
        return row

    log.database.reader.row_trace = note
    assert len(sizes(log, *[MIB] * 100)) == DELIVERY_BYTES // MIB
    assert len(rows) <= 32
