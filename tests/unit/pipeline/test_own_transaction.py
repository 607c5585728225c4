"""`ctx.transaction()`: effects, outputs and mark commit when the handler returns, or not at all."""

import asyncio
from contextlib import suppress

import pytest

from onward import FatalError, Transaction
from onward.errors import StoreError, TransactionError
from onward.pipeline.context import Context
from tests.unit.pipeline.stage import INSERT, Billed, Ordered, Stage


def test_effects_outputs_and_mark_commit_when_the_handler_returns() -> None:
    async def main() -> None:
        before: list[list[int]] = []

        async def save(order: Ordered, ctx: Context) -> Billed:
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="save", n=order.n)
                await tx.publish(Billed(customer="ann", n=order.n * 10))
            before.append([order.n, stage.account()[0]])
            return Billed(customer="ann", n=order.n * 10 + 1)

        stage = Stage()
        stage.on(save)
        await stage.handle_plainly(Ordered(customer="ann", n=1), Ordered(customer="ann", n=2))
        assert before == [[1, 0], [2, 1]]
        assert stage.effects() == [1, 2]
        assert stage.bills() == [10, 11, 20, 21]
        assert stage.tally() == [("save", 2, 0, 0)]

    asyncio.run(main())


def test_an_exception_after_the_block_undoes_it() -> None:
    async def main() -> None:
        async def save(order: Ordered, ctx: Context) -> None:
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="save", n=order.n)
                await tx.publish(Billed(customer="ann", n=order.n))
            raise FatalError("after the block")

        stage = Stage()
        stage.on(save)
        await stage.handle_plainly(Ordered(customer="ann", n=1))
        assert stage.effects() == []
        assert stage.bills() == []
        assert stage.letters() == [(0, "save", "fatal", 1, "dead")]

    asyncio.run(main())


def test_an_exception_inside_the_block_undoes_it_though_the_handler_catches_it() -> None:
    async def main() -> None:
        async def save(order: Ordered, ctx: Context) -> Billed:
            try:
                async with ctx.transaction() as tx:
                    await tx.execute(INSERT, by="save", n=order.n)
                    raise LookupError
            except LookupError:
                return Billed(customer="ann", n=order.n)

        stage = Stage()
        stage.on(save)
        await stage.handle_plainly(Ordered(customer="ann", n=1))
        assert stage.effects() == []
        assert stage.bills() == [1]
        assert stage.letters() == []

    asyncio.run(main())


def test_a_second_transaction_in_one_call_is_refused_and_the_first_undone() -> None:
    async def main() -> None:
        async def save(order: Ordered, ctx: Context) -> None:
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="save", n=order.n)
            with pytest.raises(TransactionError, match="used twice"):
                async with ctx.transaction():
                    pass
            raise FatalError("enough")

        stage = Stage()
        stage.on(save)
        await stage.handle_plainly(Ordered(customer="ann", n=1))
        assert stage.effects() == []
        assert [letter[3] for letter in stage.letters()] == [1]

    asyncio.run(main())


def test_a_transaction_that_can_not_begin_holds_nothing_up() -> None:
    async def main() -> None:
        stage = Stage()

        async def greedy(order: Ordered, ctx: Context) -> None:
            async with stage.database.transaction(), ctx.transaction():
                pytest.fail("this task is inside a transaction already")

        stage.on(greedy, fatal=(TransactionError,))
        await stage.handle_plainly(Ordered(customer="ann", n=1))
        assert stage.letters() == [(0, "greedy", "fatal", 1, "dead")]

    asyncio.run(main())


def test_own_transactions_and_group_writes_of_one_partition_take_turns() -> None:
    async def main() -> None:
        async def save(order: Ordered, ctx: Context) -> Billed:
            if order.n % 2:
                async with ctx.transaction() as tx:
                    await tx.execute(INSERT, by="save", n=order.n)
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            return Billed(customer=order.customer, n=order.n)

        stage = Stage()
        stage.on(save)
        await stage.handle_plainly(*(Ordered(customer=str(n), n=n) for n in range(60)))
        assert sorted(stage.effects()) == list(range(1, 60, 2))
        assert sorted(stage.bills()) == list(range(60))
        assert stage.tally() == [("save", 60, 0, 0)]

    asyncio.run(main())


def test_a_caught_sql_error_fails_the_event_unless_a_savepoint_is_around_it() -> None:
    async def main() -> None:
        async def save(order: Ordered, ctx: Context) -> None:
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="save", n=order.n)
                with suppress(StoreError):
                    if order.n == 1:
                        await tx.execute(INSERT, by="again", n=order.n)
                    async with tx.savepoint():
                        await tx.execute(INSERT, by="again", n=order.n)

        stage = Stage()
        stage.on(save)
        await stage.handle_plainly(Ordered(customer="ann", n=1), Ordered(customer="ann", n=2))
        assert stage.effects() == [2]
        assert [letter[:3] for letter in stage.letters()] == [(0, "save", "attempts_spent")]

    asyncio.run(main())


def test_a_transactional_handler_has_no_second_transaction() -> None:
    async def main() -> None:
        async def save(order: Ordered, tx: Transaction, ctx: Context) -> None:
            with pytest.raises(TransactionError, match="parameter `tx`"):
                ctx.transaction()
            await tx.execute(INSERT, by="save", n=order.n)

        stage = Stage()
        stage.on(save)
        runner = await stage.open()
        claim = await stage.claim()
        await stage.publish(Ordered(customer="ann", n=1))
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.effects() == [1]

    asyncio.run(main())
