"""A transaction that stands open without a statement is ended by the server, whatever it did before."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from onward.errors import TransactionError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import Session

PATIENCE_S = 30.0
Say = Callable[[Session], Awaitable[object]]


async def run(session: Session) -> None:
    await session.run("SELECT 1", (), "Testing")


async def send(session: Session) -> None:
    await session.send([Command("SELECT $1::int", [(1,), (2,)])], "Testing")


async def send_what_fails(session: Session) -> None:
    with pytest.raises(TransactionError, match="as it should"):
        await session.send([Command("SELECT 1 WHERE $1", [(False,)], TransactionError("as it should"))], "Testing")


async def drive_many(session: Session) -> None:
    await session.drive("SELECT %(n)s::int", [{"n": 1}, {"n": 2}], many=True)


@pytest.mark.parametrize("say", [run, send, send_what_fails, drive_many])
def test_a_transaction_that_stands_open_is_ended_by_the_server(postgres_url: str, say: Say) -> None:
    def open_transactions() -> int:
        with psycopg.connect(postgres_url) as other:
            found = other.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
            return int(found.fetchall()[0][0])

    async def play() -> None:
        session = await Session.open(Address.read(f"{postgres_url}?idle_s=0.2"))
        await session.begin()
        await say(session)
        async with asyncio.timeout(PATIENCE_S):
            while open_transactions():
                await asyncio.sleep(0.02)
        with pytest.raises(TransactionError):
            await session.commit()
        session.drop()

    asyncio.run(play())
