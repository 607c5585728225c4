"""Statements whose result nobody reads travel together; one that is read brings those before it along."""

import asyncio
import re
from pathlib import Path

import pytest

from onward.ports import ServiceEntry
from onward.stores.postgres.address import Address
from onward.stores.postgres.store import PostgresStore

COUNT = 100
ADD, RENAME = "INSERT INTO found VALUES (:n, 'new')", "UPDATE found SET word = :word WHERE n = :n"


@pytest.mark.parametrize(("reads", "most"), [(0, 4), (3, 7)])
def test_submitted_statements_cost_no_round_trip_of_their_own(
    postgres_url: str, tmp_path: Path, reads: int, most: int
) -> None:
    read_behind = [(each + 1) * COUNT // (reads + 1) for each in range(reads)]

    async def play() -> str:
        store = PostgresStore(Address.read(postgres_url), "shop")
        await store.open(ServiceEntry("shop", ("CREATE TABLE found (n INTEGER, word TEXT)",), {}, ()))
        async with store.unit() as unit:
            assert unit._session is not None
            connection = unit._session._connection.pgconn
            with (tmp_path / "trace").open("w") as trace:
                connection.trace(trace.fileno())
                for n in range(COUNT):
                    await unit.tx.submit(ADD, n=n)
                    await unit.tx.submit(RENAME, n=n, word=f"w{n}")
                    if n in read_behind:
                        found = await unit.tx.execute("SELECT count(*), max(word) FROM found WHERE n = :n", n=n)
                        assert found.rows == [(1, f"w{n}")]
                await unit.commit(None, None)
                connection.untrace()
        stored = await store.read("SELECT count(*) FROM found WHERE word = 'w' || n", {})
        assert stored.scalar() == COUNT
        await store.close()
        return (tmp_path / "trace").read_text()

    said = asyncio.run(play())
    assert len(re.findall(r"\tBind\t", said)) >= 2 * COUNT
    assert len(re.findall(r"\tReadyForQuery\t", said)) <= most  # with which the server ends its answer
