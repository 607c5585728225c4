"""After a power cut every transaction whose commit had returned is whole, and none is there in part."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from onward.sqlite.checkpoint import checkpoint
from onward.sqlite.database import Database
from tests.integration.power_cut import RecordedDisk, Survivors, recorded_disk, restored

TRANSACTIONS = 50
AT_MOST = 400
BEGUN_ANEW = 6
CHECKPOINT_PAGES = 8


def rows_of(transaction: int) -> int:
    return 1 + transaction % 4


async def fill(database: Database, disk: RecordedDisk) -> None:
    """Transactions 1, 2, … of one to four rows in the log, with a counter that says how many rows there are.

    The log is copied whenever a thread comes to it, and here now and then to its end, so that it begins anew. Not each
    time, as the thread may hold it when the next transaction begins: they go on until it has often enough.
    """
    position = 0
    for transaction in range(1, AT_MOST + 1):
        if transaction > TRANSACTIONS and disk.begun_anew() >= BEGUN_ANEW:
            return
        async with database.transaction() as writer:
            for _ in range(rows_of(transaction)):
                writer.execute(
                    "INSERT INTO onward_log (pos, kind, value, id, source, time) VALUES (?, 0, ?, ?, 1, 0)",
                    (position, b"%d" % transaction + b"." * 700, b"%016d" % position),
                )
                position += 1
            writer.execute(
                "INSERT INTO onward_lane (id, topic, partition, next_offset) VALUES (1, 1, 0, ?) "
                "ON CONFLICT (id) DO UPDATE SET next_offset = excluded.next_offset",
                (position,),
            )
        disk.reached(transaction)
        while transaction % 6 == 0 and checkpoint(database.writer) is None:
            await asyncio.sleep(0.001)  # the thread is at it


def live(path: Path, disk: RecordedDisk, *, is_careless: bool = False) -> None:
    """A whole life of a file: made, filled, its log copied and started over many times, closed."""
    with closing(Database.open(path, vfs=disk.name, checkpoint_pages=CHECKPOINT_PAGES)) as database:
        if is_careless:
            database.writer.pragma("synchronous", "NORMAL")
        with database.transaction_sync() as writer:
            writer.execute(
                "INSERT INTO onward_topic (id, name, partitions, keep_age_s, keep_bytes, backlog_bytes, created_at)"
                " VALUES (1, 'orders', 1, 0, 0, 0, 0)"
            )
        asyncio.run(fill(database, disk))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedDisk]:
    with recorded_disk() as disk:
        live(tmp_path_factory.mktemp("run") / "onward.db", disk)
        yield disk


def found(database: Database) -> list[int]:
    """The transactions that are there, once each; fails if one of them is there in part."""
    rows = database.read("SELECT CAST(rtrim(value, '.') AS INTEGER), count(*) FROM onward_log GROUP BY 1 ORDER BY 1")
    counted = dict(database.read("SELECT 1, next_offset FROM onward_lane")).get(1, 0)
    assert all(count == rows_of(transaction) for transaction, count in rows)
    assert counted == sum(count for _transaction, count in rows)
    return [transaction for transaction, _count in rows]


@contextmanager
def reopened(survivors: Survivors, tmp_path: Path) -> Iterator[Database]:
    with restored(survivors, tmp_path) as path, recorded_disk() as unsynced:
        with closing(Database.open(path, vfs=unsynced.name)) as database:
            yield database


def test_the_run_copies_its_log_into_the_file_and_begins_it_anew_again_and_again(run: RecordedDisk) -> None:
    assert run.copied() > 5
    assert run.begun_anew() >= BEGUN_ANEW


@pytest.mark.parametrize("seed", [1, 2])
def test_every_commit_that_returned_survives_a_power_cut_at_any_step_whole(
    run: RecordedDisk, tmp_path: Path, seed: int
) -> None:
    cuts = 0
    for mark, survivors in run.cuts(run.everywhere(), Random(seed)):
        with reopened(survivors, tmp_path) as database:
            there = found(database)
            assert database.read("PRAGMA quick_check") == [("ok",)]
        assert there == list(range(1, len(there) + 1))
        assert mark <= len(there) <= mark + 1
        cuts += 1
    assert cuts == len(run.steps)


def test_these_cuts_would_find_a_commit_that_was_not_synced(tmp_path: Path) -> None:
    with recorded_disk() as disk:
        live(tmp_path / "onward.db", disk, is_careless=True)
        assert any(is_lost(mark, survivors, tmp_path) for mark, survivors in disk.cuts(disk.everywhere(), Random(3)))


def is_lost(mark: int, survivors: Survivors, tmp_path: Path) -> bool:
    with reopened(survivors, tmp_path) as database:
        return len(found(database)) < mark
