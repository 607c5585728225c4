"""The outbox in a file: services apart, and reading that does not slow down when much waits."""

from __future__ import annotations

import asyncio

import pytest

from onward.ports import Outgoing
from onward.sqlite import outbox
from onward.sqlite.database import Database
from onward.sqlite.outbox import FileOutbox

EVENT = Outgoing("orders", "test.event", 1, b"{}", None)


def test_services_in_one_file_have_outboxes_and_leases_of_their_own() -> None:
    async def play() -> None:
        database = Database.open(":memory:")
        shop, bank = FileOutbox(database, "shop"), FileOutbox(database, "bank")
        async with database.transaction():
            shop.append([EVENT])
        assert await shop.lease(10) is not None
        term = await bank.lease(10)
        assert term is not None
        assert await bank.read(10) == []
        (row,) = await shop.read(10)
        await bank.delete(term, [row.id])
        assert await shop.read(10) == [row]
        assert (await bank.stats()).oldest is None
        database.close()

    asyncio.run(play())


def test_what_a_transaction_published_is_one_row() -> None:
    async def play() -> None:
        database = Database.open(":memory:")
        shop = FileOutbox(database, "shop")
        async with database.transaction():
            shop.append([EVENT] * 256)
        assert [len(row.events) for row in await shop.read(10)] == [256]
        database.close()

    asyncio.run(play())


@pytest.mark.parametrize("sql", [outbox._NUMBERED, outbox._DUE, outbox._WAITING, outbox._OLDEST])
def test_a_query_of_the_relay_reads_no_more_rows_than_it_returns(sql: str) -> None:
    database = Database.open(":memory:")
    plan = [row[3] for row in database.read("EXPLAIN QUERY PLAN " + sql, (None,) * _parameters(sql))]
    steps = [step for step in plan if "onward_outbox" in step]
    assert steps
    assert all(step.startswith("SEARCH onward_outbox USING") for step in steps), plan
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
    database.close()


def _parameters(sql: str) -> int:
    numbered = [number for number in range(1, 10) if f"?{number}" in sql]
    return max(numbered) if numbered else sql.count("?")
