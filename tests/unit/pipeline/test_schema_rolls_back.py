"""A schema that says ROLLBACK takes the whole transaction away; that fails one event, and no other."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from onward import BatchFailed, FatalError, Transaction
from onward.errors import StoreError
from onward.pipeline.context import Context
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Claim
from tests.unit.pipeline.stage import INSERT, Ordered, Stage, until

STRICT = "CREATE TABLE strict (n INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)"
TRIGGER = (
    "CREATE TABLE strict (n INTEGER);"
    " CREATE TRIGGER guard BEFORE INSERT ON strict WHEN new.n = 3 BEGIN SELECT RAISE(ROLLBACK, 'never 3'); END"
)
ADD = "INSERT INTO strict VALUES (:n)"


async def begun(stage: Stage, schema: str, count: int) -> tuple[TransactionalRunner, Claim]:
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    await prepared(stage, schema, count)
    return runner, await stage.claim()


async def prepared(stage: Stage, schema: str, count: int) -> None:
    """Tables, and as many events, of which number 3 takes the transaction away."""
    async with stage.database.transaction() as connection:
        connection.execute(schema)
        if schema == STRICT:
            connection.execute("INSERT INTO strict VALUES (3)")
    await stage.publish(*(Ordered(customer="ann", n=n) for n in range(count)))


async def add(order: Ordered, tx: Transaction) -> None:
    await tx.execute(ADD, n=order.n)


async def add_and_go_on(order: Ordered, tx: Transaction) -> None:
    with suppress(StoreError):
        await tx.execute(ADD, n=order.n)


async def add_inside_a_savepoint(order: Ordered, tx: Transaction) -> None:
    with suppress(StoreError):
        async with tx.savepoint():
            await tx.execute(ADD, n=order.n)


async def add_and_catch_inside(order: Ordered, tx: Transaction) -> None:
    with suppress(StoreError):
        async with tx.savepoint(), tx.savepoint():
            with suppress(StoreError):
                await tx.execute(ADD, n=order.n)


async def save(order: Ordered, tx: Transaction) -> None:
    await tx.execute(INSERT, by="save", n=order.n)


@pytest.mark.parametrize("schema", [STRICT, TRIGGER])
@pytest.mark.parametrize("adding", [add, add_and_go_on, add_inside_a_savepoint, add_and_catch_inside])
def test_the_event_fails_alone_whatever_its_handler_catches(schema: str, adding: Callable[..., Any]) -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save)
        stage.on(adding)
        runner, claim = await begun(stage, schema, 6)
        assert await stage.drive(runner, claim) == [1.0, 2.0]
        assert stage.effects() == [0, 1, 2, 3, 4, 5]
        assert sorted(stage.rows("SELECT n FROM strict WHERE n <> 3")) == [(0,), (1,), (2,), (4,), (5,)]
        assert [letter[0] for letter in stage.letters()] == [3]
        assert stage.letters()[0][2:] == ("attempts_spent", 3, "dead")
        assert stage.rows("SELECT error LIKE '%ROLLBACK%' FROM onward_dead_letter") == [(1,)]

    asyncio.run(main())


@pytest.mark.parametrize("names_it", [False, True])
@pytest.mark.parametrize(("fatal", "waits"), [((), [1.0, 2.0]), ((StoreError, FatalError), [])])
def test_a_list_handler_loses_that_event_alone(
    names_it: bool, fatal: tuple[type[Exception], ...], waits: list[float]
) -> None:
    async def main() -> None:
        async def add_all(orders: list[Ordered], tx: Transaction) -> None:
            for index, order in enumerate(orders):
                try:
                    await tx.execute(ADD, n=order.n)
                except StoreError as error:
                    if names_it:
                        raise BatchFailed({index: error}) from error
                    raise

        stage = Stage()
        stage.on(save)
        stage.on(add_all, fatal=fatal)
        runner, claim = await begun(stage, STRICT, 8)
        assert await stage.drive(runner, claim) == waits
        assert stage.effects() == list(range(8))
        assert stage.rows("SELECT count(*) FROM strict") == [(8,)]
        assert [letter[:2] for letter in stage.letters()] == [(3, "add_all")]
        assert stage.tally() == [("add_all", 7, 1, 0), ("save", 8, 0, 0)]

    asyncio.run(main())


def test_two_such_events_in_one_list_each_fail_alone() -> None:
    async def main() -> None:
        async def add_all(orders: list[Ordered], tx: Transaction) -> None:
            for order in orders:
                await tx.execute(ADD, n=order.n)

        stage = Stage()
        stage.on(add_all)
        runner, claim = await begun(stage, STRICT, 8)
        async with stage.database.transaction() as connection:
            connection.execute("INSERT INTO strict VALUES (5)")
        assert await stage.drive(runner, claim) == [1.0, 2.0, 1.0, 2.0]
        assert stage.rows("SELECT count(*) FROM strict") == [(8,)]
        assert [letter[0] for letter in stage.letters()] == [3, 5]
        assert stage.tally() == [("add_all", 6, 2, 0)]

    asyncio.run(main())


def test_a_plain_handlers_own_transaction_fails_that_event_alone() -> None:
    async def main() -> None:
        async def add_own(order: Ordered, ctx: Context) -> None:
            async with ctx.transaction() as tx:
                await tx.execute(ADD, n=order.n)

        stage = Stage()
        stage.on(add_own, fatal=(StoreError,))
        runner, claim = await stage.plain()
        await prepared(stage, STRICT, 6)
        assert await runner.handle(claim, stage.delivery()) is None
        await until(lambda: claim.position.next == 6)
        await runner.settle(0, None)
        assert stage.rows("SELECT count(*) FROM strict") == [(6,)]
        assert stage.letters() == [(3, "add_own", "fatal", 1, "dead")]

    asyncio.run(main())
