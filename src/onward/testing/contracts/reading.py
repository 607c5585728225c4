"""Reading without a transaction: what is committed, nothing else, and nothing but reading."""

from __future__ import annotations

import asyncio

import pytest

from onward.errors import StoreError, TransactionError
from onward.testing.contracts.scenes import StoreBench, on_store

NO_QUERIES = (
    "INSERT INTO effect VALUES (3)",
    "INSERT INTO effect VALUES (3) RETURNING n",
    "DELETE FROM effect",
    "WITH old AS (SELECT 1) DELETE FROM effect",
    "CREATE TABLE another (n INTEGER)",
    "DROP TABLE effect",
    "BEGIN",
    "SELECT 1; DELETE FROM effect",
    "",
)


class ReadingContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_read_gives_rows_as_a_statement_of_a_transaction_does(self, bench: StoreBench) -> None:
        await bench.claimed()
        await _add(bench, 1)
        found = await bench.store.read("SELECT n, n + :more FROM effect", {"more": 6})
        assert (found.rows, found.rowcount, found.one()) == ([(1, 7)], 0, (1, 7))
        assert (await bench.store.read("SELECT n FROM effect WHERE n = 9", {})).scalar() is None

    @on_store
    async def test_a_read_sees_what_is_committed_and_nothing_that_is_not(self, bench: StoreBench) -> None:
        await bench.claimed()
        await _add(bench, 1)
        async with bench.store.unit() as unit:
            await unit.tx.execute("INSERT INTO effect VALUES (2)")
            reading = asyncio.create_task(_read(bench))
            for _ in range(10):
                await asyncio.sleep(0)
        assert await reading == [1]

    @on_store
    async def test_a_read_inside_a_transaction_of_its_task_is_refused(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            with pytest.raises(TransactionError):
                await _read(bench)
            await unit.commit(None, None)
        assert await _read(bench) == [1]

    @on_store
    async def test_a_read_refuses_whatever_is_not_one_query_and_changes_nothing(self, bench: StoreBench) -> None:
        await bench.claimed()
        await _add(bench, 1)
        for sql in NO_QUERIES:
            with pytest.raises(TransactionError):
                await bench.store.read(sql, {})
        assert await _read(bench) == [1]
        await _add(bench, 2)
        assert await _read(bench) == [1, 2]

    @on_store
    async def test_a_read_that_cannot_be_run_says_so(self, bench: StoreBench) -> None:
        await bench.claimed()
        with pytest.raises(StoreError):
            await bench.store.read("SELECT n FROM nowhere", {})
        with pytest.raises(TransactionError):
            await bench.store.read("SELECT :wanted", {"other": 1})
        assert await _read(bench) == []


async def _add(bench: StoreBench, number: int) -> None:
    async with bench.store.unit() as unit:
        await unit.tx.execute("INSERT INTO effect VALUES (:n)", n=number)
        await unit.commit(None, None)


async def _read(bench: StoreBench) -> list[int]:
    return [row[0] for row in (await bench.store.read("SELECT n FROM effect ORDER BY n", {})).rows]
